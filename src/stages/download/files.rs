//! Downloads any files, without a look into them.

use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::base::fs::on;
use crate::base::look::{self, There};
use crate::base::walk::{DEEPEST, too_deep};
use crate::fetch::source::{At, SourceFile, SourcePlace, below};

use super::fetch::Fetch;
use super::spec::{DownloadSpec, FoundFiles, usage};

/// A folder with more files than this is taken for a slip.
const MOST: usize = 10_000;

/// Returns the files named by the parameter `file`, else all that the source names, else (of a local place) all there
/// are.
pub(super) fn find(spec: &DownloadSpec, place: &SourcePlace) -> Result<FoundFiles, Diag> {
    let source = &spec.source;
    let mut paths: Vec<String> = match &spec.file[..] {
        [] => source.files.values().map(|f| f.path.clone()).collect(),
        words => words.iter().map(|w| Ok(source.pick(w)?.path)).collect::<Result<_, Diag>>()?,
    };
    paths.sort();
    paths.dedup();
    let item = |path: String, at: At| (path.clone(), SourceFile { pin: source.pin(&path), path, at });
    match place {
        SourcePlace::Http(_) if paths.is_empty() => {
            Err(usage(&format!("source `{}` names no `files`, and a server cannot list its files", source.name))
                .help("list them in `file` or in `[source.NAME.files]`"))
        }
        SourcePlace::Http(url) => Ok(FoundFiles::Files(
            paths.into_iter().map(|p| (At::Http(below(url, &p)), p)).map(|(at, p)| item(p, at)).collect(),
        )),
        SourcePlace::Local { root, .. } if root.is_file() => {
            let path = root.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            Ok(FoundFiles::Archive(item(path, At::File(root.clone())).1))
        }
        SourcePlace::Local { root, .. } => {
            if paths.is_empty() {
                paths = walk(root)?;
            }
            let mut files = Vec::new();
            for path in paths {
                files.push(item(path.clone(), At::File(on_disk(root, &path, &source.name)?)));
            }
            Ok(FoundFiles::Files(files))
        }
    }
}

/// `path` below `root`, or by its last part: a mirror need not repeat the folders of the source.
pub(super) fn on_disk(root: &Path, path: &str, source: &str) -> Result<std::path::PathBuf, Diag> {
    let last = path.rsplit('/').next().unwrap_or(path);
    let places = [root.join(path), root.join(last)];
    for place in places {
        if look::is_file(&place)? {
            return Ok(place);
        }
    }
    Err(usage(&format!("source `{source}` has no `{path}`")).note(format!("looked in `{}`", root.display())))
}

/// Returns the names of all files below `top`. Links to folders are not followed: they could lead anywhere.
fn walk(top: &Path) -> Result<Vec<String>, Diag> {
    let mut paths = Vec::new();
    let mut open = vec![(String::new(), top.to_owned())];
    while let Some((prefix, dir)) = open.pop() {
        for entry in std::fs::read_dir(&dir).map_err(on("read", &dir))? {
            let entry = entry.map_err(on("read", &dir))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(Diag::error(
                    Class::Stage,
                    format!("the name of `{}` is not UTF-8", entry.path().display()),
                ));
            };
            let path = format!("{prefix}{name}");
            if entry.file_type().map_err(on("read", &entry.path()))?.is_dir() {
                if path.split('/').count() > DEEPEST {
                    return Err(too_deep(&dir, DEEPEST));
                }
                open.push((path + "/", entry.path()));
            } else if !look::is_editor_lock(&entry.path())
                && let There::File(_) = look::required(&entry.path())?
            {
                paths.push(path);
            }
            if paths.len() > MOST {
                return Err(usage(&format!("`{}` has more than {MOST} files", dir.display()))
                    .help("list those wanted in `file`"));
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// Brings what `found` says to `files/`.
pub(super) fn run(fetch: &mut Fetch, found: FoundFiles) -> Result<(), Diag> {
    match found {
        FoundFiles::Files(files) => {
            let mut brought = Vec::new();
            for (name, item) in &files {
                let name = format!("files/{name}");
                let path = fetch.bring(item, &name, false)?.expect("a required file");
                brought.push((path, name));
            }
            brought.iter().try_for_each(|(path, name)| fetch.deliver(path, name))
        }
        FoundFiles::Archive(item) => {
            let words = fetch.spec.file.clone();
            let wanted = |name: &str| words.is_empty() || words.iter().any(|w| w == name);
            let (into, names) = fetch.unpack(&item, &wanted)?;
            if let Some(word) = words.iter().find(|w| !names.contains(w)) {
                let diag = format!("archive `{}` has no `{word}`", fetch.shown(&item));
                return Err(Diag::error(Class::Stage, diag));
            }
            names.iter().filter(|n| wanted(n)).try_for_each(|n| fetch.deliver(&into.join(n), &format!("files/{n}")))
        }
        FoundFiles::Probe(_) => unreachable!("files have names"),
    }
}
