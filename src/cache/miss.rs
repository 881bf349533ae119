//! [`Miss`]: the right to make a result. Holds the key's lock; hands out the folders to work in; takes the files in.
//!
//! The order of writing, so that a kill at any point leaves a store that is right:
//!
//! 1. the stage writes to `work/KEY/out`, under the lock;
//! 2. each file is made read-only, dated back (see [`super::stat`]), synced and hashed;
//! 3. each is renamed to its place in `objects/`, then the folders are synced: an object that nothing names does no harm;
//! 4. the manifest is written beside, synced, renamed: now the result is there;
//! 5. `work/KEY` goes (it is handed on to the next node, see [`super::work`]), then the lock.
//!
//! What took less than `WORTH_SYNCING` to make is not synced: a sync takes about as long as making it again. A power
//! cut may leave such a file empty, or full of other bytes. That is never taken for the result: after the machine was started
//! anew, what was not synced is hashed before it is used (see [`super::index`]), told as damage, and made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::artifact::{Known, kind_of};
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs::{self, on};
use crate::base::name::is_relative_file;
use crate::base::walk;

use super::entry::{Entry, FileRecord, Made, Stored};
use super::index::Seen;
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
pub struct Work {
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
    pub fn commit(self, recipe: &Recipe, work: Work) -> Result<Arc<Stored>, Diag> {
        self.commit_and_tell(recipe, work, &|_| ())
    }

    /// As [`Miss::commit`]; `tell` hears the notes that come of it.
    ///
    /// # Errors
    /// As there.
    pub fn commit_and_tell(
        mut self,
        recipe: &Recipe,
        mut work: Work,
        tell: &dyn Fn(&str),
    ) -> Result<Arc<Stored>, Diag> {
        assert_eq!(recipe.key(), self.key, "a result is filed under the key of its own recipe");
        let out = self.out();
        let names = self.written()?;
        let durable = work.seconds >= WORTH_SYNCING;
        let take = |name: &String| {
            let known = work.hashed.get(name);
            Ok((name.clone(), self.take(name, &out.join(name), durable, known, work.foreign)?))
        };
        // To wake the pool costs more than to hash what is small.
        let size = |name: &String| std::fs::metadata(out.join(name)).map_or(0, |file| file.len());
        let taken: Result<BTreeMap<_, _>, Diag> = if names.len() < 2 || names.iter().map(size).sum::<u64>() < 1 << 20 {
            names.iter().map(take).collect()
        } else {
            names.par_iter().map(take).collect()
        };
        let mut files = BTreeMap::new();
        for (name, (file, note)) in taken? {
            files.insert(name, file);
            if let Some(note) = note {
                tell(&note);
                work.notes.push(note);
            }
        }
        for (name, bytes) in &work.given {
            files.insert(name.clone(), self.give(name, bytes, durable)?);
        }
        let mut touched = BTreeSet::new();
        for (name, file) in &files {
            if self.store.place(&out.join(name), file, durable)? {
                touched.insert(self.store.own_object(&file.bytes).parent().expect("objects lie in folders").to_owned());
            } else if durable {
                touched.extend(self.store.settle(&file.bytes)?);
            }
        }
        if durable {
            touched.iter().try_for_each(|dir| self.store.sync_objects(dir))?;
        }

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
    fn give(&self, name: &str, bytes: &[u8], durable: bool) -> Result<FileRecord, Diag> {
        assert!(kind_of(name).name == "bytes" && is_relative_file(name), "`{name}` cannot be handed over");
        let digest = Digest::of(bytes);
        let record = FileRecord { logical: digest, bytes: digest, size: bytes.len() as u64, executable: false };
        if !self.store.has_object(&digest, record.size)? {
            let path = self.out().join(name);
            fs::replace(&path, bytes, false)?;
            drop(prepare_object(&path, durable)?);
        }
        Ok(record)
    }

    /// Makes a file unchangeable, and hashes it, unless its bytes are `hashed` already. With a note where it is `foreign`, and
    /// not what its ending says.
    fn take(
        &self,
        name: &str,
        path: &Path,
        durable: bool,
        hashed: Option<&Known>,
        foreign: bool,
    ) -> Result<(FileRecord, Option<String>), Diag> {
        let meta = std::fs::symlink_metadata(path).map_err(on("read", path))?;
        // A link to a file that others use must not become an object: it would change when they write.
        if meta.nlink() > 1 {
            let copy = fs::beside(&self.out()).map_err(on("write", path))?;
            fs::copy_into(&fs::open(path)?, copy.as_file()).map_err(on("copy", path))?;
            copy.persist(path).map_err(|e| on("write", path)(e.error))?;
        }
        let file = prepare_object(path, durable)?;
        let before = Signature::of(&file.metadata().map_err(on("read", path))?);
        let hashed = hashed.filter(|known| known.size == before.size);
        let (bytes, logical, note) = self.store.digests(name, path, hashed, foreign)?;
        if Signature::at(path)? != Some(before) {
            return Err(Diag::error(
                Class::Stage,
                format!("`{name}` was still being written when its stage had ended"),
            ));
        }
        let executable = meta.mode() & 0o100 != 0;
        Ok((FileRecord { logical, bytes, size: before.size, executable }, note))
    }
}

/// Makes a file unchangeable, and brings it to the disk if it is to be `durable`.
pub(super) fn prepare_object(path: &Path, durable: bool) -> Result<File, fs::FsError> {
    let file = fs::open(path)?;
    fault::point("object.prepare")
        .and_then(|()| file.set_permissions(Permissions::from_mode(0o444)))
        .and_then(|()| date_back(&file))
        .map_err(on("write", path))?;
    if durable {
        fault::point("object.sync").and_then(|()| file.sync_all()).map_err(on("sync", path))?;
    }
    Ok(file)
}

impl Store {
    /// Gives a [prepared](prepare_object) file its place among the objects, unless one with the same bytes is there.
    /// Whether it was given.
    pub(super) fn place(&self, path: &Path, file: &FileRecord, settled: bool) -> Result<bool, Diag> {
        if self.has_object(&file.bytes, file.size)? {
            return Ok(false);
        }
        let to = self.own_object(&file.bytes);
        fault::point("object.rename").map_err(on("write", &to))?;
        if std::fs::rename(path, &to).is_err() {
            // The first object of its folder, most likely.
            fs::create_dir_all(to.parent().expect("objects lie in folders"))?;
            std::fs::rename(path, &to).map_err(on("write", &to))?;
        }
        if let Some(signature) = Signature::at(&to)? {
            self.index().objects.insert(file.bytes, Seen { signature, settled });
        }
        Ok(true)
    }

    /// Brings an object to the disk that was there already, and perhaps not synced. Its folder, to be synced too.
    fn settle(&self, bytes: &Digest) -> Result<Option<PathBuf>, Diag> {
        if self.index().objects.get(bytes).is_some_and(|seen| seen.settled) {
            return Ok(None);
        }
        let path = self.own_object(bytes);
        fault::point("object.sync").and_then(|()| File::open(&path)?.sync_all()).map_err(on("sync", &path))?;
        let mut index = self.index();
        if let Some(seen) = index.objects.get(bytes) {
            index.objects.insert(*bytes, Seen { settled: true, ..seen });
        }
        Ok(path.parent().map(Path::to_owned))
    }

    /// Makes the names of new objects durable.
    pub(super) fn sync_objects(&self, dir: &Path) -> Result<(), fs::FsError> {
        fault::point("object.folder").map_err(on("sync", dir))?;
        fs::sync_dir(dir)
    }
}

fn made(work: Work, files: BTreeMap<String, FileRecord>) -> Made {
    let (metrics, odd): (BTreeMap<_, _>, BTreeMap<_, _>) = work.metrics.into_iter().partition(|(_, v)| v.is_finite());
    let mut notes = work.notes;
    notes.extend(odd.into_iter().map(|(name, value)| format!("metric `{name}` is {value}")));
    Made {
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
