//! [`pass`]: reads a file once for several digests. It is mapped, and goes by in pieces that stay in the processor's cache
//! while every digest takes them, so memory and disk are read once however many digests are wanted. Knows no digest's use.

use std::path::Path;

use memmap2::Mmap;
use rayon::prelude::*;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::fs::{self, on};

use super::tally::{self, For};

/// How much all take before the next piece is looked at.
const PIECE: usize = 4 << 20;
/// From this size on, one digest is taken by several threads.
const PARALLEL: usize = 256 * 1024;

/// A digest in the making.
pub trait Taker: Send {
    /// The next bytes.
    fn take(&mut self, bytes: &[u8]);
}

/// The blake3 of bytes as they go by, on all cores where the pieces are large.
#[derive(Clone, Debug, Default)]
pub struct Blake3(blake3::Hasher);

impl Blake3 {
    /// The digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl Taker for Blake3 {
    fn take(&mut self, bytes: &[u8]) {
        tally::add(For::Bytes, bytes.len());
        update(&mut self.0, bytes);
    }
}

/// Gives `hasher` the next bytes, on several threads where that is worth it.
pub(super) fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    if bytes.len() < PARALLEL {
        hasher.update(bytes);
    } else {
        hasher.update_rayon(bytes);
    }
}

/// Lets the file at `path` go by all `takers`; returns its size. `go_on` hears before each piece how many bytes went by.
///
/// # Errors
/// When the file cannot be read, or what `go_on` says.
pub fn pass(
    path: &Path,
    takers: &mut [&mut dyn Taker],
    mut go_on: impl FnMut(u64) -> Result<(), Diag>,
) -> Result<u64, Diag> {
    let file = fs::open(path)?;
    if file.metadata().map_err(on("read", path))?.len() == 0 {
        return Ok(0);
    }
    // SAFETY: a map is undefined behaviour when the file shrinks or changes below it. It is read here alone, and its bytes
    // go into digests: whoever passes a file that others may write compares its signature before and after.
    let map = unsafe { Mmap::map(&file) }.map_err(on("read", path))?;
    #[cfg(unix)]
    // Advice: where it is not taken, pages come as they are asked for.
    let _ = map.advise(memmap2::Advice::Sequential);
    for (n, piece) in map.chunks(PIECE).enumerate() {
        go_on((n * PIECE) as u64)?;
        takers.par_iter_mut().for_each(|taker| taker.take(piece));
    }
    Ok(map.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_take_the_same_bytes_and_may_be_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for len in [0, 1, PIECE, 2 * PIECE + 3] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let (mut one, mut two) = (Blake3::default(), Blake3::default());
            assert_eq!(pass(&path, &mut [&mut one, &mut two], |_| Ok(())).unwrap(), len as u64);
            assert_eq!((one.finish(), two.finish()), (Digest::of(&bytes), Digest::of(&bytes)));
        }
        let stop = |_| Err(Diag::error(crate::base::diag::Class::Interrupted, "enough"));
        assert_eq!(pass(&path, &mut [], stop).unwrap_err().message, "enough");
    }
}
