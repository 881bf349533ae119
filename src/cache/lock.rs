//! [`KeyLocks`]: one process at a time makes the result of a key. The system releases what a process holds when it dies.
//!
//! All keys share one file, of which each locks a byte of its own: nothing is created or removed for a lock, and the file
//! never grows. The locks belong to the open file (Linux calls them "open file description" locks), so two stores in one
//! process keep each other out as two processes do; threads that share a store are told apart by a set.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::fault;
use crate::base::fs::{FsError, on};

use super::key::CacheKey;

/// At the beginning of the file, a slot for each of a few keys has who holds it. For messages alone: two keys may share
/// one, and then the last who came is named, or nobody.
const SLOTS: u64 = 256;
/// A key's byte, then the number of a process.
const SLOT: usize = 16;

/// The locks of all keys of a store.
#[derive(Debug)]
pub struct KeyLocks {
    path: PathBuf,
    own: Mutex<Own>,
}

/// What this store holds.
#[derive(Debug, Default)]
struct Own {
    /// Opened when the first lock is taken: who only reads a store makes no file in it.
    file: Option<Arc<File>>,
    held: HashSet<u64>,
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct KeyLock<'a> {
    locks: &'a KeyLocks,
    file: Arc<File>,
    byte: u64,
}

/// Who holds a lock, as far as is known: `process 4711`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

impl KeyLocks {
    /// Those in the file at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self { path, own: Mutex::default() }
    }

    /// Takes the lock of `key` if it is free, else says who holds it.
    ///
    /// # Errors
    /// When the file cannot be made, or the file system has no locks.
    pub fn try_take(&self, key: CacheKey) -> Result<Result<KeyLock<'_>, Holder>, FsError> {
        fault::point("lock.take").map_err(on("write", &self.path))?;
        let byte = byte_of(key);
        let mut own = self.own();
        if own.held.contains(&byte) {
            return Ok(Err(Holder(format!("process {}", std::process::id()))));
        }
        let file = self.file(&mut own)?;
        if !lock(&file, byte, libc::F_WRLCK).map_err(on("lock", &self.path))? {
            return Ok(Err(Holder(holder(&file, byte))));
        }
        own.held.insert(byte);
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(&byte.to_le_bytes());
        slot[8..].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
        // Only for messages: whether it can be written does not matter.
        let _ = file.write_all_at(&slot, byte % SLOTS * SLOT as u64);
        Ok(Ok(KeyLock { locks: self, file, byte }))
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file. One that was removed meanwhile locks nobody out any more: it is made again.
    fn file(&self, own: &mut Own) -> Result<Arc<File>, FsError> {
        if let Some(file) = &own.file
            && file.metadata().is_ok_and(|meta| meta.nlink() > 0)
        {
            return Ok(file.clone());
        }
        let file = Arc::new(open_own(&lockable(), &self.path).map_err(on("write", &self.path))?);
        own.file = Some(file.clone());
        Ok(file)
    }
}

impl Drop for KeyLock<'_> {
    fn drop(&mut self) {
        let mut own = self.locks.own();
        // What cannot be released now is when this process ends.
        let _ = fault::point("lock.release").and_then(|()| lock(&self.file, self.byte, libc::F_UNLCK));
        own.held.remove(&self.byte);
    }
}

/// The byte that a key locks: digests differ in their first bytes. A whole offset fits into 63 bits, with some room.
fn byte_of(key: CacheKey) -> u64 {
    let first = *key.0.0.first_chunk().expect("a digest has 32 bytes");
    (u64::from_le_bytes(first) >> 2).max(SLOTS * SLOT as u64)
}

/// Locks or unlocks a byte without waiting; whether that was possible.
fn lock(file: &File, byte: u64, how: libc::c_int) -> std::io::Result<bool> {
    // SAFETY: `range` is plain data, all of whose fields may be zero.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = how as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = byte as libc::off_t;
    range.l_len = 1;
    loop {
        // SAFETY: the descriptor is open, and the call reads `range` alone.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) } == 0 {
            return Ok(true);
        }
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => return Ok(false),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

/// How a file is opened that is there to be locked: made if there is none, and never emptied.
fn lockable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options
}

/// Opens a file of the store by its own name. A link in its place is refused: what it leads to is not the store's.
///
/// # Errors
/// As the system says.
pub(super) fn open_own(options: &OpenOptions, path: &Path) -> std::io::Result<File> {
    let opened = options.clone().custom_flags(libc::O_NOFOLLOW).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => std::io::Error::other("it is a link, and the store writes through none; remove it"),
        _ => error,
    })
}

/// Locks a file together with others. Whether that had to wait.
fn lock_shared(file: &File) -> std::io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => file.lock_shared().map(|()| true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Who wrote itself into the slot of a key.
fn holder(file: &File, byte: u64) -> String {
    let mut slot = [0; SLOT];
    let there = file.read_exact_at(&mut slot, byte % SLOTS * SLOT as u64).is_ok();
    let [of, process] = [0, 8].map(|at| u64::from_le_bytes(*slot[at..].first_chunk().expect("it has 16 bytes")));
    if there && of == byte { format!("process {process}") } else { "another process".to_owned() }
}

/// That a process uses the store as a whole: many at once, or one that clears it up alone. Dropping it ends that.
#[derive(Debug)]
pub struct InUse {
    _files: Vec<File>,
}

impl InUse {
    /// As one of many. Waits while someone is [`InUse::alone`], and says whether it had to. In a store that cannot be
    /// written nobody clears up, and there is nothing to take.
    ///
    /// # Errors
    /// When the file cannot be made, or the file system has no locks.
    pub fn shared(path: &Path) -> Result<(Self, bool), FsError> {
        use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
        let opened = fault::point("store.use").and_then(|()| open_own(&lockable(), path));
        let file = match opened {
            Err(e) if matches!(e.kind(), PermissionDenied | ReadOnlyFilesystem) => match File::open(path) {
                Err(e) if e.kind() == NotFound => return Ok((Self { _files: vec![] }, false)),
                opened => opened,
            },
            opened => opened,
        }
        .map_err(on("write", path))?;
        let waited = lock_shared(&file).map_err(on("lock", path))?;
        Ok((Self { _files: vec![file] }, waited))
    }

    /// As one of many, in a store that is only read: nothing is made, and a store that nobody locks is none to wait for.
    pub fn reading(path: &Path) -> (Self, bool) {
        let file = File::open(path).ok();
        match file.as_ref().map(lock_shared) {
            Some(Ok(waited)) => (Self { _files: file.into_iter().collect() }, waited),
            _ => (Self { _files: vec![] }, false),
        }
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
        let file = open_own(&lockable(), path).map_err(on("write", path))?;
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
    use crate::base::digest::Digest;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn key(n: u32) -> CacheKey {
        CacheKey(Digest::of(&n.to_le_bytes()))
    }

    #[test]
    fn one_at_a_time_among_threads_and_stores() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("making");
        let stores = [KeyLocks::at(path.clone()), KeyLocks::at(path.clone())];
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|s| {
            for n in 0..8 {
                let locks = &stores[n % 2];
                let (inside, taken) = (&inside, &taken);
                s.spawn(move || {
                    while taken.load(Ordering::SeqCst) < 200 {
                        if let Ok(_lock) = locks.try_take(key(1)).unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(std::fs::metadata(&path).unwrap().len() <= SLOTS * SLOT as u64);
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
        let waits = std::thread::spawn(move || InUse::shared(&path).unwrap().1);
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(alone);
        assert!(waits.join().unwrap());
    }

    #[test]
    fn the_holder_is_named_and_other_keys_are_free() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = [(); 2].map(|()| KeyLocks::at(dir.path().join("making")));
        let lock = one.try_take(key(1)).unwrap().unwrap();
        for locks in [&one, &two] {
            let holder = locks.try_take(key(1)).unwrap().unwrap_err();
            assert_eq!(holder.0, format!("process {}", std::process::id()));
            assert!(locks.try_take(key(2)).unwrap().is_ok());
        }
        drop(lock);
        assert!(two.try_take(key(1)).unwrap().is_ok());
    }

    #[test]
    fn a_file_that_was_removed_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("making");
        let [one, two] = [(); 2].map(|()| KeyLocks::at(path.clone()));
        drop(one.try_take(key(1)).unwrap().unwrap());
        std::fs::remove_file(&path).unwrap();
        let _lock = one.try_take(key(1)).unwrap().unwrap();
        assert!(two.try_take(key(1)).unwrap().is_err());
    }
}
