//! Artifacts: files of a known kind, written so that equal content gives equal bytes, and digested by what they *mean*.
//!
//! | ending         | kind    | logical digest                                                           |
//! |----------------|---------|--------------------------------------------------------------------------|
//! | `.parquet`     | table   | schema (names, types, nullability) and column values in row order        |
//! | `.safetensors` | tensors | sorted (name, dtype, shape, bytes)                                       |
//! | `.json`        | json    | the value: keys sorted, whole numbers and floats apart, floats by bits   |
//! | any other      | bytes   | the bytes                                                                |
//!
//! So a new compressor, row group size, header order or indentation makes no stage of ours run again. What a logical
//! digest leaves out on purpose: parquet and safetensors metadata, the order of keys in JSON and which of two equal
//! keys was not the last, digits of a number that no 64 bits hold, and everything about the container. The readers of
//! this module return nothing of that either, so that two files with one logical digest are the same to every stage of
//! ours. A program of the user's may read more: what it is given counts by its bytes.
//!
//! A file that is not what its ending says has no meaning in this sense ([`Unfit`] says why), and counts by its bytes
//! where the file is not of our own making ([`meaning`]). Knows no store and no stage.
//!
//! Tensors that others wrote are read from safetensors and from what `torch.save` writes ([`weights`]).

pub mod columns;
pub mod json;
pub mod loose;
pub mod pass;
mod pickle;
pub mod table;
pub mod tally;
pub mod tensors;
pub mod torch_file;
mod unfit;
pub mod weights;
mod write;

use std::path::Path;

use rayon::prelude::*;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::reader::Reader;
use crate::base::stat::Signature;
use crate::base::watch::{Unwatched, Watch};

use pass::Taker;

pub use unfit::Unfit;

/// A kind of artifact.
#[derive(Debug)]
pub struct ArtifactKind {
    /// Its name, for people.
    pub name: &'static str,
    /// The ending of its files, with the dot; empty: any other file.
    pub ending: &'static str,
    /// The digest of what the file means. The outer error is the disk's.
    pub digest: fn(&Path) -> Result<Result<Digest, Unfit>, Diag>,
}

/// Every kind. The last takes whatever no other does.
pub const KINDS: &[ArtifactKind] = &[
    ArtifactKind { name: "table", ending: ".parquet", digest: table::meaning },
    ArtifactKind { name: "tensors", ending: ".safetensors", digest: tensors::meaning },
    ArtifactKind { name: "json", ending: ".json", digest: json::meaning },
    ArtifactKind { name: "bytes", ending: "", digest: |path| byte_digest(path).map(Ok) },
];

/// The kind of a file called `name`.
pub fn kind_of(name: &str) -> &'static ArtifactKind {
    KINDS.iter().find(|kind| name.ends_with(kind.ending)).expect("the last row takes any name")
}

/// The digest of what the artifact `name`, lying at `path`, means. For a kind without structure it equals
/// [`byte_digest`].
///
/// # Errors
/// When the file cannot be read, or is not what its ending says.
pub fn logical_digest(name: &str, path: &Path) -> Result<Digest, Diag> {
    (kind_of(name).digest)(path)?.map_err(|unfit| unfit.diag(path))
}

/// As [`logical_digest`], but a file that is not what its ending says counts by its bytes. The second part is then a
/// note for the user: what the file is instead.
///
/// # Errors
/// When the file cannot be read.
pub fn meaning(name: &str, path: &Path) -> Result<(Digest, Option<String>), Diag> {
    match (kind_of(name).digest)(path)? {
        Ok(digest) => Ok((digest, None)),
        Err(Unfit { what, why, .. }) => {
            let note = format!("`{name}` counts by its bytes, since it is not {what}: {why}");
            Ok((byte_digest(path)?, Some(note)))
        }
    }
}

/// Files at least this large are hashed by several threads, and what was found out about them is kept.
pub const LARGE: u64 = 16 * 1024 * 1024;

/// The blake3 digest of a file's bytes.
///
/// # Errors
/// When the file cannot be read, or changes its length meanwhile.
pub fn byte_digest(path: &Path) -> Result<Digest, Diag> {
    byte_digest_watched(path, &Unwatched)
}

/// As [`byte_digest`], followed by `watch`.
///
/// # Errors
/// As [`byte_digest`]; what `watch` says.
pub fn byte_digest_watched(path: &Path, watch: &dyn Watch) -> Result<Digest, Diag> {
    byte_digest_of(&Reader::open(path)?, watch)
}

fn byte_digest_of(file: &Reader, watch: &dyn Watch) -> Result<Digest, Diag> {
    let mut bytes = pass::Blake3::default();
    match file.len() < LARGE {
        true => file.pieces_alone(watch, |piece| bytes.take_alone(piece))?,
        false => file.pieces(watch, |piece| bytes.take(piece))?,
    }
    Ok(bytes.finish())
}

/// The digests of a file that were made while its bytes passed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How many bytes.
    pub size: u64,
    /// Their blake3.
    pub bytes: Digest,
    /// The logical digest, if it was made too.
    pub logical: Option<Digest>,
    /// The SHA-256 of the bytes, where that was wanted.
    pub sha256: Option<[u8; 32]>,
}

/// A file of the working tree, as it was hashed for a key.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Of its bytes.
    pub digest: Digest,
    /// As long as the file has this signature, its bytes are those. `None`: no signature speaks for them, since the
    /// file had been written just before.
    pub signature: Option<Signature>,
    /// The SHA-256 of its bytes, where it was once taken.
    pub sha256: Option<[u8; 32]>,
}

/// The digest of the bytes of the file `name`, which lies at `path`, and of what it means where both can be had by
/// reading it once: of large files of tensors.
///
/// # Errors
/// When the file cannot be read, or changes its length meanwhile; what `watch` says.
pub fn digests(name: &str, path: &Path, watch: &dyn Watch) -> Result<(Digest, Option<Digest>), Diag> {
    let file = Reader::open(path)?;
    if file.len() < LARGE || kind_of(name).name != "tensors" {
        return Ok((byte_digest_of(&file, watch)?, None));
    }
    let (mut bytes, mut meaning) = (pass::Blake3::default(), tensors::Passing::default());
    pass::pass(path, &mut [&mut bytes, &mut meaning], watch)?;
    Ok((bytes.finish(), meaning.finish()))
}

/// Does `work` with each of `items`, and returns what came of each in their order. Those of less than [`LARGE`] bytes
/// are done at the same time, each by one thread; the others one after the other, each by all threads.
///
/// # Errors
/// The first that `work` returns.
pub fn each<T: Sync, R: Send>(
    items: &[T],
    size: impl Fn(&T) -> u64,
    work: impl Fn(&T) -> Result<R, Diag> + Sync,
) -> Result<Vec<R>, Diag> {
    // To wake the other threads takes longer than to do little work.
    let (mut large, mut bytes) = (vec![false; items.len()], 0);
    for (item, large) in items.iter().zip(&mut large) {
        let size = size(item);
        *large = size >= LARGE;
        bytes += if *large { 0 } else { size };
    }
    let small = |(item, large): (&T, &bool)| (!large).then(|| work(item)).transpose();
    let little = items.len() < 2 || (items.len() < 64 && bytes < 1 << 20);
    let mut done: Vec<Option<R>> = match little {
        true => items.iter().zip(&large).map(small).collect::<Result<_, _>>()?,
        false => items.par_iter().zip(&large).map(small).collect::<Result<_, _>>()?,
    };
    for (item, done) in items.iter().zip(&mut done).filter(|(_, done)| done.is_none()) {
        *done = Some(work(item)?);
    }
    Ok(done.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diag::Class;

    #[test]
    fn endings_are_unique_and_the_last_takes_the_rest() {
        for (i, kind) in KINDS.iter().enumerate() {
            assert_eq!(kind.ending.is_empty(), i + 1 == KINDS.len());
            assert_eq!(KINDS.iter().filter(|k| k.ending == kind.ending || k.name == kind.name).count(), 1);
        }
        assert_eq!(kind_of("a.parquet").name, "table");
        assert_eq!(kind_of("submission.jsonl").name, "bytes");
    }

    #[test]
    fn small_and_large_files_hash_alike() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 10, (1 << 20) + 1, LARGE as usize + 1] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let path = dir.path().join("f");
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(byte_digest(&path).unwrap(), Digest::of(&bytes), "{len}");
        }
    }

    #[test]
    fn each_item_is_done_once_and_in_order_and_the_first_error_counts() {
        let sizes = [1, LARGE, 1 << 20, LARGE + 1, 2];
        let done = each(&sizes, |size| *size, |size| Ok(size + 1)).unwrap();
        assert_eq!(done, sizes.map(|size| size + 1));
        assert_eq!(each(&[0u64; 0], |size| *size, |size| Ok(*size)).unwrap(), [0u64; 0]);
        let wrong = |size: &u64| match *size {
            LARGE => Err(Diag::error(Class::Stage, "large")),
            size => Ok(size),
        };
        assert_eq!(each(&sizes, |size| *size, wrong).unwrap_err().message, "large");
    }
}
