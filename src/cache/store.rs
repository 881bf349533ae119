//! [`Store`]: a folder of results, its paths, its locks and its index. It knows no graph and no stage. The other files
//! of this folder say what is done with a store: `lookup` reads a result, [`super::commit`] makes one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::artifact::byte_digest;
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs::{self, on};

use super::entry::{Entry, Stored};
use super::index::{self, Index, NodeHash, Prefetch};
use super::key::CacheKey;
use super::lock::{InUse, KeyLocks, open_own};
use super::manifest_dir::ManifestDir;
use super::object_dir::ObjectDir;
use super::stat::now_ns;
use super::work::WorkFolders;

/// The store below one folder. Threads share it, and so do processes. A second, shared store may be behind it, which is
/// only read: results are looked up here, then there; they are used where they lie; new ones are stored here.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    shared: Option<PathBuf>,
    /// The pipeline file for which it was opened, see [`Store::for_pipeline`].
    file: Option<String>,
    /// The working directory, where relative paths begin.
    here: PathBuf,
    objects: Arc<ObjectDir>,
    manifests: ManifestDir,
    index: Mutex<Index>,
    locks: KeyLocks,
    work: WorkFolders,
    /// The checks of objects that began in the background.
    prefetch: OnceLock<Arc<Prefetch>>,
    /// Results that were forgotten because their manifests cannot be read. The index on the disk must forget them too.
    lost: Mutex<BTreeSet<CacheKey>>,
}

/// The version of the store's layout, which is the name of its folder.
pub const LAYOUT: &str = "v1";

/// The file that processes lock while they use the store.
const IN_USE: &str = "in-use";

/// The file of which the maker of a key's result locks a byte.
const MAKING: &str = "making";

/// The folders of a store.
const FOLDERS: &[&str] = &["objects", "entries", "work", "quarantine", "runs"];

impl Store {
    /// Opens the store in `folder` (`cache/`). Creates it if there is none. An existing store that cannot be written
    /// can be opened and read.
    ///
    /// # Errors
    /// Fails if there is no store and none can be created.
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
        Self::at(root)
    }

    /// Opens the store in `folder` as it is, to read it: nothing is created.
    ///
    /// # Errors
    /// Fails if the path cannot be made absolute.
    pub fn peek(folder: &Path) -> Result<Self, Diag> {
        Self::at(std::path::absolute(folder).map_err(on("find", folder))?.join(LAYOUT))
    }

    fn at(root: PathBuf) -> Result<Self, Diag> {
        Ok(Self {
            shared: None,
            file: None,
            here: std::env::current_dir().map_err(on("find", Path::new(".")))?,
            objects: Arc::new(ObjectDir::open(&root.join("objects"))),
            manifests: ManifestDir::open(&root.join("entries")),
            index: Mutex::new(Index::read(&root.join("index"))),
            locks: KeyLocks::at(root.join(MAKING)),
            work: WorkFolders::at(root.join("work")),
            prefetch: OnceLock::new(),
            lost: Mutex::default(),
            root,
        })
    }

    /// Puts the store in `folder` behind this one. Nothing is ever written there.
    ///
    /// # Errors
    /// Fails if there is no store of this layout.
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
                    .help("use the `dpt` that wrote it, or fill another folder with this one"),
            });
        }
        let shared = root.join(LAYOUT);
        self.shared = (shared != self.root).then_some(shared);
        Ok(self)
    }

    /// Sets the pipeline file. The index remembers the nodes of each file apart, so that two files whose pipelines have
    /// one name are not mixed up. A file is known by its path from the parent of the store's folder, so that nothing is
    /// lost when both move together.
    pub fn for_pipeline(mut self, file: &Path) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let project = real(self.root.parent().and_then(Path::parent).unwrap_or(Path::new("/")));
        let file = self.here.join(file);
        // A link is not followed: the pipeline's relative paths begin in the link's own folder.
        let file = real(file.parent().unwrap_or(Path::new("/"))).join(file.file_name().unwrap_or_default());
        let common = project.components().zip(file.components()).take_while(|(a, b)| a == b).count();
        let up = project.components().skip(common).map(|_| "..".into());
        let down = file.components().skip(common).map(|part| part.as_os_str().to_string_lossy());
        let parts: Vec<std::borrow::Cow<str>> = up.chain(down).collect();
        // It is written into lines of text.
        self.file = Some(parts.join("/").replace(char::is_control, "?"));
        self
    }

    /// The pipeline file: its path from the parent of the store's folder.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The name under which the index remembers the nodes of a pipeline.
    pub(super) fn memory(&self, pipeline: &str) -> String {
        match &self.file {
            Some(file) => format!("{pipeline}\n{file}"),
            None => pipeline.to_owned(),
        }
    }

    /// Returns `true` if the index remembers nodes of the [pipeline file](Self::for_pipeline) under `name`.
    pub(super) fn is_memory(&self, name: &str) -> bool {
        self.file.as_ref().is_some_and(|file| name.strip_suffix(file.as_str()).is_some_and(|name| name.ends_with('\n')))
    }

    /// Opens the same store as it is now, for another pipeline file.
    ///
    /// # Errors
    /// As [`Self::peek`].
    pub fn again_for(&self, file: &Path) -> Result<Self, Diag> {
        let mut store = Self::peek(self.root.parent().unwrap_or(&self.root))?.for_pipeline(file);
        store.shared.clone_from(&self.shared);
        Ok(store)
    }

    /// The folder of this layout of the shared store, if there is one.
    pub fn shared(&self) -> Option<&Path> {
        self.shared.as_deref()
    }

    /// Locks the store against `gc` until the returned value is dropped. If another process has written the index since
    /// it was read, or has cleared up, the index is read again, and results of a prefetch no longer count.
    ///
    /// # Errors
    /// Fails if the store can be written and has no locks.
    pub fn in_use(&self) -> Result<InUse, Diag> {
        let (own, waited) = InUse::shared(&self.root.join(IN_USE))?;
        Ok(self.now_in_use(own, waited))
    }

    /// As [`Self::in_use`], for a process that only reads: nothing is created, and a store without a lock file is not
    /// waited for.
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

    /// Locks the store against all other processes. Returns `None` if one uses it.
    ///
    /// # Errors
    /// Fails if the store cannot be written, or has no locks.
    pub fn alone(&self) -> Result<Option<InUse>, Diag> {
        Ok(InUse::alone(&self.root.join(IN_USE))?)
    }

    /// The folder of a pipeline's store unless the user names another: `cache/` in the nearest folder above the
    /// pipeline file that has a `cache/`, `.git` or `Cargo.toml`, else beside the file. `path` may also be a folder to
    /// begin in.
    pub fn folder_for(path: &Path) -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let own = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
        let marks = ["cache", ".git", "Cargo.toml"];
        own.ancestors().find(|dir| marks.iter().any(|mark| dir.join(mark).exists())).unwrap_or(own).join("cache")
    }

    /// Copies the files of a result into `folder` under their own names. (Objects in the store have no names.) A file
    /// that is there already with the same bytes is left as it is. Returns the paths.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
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

    /// The folder of this layout, `cache/v1`, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn objects(&self) -> &Arc<ObjectDir> {
        &self.objects
    }

    /// Where a prefetch is kept once it has begun.
    pub(super) fn prefetch_slot(&self) -> &OnceLock<Arc<Prefetch>> {
        &self.prefetch
    }

    /// Returns `true` if a key has a manifest, here or in the shared store.
    pub(super) fn has_manifest(&self, key: CacheKey) -> bool {
        let shared = || self.shared.as_ref().is_some_and(|root| manifest_in(root, key).is_file());
        self.manifests.has(key) || shared()
    }

    /// For each key, returns `true` if it has a manifest. Results without one are forgotten.
    pub(super) fn check_manifests(&self, keys: impl Iterator<Item = Option<CacheKey>>) -> Vec<bool> {
        self.manifests.check(&mut self.index(), keys, &|key| self.has_manifest(key))
    }

    /// `path` as an absolute path.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        self.here.join(path)
    }

    /// The folder of the journals.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The path of the object with these bytes: here, or in the shared store if only that has it.
    pub fn object(&self, bytes: &Digest) -> PathBuf {
        let own = self.own_object(bytes);
        match self.shared_object(bytes) {
            Some(shared) if !own.exists() && shared.exists() => shared,
            _ => own,
        }
    }

    /// The path that the object with these bytes has in this store, whether it is there or not.
    pub(super) fn own_object(&self, bytes: &Digest) -> PathBuf {
        split(self.root.join("objects"), &bytes.hex(), "")
    }

    /// The path that it has in the shared store, whether it is there or not.
    pub(super) fn shared_object(&self, bytes: &Digest) -> Option<PathBuf> {
        self.shared.as_ref().map(|root| split(root.join("objects"), &bytes.hex(), ""))
    }

    /// The paths of a result's files, by name.
    pub fn paths(&self, stored: &Stored) -> BTreeMap<String, PathBuf> {
        stored.files.iter().map(|(name, file)| (name.clone(), self.object(&file.bytes))).collect()
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path that the manifest of `key` has in this store, whether it is there or not.
    pub(super) fn manifest(&self, key: CacheKey) -> PathBuf {
        manifest_in(&self.root, key)
    }

    /// The path of the manifest of `key`: here, or in the shared store if only that has it.
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

    /// Reads the manifest of a key. If there is none that can be read, returns `None`, and the index forgets the
    /// result, so that the next run makes it again.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn entry(&self, key: CacheKey) -> Result<Option<Entry>, Diag> {
        let entry = Entry::read(&self.manifest_of(key), key)?.and_then(Result::ok);
        if entry.is_none() {
            self.forget(key);
        }
        Ok(entry)
    }

    /// Makes the index forget the result under `key`, in this process and in later ones. Returns `true` if it knew one.
    pub(super) fn forget(&self, key: CacheKey) -> bool {
        let known = self.index().forget(key);
        if known {
            self.lost().insert(key);
        }
        known
    }

    /// The keys that this process has forgotten because their manifests cannot be read.
    pub(super) fn lost(&self) -> MutexGuard<'_, BTreeSet<CacheKey>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a damaged file to `quarantine/`, under a name that says what it was. A file in the shared store stays.
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

    /// Remembers the key under which a node was found or made. Stale reasons compare with it.
    pub fn remember(&self, pipeline: &str, node: &(impl Display + ?Sized), key: CacheKey) {
        let mut index = self.index();
        index.dirty |= index.last.insert(&self.memory(pipeline), NodeHash::of(node), key);
    }

    /// The keys under which the nodes of all pipelines were last found or made.
    pub fn last_keys(&self) -> BTreeSet<CacheKey> {
        self.index().last.all().into_values().flatten().map(|(_, key)| key).collect()
    }

    /// Removes the working folders that were kept for further nodes.
    pub fn clear_away(&self) {
        self.work.clear_away();
    }

    /// Writes the index if something in it changed. To lose the index only costs time.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn flush(&self) -> Result<(), Diag> {
        let mut index = self.index();
        if !index.dirty {
            return Ok(());
        }
        self.write_index(&mut index, false)
    }

    /// As [`Self::flush`], at the end of a run: the nodes of the pipeline are written in the order of `nodes`, which is
    /// that in which the next run asks for them.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn flush_in_order(&self, pipeline: &str, nodes: impl Iterator<Item = impl Display>) -> Result<(), Diag> {
        let mut index = self.index();
        if index.dirty {
            index.last.order(&self.memory(pipeline), nodes.map(|node| NodeHash::of(&node)));
        }
        drop(index);
        self.flush()
    }

    /// Writes the index under its lock, synced if `durable`.
    pub(super) fn write_index(&self, index: &mut Index, durable: bool) -> Result<(), Diag> {
        let path = self.root.join("index");
        let lock = self.root.join("index.lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let held = fault::point("index.lock").and_then(|()| open_own(&options, &lock)).map_err(on("write", &lock))?;
        held.lock().map_err(on("lock", &lock))?;
        // First, so that the results of other processes are confirmed too.
        index.catch_up(&path, false);
        self.manifests.confirm(index, &|key| self.has_manifest(key));
        Ok(index::write(index, &path, durable)?)
    }
}

impl Drop for Store {
    /// Writes what was forgotten, whatever else the command did. Otherwise each later run would call these results
    /// fresh.
    fn drop(&mut self) {
        if !self.lost().is_empty() {
            // If the store cannot be written, each command finds the loss again.
            let _ = self.flush();
        }
    }
}

/// The path that the manifest of `key` has in the store at `root`.
pub(super) fn manifest_in(root: &Path, key: CacheKey) -> PathBuf {
    split(root.join("entries"), &key.hex(), ".json")
}

/// Lets everyone execute a file who may read it.
fn make_executable(file: &File) -> std::io::Result<()> {
    let mode = file.metadata()?.mode() & 0o777;
    file.set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2))
}

/// Returns `folder/ab/cdef…` with an ending.
fn split(mut folder: PathBuf, hex: &str, ending: &str) -> PathBuf {
    folder.push(&hex[..2]);
    folder.push(format!("{}{ending}", &hex[2..]));
    folder
}
