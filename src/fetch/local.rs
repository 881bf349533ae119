//! Files of this machine: copied or read in chunks, with their digests.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use super::Watch;
use super::hash::{Hashes, Summary};
use crate::base::diag::Diag;
use crate::base::fs::{self, on};

/// How much is read at a time.
const CHUNK: usize = 1 << 20;

/// Copies `from` to `to` (whose folder is made), and returns what went by. `label` names the file in progress.
///
/// # Errors
/// When a file cannot be read or written, or when `watch` ends it.
pub fn copy(from: &Path, to: &Path, label: &str, watch: &dyn Watch) -> Result<Summary, Diag> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut out = File::create(to).map_err(on("write", to))?;
    let summary = through(from, &format!("copying {label}"), watch, |chunk| {
        Ok(out.write_all(chunk).map_err(on("write", to))?)
    })?;
    out.flush().map_err(on("write", to))?;
    Ok(summary)
}

/// The digests of the file at `path`.
///
/// # Errors
/// When it cannot be read, or when `watch` ends it.
pub fn summary(path: &Path, label: &str, watch: &dyn Watch) -> Result<Summary, Diag> {
    through(path, &format!("checking {label}"), watch, |_| Ok(()))
}

/// The whole file, with its digests.
///
/// # Errors
/// When it cannot be read, or when `watch` ends it.
pub fn read(path: &Path, label: &str, watch: &dyn Watch) -> Result<(Vec<u8>, Summary), Diag> {
    let mut bytes = Vec::new();
    let summary = through(path, &format!("reading {label}"), watch, |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok((bytes, summary))
}

/// Moves a file, or copies it where the two paths are on different file systems.
///
/// # Errors
/// When neither can be done.
pub fn take(from: &Path, to: &Path) -> Result<(), Diag> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    if std::fs::rename(from, to).is_err() {
        std::fs::copy(from, to).map_err(on("write", to))?;
    }
    Ok(())
}

fn through(
    path: &Path,
    what: &str,
    watch: &dyn Watch,
    mut each: impl FnMut(&[u8]) -> Result<(), Diag>,
) -> Result<Summary, Diag> {
    let mut file = fs::open(path)?;
    let total = file.metadata().map_err(on("read", path))?.len();
    let mut hashes = Hashes::new();
    let mut chunk = vec![0; CHUNK.min(total as usize + 1)];
    loop {
        watch.check()?;
        let n = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(on("read", path)(e).into()),
        };
        hashes.update(&chunk[..n]);
        each(&chunk[..n])?;
        watch.progress(what, hashes.bytes(), Some(total));
    }
    Ok(hashes.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::fetch::tests::Nobody;

    #[test]
    fn a_copy_is_the_same_and_known() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..CHUNK + 7).map(|i| (i % 251) as u8).collect();
        let (from, to) = (dir.path().join("a"), dir.path().join("sub/b"));
        std::fs::write(&from, &bytes).unwrap();
        let summary = copy(&from, &to, "a", &Nobody).unwrap();
        assert_eq!(summary.blake3, Digest::of(&bytes));
        let (read_back, again) = read(&to, "b", &Nobody).unwrap();
        assert!(read_back == bytes && again == summary);
        take(&to, &dir.path().join("c")).unwrap();
        assert!(!to.exists());
        assert!(copy(&to, &from, "gone", &Nobody).unwrap_err().message.starts_with("cannot read"));
    }
}
