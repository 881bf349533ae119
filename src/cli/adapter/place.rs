//! [`fill`]: writes a folder completely or not at all, and overwrites nothing without `--force`.

use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};

/// Fills the folder `to` with the files that `write` writes to a temporary folder. If `to` is missing or empty, it
/// appears by one rename. Else, with `force`, the files replace those with the same names one by one. The file `last`
/// is removed first and written last, so a folder without it is incomplete. Other files stay.
///
/// # Errors
/// Fails if `to` is not empty and `force` is not set, or if a file cannot be written.
pub(super) fn fill(
    to: &Path,
    force: bool,
    last: &str,
    write: impl FnOnce(&Path) -> Result<(), Diag>,
) -> Result<(), Diag> {
    let there = to.symlink_metadata().is_ok();
    let full = there && (!to.is_dir() || std::fs::read_dir(to).map_err(on("read", to))?.next().is_some());
    if full && !(force && to.is_dir()) {
        let diag = Diag::error(Class::Usage, format!("`{}` already exists", to.display()));
        return Err(if to.is_dir() {
            diag.help("name another folder with `--to`, or add `--force` to replace the adapter in it")
        } else {
            diag.note("it is not a folder").help("name a folder with `--to`")
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
        // A temporary folder is private; give it normal permissions.
        #[cfg(unix)]
        std::fs::set_permissions(made.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(on("write", to))?;
        std::fs::rename(made.path(), to).map_err(on("write", to))?;
        return Ok(fs::sync_dir(beside)?);
    }
    fs::remove_file(&to.join(last))?;
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
    fn fill_is_atomic_and_overwrites_only_with_force() {
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
        assert!(error.message.ends_with("already exists") && error.help.unwrap().contains("--force"));
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
