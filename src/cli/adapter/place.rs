//! Where a folder of results goes: there whole or not at all, and never over what is there unasked.

use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};

/// Makes the folder `to` of the files that `write` writes into the folder given to it. A folder that is not there yet (or is
/// empty) appears whole. With `force` the files replace those of the same names in a folder that is there, one by one, the
/// one called `last` last: it is taken away first, so that a folder without it is not whole. Other files there stay.
///
/// # Errors
/// When `to` has something in it and `force` is not set; when something cannot be written.
pub(super) fn fill(
    to: &Path,
    force: bool,
    last: &str,
    write: impl FnOnce(&Path) -> Result<(), Diag>,
) -> Result<(), Diag> {
    let there = to.symlink_metadata().is_ok();
    let full = there && (!to.is_dir() || std::fs::read_dir(to).map_err(on("read", to))?.next().is_some());
    if full && !(force && to.is_dir()) {
        let diag = Diag::error(Class::Usage, format!("`{}` is there already", to.display()));
        return Err(if to.is_dir() {
            diag.help("name another folder with `--to`, or add `--force` to replace the adapter in it")
        } else {
            diag.note("it is no folder").help("name a folder with `--to`")
        });
    }
    let beside = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(beside)?;
    let made = tempfile::Builder::new().prefix(".tmp-").tempdir_in(beside).map_err(on("write", to))?;
    write(made.path())?;
    let mut names: Vec<_> = std::fs::read_dir(made.path())
        .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>())
        .map_err(on("read", made.path()))?;
    names.sort_by_key(|name| (name == last, name.clone()));
    for name in &names {
        fs::open(&made.path().join(name))?.sync_all().map_err(on("write", to))?;
    }
    if !full {
        // A temporary folder is its maker's alone; this one is for whoever may read beside it.
        #[cfg(unix)]
        std::fs::set_permissions(made.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(on("write", to))?;
        std::fs::rename(made.path(), to).map_err(on("write", to))?;
        return Ok(fs::sync_dir(beside)?);
    }
    match std::fs::remove_file(to.join(last)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(on("replace", &to.join(last))(e).into()),
        _ => {}
    }
    for name in &names {
        let path = to.join(name);
        std::fs::rename(made.path().join(name), &path).map_err(on("write", &path))?;
    }
    Ok(fs::sync_dir(to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn whole_or_not_at_all_and_never_over_other_things() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("a/b");
        let write = |text: &'static str| {
            move |at: &Path| {
                std::fs::write(at.join("weights"), text).unwrap();
                std::fs::write(at.join("config"), text).unwrap();
                Ok(())
            }
        };
        let fails = |_: &Path| Err(Diag::error(Class::Stage, "no"));
        assert!(fill(&to, false, "config", fails).is_err() && !to.exists() && names(&dir.path().join("a")).is_empty());
        fill(&to, false, "config", write("one")).unwrap();
        std::fs::write(to.join("mine"), "mine").unwrap();
        let error = fill(&to, false, "config", write("two")).unwrap_err();
        assert!(error.message.ends_with("is there already") && error.help.unwrap().contains("--force"));
        assert!(fill(&to, true, "config", fails).is_err());
        assert_eq!(std::fs::read_to_string(to.join("config")).unwrap(), "one");
        fill(&to, true, "config", write("two")).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("config")).unwrap(), "two");
        assert_eq!(names(&to), ["config", "mine", "weights"]);
        assert_eq!(names(&dir.path().join("a")), ["b"]);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(fill(&file, true, "config", write("x")).is_err());
    }
}
