//! Downloads SuperGLUE: for each task one archive or folder with a jsonl file for each split, which becomes a table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::artifact::{json, table};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::base::look::{self, There};
use crate::data::task::Task;
use crate::fetch::archive;
use crate::fetch::hash::Sha256;
use crate::fetch::source::{At, Source, SourceFile, SourcePlace, below};

use super::fetch::Fetch;
use super::spec::{DownloadSpec, FoundFiles, Split, usage};

/// `data.json`.
#[derive(Serialize)]
struct Data<'a> {
    task: &'a str,
    source: String,
    splits: BTreeMap<&'a str, SplitData>,
}

/// A split, as `data.json` has it.
#[derive(Serialize)]
struct SplitData {
    rows: usize,
    /// Of its jsonl file.
    sha256: Sha256,
}

/// Looks for the data of the task whose folder is called `folder`.
pub(super) fn find(
    spec: &DownloadSpec,
    folder: &str,
    task: &str,
    splits: &[Split],
    place: &SourcePlace,
) -> Result<FoundFiles, Diag> {
    let source = &spec.source;
    let named = named(spec, folder, task)?;
    match place {
        SourcePlace::Http(url) => {
            let path = named.unwrap_or_else(|| format!("{folder}.zip"));
            if archive::is_archive_name(&path) {
                let at = At::Http(below(url, &path));
                return Ok(FoundFiles::Archive(SourceFile { pin: source.pin(&path), path, at }));
            }
            let item = |split: &Split| {
                let path = format!("{}/{}", path.trim_end_matches('/'), split.file);
                SourceFile { pin: source.pin(&path), at: At::Http(below(url, &path)), path }
            };
            Ok(FoundFiles::Files(splits.iter().map(|s| (s.file.clone(), item(s))).collect()))
        }
        SourcePlace::Local { root, mirror } => {
            let archive_path = named.clone().or_else(|| mirror.then(|| format!("{folder}.zip")));
            let pinned = archive_path.as_deref().filter(|p| source.pin(p).is_set());
            match look(root, named.as_deref(), folder, splits, &source.name)? {
                Local::Archive(at) => {
                    let path = archive_path.unwrap_or_else(|| file_name(&at));
                    Ok(FoundFiles::Archive(SourceFile { pin: source.pin(&path), path, at: At::File(at) }))
                }
                Local::Folder(at) => match pinned {
                    Some(path) if archive::is_archive_name(path) => Err(unpacked(source, path, &at)),
                    _ => in_folder(source, &at, named.as_deref().unwrap_or(folder), splits),
                },
            }
        }
    }
}

/// Returns the path that the pipeline gives the task: `file`, else the source's entry for the task, by key or by name.
fn named(spec: &DownloadSpec, folder: &str, task: &str) -> Result<Option<String>, Diag> {
    if let Some(word) = spec.file.first() {
        return Ok(Some(spec.source.pick(word)?.path));
    }
    if let Some(entry) = spec.source.files.get(task).or_else(|| spec.source.files.get(folder)) {
        return Ok(Some(entry.path.clone()));
    }
    let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let of_name = |path: &&str| archive::stem(&last(path)).is_some_and(|stem| stem == folder);
    Ok(spec.source.files.values().map(|f| f.path.as_str()).find(of_name).map(str::to_owned))
}

/// Where the data of a task lies on this machine.
enum Local {
    Archive(PathBuf),
    Folder(PathBuf),
}

/// Looks below `root` for what the pipeline named, or for what is called like the task: packed or unpacked.
fn look(root: &Path, named: Option<&str>, folder: &str, splits: &[Split], source: &str) -> Result<Local, Diag> {
    if root.is_file() {
        return Ok(Local::Archive(root.to_owned()));
    }
    let mut places = Vec::new();
    match named {
        Some(path) => {
            places.push(root.join(path));
            places.extend(archive::stem(path).map(|stem| root.join(stem)));
        }
        None => {
            places.push(root.join(folder));
            places.extend(["zip", "tar.gz", "tgz", "tar"].iter().map(|e| root.join(format!("{folder}.{e}"))));
        }
    }
    // Whatever lies there: what cannot be read is reported when it is asked for.
    let holds = |dir: &Path| splits.iter().any(|s| dir.join(&s.file).symlink_metadata().is_ok());
    for place in &places {
        match look::look(place)? {
            Some(There::Folder(_)) => {
                // `unzip -d BoolQ BoolQ.zip` leaves `BoolQ/BoolQ`.
                let inner = place.join(folder);
                return Ok(Local::Folder(if !holds(place) && holds(&inner) { inner } else { place.clone() }));
            }
            Some(There::File(_)) => return Ok(Local::Archive(place.clone())),
            None => {}
        }
    }
    // The place may be the task's own folder.
    if holds(root) {
        return Ok(Local::Folder(root.to_owned()));
    }
    let looked: Vec<_> = places.iter().map(|p| format!("`{}`", p.display())).collect();
    Err(Diag::error(Class::Stage, format!("source `{source}` has no folder or archive `{folder}`"))
        .note(format!("looked for {}", looked.join(", ")))
        .help("set `file` to where it lies below the source"))
}

fn in_folder(source: &Source, folder: &Path, named: &str, splits: &[Split]) -> Result<FoundFiles, Diag> {
    let mut files = Vec::new();
    let prefix = archive::stem(named).unwrap_or(named).trim_end_matches('/');
    for split in splits {
        let at = folder.join(&split.file);
        if look::is_file(&at)? {
            let path = format!("{prefix}/{}", split.file);
            files.push((split.file.clone(), SourceFile { pin: source.pin(&path), path, at: At::File(at) }));
        } else if !split.optional {
            return Err(missing(split, &format!("folder `{}`", folder.display()), &names_in(folder)));
        }
    }
    Ok(FoundFiles::Files(files))
}

fn unpacked(source: &Source, path: &str, folder: &Path) -> Diag {
    usage(&format!(
        "source `{}` pins the archive `{path}`, and an unpacked folder cannot be checked against it",
        source.name
    ))
    .note(format!("found the folder `{}`", folder.display()))
    .help(format!(
        "put `{path}` itself there, or take the folder unchecked with `--set source.{}.verify=false` \
             (its content then enters the key)",
        source.name
    ))
}

/// Returns a required split that is not there. `names` are the files that are.
fn missing(split: &Split, place: &str, names: &[String]) -> Diag {
    let diag =
        Diag::error(Class::Stage, format!("{place} has no `{}`, the file of split `{}`", split.file, split.name));
    let diag = match names {
        [] => diag.note("it has no files"),
        _ => diag.note(format!("it has {}", list(names))),
    };
    diag.help(format!(
        "name the right file in `splits`; `{} = \"{}?\"` says that it may be missing",
        split.name, split.file
    ))
}

fn list(names: &[String]) -> String {
    let mut shown: Vec<_> = names.iter().take(8).map(|n| format!("`{n}`")).collect();
    if names.len() > shown.len() {
        shown.push(format!("and {} more", names.len() - shown.len()));
    }
    shown.join(", ")
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// Fetches what `found` says and writes the tables.
pub(super) fn run(fetch: &mut Fetch, task: &'static dyn Task, splits: &[Split], found: FoundFiles) -> Result<(), Diag> {
    let texts = match found {
        FoundFiles::Archive(item) => from_archive(fetch, task.folder(), splits, &item)?,
        FoundFiles::Files(files) => from_files(fetch, splits, &files)?,
        FoundFiles::Probe(_) => unreachable!("a task's files have names"),
    };
    if texts.is_empty() {
        return Err(Diag::error(Class::Stage, format!("there is no split of `{}` to read", task.name())));
    }
    let mut data = Data { task: task.name(), source: fetch.spec.source.origin(), splits: BTreeMap::new() };
    for Text { split, origin, bytes, sha256 } in &texts {
        fetch.ctx.check_cancel()?;
        let batch = task.read_jsonl(bytes, origin, &split.name)?;
        table::write(&fetch.ctx.out(&format!("{}.parquet", split.name)), &batch)?;
        let known = SplitData { rows: batch.num_rows(), sha256: *sha256 };
        fetch.outcome.metrics.insert(format!("rows_{}", split.name), batch.num_rows() as f64);
        data.splits.insert(&split.name, known);
    }
    json::write(&fetch.ctx.out("data.json"), &data)
}

/// The file of a split.
struct Text<'a> {
    split: &'a Split,
    /// Its name, for messages.
    origin: String,
    bytes: Vec<u8>,
    sha256: Sha256,
}

fn from_files<'a>(
    fetch: &mut Fetch,
    splits: &'a [Split],
    files: &[(String, SourceFile)],
) -> Result<Vec<Text<'a>>, Diag> {
    let mut texts = Vec::new();
    for split in splits {
        let Some((_, item)) = files.iter().find(|(name, _)| *name == split.file) else { continue };
        let Some((mut bytes, mut sha256)) = fetch.bytes(item, split.optional)? else { continue };
        if split.file.ends_with(".gz") {
            bytes = gunzip(fetch, item)?;
            sha256 = Sha256::of(&bytes);
        }
        texts.push(Text { split, origin: fetch.shown(item), bytes, sha256 });
    }
    Ok(texts)
}

/// Returns what is inside a `.gz` file.
fn gunzip(fetch: &mut Fetch, item: &SourceFile) -> Result<Vec<u8>, Diag> {
    let (into, names) = fetch.unpack(item, &|_| true)?;
    match &names[..] {
        [one] => Ok(fs::read(&into.join(one))?),
        _ => Err(Diag::error(Class::Stage, format!("`{}` is not one packed file", fetch.shown(item)))),
    }
}

fn from_archive<'a>(
    fetch: &mut Fetch,
    folder: &str,
    splits: &'a [Split],
    item: &SourceFile,
) -> Result<Vec<Text<'a>>, Diag> {
    let wanted = |name: &str| splits.iter().any(|s| ends_with(name, &s.file)) && !is_litter(name);
    let (into, names) = fetch.unpack(item, &wanted)?;
    let shown = fetch.shown(item);
    let mut texts = Vec::new();
    for split in splits {
        match choose(&names, &split.file, folder) {
            Ok(Some(name)) => {
                let bytes = fs::read(&into.join(name))?;
                let sha256 = Sha256::of(&bytes);
                texts.push(Text { split, origin: format!("{shown}/{name}"), bytes, sha256 });
            }
            Ok(None) if split.optional => {}
            Ok(None) => return Err(missing(split, &format!("archive `{shown}`"), &names)),
            Err(several) => {
                let diag = format!("archive `{shown}` has several files for split `{}`", split.name);
                return Err(Diag::error(Class::Stage, diag)
                    .note(format!("they are {}", list(&several)))
                    .help("name one with its folder in `splits`"));
            }
        }
    }
    Ok(texts)
}

/// Returns the member that is `file`: the one in a folder called `folder` before others.
fn choose<'n>(names: &'n [String], file: &str, folder: &str) -> Result<Option<&'n str>, Vec<String>> {
    let all: Vec<&str> = names.iter().map(String::as_str).filter(|n| ends_with(n, file) && !is_litter(n)).collect();
    let of_task = format!("{folder}/{file}");
    let mut best: Vec<&str> = all.iter().copied().filter(|n| ends_with(n, &of_task)).collect();
    if best.is_empty() {
        best = all;
    }
    match best[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(best.iter().map(|n| (*n).to_owned()).collect()),
    }
}

fn ends_with(name: &str, file: &str) -> bool {
    name == file || name.strip_suffix(file).is_some_and(|rest| rest.ends_with('/'))
}

/// Returns whether a name is one of those that macOS adds to archives.
fn is_litter(name: &str) -> bool {
    name.split('/').any(|part| part == "__MACOSX" || part.starts_with("._"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn archive_member_of_the_task_is_chosen() {
        let one = names(&["BoolQ/train.jsonl", "BoolQ/val.jsonl", "__MACOSX/BoolQ/._train.jsonl"]);
        assert_eq!(choose(&one, "train.jsonl", "BoolQ"), Ok(Some("BoolQ/train.jsonl")));
        assert_eq!(choose(&one, "test.jsonl", "BoolQ"), Ok(None));
        let all = names(&["v2/CB/train.jsonl", "v2/RTE/train.jsonl", "v2/RTE/retrain.jsonl"]);
        assert_eq!(choose(&all, "train.jsonl", "RTE"), Ok(Some("v2/RTE/train.jsonl")));
        assert_eq!(choose(&all, "train.jsonl", "WSC").unwrap_err().len(), 2);
        assert_eq!(choose(&names(&["train.jsonl"]), "train.jsonl", "WSC"), Ok(Some("train.jsonl")));
    }
}
