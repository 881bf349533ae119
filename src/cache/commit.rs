//! [`Miss`]: the right to make a result. Holds the key's lock; hands out the folders to work in; takes the files in.
//!
//! The order of writing, so that a kill at any point leaves a store that is right:
//!
//! 1. the stage writes to `work/KEY/out`, under the lock;
//! 2. each file is made read-only, dated back (see [`super::stat`]) and hashed; then all are synced at once;
//! 3. each is renamed to its place in `objects/`, then the folders are synced: an object that nothing names does no harm;
//! 4. the manifest is written beside, synced, renamed: now the result is there;
//! 5. `work/KEY` goes (it is handed on to the next node, see [`super::work`]), then the lock.
//!
//! What took less than `WORTH_SYNCING` to make is not synced: a sync takes about as long as making it again. A power
//! cut may leave such a file empty, or full of other bytes. That is never taken for the result: after the machine was started
//! anew, what was not synced is hashed before it is used (see [`super::index`]), told as damage, and made again.

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
use super::entry::{Entry, FileRecord, MadeResult, Stored};
use super::index::ObjectMemo;
use super::key::CacheKey;
use super::lock::KeyLock;
use super::recipe::Recipe;
use super::stat::{Signature, date_back, now_ns};
use super::store::{Damage, Store};
use super::work::WorkFolder;

/// Names of files have at most 255 bytes, so no file that can be kept lies deeper.
const DEEPEST: usize = 128;
/// Seconds of work from which on a result is synced to the disk before it counts as stored.
const WORTH_SYNCING: f64 = 0.1;

/// The right to make the result of one key. Dropped without [`Miss::commit`], it leaves the scratch folder alone.
#[derive(Debug)]
pub struct Miss<'a> {
    store: &'a Store,
    key: CacheKey,
    damage: Vec<Damage>,
    done: bool,
    folder: WorkFolder<'a>,
    // Dropped last: the folder is this process's while it is held.
    _lock: KeyLock<'a>,
}

/// What is told of a making besides its files.
#[derive(Clone, Debug, Default)]
pub struct CommitInfo {
    /// The node it was made for.
    pub node: String,
    /// The run that made it.
    pub run: String,
    /// How long the stage ran.
    pub seconds: f64,
    /// Named figures. One that is not finite is kept as a note.
    pub metrics: BTreeMap<String, f64>,
    /// What shaped its floating-point results unasked.
    pub numerics: BTreeMap<String, String>,
    /// Lines for the user.
    pub notes: Vec<String>,
    /// Files whose bytes were hashed before they came, or as they were written. They are not hashed again.
    pub hashed: BTreeMap<String, Known>,
    /// Files that were not written, as their bytes.
    pub given: BTreeMap<String, Vec<u8>>,
    /// Whether others than the stage wrote its files: one that is not what its ending says then counts by its bytes, with a
    /// note, and is no error.
    pub foreign: bool,
}

impl<'a> Miss<'a> {
    pub(super) fn new(store: &'a Store, key: CacheKey, lock: KeyLock<'a>, damage: Vec<Damage>) -> Result<Self, Diag> {
        let folder = store.work().take(key)?;
        Ok(Self { store, key, damage, done: false, folder, _lock: lock })
    }

    /// The key.
    pub fn key(&self) -> CacheKey {
        self.key
    }

    /// What was found damaged under this key, and set aside.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Where the stage writes its files.
    pub fn out(&self) -> PathBuf {
        self.folder.out()
    }

    /// A folder that outlives a kill, and goes when the result is stored.
    pub fn scratch(&self) -> PathBuf {
        self.folder.scratch()
    }

    /// A folder that is handed on, with all that is in it, to a node that runs later.
    pub fn reuse(&self) -> PathBuf {
        self.folder.reuse()
    }

    /// The names of the files that the stage wrote, sorted.
    ///
    /// # Errors
    /// When there is anything but plain files and folders, or a name that cannot be kept.
    pub fn written(&self) -> Result<Vec<String>, Diag> {
        let mut names = list(&self.out())?;
        names.sort();
        Ok(names)
    }

    /// Takes the files in and files them under the key.
    ///
    /// # Errors
    /// When a file is not what its ending says and is not foreign, or the store cannot be written. Nothing is stored then,
    /// and the scratch folder stays.
    pub fn commit(self, recipe: &Recipe, work: CommitInfo) -> Result<Arc<Stored>, Diag> {
        self.commit_watched(recipe, work, &|_| (), &Unwatched)
    }

    /// As [`Miss::commit`], followed by `watch`: it is asked between pieces and between files. `tell` hears the notes that
    /// come of it.
    ///
    /// # Errors
    /// As [`Miss::commit`]; what `watch` says.
    pub fn commit_watched(
        mut self,
        recipe: &Recipe,
        mut work: CommitInfo,
        tell: &dyn Fn(&str),
        watch: &(dyn Watch + Sync),
    ) -> Result<Arc<Stored>, Diag> {
        assert_eq!(recipe.key(), self.key, "a result is filed under the key of its own recipe");
        let out = self.out();
        let durable = work.seconds >= WORTH_SYNCING;
        let size = |name: String| (std::fs::metadata(out.join(&name)).map_or(0, |file| file.len()), name);
        let written: Vec<(u64, String)> = self.written()?.into_iter().map(size).collect();
        let (count, bytes) = (written.len() as u64, written.iter().map(|(size, _)| size).sum());
        watch.begin(watch::Work { what: "hashing outputs", files: Some(count), bytes: Some(bytes) });
        let taken = each(
            &written,
            |(size, _)| *size,
            |(_, name)| {
                let taken = self.take(name, &out.join(name), work.hashed.get(name), work.foreign, watch)?;
                watch.advance(1, 0);
                Ok(taken)
            },
        )?;
        let mut ready: Vec<PreparedFile> = Vec::with_capacity(taken.len() + work.given.len());
        for ((_, name), (file, signature, note)) in written.into_iter().zip(taken) {
            if let Some(note) = note {
                tell(&note);
                work.notes.push(note);
            }
            ready.push(PreparedFile { path: out.join(&name), name, file, signature: Some(signature) });
        }
        for (name, bytes) in &work.given {
            let file = self.give(name, bytes, watch)?;
            ready.push(PreparedFile { path: out.join(name), name: name.clone(), file, signature: None });
        }
        self.store.keep(&ready, durable, watch)?;
        let files = ready.into_iter().map(|ready| (ready.name, ready.file)).collect();

        let made = made(work, files);
        let manifest = self.store.manifest(self.key);
        let mut entry = match Entry::read(&manifest, self.key)? {
            Some(Ok(mut entry)) => {
                entry.put(made.clone());
                entry
            }
            _ => Entry::new(recipe.clone(), made.clone()),
        };
        entry.write(&manifest, durable)?;

        let mut index = self.store.index();
        index.results.insert(self.key, Arc::new(Stored::of(self.key, &entry.made[0])));
        index.dirty = true;
        drop(index);
        self.done = true;
        Ok(Arc::new(Stored::of(self.key, &made)))
    }

    /// The record of a file that is handed over as its bytes. Written only if there is no such object.
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

    /// Makes a file unchangeable, and hashes it, unless its bytes are `hashed` already. Its record, the signature that it had
    /// all the while, and a note where it is `foreign` and not what its ending says.
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
        // A link to a file that others use must not become an object: it would change when they write.
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

/// Makes a file unchangeable.
pub(super) fn prepare_object(path: &Path) -> Result<File, fs::FsError> {
    let file = fs::open(path)?;
    fault::point("object.prepare")
        .and_then(|()| file.set_permissions(Permissions::from_mode(0o444)))
        .and_then(|()| date_back(&file))
        .map_err(on("write", path))?;
    Ok(file)
}

/// A [prepared](prepare_object) file that is to become an object.
pub(super) struct PreparedFile {
    /// Its name, for messages.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub file: FileRecord,
    /// What it was when it was hashed, where another process could have written to it since.
    pub signature: Option<Signature>,
}

impl Store {
    /// Gives files their places among the objects, but those with bytes of which there is an object. With `durable` all of
    /// them, also those that were there, are on the disk afterwards: each file before it takes its place, then the folders.
    /// Returns how many were new.
    ///
    /// # Errors
    /// When the store cannot be read or written; what `watch` says. ObjectDir that took their places stay: nothing names them.
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
            } else if durable && self.index().objects.get(&ready.file.bytes).is_none_or(|seen| !seen.settled) {
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
                if let Some(seen) = index.objects.get(&bytes) {
                    index.objects.insert(bytes, ObjectMemo { settled: true, ..seen });
                }
            }
        }
        Ok(new.len())
    }

    /// Gives a file its place among the objects. The folders with new names in them.
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
            // The first object of its folder, most likely.
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

fn made(work: CommitInfo, files: BTreeMap<String, FileRecord>) -> MadeResult {
    let (metrics, odd): (BTreeMap<_, _>, BTreeMap<_, _>) = work.metrics.into_iter().partition(|(_, v)| v.is_finite());
    let mut notes = work.notes;
    notes.extend(odd.into_iter().map(|(name, value)| format!("metric `{name}` is {value}")));
    MadeResult {
        node: work.node,
        run: work.run,
        at: (now_ns() / 1_000_000_000) as u64,
        seconds: work.seconds,
        files,
        metrics,
        numerics: work.numerics,
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

/// The names of all plain files below the output folder, which must hold nothing but them and folders.
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
