//! [`pass`]: reads a file once for several digests. It goes by in pieces that stay in the processor's cache while every
//! digest takes them, so the disk is read once however many digests are wanted. Knows no digest's use.

use std::path::Path;

use rayon::prelude::*;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::reader::{PIECE, Reader};
use crate::base::watch::Watch;

use super::tally::{self, For};

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

    /// As [`Taker::take`], on the calling thread only.
    pub(super) fn take_alone(&mut self, bytes: &[u8]) {
        tally::add(For::Bytes, bytes.len());
        self.0.update(bytes);
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

/// Lets the file at `path` go by all `takers`; returns its size. `watch` is asked before each piece.
///
/// # Errors
/// When the file cannot be read, or changes meanwhile; what `watch` says.
pub fn pass(path: &Path, takers: &mut [&mut dyn Taker], watch: &dyn Watch) -> Result<u64, Diag> {
    let reader = Reader::open(path)?;
    let take = |piece: &[u8]| match &mut *takers {
        [one] => one.take(piece),
        several => several.par_iter_mut().for_each(|taker| taker.take(piece)),
    };
    if reader.len() <= PIECE as u64 {
        reader.pieces_alone(watch, take)?
    } else {
        reader.pieces(watch, take)?
    }
    Ok(reader.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::watch::{Counting, Unwatched};

    #[test]
    fn all_take_the_same_bytes_and_may_be_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for len in [0, 1, PIECE, 2 * PIECE + 3] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let (mut one, mut two) = (Blake3::default(), Blake3::default());
            assert_eq!(pass(&path, &mut [&mut one, &mut two], &Unwatched).unwrap(), len as u64);
            assert_eq!((one.finish(), two.finish()), (Digest::of(&bytes), Digest::of(&bytes)));
        }
        let (stop, tell) = (|| Err(Diag::error(crate::base::diag::Class::Interrupted, "enough")), |_| ());
        assert_eq!(
            pass(&path, &mut [], &Counting::new(Default::default(), &stop, &tell)).unwrap_err().message,
            "enough"
        );
    }
}
