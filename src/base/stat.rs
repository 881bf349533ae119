//! [`Signature`]: the metadata of a file by which its content is trusted to be unchanged.
//!
//! Trusted is a file whose signature equals the one taken when its bytes were hashed, *and* which was not written so
//! shortly before that a later write could carry the same time (git calls such files racy). File times advance in ticks
//! of up to [`TICK_NS`]. Objects of the store are dated back when they are stored, so that they are never racy.

use std::ffi::CStr;
use std::fs::{File, FileTimes, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Stat, statat};

use crate::base::fs::{FsError, on};

/// More than the longest step of a file system's clock on systems in use (10 ms on Linux with HZ=100).
pub const TICK_NS: i64 = 20_000_000;

/// After this long the system has brought to the disk what was written: Linux begins after 30 s, or 10 minutes on a
/// laptop that saves power.
const SETTLED_NS: i64 = 15 * 60 * 1_000_000_000;

/// Size, times and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Bytes.
    pub size: u64,
    /// When the bytes were last written: nanoseconds since 1970.
    pub mtime: i64,
    /// When bytes, name or rights last changed: nanoseconds since 1970.
    pub ctime: i64,
    /// The file's number.
    pub inode: u64,
}

impl Signature {
    /// From metadata.
    #[cfg(unix)]
    pub fn of(meta: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            size: meta.size(),
            mtime: ns(meta.mtime(), meta.mtime_nsec()),
            ctime: ns(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }

    /// From the metadata of [`stat_below`].
    #[allow(clippy::unnecessary_cast, reason = "the types of the fields differ between systems")]
    pub fn of_stat(stat: &Stat) -> Self {
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            size: stat.st_size as u64,
            mtime: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            inode: stat.st_ino as u64,
        }
    }

    /// Of the file at `path`, links followed; `None` when there is no regular file.
    ///
    /// # Errors
    /// Fails if the metadata cannot be read.
    pub fn at(path: &Path) -> Result<Option<Self>, FsError> {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_file() => Ok(Some(Self::of(&meta))),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(on("read", path)(e)),
        }
    }

    /// Returns `true` if a file with this signature, hashed at `hashed_at`, could have been written since without
    /// showing it.
    pub fn racy(&self, hashed_at: i64) -> bool {
        self.mtime.max(self.ctime).saturating_add(TICK_NS) >= hashed_at
    }

    /// Returns `true` if a file with this signature, read at `hashed_at`, had long been on the disk: then a power cut
    /// later on cannot have left other bytes behind the same signature.
    pub fn settled(&self, hashed_at: i64) -> bool {
        self.mtime.max(self.ctime).saturating_add(SETTLED_NS) < hashed_at
    }
}

/// Returns the metadata of `name` in an open folder; links are followed. `None` if there is none, for whatever reason.
pub fn stat_below(folder: &File, name: &CStr) -> Option<Stat> {
    statat(folder, name, AtFlags::empty()).ok()
}

/// Nanoseconds since 1970, by this machine's clock.
pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64)
}

/// A name for the time since the machine was started; empty where the system has none. Another one than before: there
/// may have been a power cut.
#[allow(clippy::disallowed_methods, reason = "a file of `/proc` may be missing, which is no error")]
pub fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

/// Dates a file back by a second: whatever writes to it later gives it another time.
pub fn date_back(file: &File) -> std::io::Result<()> {
    file.set_times(FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_file_is_racy_and_a_dated_one_is_told_from_any_later_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"one").unwrap();
        let fresh = Signature::at(&path).unwrap().unwrap();
        assert!(fresh.racy(now_ns()) && !fresh.racy(now_ns() + 2 * TICK_NS));
        date_back(&File::open(&path).unwrap()).unwrap();
        let dated = Signature::at(&path).unwrap().unwrap();
        std::fs::write(&path, b"two").unwrap();
        assert_ne!(Signature::at(&path).unwrap().unwrap().mtime, dated.mtime);
        assert_eq!(Signature::at(dir.path()).unwrap(), None);
        assert_eq!(Signature::at(&dir.path().join("none")).unwrap(), None);
    }
}
