//! [`Reader`]: an open file that is read at places, by several threads where that is quicker. Files are read, not
//! mapped: a mapped file that somebody cuts, or a disk that fails, would end the whole process by a signal (SIGBUS). A
//! read gives an error instead.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::diag::Diag;
use super::fs::{changed, on};
use super::look;
use super::watch::Watch;

/// How much goes by at once: two pieces fit in the processor's cache.
pub const PIECE: usize = 4 << 20;
/// The part of a piece that one thread reads.
const PART: usize = 512 << 10;

/// An open regular file.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Reader {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When it is not a regular file that can be read.
    pub fn open(path: &Path) -> Result<Self, Diag> {
        let (file, meta) = look::open_file(path)?;
        Ok(Self { file, path: path.to_owned(), len: meta.len() })
    }

    /// How many bytes it had when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether it had none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buffer` with the bytes from `at` on.
    ///
    /// # Errors
    /// When they cannot be read; when the file has become shorter.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), Diag> {
        if buffer.len() <= PART {
            return self.exactly(buffer, at);
        }
        let parts = buffer.par_chunks_mut(PART).enumerate();
        parts.try_for_each(|(n, part)| self.exactly(part, at + (n * PART) as u64))
    }

    /// The bytes from `at` on.
    ///
    /// # Errors
    /// As [`Reader::read_at`]; when there is no memory for them.
    pub fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>, Diag> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|e| on("read", &self.path)(e.into()))?;
        bytes.resize(len, 0);
        self.read_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn exactly(&self, buffer: &mut [u8], at: u64) -> Result<(), Diag> {
        self.file.read_exact_at(buffer, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(&self.path),
            _ => on("read", &self.path)(error).into(),
        })
    }

    /// Gives `take` all bytes, from the first to the last, in pieces; the next piece is read meanwhile. `watch` hears
    /// of each.
    ///
    /// # Errors
    /// When they cannot be read; when the file has become shorter or longer; what `watch` says.
    pub fn pieces(&self, watch: &dyn Watch, mut take: impl FnMut(&[u8]) + Send) -> Result<(), Diag> {
        let piece = |at: u64| usize::try_from(self.len - at).map_or(PIECE, |left| left.min(PIECE));
        let (mut here, mut next) = (vec![0; piece(0)], Vec::new());
        watch.check()?;
        self.read_at(&mut here, 0)?;
        let mut at = 0;
        while !here.is_empty() {
            watch.check()?;
            let after = at + here.len() as u64;
            next.resize(piece(after), 0);
            if next.is_empty() {
                take(&here);
            } else {
                rayon::join(|| self.read_at(&mut next, after), || take(&here)).0?;
            }
            watch.advance(0, here.len() as u64);
            at = after;
            std::mem::swap(&mut here, &mut next);
        }
        self.same_length()
    }

    /// The same on the calling thread only.
    ///
    /// # Errors
    /// As [`Reader::pieces`].
    pub fn pieces_alone(&self, watch: &dyn Watch, mut take: impl FnMut(&[u8])) -> Result<(), Diag> {
        let mut buffer = vec![0; self.len.min(PART as u64) as usize];
        let mut at = 0;
        while at < self.len {
            watch.check()?;
            let piece = &mut buffer[..(self.len - at).min(PART as u64) as usize];
            self.exactly(piece, at)?;
            take(piece);
            at += piece.len() as u64;
            watch.advance(0, piece.len() as u64);
        }
        self.same_length()
    }

    fn same_length(&self) -> Result<(), Diag> {
        let now = self.file.metadata().map_err(on("read", &self.path))?.len();
        // Some file systems say of a file with content that it has none.
        let content = self.len == 0 && self.file.read_at(&mut [0], 0).map_err(on("read", &self.path))? > 0;
        if now == self.len && !content { Ok(()) } else { Err(changed(&self.path)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diag::Class;
    use crate::base::watch::Unwatched;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn all_bytes_go_by_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for len in [0, 1, PART, PART + 1, PIECE, 2 * PIECE + 3] {
            std::fs::write(&path, bytes(len)).unwrap();
            let reader = Reader::open(&path).unwrap();
            let (mut all, mut alone) = (Vec::new(), Vec::new());
            reader.pieces(&Unwatched, |piece| all.extend_from_slice(piece)).unwrap();
            reader.pieces_alone(&Unwatched, |piece| alone.extend_from_slice(piece)).unwrap();
            assert!(all == bytes(len) && alone == bytes(len), "{len}");
            assert!(reader.bytes(0, len).unwrap() == bytes(len));
        }
    }

    /// Through a memory map this would be the end of the process.
    #[test]
    fn a_file_that_is_cut_while_it_is_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let why = format!("`{}` changed while it was read", path.display());
        for left in [0, 7, PIECE as u64 + 1] {
            std::fs::write(&path, bytes(3 * PIECE)).unwrap();
            let reader = Reader::open(&path).unwrap();
            let cut = || std::fs::File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
            let once = std::sync::Once::new();
            assert_eq!(reader.pieces(&Unwatched, |_| once.call_once(cut)).unwrap_err().message, why, "{left}");
            assert_eq!(reader.pieces_alone(&Unwatched, |_| {}).unwrap_err().message, why, "{left}");
            assert_eq!(reader.bytes(PIECE as u64, PIECE).unwrap_err().message, why, "{left}");
        }
        std::fs::write(&path, bytes(9)).unwrap();
        let reader = Reader::open(&path).unwrap();
        std::fs::write(&path, bytes(10)).unwrap();
        assert_eq!(reader.pieces(&Unwatched, |_| {}).unwrap_err().message, why, "it grew");
    }

    #[test]
    fn who_follows_hears_of_each_piece_and_may_end_the_reading() {
        struct Until(AtomicU64, u64);
        impl Watch for Until {
            fn advance(&self, _: u64, bytes: u64) {
                self.0.fetch_add(bytes, Ordering::Relaxed);
            }
            fn check(&self) -> Result<(), Diag> {
                match self.0.load(Ordering::Relaxed) >= self.1 {
                    true => Err(Diag::error(Class::Interrupted, "enough")),
                    false => Ok(()),
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, bytes(3 * PIECE)).unwrap();
        let reader = Reader::open(&path).unwrap();
        let until = Until(AtomicU64::new(0), PIECE as u64);
        assert_eq!(reader.pieces(&until, |_| {}).unwrap_err().message, "enough");
        assert_eq!(until.0.into_inner(), PIECE as u64);
        let until = Until(AtomicU64::new(0), PART as u64);
        assert_eq!(reader.pieces_alone(&until, |_| {}).unwrap_err().message, "enough");
        assert_eq!(until.0.into_inner(), PART as u64);
    }
}
