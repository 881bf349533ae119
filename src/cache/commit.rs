//! Makes a result: [`Store::claim`] takes the lock of its key, and [`Miss`] is the right to make it. A miss hands out
//! folders to work in, and [`Miss::commit`] stores what the stage wrote there.
//!
//! The order of writing, so that a kill at any point leaves a store that is right:
//!
//! 1. the stage writes to `work/KEY/out`, under the lock;
//! 2. each file is made read-only, dated back (see [`super::stat`]) and hashed; then all are synced at once;
//! 3. each is renamed to its place in `objects/`, then the folders are synced: an object that nothing names does no
//!    harm;
//! 4. the manifest is written beside, synced, renamed: now the result is there;
//! 5. `work/KEY` goes (it is handed on to the next node, see `work`), then the lock.
//!
//! A result that took less than `WORTH_SYNCING` to make is not synced, because a sync takes about as long as making it
//! again. A power cut may leave such a file empty, or full of other bytes. It is never taken for the result: after a
//! restart of the machine, what was not synced is hashed before it is used (see `index`), reported as damaged,
//! and made again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifact::{Known, each, kind_of};
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs::{self, on};
use crate::base::name::is_relative_file;
use crate::base::walk;
use crate::base::watch::{self, Unwatched, Watch};

use super::durable::sync_all;
use super::entry::{Entry, MadeResult, Stored};
use super::files::FileRecord;
use super::index::ObjectMemo;
use super::key::CacheKey;
use super::lock::{Holder, KeyLock};
use super::lookup::{AcceptNumerics, Damage, Lookup};
use super::recipe::Recipe;
use super::stat::{Signature, date_back, now_ns};
use super::store::Store;
use super::work::WorkFolder;

/// How deep files may lie. Names have at most 255 bytes, so no file whose name can be kept lies deeper.
const DEEPEST: usize = 128;
/// A result that took this many seconds to make is synced to the disk before it counts as stored.
const WORTH_SYNCING: f64 = 0.1;

/// What [`Store::claim`] returns.
#[derive(Debug)]
pub enum Claim<'a> {
    /// A result that counts. Another process may have made it since the lookup.
    Hit(Arc<Stored>),
    /// Another process is making it.
    Busy(Holder),
    /// The right to make it.
    Miss(Box<Miss<'a>>),
}

impl Store {
    /// Takes the right to make the result of `key`. Never waits. Damaged parts are set aside. With `force`, a result
    /// that is there does not count.
    ///
    /// # Errors
    /// Fails if the store cannot be read or written.
    pub fn claim(&self, key: CacheKey, accept: AcceptNumerics, force: bool) -> Result<Claim<'_>, Diag> {
        self.claim_watched(key, accept, force, &Unwatched)
    }

    pub(super) fn claim_watched(
        &self,
        key: CacheKey,
        accept: AcceptNumerics,
        force: bool,
        watch: &(dyn Watch + Sync),
    ) -> Result<Claim<'_>, Diag> {
        let lock = match self.locks().try_take(key).map_err(|e| self.unwritable(e))? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Claim::Busy(holder)),
        };
        let mut damage = Vec::new();
        if !force {
            match self.lookup_watched(key, accept, watch)? {
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

    /// If the store is read-only, says what to do instead.
    fn unwritable(&self, error: fs::FsError) -> Diag {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        if !matches!(error.source.kind(), PermissionDenied | ReadOnlyFilesystem) {
            return error.into();
        }
        let folder = self.root().parent().unwrap_or(self.root()).display();
        let text = format!("the store `{folder}` is read-only, and a new result must be stored");
        Diag::error(Class::Environment, text).note(error.to_string()).help(format!(
            "store results elsewhere, and read those that are here: `--cache DIR --shared-store {folder}`"
        ))
    }
}

/// The right to make the result of one key. If it is dropped without [`Miss::commit`], the scratch folder stays.
#[derive(Debug)]
pub struct Miss<'a> {
    store: &'a Store,
    key: CacheKey,
    damage: Vec<Damage>,
    done: bool,
    folder: WorkFolder<'a>,
    // Dropped last: the folder belongs to this process while the lock is held.
    _lock: KeyLock<'a>,
}

/// What is recorded of a result besides the files that the stage wrote.
#[derive(Clone, Debug, Default)]
pub struct CommitInfo {
    /// The node it was made for.
    pub node: String,
    /// The run that made it.
    pub run: String,
    /// How long the stage ran.
    pub seconds: f64,
    /// Named figures. A figure that is not finite is kept as a note.
    pub metrics: BTreeMap<String, f64>,
    /// Device, libtorch, threads: what shaped floating-point results without being asked for.
    pub numerics: BTreeMap<String, String>,
    /// Lines for the user.
    pub notes: Vec<String>,
    /// Files whose bytes were hashed while they were downloaded or written. They are not hashed again.
    pub hashed: BTreeMap<String, Known>,
    /// Files that were not written to disk, as their bytes.
    pub given: BTreeMap<String, Vec<u8>>,
    /// `true` if a program of the user wrote the files. Then a file that is not what its ending says counts by its
    /// bytes, with a note, and is no error.
    pub foreign: bool,
}

impl<'a> Miss<'a> {
    fn new(store: &'a Store, key: CacheKey, lock: KeyLock<'a>, damage: Vec<Damage>) -> Result<Self, Diag> {
        let folder = store.work().take(key)?;
        Ok(Self { store, key, damage, done: false, folder, _lock: lock })
    }

    /// The key.
    pub fn key(&self) -> CacheKey {
        self.key
    }

    /// The parts of an older result that were damaged, and set aside.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The folder where the stage writes its files.
    pub fn out(&self) -> PathBuf {
        self.folder.out()
    }

    /// A folder that outlives a kill. It is emptied when the result is stored.
    pub fn scratch(&self) -> PathBuf {
        self.folder.scratch()
    }

    /// A folder that is handed on with its contents to a node that runs later.
    pub fn reuse(&self) -> PathBuf {
        self.folder.reuse()
    }

    /// The names of the files that the stage wrote, sorted.
    ///
    /// # Errors
    /// Fails if there is anything other than plain files and folders, or a name that cannot be kept.
    pub fn written(&self) -> Result<Vec<String>, Diag> {
        let mut names = list(&self.out())?;
        names.sort();
        Ok(names)
    }

    /// Stores the files as the result of the key.
    ///
    /// # Errors
    /// Fails if a file is not what its ending says and is not foreign, or if the store cannot be written. Then nothing
    /// is stored, and the scratch folder stays.
    pub fn commit(self, recipe: &Recipe, info: CommitInfo) -> Result<Arc<Stored>, Diag> {
        self.commit_watched(recipe, info, &|_| (), &Unwatched)
    }

    /// As [`Miss::commit`]. `watch` follows, and may end it between files and within large ones. `tell` is called with
    /// each note.
    ///
    /// # Errors
    /// As [`Miss::commit`], and the error of `watch`.
    pub fn commit_watched(
        mut self,
        recipe: &Recipe,
        mut info: CommitInfo,
        tell: &dyn Fn(&str),
        watch: &(dyn Watch + Sync),
    ) -> Result<Arc<Stored>, Diag> {
        assert_eq!(recipe.key(), self.key, "a result is stored under the key of its own recipe");
        let out = self.out();
        let durable = info.seconds >= WORTH_SYNCING;
        let size = |name: String| (std::fs::metadata(out.join(&name)).map_or(0, |file| file.len()), name);
        let written: Vec<(u64, String)> = self.written()?.into_iter().map(size).collect();
        let (count, bytes) = (written.len() as u64, written.iter().map(|(size, _)| size).sum());
        watch.begin(watch::Work { what: "hashing outputs", files: Some(count), bytes: Some(bytes) });
        let taken = each(
            &written,
            |(size, _)| *size,
            |(_, name)| {
                let taken = self.take(name, &out.join(name), info.hashed.get(name), info.foreign, watch)?;
                watch.advance(1, 0);
                Ok(taken)
            },
        )?;
        let mut ready: Vec<PreparedFile> = Vec::with_capacity(taken.len() + info.given.len());
        for ((_, name), (file, signature, note)) in written.into_iter().zip(taken) {
            if let Some(note) = note {
                tell(&note);
                info.notes.push(note);
            }
            ready.push(PreparedFile { path: out.join(&name), name, file, signature: Some(signature) });
        }
        for (name, bytes) in &info.given {
            let file = self.give(name, bytes, watch)?;
            ready.push(PreparedFile { path: out.join(name), name: name.clone(), file, signature: None });
        }
        self.store.keep(&ready, durable, watch)?;
        let files = ready.into_iter().map(|ready| (ready.name, ready.file)).collect();

        let made = made(info, files);
        let manifest = self.store.manifest(self.key);
        let mut entry = match Entry::read(&manifest, self.key)? {
            Some(Ok(mut entry)) => {
                entry.put(made.clone());
                entry
            }
            _ => Entry::new(recipe.clone(), made.clone()),
        };
        entry.write(&manifest, durable)?;

        // The index holds the first result under the key. If this is it, both share one copy: there may be many.
        let first = Arc::new(Stored::of(self.key, &entry.made[0]));
        let stored = if entry.made[0] == made { first.clone() } else { Arc::new(Stored::of(self.key, &made)) };
        let mut index = self.store.index();
        index.results.insert(self.key, first);
        index.dirty = true;
        drop(index);
        self.done = true;
        Ok(stored)
    }

    /// Stores a file that is handed over as its bytes: writes it unless there is such an object. Returns its record.
    fn give(&self, name: &str, bytes: &[u8], watch: &dyn Watch) -> Result<FileRecord, Diag> {
        assert!(kind_of(name).name == "bytes" && is_relative_file(name), "`{name}` cannot be handed over");
        let digest = Digest::of(bytes);
        let record = FileRecord { logical: digest, bytes: digest, size: bytes.len() as u64, executable: false };
        if !self.store.has_object(&digest, record.size, watch)? {
            let path = self.out().join(name);
            fs::replace(&path, bytes, false)?;
            drop(prepare_object(&path)?);
        }
        Ok(record)
    }

    /// Makes a file read-only and hashes it, unless its bytes are `hashed` already. Returns its record, the signature
    /// that it had from the first to the last, and a note if it is `foreign` and not what its ending says.
    fn take(
        &self,
        name: &str,
        path: &Path,
        hashed: Option<&Known>,
        foreign: bool,
        watch: &dyn Watch,
    ) -> Result<(FileRecord, Signature, Option<String>), Diag> {
        watch.check()?;
        let meta = std::fs::symlink_metadata(path).map_err(on("read", path))?;
        // A file with a second name must not become an object: it would change when someone writes to the other name.
        if meta.nlink() > 1 {
            let copy = fs::beside(&self.out()).map_err(on("write", path))?;
            fs::copy_into(&fs::open(path)?, copy.as_file()).map_err(on("copy", path))?;
            copy.persist(path).map_err(|e| on("write", path)(e.error))?;
        }
        let file = prepare_object(path)?;
        let before = Signature::of(&file.metadata().map_err(on("read", path))?);
        let hashed = hashed.filter(|known| known.size == before.size);
        let (bytes, logical, note) = self.store.digests(name, path, hashed, foreign, watch)?;
        if Signature::at(path)? != Some(before) {
            return Err(still_written(name));
        }
        let executable = meta.mode() & 0o100 != 0;
        Ok((FileRecord { logical, bytes, size: before.size, executable }, before, note))
    }
}

fn still_written(name: &str) -> Diag {
    Diag::error(Class::Stage, format!("`{name}` was still being written when its stage had ended"))
}

/// Makes a file read-only and dates it back.
pub(super) fn prepare_object(path: &Path) -> Result<File, fs::FsError> {
    let file = fs::open(path)?;
    fault::point("object.prepare")
        .and_then(|()| file.set_permissions(Permissions::from_mode(0o444)))
        .and_then(|()| date_back(&file))
        .map_err(on("write", path))?;
    Ok(file)
}

/// A [prepared](prepare_object) file that will become an object.
pub(super) struct PreparedFile {
    /// Its name, for messages.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// Its digests, size and rights.
    pub file: FileRecord,
    /// Its signature when it was hashed; `None` if no other process could have written to it since.
    pub signature: Option<Signature>,
}

impl Store {
    /// Moves files into `objects/`, except those whose object exists already. With `durable` all of them, including the
    /// existing ones, are on the disk afterwards: each file before it is moved, then the folders. Returns how many were
    /// new.
    ///
    /// # Errors
    /// Fails if the store cannot be read or written, or with the error of `watch`. Objects that were moved stay:
    /// nothing names them.
    pub(super) fn keep(
        &self,
        files: &[PreparedFile],
        durable: bool,
        watch: &(dyn Watch + Sync),
    ) -> Result<usize, Diag> {
        let mut seen = HashSet::new();
        let (mut new, mut unsettled) = (Vec::new(), Vec::new());
        for ready in files.iter().filter(|ready| seen.insert(ready.file.bytes)) {
            watch.check()?;
            if !self.has_object(&ready.file.bytes, ready.file.size, watch)? {
                new.push(ready);
            } else if durable && self.index().objects.get(&ready.file.bytes).is_none_or(|memo| !memo.settled) {
                unsettled.push(ready.file.bytes);
            }
        }
        let mut folders = BTreeSet::new();
        if durable {
            let old: Vec<PathBuf> = unsettled.iter().map(|bytes| self.own_object(bytes)).collect();
            let paths: Vec<&Path> =
                new.iter().map(|ready| &*ready.path).chain(old.iter().map(|path| &**path)).collect();
            watch.begin(watch::Work { what: "syncing outputs", files: Some(paths.len() as u64), bytes: None });
            sync_all(&paths, "object.sync", watch)?;
            folders.extend(old.iter().filter_map(|path| path.parent()).map(Path::to_owned));
        }
        for ready in &new {
            watch.check()?;
            folders.extend(self.place(ready, durable)?);
        }
        if durable {
            let folders: Vec<PathBuf> = folders.into_iter().collect();
            sync_all(&folders, "object.folder", watch)?;
            let mut index = self.index();
            for bytes in unsettled {
                if let Some(memo) = index.objects.get(&bytes) {
                    index.objects.insert(bytes, ObjectMemo { settled: true, ..memo });
                }
            }
        }
        Ok(new.len())
    }

    /// Moves a file to its place in `objects/`. Returns the folders with new names in them.
    fn place(&self, ready: &PreparedFile, settled: bool) -> Result<Vec<PathBuf>, Diag> {
        let PreparedFile { path, file, .. } = ready;
        if ready.signature.is_some() && Signature::at(path)? != ready.signature {
            return Err(still_written(&ready.name));
        }
        let to = self.own_object(&file.bytes);
        let folder = to.parent().expect("objects lie in folders");
        let mut touched = vec![folder.to_owned()];
        fault::point("object.rename").map_err(on("write", &to))?;
        if std::fs::rename(path, &to).is_err() {
            // Most likely it is the first object of its folder.
            fs::create_dir_all(folder)?;
            touched.extend(folder.parent().map(Path::to_owned));
            std::fs::rename(path, &to).map_err(on("write", &to))?;
        }
        if let Some(signature) = Signature::at(&to)? {
            self.index().objects.insert(file.bytes, ObjectMemo { signature, settled });
        }
        Ok(touched)
    }
}

fn made(info: CommitInfo, files: BTreeMap<String, FileRecord>) -> MadeResult {
    let (metrics, odd): (BTreeMap<_, _>, BTreeMap<_, _>) = info.metrics.into_iter().partition(|(_, v)| v.is_finite());
    let mut notes = info.notes;
    notes.extend(odd.into_iter().map(|(name, value)| format!("metric `{name}` is {value}")));
    MadeResult {
        node: info.node,
        run: info.run,
        at: (now_ns() / 1_000_000_000) as u64,
        seconds: info.seconds,
        files,
        metrics,
        numerics: info.numerics,
        notes,
    }
}

impl Drop for Miss<'_> {
    fn drop(&mut self) {
        if self.done {
            self.folder.hand_on();
        } else {
            self.folder.leave();
        }
    }
}

/// The names of all plain files below the output folder. It must hold only plain files and folders.
fn list(out: &Path) -> Result<Vec<String>, Diag> {
    let mut names = Vec::new();
    let top = walk::open(out).map_err(on("read", out))?;
    walk::walk(top, out, DEEPEST, &mut |entry| {
        let shown = walk::shortened(entry.path);
        if entry.kind.is_dir() {
        } else if !entry.kind.is_file() {
            return Err(Diag::error(Class::Stage, format!("output `{shown}` is no plain file"))
                .help("write the content itself, not a link to it"));
        } else if let Some(name) = entry.path.to_str().filter(|name| is_relative_file(name)) {
            names.push(name.to_owned());
        } else {
            return Err(Diag::error(Class::Stage, format!("output `{shown}` has a name that cannot be kept")));
        }
        Ok(())
    })?;
    Ok(names)
}
