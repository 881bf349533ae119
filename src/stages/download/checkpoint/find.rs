//! Finds the files of a checkpoint, as far as that is possible without fetching anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::base::diag::Diag;
use crate::base::look;
use crate::fetch::archive;
use crate::fetch::source::{At, Source, SourceFile, SourcePlace, below};
use crate::stages::download::files::on_disk;
use crate::stages::download::spec::{DownloadSpec, FoundFiles, usage};

use super::check::{no_shard, shards};
use super::names::{CheckpointKind, WEIGHTS, check_names, index_of, last_part, parent, superfluous, usual};

/// Returns the files named by the parameter `file`, else those of the source that belong to a checkpoint, else the
/// usual ones that are there.
pub fn find(spec: &DownloadSpec, kind: CheckpointKind, place: &SourcePlace) -> Result<FoundFiles, Diag> {
    let source = &spec.source;
    let paths = named(spec, kind)?;
    if let [path] = &paths[..]
        && archive::is_archive_name(path)
    {
        let at = match place {
            SourcePlace::Http(url) => At::Http(below(url, path)),
            SourcePlace::Local { root, .. } if root.is_file() => At::File(root.clone()),
            SourcePlace::Local { root, .. } => At::File(on_disk(root, path, &source.name)?),
        };
        return Ok(FoundFiles::Archive(SourceFile { pin: source.pin(path), path: path.clone(), at }));
    }
    match place {
        SourcePlace::Http(url) if paths.is_empty() => Ok(FoundFiles::Probe(url.clone())),
        SourcePlace::Http(url) => Ok(FoundFiles::Files(paths.into_iter().map(|p| remote(source, url, p)).collect())),
        SourcePlace::Local { root, .. } if root.is_file() => {
            let path = last_part(&root.to_string_lossy()).to_owned();
            Ok(FoundFiles::Archive(SourceFile { pin: source.pin(&path), path, at: At::File(root.clone()) }))
        }
        SourcePlace::Local { root, .. } => in_folder(source, kind, root, paths),
    }
}

pub(super) fn remote(source: &Source, url: &url::Url, path: String) -> (String, SourceFile) {
    let item = SourceFile { pin: source.pin(&path), at: At::Http(below(url, &path)), path };
    (last_part(&item.path).to_owned(), item)
}

/// Returns the paths that the pipeline names, without weights that others make superfluous.
fn named(spec: &DownloadSpec, kind: CheckpointKind) -> Result<Vec<String>, Diag> {
    let source = &spec.source;
    let mut paths: Vec<String> = if spec.file.is_empty() {
        source.files.values().map(|f| f.path.clone()).filter(|p| kind.takes(last_part(p))).collect()
    } else {
        spec.file.iter().map(|w| Ok(source.pick(w)?.path)).collect::<Result<_, Diag>>()?
    };
    paths.sort();
    paths.dedup();
    if let [one] = &paths[..]
        && archive::is_archive_name(one)
    {
        return Ok(paths);
    }
    if let Some(stranger) = paths.iter().find(|p| !kind.takes(last_part(p))) {
        return Err(usage(&format!("`{stranger}` is not a file of {}", kind.a_kind()))
            .help("`format = \"files\"` takes any file"));
    }
    let names: BTreeSet<&str> = paths.iter().map(|p| last_part(p)).collect();
    if names.len() < paths.len() {
        return Err(usage(&format!(
            "source `{}` names two files of {} that have the same name",
            source.name,
            kind.a_kind()
        ))
        .help("say which ones in `file`"));
    }
    let best = WEIGHTS.iter().find(|w| names.contains(*w)).copied();
    let keep: Vec<bool> = paths.iter().map(|p| !superfluous(last_part(p), best)).collect();
    Ok(paths.into_iter().zip(keep).filter_map(|(p, k)| k.then_some(p)).collect())
}

fn in_folder(source: &Source, kind: CheckpointKind, root: &Path, paths: Vec<String>) -> Result<FoundFiles, Diag> {
    let mut files = Vec::new();
    if paths.is_empty() {
        for name in usual(kind, |name| Ok(look::is_file(&root.join(name))?))? {
            files.push((name.to_owned(), local(source, name.to_owned(), root.join(name))));
        }
    }
    for path in paths {
        let at = on_disk(root, &path, &source.name)?;
        files.push((last_part(&path).to_owned(), local(source, path, at)));
    }
    let index = index_of(files.iter().map(|(name, _)| name.as_str()));
    let item = files.iter().find(|(name, _)| Some(name.as_str()) == index).map(|(_, item)| item.clone());
    if let (Some(index), Some(SourceFile { path, at: At::File(at), .. })) = (index, item) {
        let beside = parent(&path).to_owned();
        for shard in shards(index, &at)? {
            if files.iter().all(|(name, _)| *name != shard) {
                let path = format!("{beside}{shard}");
                let on_disk = at.with_file_name(&shard);
                if !look::is_file(&on_disk)? {
                    return Err(no_shard(&shard, &at.display().to_string()));
                }
                files.push((shard, local(source, path, on_disk)));
            }
        }
    }
    check_names(kind, &files.iter().map(|(n, _)| n.as_str()).collect(), &format!("`{}`", root.display()))?;
    Ok(FoundFiles::Files(files))
}

fn local(source: &Source, path: String, at: PathBuf) -> SourceFile {
    SourceFile { pin: source.pin(&path), path, at: At::File(at) }
}
