//! [`Store`]: where results lie. Looking takes nothing but a few stats where nothing changed; a miss hands out the right
//! to write ([`Miss`]). Knows no graph and no stage.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::artifact::byte_digest;
use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, FieldHasher};
use crate::base::fs::{self, on};

use super::entry::{Entry, Stored};
use super::index::Index;
use super::key::CacheKey;
use super::lock::{Holder, KeyLock};
use super::miss::Miss;
use super::stat::{Signature, now_ns};

/// Which of the makings under a key count, by their numerics.
pub type Wanted<'a> = &'a dyn Fn(&BTreeMap<String, String>) -> bool;

/// What lies under a key.
#[derive(Debug)]
pub enum Found {
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
    path: PathBuf,
    object: Option<Digest>,
}

/// The store below one folder. Shared by threads, and with other processes.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    index: Mutex<Index>,
}

/// The folders of a store.
const FOLDERS: &[&str] = &["objects", "entries", "locks", "work", "quarantine", "runs"];

impl Store {
    /// Opens the store in `folder` (`cache/`), and makes it where there is none. A store that is there and cannot be
    /// written can be opened and read.
    ///
    /// # Errors
    /// When there is none and it cannot be made.
    pub fn open(folder: &Path) -> Result<Self, Diag> {
        let root = std::path::absolute(folder).map_err(on("find", folder))?.join("v1");
        if !FOLDERS.iter().all(|name| root.join(name).is_dir()) {
            for name in FOLDERS {
                fs::create_dir_all(&root.join(name)).map_err(|e| {
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
        Ok(Self { root, index })
    }

    /// The store in `folder` as it is, to look at: nothing is made where there is none.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn peek(folder: &Path) -> Result<Self, Diag> {
        let root = std::path::absolute(folder).map_err(on("find", folder))?.join("v1");
        let index = Mutex::new(Index::read(&root.join("index")));
        Ok(Self { root, index })
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
        for (name, file) in &stored.files {
            let to = folder.join(name);
            let there = Signature::at(&to)?.is_some_and(|s| s.size == file.size);
            if !there || byte_digest(&to)? != file.bytes {
                let dir = to.parent().expect("a file lies in a folder");
                fs::create_dir_all(dir)?;
                let beside = fs::beside(dir).map_err(on("write", &to))?;
                let mut object = fs::open(&self.object(&file.bytes))?;
                std::io::copy(&mut object, &mut beside.as_file()).map_err(on("write", &to))?;
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

    /// Where journals lie.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Where the object with these bytes lies.
    pub fn object(&self, bytes: &Digest) -> PathBuf {
        split(self.root.join("objects"), &bytes.hex(), "")
    }

    /// Where the files of a result lie, by name.
    pub fn paths(&self, stored: &Stored) -> BTreeMap<String, PathBuf> {
        stored.files.iter().map(|(name, file)| (name.clone(), self.object(&file.bytes))).collect()
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn manifest(&self, key: CacheKey) -> PathBuf {
        split(self.root.join("entries"), &key.hex(), ".json")
    }

    pub(super) fn work(&self, key: CacheKey) -> PathBuf {
        self.root.join("work").join(key.hex())
    }

    /// The whole entry under a key; `None` when there is none that can be read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn entry(&self, key: CacheKey) -> Result<Option<Entry>, Diag> {
        Ok(Entry::read(&self.manifest(key), key)?.and_then(Result::ok))
    }

    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn look(&self, key: CacheKey, wanted: Wanted) -> Result<Found, Diag> {
        let known = self.index().results.get(&key).cloned();
        if let Some(stored) = known.filter(|s| wanted(&s.numerics))
            && self.whole(&stored)?
        {
            return Ok(Found::Hit(stored));
        }
        let path = self.manifest(key);
        let entry = match Entry::read(&path, key)? {
            None => return Ok(Found::Missing),
            Some(Err(what)) => return Ok(Found::Damaged(vec![Damage { what, note: None, path, object: None }])),
            Some(Ok(entry)) => entry,
        };
        let Some(at) = entry.made.iter().position(|made| wanted(&made.numerics)) else {
            return Ok(Found::Other(entry.made[0].numerics.clone()));
        };
        let stored = Arc::new(Stored::of(key, &entry.made[at]));
        let damage = self.damage(&stored)?;
        if !damage.is_empty() {
            return Ok(Found::Damaged(damage));
        }
        if at == 0 {
            let mut index = self.index();
            index.results.insert(key, stored.clone());
            index.dirty = true;
        }
        Ok(Found::Hit(stored))
    }

    /// Whether all objects have the signatures that they had when they were right.
    fn whole(&self, stored: &Stored) -> Result<bool, Diag> {
        for file in stored.files.values() {
            let known = self.index().objects.get(&file.bytes).copied();
            if known.is_none() || known != Signature::at(&self.object(&file.bytes))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is wrong with the files of a result. Objects whose signature does not speak for them are hashed.
    fn damage(&self, stored: &Stored) -> Result<Vec<Damage>, Diag> {
        let mut damage = Vec::new();
        for (name, file) in &stored.files {
            if let Some((what, note)) = self.object_damage(&file.bytes, file.size)? {
                let what = format!("`{name}` {what}");
                damage.push(Damage { what, note, path: self.object(&file.bytes), object: Some(file.bytes) });
            }
        }
        Ok(damage)
    }

    /// What is wrong with an object, if anything.
    fn object_damage(&self, bytes: &Digest, size: u64) -> Result<Option<(String, Option<String>)>, Diag> {
        let path = self.object(bytes);
        let Some(signature) = Signature::at(&path)? else {
            return Ok(Some(("is missing".to_owned(), Some(format!("recorded {bytes}, {size} bytes")))));
        };
        if self.index().objects.get(bytes) == Some(&signature) {
            return Ok(None);
        }
        let hashed_at = now_ns();
        let found = byte_digest(&path)?;
        if found != *bytes {
            let note = format!("recorded {bytes}, found {found}; {} of {size} bytes", signature.size);
            return Ok(Some(("is not what was stored".to_owned(), Some(note))));
        }
        if !signature.racy(hashed_at) {
            let mut index = self.index();
            index.objects.insert(*bytes, signature);
            index.dirty = true;
        }
        Ok(None)
    }

    /// Whether the object is there and right. One that is there and wrong is set aside.
    pub(super) fn has_object(&self, bytes: &Digest, size: u64) -> Result<bool, Diag> {
        match self.object_damage(bytes, size)? {
            None => Ok(true),
            Some(_) => {
                self.set_aside(&self.object(bytes))?;
                Ok(false)
            }
        }
    }

    /// Takes the right to make the result of `key`. Never waits. What is damaged is set aside.
    ///
    /// With `force`, what is there does not count.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn claim(&self, key: CacheKey, wanted: Wanted, force: bool) -> Result<Claim<'_>, Diag> {
        let lock = match KeyLock::try_take(&self.root.join("locks").join(key.hex()))? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Claim::Busy(holder)),
        };
        let mut damage = Vec::new();
        if !force {
            match self.look(key, wanted)? {
                Found::Hit(stored) => return Ok(Claim::Hit(stored)),
                Found::Missing | Found::Other(_) => {}
                Found::Damaged(parts) => {
                    let mut index = self.index();
                    index.results.remove(&key);
                    index.dropped.insert(key);
                    index.dirty = true;
                    drop(index);
                    parts.iter().try_for_each(|part| self.set_aside(&part.path))?;
                    damage = parts;
                }
            }
        }
        Miss::new(self, key, lock, damage).map(|miss| Claim::Miss(Box::new(miss)))
    }

    /// Moves a damaged file out of the way, under a name that says what it was.
    fn set_aside(&self, path: &Path) -> Result<(), Diag> {
        let name: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
        let to = self.root.join("quarantine").join(format!("{}{}.{}", name[1], name[0], now_ns()));
        match std::fs::rename(path, &to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(on("set aside", path)(e).into()),
            _ => Ok(()),
        }
    }

    /// The key under which a node was last found or made.
    pub fn last_key(&self, pipeline: &str, node: &str) -> Option<CacheKey> {
        self.index().last.get(&slot(pipeline, node)).copied()
    }

    /// Remembers the key under which a node was found or made, so that reasons can name old values.
    pub fn remember(&self, pipeline: &str, node: &str, key: CacheKey) {
        let mut index = self.index();
        if index.last.insert(slot(pipeline, node), key) != Some(key) {
            index.dirty = true;
        }
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
        let path = self.root.join("index");
        let lock = self.root.join("index.lock");
        let held = File::create(&lock).map_err(on("write", &lock))?;
        held.lock().map_err(on("lock", &lock))?;
        index.merge(Index::read(&path));
        index.write(&path)?;
        index.dirty = false;
        Ok(())
    }
}

/// `folder/ab/cdef…` and an ending.
fn split(mut folder: PathBuf, hex: &str, ending: &str) -> PathBuf {
    folder.push(&hex[..2]);
    folder.push(format!("{}{ending}", &hex[2..]));
    folder
}

fn slot(pipeline: &str, node: &str) -> Digest {
    FieldHasher::new("dpt.node.1").field(pipeline.as_bytes()).field(node.as_bytes()).finish()
}
