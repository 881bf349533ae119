//! Files of this machine: copied, read, moved. Hashes nothing.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Watch;
use crate::base::diag::Diag;
use crate::base::fs::{self, on};

/// The number of bytes between two reports of progress, and checks for cancellation.
const STEP: u64 = 64 << 20;

/// Copies `from` to `to`, which is not there (its folder is made), and returns how many bytes it has: as a reflink
/// where the file system can, else within the system. `label` names the file in progress.
///
/// # Errors
/// When a file cannot be read or written, or when `watch` ends it.
pub fn copy(from: &Path, to: &Path, label: &str, watch: &dyn Watch) -> Result<u64, Diag> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    let (source, copy) = (fs::open(from)?, File::create(to).map_err(on("write", to))?);
    let total = source.metadata().map_err(on("read", from))?.len();
    if fs::reflink(&source, &copy) {
        return Ok(copy.metadata().map_err(on("read", to))?.len());
    }
    let mut done = 0;
    loop {
        watch.check()?;
        // Between two files the bytes do not pass through this process.
        match std::io::copy(&mut (&source).take(STEP), &mut &copy).map_err(on("write", to))? {
            0 => return Ok(done),
            n => done += n,
        }
        watch.progress(&format!("copying {label}"), done, Some(total));
    }
}

/// The whole file.
///
/// # Errors
/// When it cannot be read, or when `watch` ends it.
pub fn read(path: &Path, label: &str, watch: &dyn Watch) -> Result<Vec<u8>, Diag> {
    let mut file = fs::open(path)?;
    let total = file.metadata().map_err(on("read", path))?.len();
    let mut bytes = Vec::new();
    loop {
        watch.check()?;
        if (&mut file).take(STEP).read_to_end(&mut bytes).map_err(on("read", path))? == 0 {
            return Ok(bytes);
        }
        watch.progress(&format!("reading {label}"), bytes.len() as u64, Some(total));
    }
}

/// Moves a file, or copies it where the two paths are on different file systems.
///
/// # Errors
/// When neither can be done.
#[allow(clippy::disallowed_methods, reason = "it copies the permissions too")]
pub fn take(from: &Path, to: &Path) -> Result<(), Diag> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    if std::fs::rename(from, to).is_err() {
        std::fs::copy(from, to).map_err(on("write", to))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::tests::Nobody;

    #[test]
    fn a_copy_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..STEP + 7).map(|i| (i % 251) as u8).collect();
        let (from, to) = (dir.path().join("a"), dir.path().join("sub/b"));
        std::fs::write(&from, &bytes).unwrap();
        assert_eq!(copy(&from, &to, "a", &Nobody).unwrap(), bytes.len() as u64);
        assert!(read(&to, "b", &Nobody).unwrap() == bytes);
        take(&to, &dir.path().join("c")).unwrap();
        assert!(!to.exists());
        assert!(copy(&to, &from, "gone", &Nobody).unwrap_err().message.starts_with("cannot read"));
    }
}
