//! [`KeyLock`]: one process at a time makes the result of a key. The system releases the lock when its holder dies. The
//! lock's file is removed by its holder, so that a store of many keys does not keep as many empty files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::base::fault;
use crate::base::fs::{FsError, on};

use super::stat::Signature;

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    _file: File,
}

/// Who holds a lock, as it wrote itself: `process 4711`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

impl KeyLock {
    /// Takes the lock at `path` if it is free, else says who holds it.
    ///
    /// # Errors
    /// When the file cannot be made, or the file system has no locks.
    pub fn try_take(path: &Path) -> Result<Result<Self, Holder>, FsError> {
        fault::point("lock.take").map_err(on("write", path))?;
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(on("write", path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    return match file.read_to_string(&mut text) {
                        Ok(_) if !text.is_empty() => Ok(Err(Holder(text))),
                        _ => Ok(Err(Holder("another process".to_owned()))),
                    };
                }
                Err(TryLockError::Error(e)) => return Err(on("lock", path)(e)),
            }
            // Its last holder may have removed the file after it was opened here: then this lock is worth nothing.
            let held = Signature::of(&file.metadata().map_err(on("read", path))?).inode;
            if Signature::at(path)?.is_some_and(|named| named.inode == held) {
                // Only for messages: whether it can be written does not matter.
                let _ = file.set_len(0).and_then(|()| write!(file, "process {}", std::process::id()));
                return Ok(Ok(Self { path: path.to_owned(), _file: file }));
            }
        }
    }
}

impl KeyLock {
    /// Whether someone holds the lock at `path` just now.
    pub fn held(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // While it is still held, see `try_take`. A file that stays is taken over by the next holder.
        let _ = fault::point("lock.release").and_then(|()| std::fs::remove_file(&self.path));
    }
}

/// That a process uses the store as a whole: many at once, or one that clears it up alone. Dropping it ends that.
#[derive(Debug)]
pub struct InUse {
    _files: Vec<File>,
}

impl InUse {
    /// As one of many. Waits while someone is [`InUse::alone`]. In a store that cannot be written nobody clears up, and
    /// there is nothing to take.
    ///
    /// # Errors
    /// When the file cannot be made, or the file system has no locks.
    pub fn shared(path: &Path) -> Result<Self, FsError> {
        use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
        let opened = fault::point("store.use")
            .and_then(|()| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path));
        let file = match opened {
            Err(e) if matches!(e.kind(), PermissionDenied | ReadOnlyFilesystem) => match File::open(path) {
                Err(e) if e.kind() == NotFound => return Ok(Self { _files: vec![] }),
                opened => opened,
            },
            opened => opened,
        }
        .map_err(on("write", path))?;
        file.lock_shared().map_err(on("lock", path))?;
        Ok(Self { _files: vec![file] })
    }

    /// As one of many, in a store that is only read: nothing is made, and a store that nobody locks is none to wait for.
    pub fn reading(path: &Path) -> Self {
        let file = File::open(path).ok().filter(|file| file.lock_shared().is_ok());
        Self { _files: file.into_iter().collect() }
    }

    /// As this one and the other.
    pub fn and(mut self, other: Self) -> Self {
        self._files.extend(other._files);
        self
    }

    /// As the only one; `None` when others use the store now.
    ///
    /// # Errors
    /// When the file cannot be made, or the file system has no locks.
    pub fn alone(path: &Path) -> Result<Option<Self>, FsError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(on("write", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _files: vec![file] })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(on("lock", path)(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time_among_threads_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 200 {
                        if let Ok(_lock) = KeyLock::try_take(&path).unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn many_use_a_store_or_one_clears_it_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-use");
        let (one, two) = (InUse::shared(&path).unwrap(), InUse::shared(&path).unwrap());
        assert!(InUse::alone(&path).unwrap().is_none());
        drop(one);
        assert!(InUse::alone(&path).unwrap().is_none());
        drop(two);
        let alone = InUse::alone(&path).unwrap();
        assert!(alone.is_some() && InUse::alone(&path).unwrap().is_none());
        let waits = std::thread::spawn(move || InUse::shared(&path).map(drop));
        drop(alone);
        waits.join().unwrap().unwrap();
    }

    #[test]
    fn the_holder_is_named_and_a_dead_ones_file_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let lock = KeyLock::try_take(&path).unwrap().unwrap();
        let holder = KeyLock::try_take(&path).unwrap().unwrap_err();
        assert_eq!(holder.0, format!("process {}", std::process::id()));
        drop(lock);
        std::fs::write(&path, "process 1").unwrap();
        assert!(KeyLock::try_take(&path).unwrap().is_ok());
    }
}
