//! Tensor artifacts: safetensors, read tensor by tensor, written with the tensors in the format's own order (dtype,
//! then name) and the one metadata entry that other tools look for. More than one entry would make the bytes depend on
//! the order of a hash map. Knows no libtorch.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use safetensors::SafeTensorError;
use safetensors::tensor::{Metadata, TensorView};

use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, FieldHasher};
use crate::base::fs::{self, changed, on};
use crate::base::reader::Reader;
use crate::base::watch::Unwatched;

use super::pass::{Taker, pass, update};
use super::tally::{self, For};
use super::unfit::Unfit;
use super::write::unwritable;

pub use safetensors::Dtype;

/// The name of this format in messages.
const WHAT: &str = "a safetensors file";
/// The help for a file whose bytes are not as many as its header says.
const CUT_SHORT_OR_OTHER: &str = "the file is cut short or of another format: make it again, or get it again";

/// A tensor: its name, type, shape and bytes (little endian, row major, without gaps).
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Unique in its file.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its sizes, slowest first; empty: one element.
    pub shape: &'a [usize],
    /// The elements.
    pub bytes: &'a [u8],
}

impl Tensor<'_> {
    /// The elements of an `F32` tensor.
    ///
    /// # Errors
    /// When it has another type.
    pub fn f32s(&self) -> Result<Vec<f32>, Diag> {
        if self.dtype != Dtype::F32 {
            return Err(Diag::error(
                Class::Stage,
                format!("tensor `{}` has type {:?}, wanted F32", self.name, self.dtype),
            ));
        }
        Ok(self.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

/// The bytes of `values`, as [`Tensor::bytes`] wants them.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Writes `tensors`, in any order.
///
/// # Errors
/// When the file cannot be written; a bug when a name comes twice or shape and bytes disagree.
pub fn write(path: &Path, tensors: &[Tensor]) -> Result<(), Diag> {
    let mut names: Vec<_> = tensors.iter().map(|t| t.name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(unwritable(path, format_args!("tensor `{}` comes twice", twice[0])));
    }
    let views = tensors
        .iter()
        .map(|t| Ok((t.name, TensorView::new(t.dtype, t.shape.to_vec(), t.bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| unwritable(path, e))?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(e) => on("write", path)(e).into(),
        other => unwritable(path, other),
    })?;
    // The crate makes its file readable by the owner only; a store may be shared.
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(on("write", path))?;
    Ok(())
}

/// A tensor that was read from a file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// As [`Tensor::name`].
    pub name: String,
    /// As [`Tensor::dtype`].
    pub dtype: Dtype,
    /// As [`Tensor::shape`].
    pub shape: Vec<usize>,
    /// As [`Tensor::bytes`].
    pub bytes: Vec<u8>,
}

impl Loaded {
    /// The tensor.
    pub fn view(&self) -> Tensor<'_> {
        Tensor { name: &self.name, dtype: self.dtype, shape: &self.shape, bytes: &self.bytes }
    }

    /// As [`Tensor::f32s`].
    ///
    /// # Errors
    /// When it has another type.
    pub fn f32s(&self) -> Result<Vec<f32>, Diag> {
        self.view().f32s()
    }
}

/// An open file of tensors: of their elements only those are read that are asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tensors {
    file: Arc<Reader>,
    header: Arc<Metadata>,
    data_at: u64,
}

impl Tensors {
    /// Opens `path` and checks its header.
    ///
    /// # Errors
    /// When the file cannot be read, or its header does not describe its bytes.
    pub fn open(path: &Path) -> Result<Self, Diag> {
        Self::try_open(path)?.map_err(|unfit| unfit.diag(path))
    }

    /// As [`Tensors::open`]; the outer error is the disk's.
    fn try_open(path: &Path) -> Result<Result<Self, Unfit>, Diag> {
        let file = Reader::open(path)?;
        let wrong = |error: SafeTensorError| {
            use SafeTensorError::{HeaderTooSmall, InvalidHeaderLength, MetadataIncompleteBuffer};
            let cut = matches!(error, HeaderTooSmall | InvalidHeaderLength | MetadataIncompleteBuffer);
            let unfit = Unfit::new(path, WHAT, error);
            Ok(Err(if cut { unfit.or_help(CUT_SHORT_OR_OTHER) } else { unfit }))
        };
        if file.len() < PREFIX as u64 {
            return wrong(SafeTensorError::HeaderTooSmall);
        }
        let mut len = [0; PREFIX];
        file.read_at(&mut len, 0)?;
        let len = u64::from_le_bytes(len);
        if len > LONGEST_HEADER {
            return wrong(SafeTensorError::HeaderTooLarge);
        }
        let data_at = PREFIX as u64 + len;
        if data_at > file.len() {
            return wrong(SafeTensorError::InvalidHeaderLength);
        }
        let header = file.bytes(PREFIX as u64, len as usize)?;
        let header = match std::str::from_utf8(&header) {
            Ok(header) => header,
            Err(error) => return wrong(SafeTensorError::InvalidHeader(error)),
        };
        // Reading it checks that the tensors lie one after the other, each as long as its type and shape say.
        let header: Metadata = match serde_json::from_str(header) {
            Ok(header) => header,
            Err(error) => return wrong(SafeTensorError::InvalidHeaderDeserialization(error)),
        };
        if data_at.checked_add(header.data_len() as u64) != Some(file.len()) {
            return wrong(SafeTensorError::MetadataIncompleteBuffer);
        }
        Ok(Ok(Self { file: Arc::new(file), header: Arc::new(header), data_at }))
    }

    /// How many tensors.
    pub fn len(&self) -> usize {
        self.header.offset_keys().len()
    }

    /// Returns `true` if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort_unstable();
        names
    }

    /// Type and shape of the tensor `name`, if there is one.
    pub fn describe(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.header.info(name).map(|info| (info.dtype, &info.shape[..]))
    }

    /// Reads the tensor `name`.
    ///
    /// # Errors
    /// When the file has none: names those that it has. When it cannot be read, or has become shorter since it was
    /// opened.
    pub fn require(&self, name: &str) -> Result<Loaded, Diag> {
        let Some(info) = self.header.info(name) else {
            let names = self.names();
            let has: Vec<_> = names.iter().take(8).map(|n| format!("`{n}`")).collect();
            let more = if names.len() > 8 { format!(" and {} more", names.len() - 8) } else { String::new() };
            let message = format!("`{}` has no tensor `{name}`", self.file.path().display());
            return Err(Diag::error(Class::Stage, message).note(format!("it has {}{more}", has.join(", "))));
        };
        let (from, to) = info.data_offsets;
        let bytes = self.file.bytes(self.data_at + from as u64, to - from)?;
        Ok(Loaded { name: name.to_owned(), dtype: info.dtype, shape: info.shape.clone(), bytes })
    }
}

/// The digest of the tensors: independent of their order in the file, of padding and of metadata.
///
/// # Errors
/// When the file cannot be read or is not a safetensors file.
pub fn logical_digest(path: &Path) -> Result<Digest, Diag> {
    meaning(path)?.map_err(|unfit| unfit.diag(path))
}

/// As [`logical_digest`]; the outer error is the disk's.
///
/// # Errors
/// When the file cannot be read.
pub fn meaning(path: &Path) -> Result<Result<Digest, Unfit>, Diag> {
    if let Err(unfit) = Tensors::try_open(path)? {
        return Ok(Err(unfit));
    }
    let mut tensors = Passing::default();
    pass(path, &mut [&mut tensors], &Unwatched)?;
    tensors.finish().map(Ok).ok_or_else(|| changed(path))
}

/// The digest of one tensor.
fn one(name: &str, dtype: Dtype, shape: &[usize], bytes: blake3::Hash) -> Digest {
    let mut h = FieldHasher::new("dpt.tensor.1");
    h.field(name.as_bytes()).field(format!("{dtype:?}").as_bytes());
    h.number(shape.len() as u64);
    shape.iter().for_each(|n| {
        h.number(*n as u64);
    });
    h.field(bytes.as_bytes());
    h.finish()
}

/// The digest of tensors in the order of their names.
fn all(digests: &[Digest]) -> Digest {
    let mut h = FieldHasher::new("dpt.tensors.1");
    digests.iter().for_each(|d| {
        h.field(&d.0);
    });
    h.finish()
}

/// The [`logical_digest`] of a file whose bytes go by once, from its first to its last: as they are downloaded, or
/// while the digest of the bytes is taken too.
#[derive(Debug, Default)]
pub struct Passing {
    stage: Stage,
}

/// The next part of the file.
#[derive(Debug)]
enum Stage {
    /// The header, as far as it was read.
    Header(Vec<u8>),
    Tensors(Box<Going>),
    /// Nothing: this is no safetensors file.
    Broken,
}

/// The tensors of a file as they go by.
#[derive(Debug)]
struct Going {
    header: Metadata,
    /// The names, by place in the file; the first is the one that is next.
    left: VecDeque<String>,
    /// How many of its bytes are still to come.
    missing: usize,
    hasher: blake3::Hasher,
    done: BTreeMap<String, Digest>,
}

impl Default for Stage {
    fn default() -> Self {
        Stage::Header(Vec::new())
    }
}

impl Passing {
    /// The digest; `None` when what went by is not one whole safetensors file. [`logical_digest`] says why.
    pub fn finish(self) -> Option<Digest> {
        match self.stage {
            Stage::Tensors(going) if going.left.is_empty() => Some(all(&going.done.into_values().collect::<Vec<_>>())),
            _ => None,
        }
    }
}

impl Taker for Passing {
    fn take(&mut self, mut bytes: &[u8]) {
        if let Stage::Header(header) = &mut self.stage {
            match fill(header, &mut bytes) {
                Ok(false) => return,
                Ok(true) => {
                    self.stage =
                        Going::new(&header[PREFIX..]).map_or(Stage::Broken, |going| Stage::Tensors(Box::new(going)))
                }
                Err(TooLong) => self.stage = Stage::Broken,
            }
        }
        if let Stage::Tensors(going) = &mut self.stage
            && !going.take(bytes)
        {
            self.stage = Stage::Broken;
        }
    }
}

/// A file begins with the length of its header: eight bytes, little endian.
const PREFIX: usize = 8;
/// A longer header is no header.
const LONGEST_HEADER: u64 = 100_000_000;

struct TooLong;

/// Moves the beginning of `bytes` to `header`, until it is complete. Returns `true` if it is.
fn fill(header: &mut Vec<u8>, bytes: &mut &[u8]) -> Result<bool, TooLong> {
    let mut until = |header: &mut Vec<u8>, len: usize| {
        let (now, rest) = bytes.split_at(bytes.len().min(len.saturating_sub(header.len())));
        header.extend_from_slice(now);
        *bytes = rest;
        header.len() >= len
    };
    if !until(header, PREFIX) {
        return Ok(false);
    }
    let len = u64::from_le_bytes(*header.first_chunk().expect("it has eight bytes"));
    if len > LONGEST_HEADER {
        return Err(TooLong);
    }
    Ok(until(header, PREFIX + len as usize))
}

impl Going {
    /// `None`: this is no header.
    fn new(header: &[u8]) -> Option<Self> {
        // Reading it checks that the tensors lie one after the other, without gaps, each as long as type and shape say.
        let header: Metadata = serde_json::from_slice(header).ok()?;
        let left = header.offset_keys().into();
        let mut going = Self { header, left, missing: 0, hasher: blake3::Hasher::new(), done: BTreeMap::new() };
        going.begin()?;
        Some(going)
    }

    /// Makes the first of `left` the one that is next; those without bytes are done at once.
    fn begin(&mut self) -> Option<()> {
        while let Some(name) = self.left.front() {
            let (from, to) = self.header.info(name)?.data_offsets;
            self.missing = to - from;
            if self.missing > 0 {
                return Some(());
            }
            self.end()?;
        }
        Some(())
    }

    /// The first of `left` is whole.
    fn end(&mut self) -> Option<()> {
        let name = self.left.pop_front()?;
        let info = self.header.info(&name)?;
        let digest = one(&name, info.dtype, &info.shape, self.hasher.finalize());
        self.hasher.reset();
        self.done.insert(name, digest);
        Some(())
    }

    /// Returns `true` if the bytes belong to tensors.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.left.is_empty() {
                return false;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(self.missing));
            tally::add(For::Tensors, now.len());
            update(&mut self.hasher, now);
            (self.missing, bytes) = (self.missing - now.len(), rest);
            if self.missing == 0 && self.end().and_then(|()| self.begin()).is_none() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(path: &Path, reverse: bool) {
        let (a, b) = (f32_bytes(&[1.0, -2.0, 3.5, 0.0]), vec![7u8; 3]);
        let mut tensors = [
            Tensor { name: "a", dtype: Dtype::F32, shape: &[2, 2], bytes: &a },
            Tensor { name: "b", dtype: Dtype::U8, shape: &[3], bytes: &b },
        ];
        if reverse {
            tensors.reverse();
        }
        write(path, &tensors).unwrap();
    }

    #[test]
    fn round_trip_and_same_bytes_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1.safetensors"), dir.path().join("2.safetensors"));
        sample(&one, false);
        sample(&two, true);
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        let file = Tensors::open(&one).unwrap();
        assert_eq!(file.names(), ["a", "b"]);
        let a = file.require("a").unwrap();
        assert_eq!((a.view().shape, a.f32s().unwrap()), (&[2usize, 2][..], vec![1.0, -2.0, 3.5, 0.0]));
        assert_eq!(file.describe("b").unwrap(), (Dtype::U8, &[3usize][..]));
        assert!(file.require("b").unwrap().f32s().is_err() && file.describe("c").is_none());
        assert_eq!(file.require("c").unwrap_err().notes, ["it has `a`, `b`"]);
    }

    #[test]
    fn metadata_and_order_keep_the_digest_shape_and_values_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        sample(&path, false);
        let ours = logical_digest(&path).unwrap();
        // The same tensors by another writer: no metadata, other order, padding.
        let (a, b) = (f32_bytes(&[1.0, -2.0, 3.5, 0.0]), vec![7u8; 3]);
        let mut header = r#"{"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[3,19]}}   "#.to_owned();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &b, &a].concat();
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(logical_digest(&path).unwrap(), ours);
        write(&path, &[Tensor { name: "a", dtype: Dtype::F32, shape: &[4], bytes: &a }]).unwrap();
        let flat = logical_digest(&path).unwrap();
        write(&path, &[Tensor { name: "a", dtype: Dtype::F32, shape: &[1, 4], bytes: &a }]).unwrap();
        assert_ne!(logical_digest(&path).unwrap(), flat);
    }

    #[test]
    fn a_cut_file_and_a_name_twice_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        sample(&path, false);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(logical_digest(&path).unwrap_err().message.contains("is not a safetensors file"));
        std::fs::write(&path, b"").unwrap();
        assert!(logical_digest(&path).is_err());
        let t = Tensor { name: "a", dtype: Dtype::U8, shape: &[1], bytes: &[1] };
        assert!(write(&path, &[t, t]).unwrap_err().message.contains("tensor `a` comes twice"));
    }

    #[test]
    fn a_file_that_is_cut_after_it_was_opened_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        let bytes = vec![7; 1 << 20];
        write(&path, &[Tensor { name: "a", dtype: Dtype::U8, shape: &[1 << 20], bytes: &bytes }]).unwrap();
        let file = Tensors::open(&path).unwrap();
        assert_eq!(file.require("a").unwrap().bytes, bytes);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
        let error = file.require("a").unwrap_err();
        assert_eq!(error.message, format!("`{}` changed while it was read", path.display()));
    }

    #[test]
    fn what_goes_by_in_pieces_has_the_digest_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        let large = vec![5u8; 600_001];
        let tensor = |name, dtype, shape, bytes| Tensor { name, dtype, shape, bytes };
        let tensors = [
            tensor("z", Dtype::U8, &[600_001], &large[..]),
            tensor("none", Dtype::F32, &[0, 4], &[]),
            tensor("a", Dtype::U8, &[3], &[1, 2, 3]),
        ];
        write(&path, &tensors).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let by = |bytes: &[u8], piece: usize| {
            let mut passing = Passing::default();
            bytes.chunks(piece).for_each(|piece| passing.take(piece));
            passing.finish()
        };
        let whole = logical_digest(&path).unwrap();
        for piece in [1, 7, 4096, bytes.len()] {
            assert_eq!(by(&bytes, piece), Some(whole), "{piece}");
        }
        let longer = [&bytes[..], &[0]].concat();
        for broken in [&bytes[..bytes.len() - 1], &bytes[..20], &longer, &[0xff; 64], b"{}", b""] {
            assert_eq!(by(broken, 4096), None);
        }
        write(&path, &[]).unwrap();
        assert_eq!(by(&std::fs::read(&path).unwrap(), 4096), Some(logical_digest(&path).unwrap()));
    }
}
