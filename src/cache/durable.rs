//! Syncs many files and folders at once. One after the other, each takes as long as the disk does, which is mostly
//! waiting. Together they share the disk's work; a journalling file system may need only one commit.
//!
//! Each has its own call. One `syncfs` would also write what other processes have not written yet, which may be any
//! amount, and it names no file when it fails.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::base::diag::Diag;
use crate::base::fault;
use crate::base::fs::on;
use crate::base::watch::Watch;

/// How many are synced at the same time. They wait for the disk, so there may be more than CPUs.
const AT_ONCE: usize = 32;
/// Up to this many are synced without starting threads.
const FEW: usize = 4;

/// Syncs the files or folders at `paths`. Each passes the fault point `point`, and counts for `watch` as a file.
///
/// # Errors
/// Fails with the first error of a sync, or with the error of `watch`.
pub fn sync_all<P: AsRef<Path> + Sync>(
    paths: &[P],
    point: &'static str,
    watch: &(dyn Watch + Sync),
) -> Result<(), Diag> {
    let one = |path: &Path| {
        watch.check()?;
        let synced = fault::point(point).and_then(|()| File::open(path)?.sync_all());
        synced.map_err(on("sync", path))?;
        watch.advance(1, 0);
        Ok(())
    };
    if paths.len() < FEW {
        return paths.iter().try_for_each(|path| one(path.as_ref()));
    }
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Diag>> = Mutex::new(None);
    let work = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = one(path.as_ref()) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                next.store(paths.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(paths.len()) {
            // If the system gives no more threads, those that run do the rest; this one at least.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diag::Class;
    use crate::base::watch::{Counting, Unwatched};
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    #[test]
    fn sync_all_syncs_each_once_and_returns_the_first_error() {
        struct Heard(AtomicUsize);
        impl Watch for Heard {
            fn advance(&self, files: u64, _: u64) {
                self.0.fetch_add(files as usize, Ordering::Relaxed);
            }
            fn check(&self) -> Result<(), Diag> {
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        for count in [0, 1, FEW, 300] {
            let paths: BTreeSet<PathBuf> = (0..count).map(|i| dir.path().join(format!("f{i}"))).collect();
            paths.iter().for_each(|path| std::fs::write(path, "x").unwrap());
            let mut paths: Vec<_> = paths.into_iter().collect();
            let heard = Heard(AtomicUsize::new(0));
            sync_all(&paths, "object.sync", &heard).unwrap();
            assert_eq!(heard.0.into_inner(), count);
            if count == 0 {
                continue;
            }
            let (stop, tell) = (|| Err(Diag::error(Class::Interrupted, "enough")), |_| ());
            let ended = sync_all(&paths, "object.sync", &Counting::new(Default::default(), &stop, &tell));
            assert_eq!(ended.unwrap_err().message, "enough");
            paths.push(dir.path().join("none"));
            let failed = sync_all(&paths, "object.sync", &Unwatched).unwrap_err();
            assert_eq!(failed.message, format!("cannot sync `{}`: no such file or directory", paths[count].display()));
        }
    }
}
