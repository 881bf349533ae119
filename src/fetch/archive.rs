//! Members of archives, read so that nothing can be written outside the folder given and nothing can grow without
//! bound.
//!
//! An archive is recognised by its first bytes, not by its name. It is refused as a whole when any member's name is
//! absolute or has `..` in it, when two of its members have one name, when a link leads outside, or when it would
//! unpack to more than [`Limits`] allow, whether it announces that (checked first) or not (checked while it unpacks).
//! Links and devices are never made.

mod listing;
mod names;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use zip::CompressionMethod;

use super::{Watch, size};
use crate::base::content::Content;
use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};

use names::{DISTRUST, Names, Refusal};

/// How much is unpacked at a time.
const CHUNK: usize = 256 * 1024;

/// The format of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.zip`.
    Zip,
    /// `.tar`.
    Tar,
    /// `.tar.gz`, `.tgz`.
    TarGz,
    /// `.gz` of one file.
    Gz,
}

/// How large an archive may become.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Members, of any kind.
    pub members: u64,
    /// Bytes of all members together.
    pub bytes: u64,
    /// Bytes of one member.
    pub file: u64,
    /// Unpacked bytes for one packed; not counted below [`Limits::small`].
    pub ratio: u64,
    /// The size that every archive may unpack to.
    pub small: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { members: 100_000, bytes: 256 << 30, file: 64 << 30, ratio: 300, small: 256 << 20 }
    }
}

impl Limits {
    /// These, or up to `bytes` where someone who knows the archive says so: however well it is packed.
    pub fn allowing(bytes: Option<u64>) -> Self {
        let usual = Self::default();
        bytes.map_or(usual, |bytes| Self { bytes, file: bytes, small: bytes, ..usual })
    }

    /// The most that an archive of `packed` bytes may unpack to.
    fn most(&self, packed: u64) -> u64 {
        packed.saturating_mul(self.ratio).max(self.small).min(self.bytes)
    }
}

/// Which names of files are said to be archives by their ending.
pub fn is_archive_name(name: &str) -> bool {
    stem(name).is_some()
}

/// `BoolQ.zip` → `BoolQ`; `None` when `name` has no archive's ending. A `.gz` of one file is no archive in this sense.
pub fn stem(name: &str) -> Option<&str> {
    [".zip", ".tar.gz", ".tgz", ".tar"].iter().find_map(|ending| name.strip_suffix(ending))
}

/// Returns the format of the file at `path`, recognised by its bytes; `None` if it is no archive.
///
/// # Errors
/// When it cannot be read.
pub fn sniff(path: &Path) -> Result<Option<Format>, Diag> {
    let mut file = fs::open(path)?;
    let start = beginning(&mut file).map_err(on("read", path))?;
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(Some(Format::Zip));
    }
    if is_tar(&start) {
        return Ok(Some(Format::Tar));
    }
    if start.starts_with(&[0x1f, 0x8b]) {
        file.seek(SeekFrom::Start(0)).map_err(on("read", path))?;
        // A gzip file that is cut within its first block fails when it is unpacked.
        let inside = beginning(&mut MultiGzDecoder::new(file)).unwrap_or_default();
        return Ok(Some(if is_tar(&inside) || path_says_tar(path) { Format::TarGz } else { Format::Gz }));
    }
    Ok(None)
}

/// Writes the members that `wanted` asks for (by their path in the archive) below `into`, which must not hold them yet.
/// Returns the paths of all files in the archive, in its order. The one member of a `.gz` file is called like the file
/// without its ending.
///
/// # Errors
/// When `path` is no archive, is cut short or damaged, or breaks a rule above; when a wanted member is no plain file,
/// is encrypted or is packed by a method that is not read; when something cannot be written; when `watch` ends it.
pub fn unpack(
    path: &Path,
    into: &Path,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
    watch: &dyn Watch,
) -> Result<Vec<String>, Diag> {
    let Some(format) = sniff(path)? else { return Err(no_archive(path)?) };
    let file = fs::open(path)?;
    let packed = file.metadata().map_err(on("read", path))?.len();
    let mut unpacker = Unpacker {
        path,
        into,
        wanted,
        watch,
        members_left: limits.members,
        most: limits.most(packed),
        most_of_one: limits.file,
        done: 0,
        names: Vec::new(),
        all: Names::default(),
    };
    match format {
        Format::Zip => unpacker.zip(file)?,
        Format::Tar => unpacker.tar(BufReader::new(file))?,
        Format::TarGz => unpacker.tar(MultiGzDecoder::new(BufReader::new(file)))?,
        Format::Gz => unpacker.gz(MultiGzDecoder::new(BufReader::new(file)))?,
    }
    Ok(unpacker.names)
}

struct Unpacker<'a> {
    path: &'a Path,
    into: &'a Path,
    wanted: &'a dyn Fn(&str) -> bool,
    watch: &'a dyn Watch,
    members_left: u64,
    /// How many bytes may come out.
    most: u64,
    /// How many of one member.
    most_of_one: u64,
    /// How many came out.
    done: u64,
    /// All files of the archive.
    names: Vec<String>,
    /// All its members.
    all: Names,
}

impl Unpacker<'_> {
    fn zip(&mut self, file: File) -> Result<(), Diag> {
        let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| self.broken_zip(e))?;
        let mut raw = BufReader::new(fs::open(self.path)?);
        let listed = listing::names(&mut raw, zip.central_directory_start()).map_err(|e| self.damaged(&e))?;
        for name in &listed {
            self.count_member()?;
            let is_folder = name.ends_with(b"/");
            let name = self.name(name)?;
            self.all.add(&name, is_folder).map_err(|refusal| self.refuse(refusal))?;
        }
        if listed.len() != zip.len() {
            let why = format!("it lists {} members, of which {} have a name of their own", listed.len(), zip.len());
            return Err(self.refused(why));
        }
        // All names and sizes first: a bad archive is refused before anything is written.
        let mut announced = 0u64;
        for i in 0..zip.len() {
            let member = zip.by_index_raw(i).map_err(|e| self.broken_zip(e))?;
            let name = self.name(member.name_raw())?;
            let header = listing::header_name(&mut raw, member.header_start()).map_err(|e| self.damaged(&e))?;
            if self.name(&header)? != name {
                let shown = String::from_utf8_lossy(&header).into_owned();
                return Err(self.refused(format!("its member `{name}` is called `{shown}` where its bytes begin")));
            }
            announced = announced.saturating_add(member.size());
            if announced > self.most {
                return Err(self.too_large(announced));
            }
            self.check_one(&name, member.size())?;
            if member.is_symlink() || (!member.is_dir() && (self.wanted)(&name)) {
                self.check_readable(&name, member.encrypted(), member.compression())?;
            }
            if member.is_symlink() {
                drop(member);
                let mut target = Vec::new();
                let link = zip.by_index(i).map_err(|e| self.broken_zip(e))?;
                link.take(4096).read_to_end(&mut target).map_err(|e| self.damaged(&e))?;
                self.check_link(&name, &target, true)?;
            } else if !member.is_dir() {
                self.names.push(name);
            }
        }
        for i in 0..zip.len() {
            let name = self.name(zip.by_index_raw(i).map_err(|e| self.broken_zip(e))?.name_raw())?;
            if !(self.wanted)(&name) {
                continue;
            }
            let mut member = zip.by_index(i).map_err(|e| self.broken_zip(e))?;
            if member.is_dir() {
                continue;
            }
            if member.is_symlink() {
                return Err(self.no_file(&name));
            }
            self.write(&name, &mut member)?;
        }
        Ok(())
    }

    fn tar(&mut self, reader: impl Read) -> Result<(), Diag> {
        let mut tar = tar::Archive::new(Counted { inner: reader, left: self.most + self.most / 8 + (1 << 20) });
        let entries = tar.entries().map_err(|e| self.damaged(&e))?;
        let mut last_was_file = false;
        for entry in entries {
            self.count_member()?;
            self.watch.check()?;
            let mut entry = entry.map_err(|e| self.damaged(&e))?;
            let kind = entry.header().entry_type();
            let raw = entry.path_bytes().into_owned();
            if kind.is_pax_global_extensions() || kind.is_pax_local_extensions() {
                continue;
            }
            let name = self.name(&raw)?;
            self.all.add(&name, kind.is_dir()).map_err(|refusal| self.refuse(refusal))?;
            last_was_file = true;
            if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
                if entry.size() > self.most - self.done.min(self.most) {
                    return Err(self.too_large(self.done.saturating_add(entry.size())));
                }
                self.check_one(&name, entry.size())?;
                self.names.push(name.clone());
                if (self.wanted)(&name) {
                    self.write(&name, &mut entry)?;
                }
                continue;
            }
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.check_link(&name, &target, kind.is_symlink())?;
            }
            if !kind.is_dir() && (self.wanted)(&name) {
                return Err(self.no_file(&name));
            }
        }
        if !last_was_file {
            return Err(self.damaged(&"it holds nothing"));
        }
        // To the end: what packs it has its checksum there.
        let mut rest = tar.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(|e| self.damaged(&e))?;
        Ok(())
    }

    fn gz(&mut self, mut reader: impl Read) -> Result<(), Diag> {
        let name = self.path.file_name().and_then(|n| n.to_str()).unwrap_or("data.gz");
        let name = name.strip_suffix(".gz").unwrap_or(name).to_owned();
        self.names.push(name.clone());
        if (self.wanted)(&name) { self.write(&name, &mut reader) } else { Ok(()) }
    }

    /// Writes one member, counting its bytes.
    fn write(&mut self, name: &str, reader: &mut dyn Read) -> Result<(), Diag> {
        let to = self.into.join(name);
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut out = OpenOptions::new().write(true).create_new(true).open(&to).map_err(on("create", &to))?;
        let what = format!("unpacking {}", name.rsplit('/').next().unwrap_or(name));
        let (mut chunk, mut written) = (vec![0; CHUNK], 0u64);
        loop {
            self.watch.check()?;
            let n = match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.damaged(&e)),
            };
            self.done += n as u64;
            if self.done > self.most {
                return Err(self.too_large(self.done));
            }
            out.write_all(&chunk[..n]).map_err(on("write", &to))?;
            written += n as u64;
            self.check_one(name, written)?;
            self.watch.progress(&what, written, None);
        }
        Ok(())
    }

    fn check_one(&self, name: &str, bytes: u64) -> Result<(), Diag> {
        if bytes <= self.most_of_one {
            return Ok(());
        }
        let (bytes, most) = (size(bytes.min(1 << 60)), size(self.most_of_one));
        Err(self.refused(format!("its member `{name}` would be {bytes} or more, the limit for one file is {most}")))
    }

    fn count_member(&mut self) -> Result<(), Diag> {
        match self.members_left.checked_sub(1) {
            Some(left) => {
                self.members_left = left;
                Ok(())
            }
            None => Err(self.refused("it has more members than any archive of data or weights".to_owned())),
        }
    }

    /// A member's name in plain form.
    fn name(&self, raw: &[u8]) -> Result<String, Diag> {
        names::plain(raw).map_err(|refusal| self.refuse(refusal))
    }

    /// Returns `true` if a member of a zip archive can be unpacked at all.
    fn check_readable(&self, name: &str, encrypted: bool, method: CompressionMethod) -> Result<(), Diag> {
        if encrypted {
            return Err(self.unread(format!("its member `{name}` is encrypted")).help(
                "nothing of it was used; unpack it by a program that asks for the password, and pack it again without one",
            ));
        }
        let by = match method {
            CompressionMethod::Stored | CompressionMethod::Deflated => return Ok(()),
            #[allow(deprecated)]
            CompressionMethod::Unsupported(number) => listing::method(number),
            other => other.to_string(),
        };
        Err(self
            .unread(format!("its member `{name}` is packed by {by}, which is not read"))
            .help("nothing of it was used; unpack it and pack it again by deflate, as zip programs do by default"))
    }

    /// Returns `true` if a link stays inside. A symbolic link starts at its own folder, a hard link at the archive's.
    fn check_link(&self, name: &str, target: &[u8], from_its_folder: bool) -> Result<(), Diag> {
        let shown = String::from_utf8_lossy(target);
        let mut depth = if from_its_folder { name.matches('/').count() as i64 } else { 0 };
        let mut inside = !target.is_empty() && !target.starts_with(b"/") && !target.contains(&b'\\');
        for part in target.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => depth -= 1,
                _ => depth += 1,
            }
            inside &= depth >= 0;
        }
        if inside {
            return Ok(());
        }
        Err(self.refused(format!("its link `{name}` leads outside, to `{}`", shown.escape_debug())))
    }

    fn shown(&self) -> String {
        self.path.file_name().map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    fn refused(&self, why: String) -> Diag {
        self.refuse(Refusal { why, help: DISTRUST })
    }

    fn refuse(&self, refusal: Refusal) -> Diag {
        let message = format!("archive `{}` is refused: {}", self.shown(), refusal.why);
        Diag::error(Class::Stage, message).help(refusal.help).lasting()
    }

    /// It is right, and not for this reader.
    fn unread(&self, why: String) -> Diag {
        Diag::error(Class::Stage, format!("archive `{}` cannot be read: {why}", self.shown()))
            .note(format!("it lies at `{}`", self.path.display()))
            .lasting()
    }

    fn too_large(&self, bytes: u64) -> Diag {
        let diag = self.refused(format!(
            "it would unpack to {} or more, the limit for its size is {}",
            size(bytes.min(1 << 60)),
            size(self.most)
        ));
        diag.help(
            "get it from a place that you trust; of one that you know, say `unpack_limit` in its `download` stage",
        )
    }

    fn no_file(&self, name: &str) -> Diag {
        self.refused(format!("its member `{name}` is a link or a device, not a file"))
    }

    fn damaged(&self, why: &dyn std::fmt::Display) -> Diag {
        Diag::error(Class::Stage, format!("archive `{}` is cut short or damaged: {why}", self.shown()))
            .note(format!("it lies at `{}`", self.path.display()))
            .help("nothing of it was used; get it again")
    }

    fn broken_zip(&self, error: zip::result::ZipError) -> Diag {
        use zip::result::ZipError as E;
        const AGAIN: &str =
            "nothing of it was used; unpack it by another program and pack it again as a plain zip archive";
        match error {
            E::UnsupportedArchive(what) => self.unread(format!("it needs what is not read: {what}")).help(AGAIN),
            E::CompressionMethodNotSupported(n) => {
                self.unread(format!("it is packed by {}, which is not read", listing::method(n))).help(AGAIN)
            }
            other => self.damaged(&other),
        }
    }
}

/// A reader that ends in an error, not in an endless stream.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| io::Error::other("it unpacks to far too much"))?;
        Ok(n)
    }
}

/// The error for a file that should be an archive and is none.
fn no_archive(path: &Path) -> Result<Diag, Diag> {
    let mut file = fs::open(path)?;
    let start = beginning(&mut file).map_err(on("read", path))?;
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let diag = Diag::error(Class::Stage, format!("`{name}` is not an archive (.zip, .tar, .tar.gz or .gz)"))
        .note(format!("it lies at `{}`", path.display()));
    Ok(match describe(&start) {
        Some(what) => diag.note(what),
        None => diag.note(format!("it begins with {:02x?}", &start[..start.len().min(4)])),
    })
}

/// How archives of other kinds begin.
const OTHERS: &[(&[u8], &str)] = &[
    (b"Rar!\x1a\x07", "it is a RAR archive, which is not read: unpack it and pack it again"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive, which is not read: unpack it and pack it again"),
    (b"\xfd7zXZ\0", "it is packed by xz, which is not read: unpack it and pack it again by gzip"),
    (b"BZh", "it is packed by bzip2, which is not read: unpack it and pack it again by gzip"),
    (b"\x28\xb5\x2f\xfd", "it is packed by zstd, which is not read: unpack it and pack it again by gzip"),
];

/// What the first bytes of a file that is not what it should be say of it: a web page, a Git LFS pointer, an archive of
/// a kind that is not read, nothing.
pub fn describe(start: &[u8]) -> Option<String> {
    let other = OTHERS.iter().find(|(mark, _)| start.starts_with(mark)).map(|(_, what)| (*what).to_owned());
    other.or_else(|| Content::stand_in(start).map(Content::clause))
}

fn beginning(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.take(512).read_to_end(&mut start)?;
    Ok(start)
}

fn is_tar(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar")
}

fn path_says_tar(path: &Path) -> bool {
    path.to_str().is_some_and(|p| p.ends_with(".tar.gz") || p.ends_with(".tgz"))
}
