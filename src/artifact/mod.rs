//! Artifacts: files of a known kind, written so that equal content gives equal bytes, and digested by what they *mean*.
//!
//! | ending         | kind    | logical digest                                                           |
//! |----------------|---------|--------------------------------------------------------------------------|
//! | `.parquet`     | table   | schema (names, types, nullability) and column values in row order        |
//! | `.safetensors` | tensors | sorted (name, dtype, shape, bytes)                                       |
//! | `.json`        | json    | the value: keys sorted, whole numbers and floats apart, floats by bits   |
//! | any other      | bytes   | the bytes                                                                |
//!
//! So a new compressor, row group size, header order or indentation makes no stage of ours run again. What a logical digest
//! leaves out on purpose: parquet and safetensors metadata, the order of keys in JSON and which of two equal keys was not the
//! last, digits of a number that no 64 bits hold, and everything about the container. The readers of this module return
//! nothing of that either, so that two files with one logical digest are the same to every stage of ours. A program of the
//! user's may read more: what it is given counts by its bytes.
//!
//! A file that is not what its ending says has no meaning in this sense ([`Unfit`] says why), and counts by its bytes where
//! the file is not of our own making ([`meaning`]). Knows no store and no stage.
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
pub mod weights;

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use crate::base::content::{Content, START};
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fs::{self, on};
use crate::base::stat::Signature;

use tally::For;

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

/// As [`logical_digest`], but a file that is not what its ending says counts by its bytes. The second part is then a note for
/// the user: what the file is instead.
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

/// Files at least this large are hashed through a memory map.
const MAPPED: u64 = 128 * 1024;
/// Files at least this large are hashed by several threads, and what was found out about them is kept.
pub const LARGE: u64 = 16 * 1024 * 1024;

/// The blake3 digest of a file's bytes.
///
/// # Errors
/// When the file cannot be read.
pub fn byte_digest(path: &Path) -> Result<Digest, Diag> {
    let file = fs::open(path)?;
    let len = file.metadata().map_err(on("read", path))?.len();
    tally::add(For::Bytes, len as usize);
    if len < MAPPED {
        return Ok(Digest::of(&fs::read(path)?));
    }
    let mut hasher = blake3::Hasher::new();
    let hashed = if len < LARGE { hasher.update_mmap(path) } else { hasher.update_mmap_rayon(path) };
    hashed.map_err(on("read", path))?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// What is known of a file once its bytes went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How many bytes.
    pub size: u64,
    /// Their blake3.
    pub bytes: Digest,
    /// What the file means, where that was found out on the way.
    pub logical: Option<Digest>,
    /// The SHA-256 of the bytes, where that was wanted.
    pub sha256: Option<[u8; 32]>,
}

/// A file of the working tree, as it was hashed for a key.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Of its bytes.
    pub digest: Digest,
    /// As long as the file has this signature, its bytes are those. `None`: no signature speaks for them, since the file
    /// had been written just before.
    pub signature: Option<Signature>,
    /// The SHA-256 of its bytes, where it was once taken.
    pub sha256: Option<[u8; 32]>,
}

/// The digest of the bytes of the file `name`, which lies at `path`, and of what it means where both can be had by reading it
/// once: of large files of tensors.
///
/// # Errors
/// When the file cannot be read.
pub fn digests(name: &str, path: &Path) -> Result<(Digest, Option<Digest>), Diag> {
    let large = fs::open(path)?.metadata().map_err(on("read", path))?.len() >= LARGE;
    if !large || kind_of(name).name != "tensors" {
        return Ok((byte_digest(path)?, None));
    }
    let (mut bytes, mut meaning) = (pass::Blake3::default(), tensors::Passing::default());
    pass::pass(path, &mut [&mut bytes, &mut meaning], |_| Ok(()))?;
    Ok((bytes.finish(), meaning.finish()))
}

/// Writes `path` through `write`, so that a reader sees the old file or the new one, also when the process is killed.
/// Not synced: the store does that when it takes the file in.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<(), Diag>) -> Result<(), Diag> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut beside = fs::beside(dir).map_err(on("write", path))?;
    write(beside.as_file_mut())?;
    beside.persist(path).map_err(|e| on("write", path)(e.error))?;
    Ok(())
}

/// Tells the system that the pages of `range` are not needed in memory any more. They come back from the file when they
/// are read again, so it does not matter where this does nothing.
fn release(map: &memmap2::Mmap, range: Range<usize>) {
    // A page that the range does not fill belongs to its neighbours too. No system has larger pages than this.
    let page = 64 * 1024;
    let (from, to) = (range.start.next_multiple_of(page), range.end / page * page);
    if from < to {
        #[cfg(unix)]
        // SAFETY: the map is of a file and never written through, so a dropped page is read from the file again.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, from, to - from) };
    }
}

/// Why a file is not what its ending says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What was expected, with its article: `a parquet table`.
    pub what: &'static str,
    /// What it is instead, as a clause.
    pub why: String,
    /// What to do about it, where that can be said.
    pub help: Option<String>,
}

/// The help for a file whose end is missing.
const CUT_SHORT: &str = "the file is cut short: make it again, or get it again from where it comes";

impl Unfit {
    /// The file at `path` is not `what`: for the reason `why`, unless its first bytes say what it is.
    fn new(path: &Path, what: &'static str, why: impl std::fmt::Display) -> Self {
        match Content::of(&start_of(path)) {
            Some(content) if content != Content::Format(what) => Self::by(what, content),
            _ => Self { what, why: why.to_string(), help: None },
        }
    }

    /// The file is `content`, and not `what`.
    fn by(what: &'static str, content: Content) -> Self {
        Self { what, why: content.clause(), help: Some(content.help().to_owned()) }
    }

    /// With this help, if it has none.
    fn or_help(mut self, help: &str) -> Self {
        self.help.get_or_insert_with(|| help.to_owned());
        self
    }

    /// As a message about the file at `path`.
    pub fn diag(self, path: &Path) -> Diag {
        let Self { what, why, help } = self;
        let diag = Diag::error(Class::Stage, format!("`{}` is not {what}: {why}", path.display()));
        match help {
            Some(help) => diag.help(help),
            None => diag,
        }
    }
}

/// The first bytes of a file; none where it cannot be read.
fn start_of(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut start = Vec::new();
    if let Ok(file) = fs::open(path) {
        // A part is as good: it serves a message alone.
        let _ = file.take(START as u64).read_to_end(&mut start);
    }
    start
}

/// A file that is not what its ending says.
fn malformed(path: &Path, what: &'static str, why: impl std::fmt::Display) -> Diag {
    Unfit::new(path, what, why).diag(path)
}

/// A value that cannot be written to `path`.
fn unwritable(path: &Path, why: impl std::fmt::Display) -> Diag {
    Diag::error(Class::Bug, format!("cannot write `{}`: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn small_mapped_and_parallel_files_hash_alike() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 10, MAPPED as usize + 1, LARGE as usize + 1] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let path = dir.path().join("f");
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(byte_digest(&path).unwrap(), Digest::of(&bytes), "{len}");
        }
    }
}
