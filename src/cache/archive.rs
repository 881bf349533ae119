//! Archives: results on their way to another store. An archive is a tar file, compressed with gzip if its name ends in
//! `.gz`:
//!
//! ```text
//! dpt-store.json      the list of what follows: keys, and objects with their sizes
//! entries/KEY.json    manifests
//! objects/DIGEST      files
//! ```
//!
//! An import trusts nothing. It fails on a member that is not in the list, on a wrong size, on a wrong digest of bytes
//! or meaning, and on anything that is not a plain file; and nothing is visible in the store before all is checked. It
//! cannot check that a recipe gives these files: import only archives that you trust.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::artifact::{kind_of, meaning};
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs::{self, on};
use crate::base::name::is_relative_file;
use crate::base::watch::{self, Watch};

use super::commit::{PreparedFile, prepare_object};
use super::entry::Entry;
use super::files::FileRecord;
use super::key::CacheKey;
use super::stat::now_ns;
use super::store::Store;

/// The version of the archive's layout.
pub(super) const VERSION: u32 = 1;
/// The name of its first member.
pub(super) const CONTENTS: &str = "dpt-store.json";
/// The most bytes that this member or a manifest may have.
const LONGEST: u64 = 256 << 20;
/// The prefix of the folders in `work/` into which archives are unpacked.
pub(super) const UNPACKING: &str = "import-";

/// The first member.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Contents {
    pub version: u32,
    pub entries: BTreeSet<CacheKey>,
    pub objects: BTreeMap<String, u64>,
}

/// The contents of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// Entries.
    pub entries: usize,
    /// Objects.
    pub objects: usize,
    /// Bytes of the objects.
    pub bytes: u64,
}

/// The outcome of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// The contents of the archive.
    pub packed: ArchiveSummary,
    /// Entries that the store had already.
    pub known: usize,
    /// Objects that the store did not have.
    pub new_objects: usize,
    /// Keys whose results another process was making. These were not imported.
    pub busy: Vec<CacheKey>,
}

/// Writes these entries with all their files to an archive at `to`. A reader sees the whole archive or none. `watch`
/// may end the work; then nothing is left of it.
///
/// # Errors
/// Fails if an entry is missing, if a file of one is not what was stored, if the archive cannot be written, or with the
/// error of `watch`.
pub fn export(store: &Store, keys: &BTreeSet<CacheKey>, to: &Path, watch: &dyn Watch) -> Result<ArchiveSummary, Diag> {
    let _in_use = store.in_use()?;
    let mut entries = Vec::new();
    for key in keys {
        entries.push(store.entry(*key)?.ok_or_else(|| {
            Diag::error(Class::Usage, format!("there is no entry `{key}` in the store that could be read"))
        })?);
    }
    let objects: BTreeMap<Digest, u64> = entries.iter().flat_map(Entry::objects).collect();
    let (files, bytes) = (Some(objects.len() as u64), Some(objects.values().sum()));
    watch.begin(watch::Work { what: "exporting", files, bytes });
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    fault::point("pack.write").map_err(on("write", to))?;
    let beside = fs::beside(dir).map_err(on("write", to))?;
    let out = BufWriter::with_capacity(1 << 20, beside.as_file());
    if to.extension().is_some_and(|ending| ending == "gz" || ending == "tgz") {
        let packer = GzEncoder::new(out, Compression::fast());
        let packer = write_members(store, packer, &mut entries, &objects, to, watch)?;
        packer.finish().and_then(|mut out| out.flush()).map_err(on("write", to))?;
    } else {
        write_members(store, out, &mut entries, &objects, to, watch)?.flush().map_err(on("write", to))?;
    }
    beside.as_file().sync_all().map_err(on("sync", to))?;
    fault::point("pack.rename").map_err(on("write", to))?;
    beside.persist(to).map_err(|e| on("write", to)(e.error))?;
    fs::sync_dir(dir)?;
    Ok(ArchiveSummary { entries: entries.len(), objects: objects.len(), bytes: objects.values().sum() })
}

fn write_members<W: Write>(
    store: &Store,
    out: W,
    entries: &mut [Entry],
    objects: &BTreeMap<Digest, u64>,
    to: &Path,
    watch: &dyn Watch,
) -> Result<W, Diag> {
    let mut tar = tar::Builder::new(out);
    let contents = Contents {
        version: VERSION,
        entries: entries.iter().map(|entry| entry.key).collect(),
        objects: objects.iter().map(|(object, size)| (object.hex(), *size)).collect(),
    };
    let text = serde_json::to_string_pretty(&contents).expect("the contents are JSON");
    member(&mut tar, CONTENTS, text.len() as u64, text.as_bytes()).map_err(on("write", to))?;
    for entry in entries {
        let (name, text) = (entry_member(entry.key), entry.text());
        member(&mut tar, &name, text.len() as u64, text.as_bytes()).map_err(on("write", to))?;
    }
    for (object, size) in objects {
        let path = store.object(object);
        let reader = Asking { reader: fs::open(&path)?, watch };
        let mut reader = Hashing::new(BufReader::with_capacity(1 << 20, reader).take(*size));
        let written = member(&mut tar, &object_member(&object.hex()), *size, &mut reader);
        watch.check()?;
        written.map_err(on("write", to))?;
        watch.advance(1, 0);
        if reader.digest() != *object {
            let text = format!("object `{object}` is not what was stored: nothing was exported");
            return Err(Diag::error(Class::Store, text).help("`dpt run` sets it aside and makes it again"));
        }
    }
    Ok(tar.into_inner().map_err(on("write", to))?)
}

/// Imports all results of an archive that the store does not have. `watch` may end the work; then nothing of the
/// archive can be seen in the store.
///
/// # Errors
/// Fails if any part of the archive is wrong or missing, if the store cannot be written, or with the error of `watch`.
/// Then nothing of the archive can be seen in the store.
pub fn import(store: &Store, archive: &Path, watch: &(dyn Watch + Sync)) -> Result<ImportSummary, Diag> {
    let _in_use = store.in_use()?;
    let folder = store.root().join("work").join(format!("{UNPACKING}{}-{}", std::process::id(), now_ns()));
    fs::create_dir_all(&folder)?;
    let staging = Staging(folder);
    watch.begin(watch::Work { what: "unpacking", files: None, bytes: None });
    let mut parts = read_members(archive, &staging.0, watch)?;
    let here = |hex: &str| staging.0.join(hex);
    parts.entries.par_iter().flat_map_iter(|entry| entry.made.iter().flat_map(|made| &made.files)).try_for_each(
        |(name, file)| {
            watch.check()?;
            check_file(archive, name, file, &parts.objects, &here(&file.bytes.hex()))
        },
    )?;

    let mut imported = ImportSummary {
        packed: ArchiveSummary {
            entries: parts.entries.len(),
            objects: parts.objects.len(),
            bytes: parts.objects.values().sum(),
        },
        ..ImportSummary::default()
    };
    let mut ready = Vec::with_capacity(parts.objects.len());
    for (hex, size) in &parts.objects {
        watch.check()?;
        let bytes = hex.parse().expect("checked when it was read");
        drop(prepare_object(&here(hex))?);
        fault::point("import.object").map_err(on("write", store.root()))?;
        let file = FileRecord { logical: bytes, bytes, size: *size, executable: false };
        ready.push(PreparedFile { name: hex.clone(), path: here(hex), file, signature: None });
    }
    imported.new_objects = store.keep(&ready, true, watch)?;
    for entry in &mut parts.entries {
        match store.locks().try_take(entry.key)? {
            Ok(_lock) => imported.known += usize::from(!merge_entry(store, entry)?),
            Err(_) => imported.busy.push(entry.key),
        }
    }
    store.index().dirty = true;
    store.flush()?;
    Ok(imported)
}

/// Writes the manifest of an entry, or adds its results to the manifest that is there. Results that are there are not
/// replaced. Returns `true` if anything was new.
fn merge_entry(store: &Store, entry: &mut Entry) -> Result<bool, Diag> {
    let path = store.manifest(entry.key);
    let mut new = match Entry::read(&path, entry.key)? {
        None => entry.clone(),
        Some(Err(_)) => {
            store.set_aside(&path)?;
            entry.clone()
        }
        Some(Ok(mut own)) => {
            let others: Vec<_> = entry
                .made
                .iter()
                .filter(|made| own.made.iter().all(|known| known.numerics != made.numerics))
                .cloned()
                .collect();
            if others.is_empty() {
                return Ok(false);
            }
            others.into_iter().for_each(|made| own.put(made));
            own
        }
    };
    new.write(&path, true)?;
    Ok(true)
}

/// The folder into which an archive is unpacked. Removed when the import ends, whatever its outcome.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = crate::base::walk::remove(&self.0);
    }
}

/// The entries and objects of an archive, unpacked.
struct Parts {
    entries: Vec<Entry>,
    objects: BTreeMap<String, u64>,
}

fn entry_member(key: CacheKey) -> String {
    format!("entries/{}.json", key.hex())
}

pub(super) fn object_member(hex: &str) -> String {
    format!("objects/{hex}")
}

/// Adds a member without times and owners, so that equal contents give equal archives.
pub(super) fn member(tar: &mut tar::Builder<impl Write>, name: &str, size: u64, data: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o444);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, name, data)
}

fn bad(archive: &Path, what: impl std::fmt::Display) -> Diag {
    Diag::error(Class::Usage, format!("`{}` cannot be imported: {what}", archive.display()))
        .note("nothing was imported")
        .help("export it again with `dpt cache export`")
}

/// Reads all members; objects are written to `folder`. Checks everything that needs no other member.
fn read_members(archive: &Path, folder: &Path, watch: &dyn Watch) -> Result<Parts, Diag> {
    let bad = |what: String| bad(archive, what);
    let cut = |e: io::Error| bad(format!("it is cut short, or is not an archive: {e}"));
    let mut file = BufReader::with_capacity(1 << 20, fs::open(archive)?);
    let zipped = io::BufRead::fill_buf(&mut file).map_err(on("read", archive))?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut tar = tar::Archive::new(reader);
    let mut contents: Option<Contents> = None;
    let mut entries: BTreeMap<CacheKey, Entry> = BTreeMap::new();
    let mut objects = BTreeMap::new();
    for member in tar.entries().map_err(cut)? {
        watch.check()?;
        let mut member = member.map_err(cut)?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let size = member.size();
        if member.header().entry_type() != tar::EntryType::Regular {
            return Err(bad(format!("`{name}` is no plain file")));
        }
        let Some(announced) = &contents else {
            if name != CONTENTS {
                return Err(bad(format!("it begins with `{name}` instead of `{CONTENTS}`")));
            }
            contents = Some(read_contents(&mut member, size).map_err(bad)?);
            continue;
        };
        let hex = |head: &str, tail: &str| name.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
        if let Some(key) = hex("entries/", ".json").and_then(|hex| hex.parse().ok()).map(CacheKey)
            && name == entry_member(key)
            && announced.entries.contains(&key)
            && !entries.contains_key(&key)
        {
            let text = read_text(&mut member, size).map_err(bad)?;
            entries.insert(key, Entry::parse(&text, key).map_err(|what| bad(format!("entry {key}: {what}")))?);
        } else if let Some(hex) = hex("objects/", "")
            && let Some(announced) = announced.objects.get(hex)
            && !objects.contains_key(hex)
        {
            if *announced != size {
                return Err(bad(format!("object `{hex}` has {size} bytes, and the list says {announced}")));
            }
            let path = folder.join(hex);
            fault::point("import.unpack").map_err(on("write", &path))?;
            let mut file = File::create_new(&path).map_err(on("write", &path))?;
            let mut reader = Hashing::new(&mut member);
            let mut buffer = vec![0; 1 << 16];
            let mut copied = 0;
            loop {
                watch.check()?;
                let n = reader.read(&mut buffer).map_err(cut)?;
                if n == 0 {
                    break;
                }
                watch.advance(0, n as u64);
                copied += n as u64;
                file.write_all(&buffer[..n]).map_err(on("write", &path))?;
            }
            if copied != size || reader.digest().hex() != hex {
                return Err(bad(format!("object `{hex}` does not match its name")));
            }
            watch.advance(1, 0);
            objects.insert(hex.to_owned(), size);
        } else {
            return Err(bad(format!("it has `{name}`, which is not in its list")));
        }
    }
    let contents = contents.ok_or_else(|| bad("it is empty".to_owned()))?;
    if entries.len() < contents.entries.len() || objects.len() < contents.objects.len() {
        return Err(bad("it is cut short: members of its list are missing".to_owned()));
    }
    Ok(Parts { entries: entries.into_values().collect(), objects })
}

fn read_text(member: &mut impl Read, size: u64) -> Result<Vec<u8>, String> {
    if size > LONGEST {
        return Err(format!("a manifest of {size} bytes is too long"));
    }
    let mut text = Vec::new();
    member.read_to_end(&mut text).map_err(|e| format!("it is cut short: {e}"))?;
    Ok(text)
}

fn read_contents(member: &mut impl Read, size: u64) -> Result<Contents, String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let text = read_text(member, size)?;
    let wrong = |e: serde_json::Error| format!("its `{CONTENTS}` is not whole: {e}");
    let Versioned { version } = serde_json::from_slice(&text).map_err(wrong)?;
    if version != VERSION {
        return Err(format!("it has version {version}, and this `dpt` reads {VERSION}"));
    }
    let contents: Contents = serde_json::from_slice(&text).map_err(wrong)?;
    if let Some(odd) =
        contents.objects.keys().find(|hex| hex.parse::<Digest>().map(|d| d.hex()).ok() != Some((*hex).clone()))
    {
        return Err(format!("its list has an object `{odd}`, which is not a digest"));
    }
    Ok(contents)
}

/// Fails unless the archive has the object of a file of an entry, its name can be kept, and it means what the entry
/// says.
fn check_file(
    archive: &Path,
    name: &str,
    file: &FileRecord,
    objects: &BTreeMap<String, u64>,
    path: &Path,
) -> Result<(), Diag> {
    if !is_relative_file(name) {
        return Err(bad(archive, format!("a result has a file `{}`", name.escape_debug())));
    }
    if objects.get(&file.bytes.hex()) != Some(&file.size) {
        return Err(bad(archive, format!("it lacks the file `{name}` of a result")));
    }
    let logical = if kind_of(name).name == "bytes" { file.bytes } else { meaning(name, path)?.0 };
    if logical != file.logical {
        return Err(bad(archive, format!("`{name}` does not mean what its manifest says")));
    }
    Ok(())
}

/// A reader that checks the watch before each read. If the watch ends the work, the read fails; the caller asks the
/// watch again for the error.
struct Asking<'a, R> {
    reader: R,
    watch: &'a dyn Watch,
}

impl<R: Read> Read for Asking<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch.check().map_err(|diag| io::Error::other(diag.message))?;
        let n = self.reader.read(buffer)?;
        self.watch.advance(0, n as u64);
        Ok(n)
    }
}

/// A reader that hashes what it reads.
struct Hashing<R> {
    reader: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashing<R> {
    fn new(reader: R) -> Self {
        Self { reader, hasher: blake3::Hasher::new() }
    }

    fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}
