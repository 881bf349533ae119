//! Writing an artifact in one step, and the error of a value that cannot be written.

use std::fs::File;
use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};

/// Writes `path` through `write`, so that a reader sees the old file or the new one, also when the process is killed.
/// Not synced: the store does that when it takes the file in.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<(), Diag>) -> Result<(), Diag> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut beside = fs::beside(dir).map_err(on("write", path))?;
    write(beside.as_file_mut())?;
    beside.persist(path).map_err(|e| on("write", path)(e.error))?;
    Ok(())
}

/// A value that cannot be written to `path`.
pub(super) fn unwritable(path: &Path, why: impl std::fmt::Display) -> Diag {
    Diag::error(Class::Bug, format!("cannot write `{}`: {why}", path.display()))
}
