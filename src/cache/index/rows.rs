//! What the index remembers, as values and as rows of its file. A row is plain bytes: every field is a byte array or a
//! little-endian number without alignment, so a section of the file can be read as a slice of rows where it lies.
//!
//! These types are the layout. A change to one of them needs another [`MAGIC`].

use std::fmt::{self, Write};

use zerocopy::little_endian::{F64, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::base::digest::Digest;
use crate::cache::files::FileRecord;
use crate::cache::key::CacheKey;
use crate::cache::stat::Signature;

/// The first bytes of the file: the name and version of the layout. A file that begins otherwise is ignored.
pub const MAGIC: &[u8] = b"dpt.index.5\n";
/// Stands for "no row" where a row number is stored.
pub const NONE: u32 = u32::MAX;

/// What the index remembers of a file of the working tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileMemo {
    /// The file's signature before it was hashed.
    pub signature: Signature,
    /// When hashing began: nanoseconds since 1970.
    pub hashed_at: i64,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// What the index remembers of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectMemo {
    /// The object's signature when its bytes were last known to be right.
    pub signature: Signature,
    /// `true` if these bytes are known to be on the disk, so that a power cut cannot take them back.
    pub settled: bool,
}

/// Other digests of the same bytes. They depend on the bytes only, so they never go stale.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OtherDigests {
    /// The logical digest of the bytes as a file of tensors.
    pub tensors: Option<Digest>,
    /// The SHA-256 of the bytes.
    pub sha256: Option<[u8; 32]>,
}

impl OtherDigests {
    /// Fills in from `other` what is missing here.
    pub fn or(self, other: Self) -> Self {
        Self { tensors: self.tensors.or(other.tensors), sha256: self.sha256.or(other.sha256) }
    }
}

/// A short hash of a node's name. Two nodes of a pipeline with the same hash would mix up the reasons that are shown
/// for them, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeHash(pub u64);

impl NodeHash {
    /// Hashes the printed name of `node` (FNV-1a, 64 bits: Fowler, Noll and Vo).
    pub fn of(node: &(impl fmt::Display + ?Sized)) -> Self {
        struct Fnv(u64);
        impl Write for Fnv {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for byte in text.bytes() {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
                Ok(())
            }
        }
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        write!(hash, "{node}").expect("writing to a hash cannot fail");
        Self(hash.0)
    }
}

/// What all rows are. Rows have no padding, so `IntoBytes` holds; their fields accept any bytes, so `FromBytes` holds.
pub trait Row: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned> Row for T {}

/// A [`Signature`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SignatureRow {
    size: U64,
    mtime: I64,
    ctime: I64,
    inode: U64,
}

impl SignatureRow {
    const ZERO: Self = Self { size: U64::ZERO, mtime: I64::ZERO, ctime: I64::ZERO, inode: U64::ZERO };

    fn get(&self) -> Signature {
        Signature { size: self.size.get(), mtime: self.mtime.get(), ctime: self.ctime.get(), inode: self.inode.get() }
    }
}

impl From<Signature> for SignatureRow {
    fn from(of: Signature) -> Self {
        Self { size: of.size.into(), mtime: of.mtime.into(), ctime: of.ctime.into(), inode: of.inode.into() }
    }
}

/// A text: its place in the text section, and its length in bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TextRow {
    /// Where the text begins.
    pub place: U32,
    /// Its length in bytes.
    pub length: U32,
}

/// A list of texts that follow each other in the text section, each behind its length (`u32`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ListRow {
    /// Where the first text's length is.
    pub place: U32,
    /// The number of texts.
    pub count: U32,
}

/// An object.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ObjectRow {
    /// The digest of its bytes.
    pub digest: [u8; 32],
    flags: U64,
    signature: SignatureRow,
}

impl ObjectRow {
    const SEEN: u64 = 1;
    const SETTLED: u64 = 2;

    /// The row of an object; without a memo, the index knows only that a result names it.
    pub fn new(digest: &Digest, memo: Option<ObjectMemo>) -> Self {
        let flags = memo.map_or(0, |memo| Self::SEEN | if memo.settled { Self::SETTLED } else { 0 });
        let signature = memo.map_or(SignatureRow::ZERO, |memo| memo.signature.into());
        Self { digest: digest.0, flags: flags.into(), signature }
    }

    /// Returns the memo. After a restart of the machine (`same_boot` is false) an object that was not settled has none.
    pub fn memo(&self, same_boot: bool) -> Option<ObjectMemo> {
        let has = |flag| self.flags.get() & flag != 0;
        let settled = has(Self::SETTLED);
        let holds = has(Self::SEEN) && (same_boot || settled);
        holds.then(|| ObjectMemo { signature: self.signature.get(), settled })
    }
}

/// The result that was first stored under a key.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ResultRow {
    key: [u8; 32],
    /// How long the stage ran.
    pub seconds: F64,
    /// The list of its files' names.
    pub names: U32,
    /// The list of its numerics: names and values in turn.
    pub numerics: U32,
    /// The row of its first output; the others follow in the order of their names.
    pub first_output: U32,
    unused: U32,
}

impl ResultRow {
    /// A row of the layout, from its parts.
    pub fn new(key: CacheKey, seconds: f64, names: u32, numerics: u32, first_output: u32) -> Self {
        let (names, numerics, first_output) = (names.into(), numerics.into(), first_output.into());
        Self { key: key.0.0, seconds: seconds.into(), names, numerics, first_output, unused: U32::ZERO }
    }

    /// The key.
    pub fn key(&self) -> CacheKey {
        CacheKey(Digest(self.key))
    }
}

/// A file of a result.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OutputRow {
    logical: [u8; 32],
    size: U64,
    /// The row of its object.
    pub object: U32,
    flags: U32,
}

impl OutputRow {
    const EXECUTABLE: u32 = 1;

    /// The row of a file whose object has the row `object`.
    pub fn new(file: &FileRecord, object: u32) -> Self {
        let flags = if file.executable { Self::EXECUTABLE } else { 0 };
        Self { logical: file.logical.0, size: file.size.into(), object: object.into(), flags: flags.into() }
    }

    /// The file; `bytes` is the digest of its object.
    pub fn record(&self, bytes: Digest) -> FileRecord {
        let executable = self.flags.get() & Self::EXECUTABLE != 0;
        FileRecord { logical: Digest(self.logical), bytes, size: self.size.get(), executable }
    }
}

/// A file of the working tree.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FileRow {
    /// Its absolute path.
    pub path: TextRow,
    hashed_at: I64,
    signature: SignatureRow,
    digest: [u8; 32],
}

impl FileRow {
    /// The row of a file at `path`.
    pub fn new(path: TextRow, memo: &FileMemo) -> Self {
        let (hashed_at, signature) = (memo.hashed_at.into(), memo.signature.into());
        Self { path, hashed_at, signature, digest: memo.digest.0 }
    }

    /// Returns the memo. After a restart of the machine (`same_boot` is false) a file that had just been written has
    /// none.
    pub fn memo(&self, same_boot: bool) -> Option<FileMemo> {
        let (signature, hashed_at) = (self.signature.get(), self.hashed_at.get());
        let memo = FileMemo { signature, hashed_at, digest: Digest(self.digest) };
        (same_boot || signature.settled(hashed_at)).then_some(memo)
    }
}

/// A pipeline and its part of the nodes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PipelineRow {
    /// Its name, and behind a line break its file.
    pub name: TextRow,
    /// The row of its first node.
    pub first_node: U32,
    /// The number of its nodes.
    pub nodes: U32,
}

/// The key under which a node was last found or made.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NodeRow {
    node: U64,
    /// The row of the result under its key, or [`NONE`].
    pub result: U32,
    unused: U32,
    key: [u8; 32],
}

impl NodeRow {
    /// A row of the layout, from its parts.
    pub fn new(node: NodeHash, key: CacheKey, result: u32) -> Self {
        Self { node: node.0.into(), result: result.into(), unused: U32::ZERO, key: key.0.0 }
    }

    /// The node.
    pub fn node(&self) -> NodeHash {
        NodeHash(self.node.get())
    }

    /// Its key.
    pub fn key(&self) -> CacheKey {
        CacheKey(Digest(self.key))
    }
}

/// [`OtherDigests`] of some bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OtherDigestsRow {
    /// The digest of the bytes.
    pub bytes: [u8; 32],
    flags: U64,
    tensors: [u8; 32],
    sha256: [u8; 32],
}

impl OtherDigestsRow {
    const TENSORS: u64 = 1;
    const SHA256: u64 = 2;

    /// The row of the bytes with digest `bytes`.
    pub fn new(bytes: &Digest, other: &OtherDigests) -> Self {
        let tensors = if other.tensors.is_some() { Self::TENSORS } else { 0 };
        let sha256 = if other.sha256.is_some() { Self::SHA256 } else { 0 };
        Self {
            bytes: bytes.0,
            flags: (tensors | sha256).into(),
            tensors: other.tensors.unwrap_or(*bytes).0,
            sha256: other.sha256.unwrap_or(bytes.0),
        }
    }

    /// The other digests.
    pub fn get(&self) -> OtherDigests {
        let has = |flag| self.flags.get() & flag != 0;
        OtherDigests {
            tensors: has(Self::TENSORS).then_some(Digest(self.tensors)),
            sha256: has(Self::SHA256).then_some(self.sha256),
        }
    }
}

/// The signature that a folder of manifests (`entries/ab`) had when the manifests of all known results were in it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FolderRow {
    number: U64,
    signature: SignatureRow,
}

impl FolderRow {
    /// The row of folder `number`.
    pub fn new(number: u8, signature: Signature) -> Self {
        Self { number: u64::from(number).into(), signature: signature.into() }
    }

    /// The folder's number: the first byte of the keys in it.
    pub fn number(&self) -> u64 {
        self.number.get()
    }

    /// The signature.
    pub fn signature(&self) -> Signature {
        self.signature.get()
    }
}

/// How many rows each section has. At the end of the file, because the writer knows them last.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Counts {
    pub objects: U64,
    pub results: U64,
    pub outputs: U64,
    pub files: U64,
    pub pipelines: U64,
    pub nodes: U64,
    pub other_digests: U64,
    pub folders: U64,
    pub lists: U64,
    /// Bytes of text.
    pub text: U64,
}
