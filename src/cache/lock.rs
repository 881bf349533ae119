//! [`KeyLocks`]: one process at a time makes the result of a key. The system releases what a process holds when it
//! dies.
//!
//! All keys share one file, of which each locks a byte of its own: nothing is created or removed for a lock, and the
//! file never grows. The locks belong to the open file (Linux calls them "open file description" locks), so two stores
//! in one process keep each other out as two processes do; threads that share a store are told apart by a set.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::fault;
use crate::base::fs::{FsError, on};

use super::key::CacheKey;

/// The number of slots at the beginning of the file, which name holders of locks. They are only for messages: two keys
/// may share a slot, and then it names the last holder, or nobody.
const SLOTS: u64 = 256;
/// The bytes of a slot: the byte that a key locks, then the number of a process.
const SLOT: usize = 16;

/// The locks of all keys of a store.
#[derive(Debug)]
pub struct KeyLocks {
    path: PathBuf,
    own: Mutex<Own>,
}

/// What this process holds.
#[derive(Debug, Default)]
struct Own {
    /// Opened when the first lock is taken, so that a process that only reads creates no file.
    file: Option<Arc<File>>,
    held: HashSet<u64>,
}

/// A held lock. Dropping it releases it.
#[derive(Debug)]
pub struct KeyLock<'a> {
    locks: &'a KeyLocks,
    file: Arc<File>,
    byte: u64,
}

/// The holder of a lock, if known: `process 4711`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

impl KeyLocks {
    /// The locks in the file at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self { path, own: Mutex::default() }
    }

    /// Takes the lock of `key` if it is free, else returns its holder.
    ///
    /// # Errors
    /// Fails if the file cannot be created, or if the file system has no locks.
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
        // Only for messages, so an error does not matter.
        let _ = file.write_all_at(&slot, byte % SLOTS * SLOT as u64);
        Ok(Ok(KeyLock { locks: self, file, byte }))
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file. If it was removed meanwhile, it locks nobody out any more, and is created again.
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
        // If this fails, the lock is released when the process ends.
        let _ = fault::point("lock.release").and_then(|()| lock(&self.file, self.byte, libc::F_UNLCK));
        own.held.remove(&self.byte);
    }
}

/// The byte that a key locks, from the first bytes of its digest. Offsets have 63 bits; two are left free.
fn byte_of(key: CacheKey) -> u64 {
    let first = *key.0.0.first_chunk().expect("a digest has 32 bytes");
    (u64::from_le_bytes(first) >> 2).max(SLOTS * SLOT as u64)
}

/// Locks or unlocks a byte without waiting. Returns `false` if another process holds it.
fn lock(file: &File, byte: u64, how: libc::c_int) -> std::io::Result<bool> {
    // SAFETY: `range` is plain data, all of whose fields may be zero.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = how as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = byte as libc::off_t;
    range.l_len = 1;
    loop {
        // SAFETY: the descriptor is open, and the call reads only `range`.
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

/// Options to open a lock file: created if there is none, and never truncated.
fn lockable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options
}

/// Opens a file of the store. Fails if a link is in its place: its target does not belong to the store.
///
/// # Errors
/// Fails as the system call does.
pub(super) fn open_own(options: &OpenOptions, path: &Path) -> std::io::Result<File> {
    let opened = options.clone().custom_flags(libc::O_NOFOLLOW).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => {
            std::io::Error::other("it is a link, and the store does not write through links; remove it")
        }
        _ => error,
    })
}

/// Takes a shared lock of a file. Returns `true` if it had to wait.
fn lock_shared(file: &File) -> std::io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => file.lock_shared().map(|()| true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// The process that the slot of a key names.
fn holder(file: &File, byte: u64) -> String {
    let mut slot = [0; SLOT];
    let there = file.read_exact_at(&mut slot, byte % SLOTS * SLOT as u64).is_ok();
    let [of, process] = [0, 8].map(|at| u64::from_le_bytes(*slot[at..].first_chunk().expect("it has 16 bytes")));
    if there && of == byte { format!("process {process}") } else { "another process".to_owned() }
}

/// A lock of the whole store: many processes hold it together, or one that clears up holds it alone. Dropping it
/// releases it.
#[derive(Debug)]
pub struct InUse {
    _files: Vec<File>,
}

impl InUse {
    /// Takes the lock together with others. Waits while a process holds it [alone](Self::alone), and returns `true` if
    /// it had to. In a store that cannot be written nobody clears up, and no lock is taken.
    ///
    /// # Errors
    /// Fails if the file cannot be created, or if the file system has no locks.
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

    /// As [`Self::shared`], in a store that is only read: nothing is created, and a store without a lock file is not
    /// waited for.
    pub fn reading(path: &Path) -> (Self, bool) {
        let file = File::open(path).ok();
        match file.as_ref().map(lock_shared) {
            Some(Ok(waited)) => (Self { _files: file.into_iter().collect() }, waited),
            _ => (Self { _files: vec![] }, false),
        }
    }

    /// Holds another lock too.
    pub fn and(mut self, other: Self) -> Self {
        self._files.extend(other._files);
        self
    }

    /// Takes the lock alone; `None` if another process holds it.
    ///
    /// # Errors
    /// Fails if the file cannot be created, or if the file system has no locks.
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
    fn key_lock_has_one_holder_among_threads_and_stores() {
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
    fn in_use_is_held_by_many_or_by_one_alone() {
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
    fn busy_lock_names_its_holder_and_leaves_other_keys_free() {
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
    fn removed_lock_file_is_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("making");
        let [one, two] = [(); 2].map(|()| KeyLocks::at(path.clone()));
        drop(one.try_take(key(1)).unwrap().unwrap());
        std::fs::remove_file(&path).unwrap();
        let _lock = one.try_take(key(1)).unwrap().unwrap();
        assert!(two.try_take(key(1)).unwrap().is_err());
    }
}
