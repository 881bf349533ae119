//! [`Bounds`]: how large a download may become when nothing pins its size, and how much of the disk stays free.

use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::fetch::size;

/// How large a download may become. A pinned size goes before all of these.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a file whose size the server announces.
    pub announced: u64,
    /// Bytes of a file whose size it does not announce.
    pub open: u64,
    /// Unpacked bytes for one packed byte, where a server packs an answer unasked; not counted below [`Bounds::small`].
    pub ratio: u64,
    /// The size that every packed answer may unpack to.
    pub small: u64,
    /// Free bytes that a download of unknown size leaves on the disk.
    pub reserve: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { announced: 64 << 30, open: 4 << 30, ratio: 300, small: 16 << 20, reserve: 256 << 20 }
    }
}

impl Bounds {
    /// The usual bounds, or `bytes` for every file where the pipeline says so.
    pub fn allowing(bytes: Option<u64>) -> Self {
        let usual = Self::default();
        bytes.map_or(usual, |bytes| Self { announced: bytes, open: bytes, small: bytes, ..usual })
    }

    /// The most that an answer may have, of which the server announces the size or not.
    pub(super) fn most(&self, announced: bool) -> u64 {
        if announced { self.announced } else { self.open }
    }

    /// The most that `packed` bytes may unpack to.
    pub(super) fn unpacked(&self, packed: u64) -> u64 {
        packed.saturating_mul(self.ratio).max(self.small)
    }
}

/// A download that is larger than it may be. `file` names it, `source` is its table.
pub(super) fn too_large(file: &str, source: &str, bytes: u64, most: u64) -> Diag {
    let message = format!("`{file}` has {} or more, the limit for its download is {}", size(bytes), size(most));
    Diag::error(Class::Stage, message).help(format!(
        "if the file is right, pin its size in `[source.{source}.files]`, or set `download_limit` in its stage"
    ))
}

/// Fails if the disk of `folder` has less than `bytes` free bytes, where the system says how many there are.
pub(super) fn check_room(folder: &Path, file: &str, bytes: u64) -> Result<(), Diag> {
    let Some(free) = fs::free_space(folder).filter(|free| *free < bytes) else { return Ok(()) };
    let message = format!("no room for `{file}`: it needs {} free, the disk has {}", size(bytes), size(free));
    Err(Diag::error(Class::Environment, message)
        .note(format!("the disk of `{}`", folder.display()))
        .help("free some space, then run again: finished work is kept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_too_little_room_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        check_room(dir.path(), "f", 1).unwrap();
        let diag = check_room(dir.path(), "f", u64::MAX).unwrap_err();
        assert_eq!(diag.class, Class::Environment);
        assert!(diag.message.starts_with("no room for `f`: it needs 18446744.1 TB free, the disk has "), "{diag}");
    }

    #[test]
    fn a_limit_that_is_set_holds_for_every_answer() {
        let bounds = Bounds::allowing(Some(10));
        assert_eq!((bounds.most(true), bounds.most(false)), (10, 10));
        let usual = Bounds::allowing(None);
        assert!(usual.most(false) < usual.most(true));
        assert_eq!((usual.unpacked(97_000), usual.unpacked(10)), (29_100_000, 16 << 20));
    }
}
