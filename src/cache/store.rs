//! [`Store`]: where results lie. Looking takes nothing but a few stats where nothing changed; a miss hands out the right
//! to write ([`Miss`]). Knows no graph and no stage.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::artifact::byte_digest;
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs::{self, on};
use crate::base::watch::{Unwatched, Watch};

use super::commit::Miss;
use super::entry::{Entry, Stored};
use super::index::prefetch::Prefetch;
use super::index::{Index, NodeHash};
use super::key::CacheKey;
use super::lock::{Holder, InUse, KeyLocks, open_own};
use super::manifest_dir::ManifestDir;
use super::object_dir::ObjectDir;
use super::stat::now_ns;
use super::work::WorkFolders;

/// Which of the makings under a key count, by their numerics.
pub type AcceptNumerics<'a> = &'a dyn Fn(&BTreeMap<String, String>) -> bool;

/// What lies under a key.
#[derive(Debug)]
pub enum Lookup {
    /// A result that counts, all its files as they were stored.
    Hit(Arc<Stored>),
    /// Nothing.
    Missing,
    /// Results made under other numerics alone: those of the first.
    Other(BTreeMap<String, String>),
    /// A result with parts that are not what was stored.
    Damaged(Vec<Damage>),
}

/// What a claim gives.
#[derive(Debug)]
pub enum Claim<'a> {
    /// A result that counts: made by another process in the meantime, perhaps.
    Hit(Arc<Stored>),
    /// Another process is making it.
    Busy(Holder),
    /// It is yours to make.
    Miss(Box<Miss<'a>>),
}

/// A part of an entry that is not what was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What, in a phrase: `` `adapter.safetensors` is not what was stored ``.
    pub what: String,
    /// Facts: recorded and found.
    pub note: Option<String>,
    /// The file that is damaged; not there when it is missing.
    pub(super) path: PathBuf,
}

/// The store below one folder. Shared by threads, and with other processes. It may stand before a second one that is only
/// read: results are looked for here, then there, used where they lie, and made here.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    shared: Option<PathBuf>,
    /// The pipeline file for which it was opened, see [`Store::for_pipeline`].
    file: Option<String>,
    /// Where relative paths start.
    here: PathBuf,
    objects: Arc<ObjectDir>,
    manifests: ManifestDir,
    index: Mutex<Index>,
    locks: KeyLocks,
    work: WorkFolders,
    /// What was begun to be asked of the system.
    ahead: OnceLock<Arc<Prefetch>>,
    /// Results that were forgotten because their manifests cannot be read: this must reach the index on the disk.
    lost: Mutex<BTreeSet<CacheKey>>,
}

/// The layout that this `dpt` reads and writes: a folder's name.
pub const LAYOUT: &str = "v1";

/// The file by whose lock processes say that they use the store.
const IN_USE: &str = "in-use";

/// The file of which makers lock their keys.
const MAKING: &str = "making";

/// The folders of a store.
const FOLDERS: &[&str] = &["objects", "entries", "work", "quarantine", "runs"];

impl Store {
    /// Opens the store in `folder` (`cache/`), and makes it where there is none. A store that is there and cannot be
    /// written can be opened and read.
    ///
    /// # Errors
    /// When there is none and it cannot be made.
    pub fn open(folder: &Path) -> Result<Self, Diag> {
        let root = std::path::absolute(folder).map_err(on("find", folder))?.join(LAYOUT);
        if !FOLDERS.iter().all(|name| root.join(name).is_dir()) {
            for name in FOLDERS {
                let made = fault::point("store.create").map_err(on("create", &root.join(name)));
                made.and_then(|()| fs::create_dir_all(&root.join(name))).map_err(|e| {
                    let diag = Diag::from(e);
                    Diag { class: Class::Environment, ..diag }
                        .help("results are stored there: name a folder that can be written with `--cache DIR`")
                })?;
            }
            let ignore = root.join(".gitignore");
            if !ignore.exists() {
                fs::write_atomic(&ignore, b"*\n")?;
            }
        }
        let index = Mutex::new(Index::read(&root.join("index")));
        Self::of(root, index)
    }

    fn of(root: PathBuf, index: Mutex<Index>) -> Result<Self, Diag> {
        let here = std::env::current_dir().map_err(on("find", Path::new(".")))?;
        let objects = Arc::new(ObjectDir::open(&root.join("objects")));
        let (locks, work) = (KeyLocks::at(root.join(MAKING)), WorkFolders::at(root.join("work")));
        let manifests = ManifestDir::open(&root.join("entries"));
        let (ahead, lost) = (OnceLock::new(), Mutex::default());
        Ok(Self { root, shared: None, file: None, here, objects, manifests, index, locks, work, ahead, lost })
    }

    /// With the store in `folder` behind it, of which nothing is ever written.
    ///
    /// # Errors
    /// When there is no store of this layout.
    pub fn with_shared(mut self, folder: &Path) -> Result<Self, Diag> {
        let root = std::path::absolute(folder).map_err(on("find", folder))?;
        if !root.join(LAYOUT).join("entries").is_dir() {
            let diag = Diag::error(Class::Usage, format!("there is no store to read in `{}`", folder.display()));
            let newer = std::fs::read_dir(&root).into_iter().flatten().flatten();
            let mut layouts: Vec<_> = newer.map(|item| item.file_name().to_string_lossy().into_owned()).collect();
            layouts.retain(|name| name.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok()));
            layouts.sort();
            return Err(match layouts.as_slice() {
                [] => {
                    diag.help(format!("name a folder that a run with `--cache DIR` has filled: it has a `{LAYOUT}/`"))
                }
                all => diag
                    .note(format!("it has layout {}; this `dpt` reads {LAYOUT}", all.join(", ")))
                    .help("use the `dpt` that wrote it, or let this one fill another"),
            });
        }
        let shared = root.join(LAYOUT);
        self.shared = (shared != self.root).then_some(shared);
        Ok(self)
    }

    /// For a pipeline file: what is remembered of its nodes is not mixed up with what is remembered of another file whose
    /// pipeline has the same name. The file is known by its path from the folder in which the store's folder lies, so
    /// that nothing is lost when both move together.
    pub fn for_pipeline(mut self, file: &Path) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let project = real(self.root.parent().and_then(Path::parent).unwrap_or(Path::new("/")));
        let file = self.here.join(file);
        // Not what a link leads to: the link's own folder is where the pipeline's relative paths begin.
        let file = real(file.parent().unwrap_or(Path::new("/"))).join(file.file_name().unwrap_or_default());
        let common = project.components().zip(file.components()).take_while(|(a, b)| a == b).count();
        let up = project.components().skip(common).map(|_| "..".into());
        let down = file.components().skip(common).map(|part| part.as_os_str().to_string_lossy());
        let parts: Vec<std::borrow::Cow<str>> = up.chain(down).collect();
        // It is written to lines of text.
        self.file = Some(parts.join("/").replace(char::is_control, "?"));
        self
    }

    /// The pipeline file for which it was opened: its path from the folder in which the store's folder lies.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Under which name the nodes of a pipeline are remembered.
    pub(super) fn memory(&self, pipeline: &str) -> String {
        match &self.file {
            Some(file) => format!("{pipeline}\n{file}"),
            None => pipeline.to_owned(),
        }
    }

    /// The same store as it is now, to look at for another pipeline file.
    ///
    /// # Errors
    /// As [`Self::peek`].
    pub fn again_for(&self, file: &Path) -> Result<Self, Diag> {
        let mut store = Self::peek(self.root.parent().unwrap_or(&self.root))?.for_pipeline(file);
        store.shared.clone_from(&self.shared);
        Ok(store)
    }

    /// The store that is only read, if there is one: its folder of this layout.
    pub fn shared(&self) -> Option<&Path> {
        self.shared.as_deref()
    }

    /// Says that this process uses the store until what is returned is dropped: meanwhile nobody removes from it. What was
    /// known before no longer counts if somebody cleared up since: then the index is read again, and what was
    /// [asked ahead](Self::look_ahead) is asked anew.
    ///
    /// # Errors
    /// When the store can be written and has no locks.
    pub fn in_use(&self) -> Result<InUse, Diag> {
        let (own, waited) = InUse::shared(&self.root.join(IN_USE))?;
        Ok(self.now_in_use(own, waited))
    }

    /// As [`Self::in_use`], for a process that only looks: nothing is made, and a store that nobody locks is none to wait for.
    pub fn looked_at(&self) -> InUse {
        let (own, waited) = InUse::reading(&self.root.join(IN_USE));
        self.now_in_use(own, waited)
    }

    fn now_in_use(&self, own: InUse, waited: bool) -> InUse {
        self.index().catch_up(&self.root.join("index"), waited);
        match &self.shared {
            Some(root) => own.and(InUse::reading(&root.join(IN_USE)).0),
            None => own,
        }
    }

    /// Locks the folder of results until the returned file is dropped. Waits for others.
    ///
    /// # Errors
    /// Fails if the store cannot be written, or if its file system has no locks.
    pub fn lock_results(&self) -> Result<File, Diag> {
        let path = self.root.join("results.lock");
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(on("lock", &path))?;
        file.lock().map_err(on("lock", &path))?;
        Ok(file)
    }

    /// Says that this process alone uses the store; `None` when others do.
    ///
    /// # Errors
    /// When the store cannot be written, or has no locks.
    pub fn alone(&self) -> Result<Option<InUse>, Diag> {
        Ok(InUse::alone(&self.root.join(IN_USE))?)
    }

    /// The store in `folder` as it is, to look at: nothing is made where there is none.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn peek(folder: &Path) -> Result<Self, Diag> {
        let root = std::path::absolute(folder).map_err(on("find", folder))?.join(LAYOUT);
        let index = Mutex::new(Index::read(&root.join("index")));
        Self::of(root, index)
    }

    /// Where a pipeline's store lies unless the user says otherwise: `cache/` in the nearest folder above the pipeline
    /// file (or from a folder on, where `path` is one) that has a `cache/`, `.git` or `Cargo.toml`, else beside the file.
    pub fn folder_for(path: &Path) -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let own = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
        let marks = ["cache", ".git", "Cargo.toml"];
        own.ancestors().find(|dir| marks.iter().any(|mark| dir.join(mark).exists())).unwrap_or(own).join("cache")
    }

    /// Copies the files of a result into `folder`, under their own names, for people and their programs: objects in the
    /// store have no names. What is there already with the same bytes is left alone.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn export(&self, stored: &Stored, folder: &Path) -> Result<Vec<PathBuf>, Diag> {
        let mut paths = Vec::new();
        for (name, file) in stored.files.iter() {
            let to = folder.join(name);
            let there = std::fs::metadata(&to).is_ok_and(|meta| {
                meta.is_file() && meta.len() == file.size && (meta.mode() & 0o100 != 0) == file.executable
            });
            if !there || byte_digest(&to)? != file.bytes {
                let dir = to.parent().expect("a file lies in a folder");
                fs::create_dir_all(dir)?;
                fault::point("copy.write").map_err(on("write", &to))?;
                let beside = fs::beside(dir).map_err(on("write", &to))?;
                let object = fs::open(&self.object(&file.bytes))?;
                fs::copy_into(&object, beside.as_file()).map_err(on("write", &to))?;
                if file.executable {
                    make_executable(beside.as_file()).map_err(on("write", &to))?;
                }
                fault::point("copy.rename").map_err(on("write", &to))?;
                beside.persist(&to).map_err(|e| on("write", &to)(e.error))?;
            }
            paths.push(to);
        }
        Ok(paths)
    }

    /// The folder of this layout: `cache/v1`, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn objects(&self) -> &Arc<ObjectDir> {
        &self.objects
    }

    pub(super) fn manifests(&self) -> &ManifestDir {
        &self.manifests
    }

    pub(super) fn ahead(&self) -> &OnceLock<Arc<Prefetch>> {
        &self.ahead
    }

    /// `path`, from the working folder on where it is relative.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        self.here.join(path)
    }

    /// Where journals lie.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Where the object with these bytes lies: here, or in the shared store where it is there alone.
    pub fn object(&self, bytes: &Digest) -> PathBuf {
        let own = self.own_object(bytes);
        match self.shared_object(bytes) {
            Some(shared) if !own.exists() && shared.exists() => shared,
            _ => own,
        }
    }

    /// Where the object with these bytes lies, or would, in the store that is written.
    pub(super) fn own_object(&self, bytes: &Digest) -> PathBuf {
        split(self.root.join("objects"), &bytes.hex(), "")
    }

    /// Where it lies, or would, in the store that is only read.
    pub(super) fn shared_object(&self, bytes: &Digest) -> Option<PathBuf> {
        self.shared.as_ref().map(|root| split(root.join("objects"), &bytes.hex(), ""))
    }

    /// Where the files of a result lie, by name.
    pub fn paths(&self, stored: &Stored) -> BTreeMap<String, PathBuf> {
        stored.files.iter().map(|(name, file)| (name.clone(), self.object(&file.bytes))).collect()
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn manifest(&self, key: CacheKey) -> PathBuf {
        manifest_in(&self.root, key)
    }

    /// Where the manifest of `key` is: here, or in the shared store where it is there alone.
    pub(super) fn manifest_of(&self, key: CacheKey) -> PathBuf {
        let own = self.manifest(key);
        match self.shared.as_ref().map(|root| manifest_in(root, key)) {
            Some(shared) if !own.exists() && shared.exists() => shared,
            _ => own,
        }
    }

    /// The locks of all keys.
    pub(super) fn locks(&self) -> &KeyLocks {
        &self.locks
    }

    /// The folders of running nodes.
    pub(super) fn work(&self) -> &WorkFolders {
        &self.work
    }

    /// The whole entry under a key; `None` when there is none that can be read. Then the index forgets the result, so that
    /// the next run makes again what this caller misses.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn entry(&self, key: CacheKey) -> Result<Option<Entry>, Diag> {
        let entry = Entry::read(&self.manifest_of(key), key)?.and_then(Result::ok);
        if entry.is_none() {
            self.forget(key);
        }
        Ok(entry)
    }

    /// The result under `key` is not to be taken from the index, here or in a later process. Whether the index had it.
    pub(super) fn forget(&self, key: CacheKey) -> bool {
        let known = self.index().forget(key);
        if known {
            self.lost().insert(key);
        }
        known
    }

    /// The results that this process has forgotten because their manifests cannot be read.
    pub(super) fn lost(&self) -> MutexGuard<'_, BTreeSet<CacheKey>> {
        self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the right to make the result of `key`. Never waits. What is damaged is set aside.
    ///
    /// With `force`, what is there does not count.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn claim(&self, key: CacheKey, wanted: AcceptNumerics, force: bool) -> Result<Claim<'_>, Diag> {
        self.claim_watched(key, wanted, force, &Unwatched)
    }

    pub(super) fn claim_watched(
        &self,
        key: CacheKey,
        wanted: AcceptNumerics,
        force: bool,
        watch: &(dyn Watch + Sync),
    ) -> Result<Claim<'_>, Diag> {
        let lock = match self.locks.try_take(key).map_err(|e| self.unwritable(e))? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Claim::Busy(holder)),
        };
        let mut damage = Vec::new();
        if !force {
            match self.look_watched(key, wanted, watch)? {
                Lookup::Hit(stored) => return Ok(Claim::Hit(stored)),
                Lookup::Missing | Lookup::Other(_) => {}
                Lookup::Damaged(parts) => {
                    let mut index = self.index();
                    index.results.remove(&key);
                    index.dirty = true;
                    drop(index);
                    parts.iter().try_for_each(|part| self.set_aside(&part.path))?;
                    damage = parts;
                }
            }
        }
        Miss::new(self, key, lock, damage).map(|miss| Claim::Miss(Box::new(miss)))
    }

    /// A store that can be read and not written: what to do instead.
    fn unwritable(&self, error: fs::FsError) -> Diag {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        if !matches!(error.source.kind(), PermissionDenied | ReadOnlyFilesystem) {
            return error.into();
        }
        let folder = self.root.parent().unwrap_or(&self.root).display();
        let text = format!("the store `{folder}` can be read and not written, and a result is to be made");
        Diag::error(Class::Environment, text).note(error.to_string()).help(format!(
            "store results elsewhere, and use those that are here: `--cache DIR --shared-store {folder}`"
        ))
    }

    /// Moves a damaged file out of the way, under a name that says what it was. One in the shared store stays.
    pub(super) fn set_aside(&self, path: &Path) -> Result<(), Diag> {
        if !path.starts_with(&self.root) {
            return Ok(());
        }
        let name: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
        let to = self.root.join("quarantine").join(format!("{}{}.{}", name[1], name[0], now_ns()));
        match fault::point("quarantine.rename").and_then(|()| std::fs::rename(path, &to)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(on("set aside", path)(e).into()),
            _ => Ok(()),
        }
    }

    /// The key under which a node was last found or made.
    pub fn last_key(&self, pipeline: &str, node: &(impl Display + ?Sized)) -> Option<CacheKey> {
        self.index().last.get(&self.memory(pipeline), NodeHash::of(node))
    }

    /// Remembers the key under which a node was found or made, so that reasons can name old values.
    pub fn remember(&self, pipeline: &str, node: &(impl Display + ?Sized), key: CacheKey) {
        let mut index = self.index();
        index.dirty |= index.last.insert(&self.memory(pipeline), NodeHash::of(node), key);
    }

    /// In which order the nodes of a pipeline are asked for: to be found quickly, they are remembered in the same.
    pub fn order(&self, pipeline: &str, nodes: impl Iterator<Item = impl Display>) {
        let mut index = self.index();
        if index.dirty {
            index.last.order(&self.memory(pipeline), nodes.map(|node| NodeHash::of(&node)));
        }
    }

    /// Removes what was put by for nodes to come: none will.
    pub fn clear_away(&self) {
        self.work.clear_away();
    }

    /// Writes the index, if there is anything new in it. Losing it costs time alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&self) -> Result<(), Diag> {
        let mut index = self.index();
        if !index.dirty {
            return Ok(());
        }
        self.write_index(&mut index, false)
    }

    /// Writes the index, synced if it is to be `durable`.
    pub(super) fn write_index(&self, index: &mut Index, durable: bool) -> Result<(), Diag> {
        let path = self.root.join("index");
        let lock = self.root.join("index.lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let held = fault::point("index.lock").and_then(|()| open_own(&options, &lock)).map_err(on("write", &lock))?;
        held.lock().map_err(on("lock", &lock))?;
        // First, so that what others learnt is confirmed too.
        index.catch_up(&path, false);
        self.confirm_manifests(index);
        Ok(index.write(&path, durable)?)
    }
}

impl Drop for Store {
    /// That a result is lost is kept, whatever else the command did: else each run would call it fresh.
    fn drop(&mut self) {
        if !self.lost().is_empty() {
            // In a store that cannot be written it is found lost each time.
            let _ = self.flush();
        }
    }
}

/// Where the manifest of `key` lies below a store's folder of this layout.
pub(super) fn manifest_in(root: &Path, key: CacheKey) -> PathBuf {
    split(root.join("entries"), &key.hex(), ".json")
}

/// Lets those execute a file who may read it.
fn make_executable(file: &File) -> std::io::Result<()> {
    let mode = file.metadata()?.mode() & 0o777;
    file.set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2))
}

/// `folder/ab/cdef…` and an ending.
fn split(mut folder: PathBuf, hex: &str, ending: &str) -> PathBuf {
    folder.push(&hex[..2]);
    folder.push(format!("{}{ending}", &hex[2..]));
    folder
}
