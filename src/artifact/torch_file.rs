//! Files of tensors that `torch.save` wrote (`pytorch_model.bin`, `adapter_model.bin`), read tensor by tensor: the zip
//! form of PyTorch 1.6 and later, and the form before it, pickles with the numbers behind them. What describes the
//! tensors goes through [`pickle`], which runs nothing; sizes and offsets are checked against the file.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;

use crate::base::content::{Content, START};
use crate::base::diag::Diag;
use crate::base::fs::{self, on};
use crate::base::reader::Reader;

use super::pickle::{self, Heap, Refused, Value, View};
use super::unfit::Unfit;

/// The most that the description of the tensors may take; that of the largest T5 takes less than a hundredth.
const MOST_DESCRIPTION: usize = 16 << 20;
/// The most members that the zip form may have: a storage each, and a handful.
const MOST_MEMBERS: usize = 100_000;
/// The beginning of the older form: a magic number, and its version.
const OLD_FORM: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";

/// An open file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TorchFile {
    file: Arc<Reader>,
    tensors: Arc<BTreeMap<String, Place>>,
}

/// A tensor in the file.
#[derive(Clone, Debug)]
struct Place {
    dtype: Dtype,
    shape: Vec<usize>,
    /// In elements.
    strides: Vec<usize>,
    /// From its first element to its last, in bytes of the file.
    bytes: Range<usize>,
}

impl TorchFile {
    /// Opens `path` and checks all that it says about its tensors.
    ///
    /// # Errors
    /// When the file cannot be read, is of another form, has anything but tensors in it, or describes what it has not.
    pub fn open(path: &Path) -> Result<Self, Diag> {
        let file = Reader::open(path)?;
        let tensors = parse(BufReader::new(fs::open(path)?), file.len()).map_err(|wrong| match wrong {
            Wrong::Read(error) => on("read", path)(error).into(),
            Wrong::Form(why) => {
                const WHAT: &str = "a file of tensors that `torch.save` wrote";
                // Such a file is an archive itself, so that only what stands in the place of any file tells more than
                // `why`.
                let start = file.bytes(0, file.len().min(START as u64) as usize).unwrap_or_default();
                let unfit = match Content::stand_in(&start) {
                    Some(content) => Unfit::by(WHAT, content),
                    None => Unfit { what: WHAT, why, help: None },
                };
                let help =
                    "take the safetensors file of the same model, or write one with `safetensors.torch.save_file`";
                unfit.or_help(help).diag(path)
            }
        })?;
        Ok(Self { file: Arc::new(file), tensors: Arc::new(tensors) })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Type and shape of the tensor `name`, if there is one.
    pub fn describe(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.tensors.get(name).map(|place| (place.dtype, &place.shape[..]))
    }

    /// Reads the elements of the tensor `name`, and returns them row major; `None` if there is no such tensor.
    ///
    /// # Errors
    /// When they cannot be read, or the file has become shorter since it was opened.
    pub fn bytes(&self, name: &str) -> Option<Result<Vec<u8>, Diag>> {
        let place = self.tensors.get(name)?;
        let stored = self.file.bytes(place.bytes.start as u64, place.bytes.len());
        Some(stored.map(|stored| place.elements(stored)))
    }
}

/// Why a file was not taken.
#[derive(Debug)]
enum Wrong {
    /// It could not be read.
    Read(io::Error),
    /// It is of another form.
    Form(Refused),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Wrong::Read(error)
    }
}

impl From<Refused> for Wrong {
    fn from(why: Refused) -> Self {
        Wrong::Form(why)
    }
}

impl From<&str> for Wrong {
    fn from(why: &str) -> Self {
        Wrong::Form(why.to_owned())
    }
}

impl Place {
    /// Where `view` lies, whose storage has these bytes of the file.
    fn new(view: &View, storage: Range<usize>) -> Result<Self, Refused> {
        let size = width(view.storage.dtype);
        let has = storage.len() / size;
        if has < view.storage.len {
            return Err(format!("storage `{}` is shorter than it says", view.storage.key));
        }
        let outside = || format!("a tensor lies outside of its storage `{}`", view.storage.key);
        if view.shape.len() != view.strides.len() {
            return Err(outside());
        }
        let count = view.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).ok_or_else(outside)?;
        let steps = view.shape.iter().zip(&view.strides).map(|(&n, &stride)| n.saturating_sub(1).checked_mul(stride));
        let last = steps.into_iter().try_fold(view.offset, |at, step| at.checked_add(step?)).ok_or_else(outside)?;
        // Elements that lie on each other (stride 0) could make a tensor of any size from a small file.
        if count > 0 && (last >= has || count > has) {
            return Err(outside());
        }
        let bytes = match count {
            0 => storage.start..storage.start,
            _ => storage.start + view.offset * size..storage.start + (last + 1) * size,
        };
        Ok(Self { dtype: view.storage.dtype, shape: view.shape.clone(), strides: view.strides.clone(), bytes })
    }

    /// The elements in row-major order; `stored` are the bytes from the first to the last.
    fn elements(&self, stored: Vec<u8>) -> Vec<u8> {
        match self.is_row_major() {
            true => stored,
            false => gather(&stored, &self.shape, &self.strides, width(self.dtype)),
        }
    }

    fn is_row_major(&self) -> bool {
        let mut step = 1;
        self.shape.contains(&0)
            || self.shape.iter().zip(&self.strides).rev().all(|(&n, &stride)| {
                let fits = n == 1 || stride == step;
                step *= n;
                fits
            })
    }
}

/// The elements of a view in row-major order.
fn gather(stored: &[u8], shape: &[usize], strides: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(shape.iter().product::<usize>() * size);
    let (&inner, outer) = shape.split_last().expect("a scalar is row major");
    let step = strides[outer.len()] * size;
    let mut index = vec![0; outer.len()];
    loop {
        let mut at = index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>() * size;
        for _ in 0..inner {
            out.extend_from_slice(&stored[at..at + size]);
            at += step;
        }
        // The next row, as an odometer counts.
        let Some(turned) = (0..outer.len()).rev().find(|&d| index[d] + 1 < outer[d]) else { return out };
        index[turned] += 1;
        index[turned + 1..].fill(0);
    }
}

/// Bytes of an element.
fn width(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// The tensors of a file in either form, which has `len` bytes.
fn parse(mut file: impl Read + Seek, len: u64) -> Result<BTreeMap<String, Place>, Wrong> {
    let len = usize::try_from(len).map_err(|_| "it is too large for this machine")?;
    let start = part(&mut file, 0..OLD_FORM.len().min(len))?;
    if start.starts_with(b"PK\x03\x04") {
        zip_form(file, len)
    } else if start == OLD_FORM {
        old_form(file, len)
    } else {
        Err("it begins neither as the zip form nor as the one before it".into())
    }
}

/// These bytes of a file.
fn part(file: &mut (impl Read + Seek), range: Range<usize>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; range.len()];
    file.seek(SeekFrom::Start(range.start as u64))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A zip archive, nothing in it compressed: `NAME/data.pkl`, and a member for each storage, `NAME/data/KEY`.
fn zip_form(file: impl Read + Seek, file_len: usize) -> Result<BTreeMap<String, Place>, Wrong> {
    let broken = |e: zip::result::ZipError| format!("the zip archive is damaged: {e}");
    let mut zip = zip::ZipArchive::new(file).map_err(broken)?;
    if zip.len() > MOST_MEMBERS {
        return Err(format!("the zip archive has {} members", zip.len()).into());
    }
    let mut members: BTreeMap<String, Range<usize>> = BTreeMap::new();
    for i in 0..zip.len() {
        let member = zip.by_index_raw(i).map_err(broken)?;
        let name = member.name().map_err(broken)?.into_owned();
        // The first folder has the name of whatever was saved.
        let name = name.split_once('/').map_or(name.as_str(), |(_, rest)| rest).to_owned();
        if member.compression() != zip::CompressionMethod::Stored || member.encrypted() {
            return Err(format!("its member `{name}` is compressed, which `torch.save` does not do").into());
        }
        let from = member.data_start().and_then(|at| usize::try_from(at).ok());
        let len = usize::try_from(member.size()).ok();
        let range = from.zip(len).and_then(|(from, len)| Some(from..from.checked_add(len)?));
        let range = range.filter(|r| r.end <= file_len);
        let range = range.ok_or_else(|| format!("its member `{name}` is cut short"))?;
        if members.insert(name.clone(), range).is_some() {
            return Err(format!("it has two members `{name}`").into());
        }
    }
    let mut file = zip.into_inner();
    if let Some(order) = members.get("byteorder")
        && (order.len() != b"little".len() || part(&mut file, order.clone())? != b"little")
    {
        return Err("its numbers have another byte order".into());
    }
    let description = members.get("data.pkl").ok_or("it is a zip archive without `data.pkl`")?;
    if description.len() > MOST_DESCRIPTION {
        return Err(format!("`data.pkl` has {} bytes", description.len()).into());
    }
    let description = part(&mut file, description.clone())?;
    let mut heap = Heap::default();
    let (top, _) = pickle::read(&description, &mut heap)?;
    let storage = |key: &str| members.get(&format!("data/{key}")).cloned();
    Ok(places(top, &heap, storage)?)
}

/// Pickles one after the other: a mark, a version, the machine, the tensors, the names of the storages; then each of
/// these, its length before it.
fn old_form(mut file: impl Read + Seek, file_len: usize) -> Result<BTreeMap<String, Place>, Wrong> {
    let description = part(&mut file, 0..file_len.min(OLD_FORM.len() + MOST_DESCRIPTION))?;
    let mut at = OLD_FORM.len();
    let mut heap = Heap::default();
    let mut tops = Vec::new();
    for _ in 0..3 {
        let (top, len) = pickle::read(&description[at..], &mut heap)?;
        tops.push(top);
        at += len;
    }
    let [machine, top, Value::List(keys)] = tops[..] else { return Err("it does not list its storages".into()) };
    if let Value::Dict(machine) = machine {
        let little = |pair: &[Value]| pair[0] == Value::Str("little_endian") && pair[1] == Value::Bool(false);
        if heap.items[machine].chunks_exact(2).any(little) {
            return Err("its numbers have another byte order".into());
        }
    }
    // The type of a storage is given by the tensors that use it.
    let widths: BTreeMap<&str, usize> =
        heap.tensors.iter().map(|view| (view.storage.key, width(view.storage.dtype))).collect();
    let mut storages: BTreeMap<&str, Range<usize>> = BTreeMap::new();
    for key in &heap.items[keys] {
        let Value::Str(key) = key else { return Err("it does not list its storages".into()) };
        let width = *widths.get(key).ok_or_else(|| format!("no tensor uses its storage `{key}`"))?;
        let short = || format!("storage `{key}` is cut short");
        let head_end = at.checked_add(8).filter(|&end| end <= file_len).ok_or_else(short)?;
        let head = part(&mut file, at..head_end)?;
        let len = u64::from_le_bytes(*head.first_chunk().expect("eight bytes"));
        let len = usize::try_from(len).map_err(|_| short())?;
        let end = len.checked_mul(width).and_then(|len| len.checked_add(head_end)).filter(|&end| end <= file_len);
        let end = end.ok_or_else(short)?;
        storages.insert(key, head_end..end);
        at = end;
    }
    Ok(places(top, &heap, |key| storages.get(key).cloned())?)
}

/// The tensors of a dictionary, where `storage` says what bytes of the file a storage has.
fn places(
    top: Value,
    heap: &Heap,
    storage: impl Fn(&str) -> Option<Range<usize>>,
) -> Result<BTreeMap<String, Place>, Refused> {
    let Value::Dict(top) = top else { return Err("it is no dictionary of tensors".into()) };
    let mut places = BTreeMap::new();
    for pair in heap.items[top].chunks_exact(2) {
        let Value::Str(name) = pair[0] else { return Err("a key of its dictionary is no text".into()) };
        let Value::Tensor(tensor) = pair[1] else { return Err(format!("its `{name}` is no tensor")) };
        let view = &heap.tensors[tensor];
        let bytes = storage(view.storage.key).ok_or_else(|| format!("it has no storage `{}`", view.storage.key))?;
        let place = Place::new(view, bytes).map_err(|why| format!("`{name}`: {why}"))?;
        if places.insert(name.to_owned(), place).is_some() {
            return Err(format!("it has `{name}` twice"));
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::tensors::Tensors;
    use std::io::Cursor;

    fn path(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torch_files").join(name)
    }

    #[test]
    fn both_forms_say_what_safetensors_says() {
        let expected = Tensors::open(&path("expected.safetensors")).unwrap();
        for name in ["zip_form.bin", "zip_form_protocol_4.bin", "old_form.bin"] {
            let file = TorchFile::open(&path(name)).unwrap();
            assert!(file.names().eq(expected.names().iter().map(String::as_str)), "{name}");
            for tensor in file.names() {
                let wanted = expected.require(tensor).unwrap();
                assert_eq!(file.describe(tensor).unwrap(), (wanted.dtype, &wanted.shape[..]), "{name} {tensor}");
                assert_eq!(file.bytes(tensor).unwrap().unwrap(), wanted.bytes, "{name} {tensor}");
            }
            assert!(file.tensors["row_major"].is_row_major() && file.bytes("no").is_none());
        }
    }

    #[test]
    fn what_is_more_than_tensors_is_refused() {
        let error = TorchFile::open(&path("module.bin")).unwrap_err();
        assert!(error.message.contains("it names `torch.nn.modules.linear.Linear`"), "{error}");
        let error = TorchFile::open(&path("training_state.bin")).unwrap_err();
        assert!(error.message.ends_with("its `step` is no tensor"), "{error}");
        assert!(error.help.unwrap().contains("safetensors"));
        let error = TorchFile::open(&path("make.py")).unwrap_err();
        assert!(error.message.contains("neither as the zip form nor as the one before it"), "{error}");
    }

    /// Cut anywhere, and with any byte changed: an error or other numbers, never a panic or a read outside of the file.
    #[test]
    fn damage_is_an_error_or_another_number() {
        let read = |bytes: &[u8]| {
            let elements = |place: &Place| drop(place.elements(bytes[place.bytes.clone()].to_vec()));
            parse(Cursor::new(bytes), bytes.len() as u64).map(|all| all.values().for_each(elements))
        };
        for name in ["zip_form.bin", "old_form.bin"] {
            let whole = std::fs::read(path(name)).unwrap();
            for end in (0..whole.len()).step_by(37) {
                assert!(read(&whole[..end]).is_err(), "{name} cut at {end}");
            }
            for i in (0..whole.len()).step_by(2) {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[i] ^= flip;
                    let _ = read(&bytes);
                }
            }
        }
    }

    #[test]
    fn a_view_must_lie_in_its_storage() {
        let storage = pickle::Storage { key: "0", dtype: Dtype::F32, len: 12 };
        let place = |offset, shape: &[usize], strides: &[usize]| {
            let view = View { storage, offset, shape: shape.to_vec(), strides: strides.to_vec() };
            Place::new(&view, 100..148)
        };
        assert_eq!(place(4, &[2, 4], &[4, 1]).unwrap().bytes, 116..148);
        assert!(place(0, &[], &[]).is_ok() && place(99, &[0, 7], &[7, 1]).is_ok());
        for (offset, shape, strides) in [
            (5, &[2, 4][..], &[4, 1][..]),
            (12, &[], &[]),
            (0, &[2, 2], &[1]),
            (0, &[1 << 40], &[0]),
            (0, &[usize::MAX, usize::MAX], &[1, 1]),
            (0, &[3], &[usize::MAX / 2 + 1]),
            (usize::MAX, &[2], &[1]),
        ] {
            assert!(place(offset, shape, strides).is_err(), "{offset} {shape:?} {strides:?}");
        }
        let longer = pickle::Storage { len: 13, ..storage };
        let view = View { storage: longer, offset: 0, shape: vec![1], strides: vec![1] };
        assert!(Place::new(&view, 100..148).unwrap_err().contains("shorter than it says"));
    }
}
