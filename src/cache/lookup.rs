//! Looks into the store: what lies under a key, and whether its files are what was stored. Where nothing changed this
//! takes a few `stat` calls. The store that is written is asked first, then the shared one; a file counts wherever it
//! lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifact::byte_digest_watched;
use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::watch::{Unwatched, Watch};

use super::entry::{Entry, Stored};
use super::index::ObjectMemo;
use super::key::CacheKey;
use super::stat::{Signature, now_ns};
use super::store::{Store, manifest_in};

/// Returns `true` if a result that was made under these numerics counts.
pub type AcceptNumerics<'a> = &'a dyn Fn(&BTreeMap<String, String>) -> bool;

/// What lies under a key.
#[derive(Debug)]
pub enum Lookup {
    /// A result that counts, with all its files as they were stored.
    Hit(Arc<Stored>),
    /// Nothing.
    Missing,
    /// Only results that were made under other numerics: those of the first.
    Other(BTreeMap<String, String>),
    /// A result with parts that are not what was stored.
    Damaged(Vec<Damage>),
}

/// A part of an entry that is not what was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong with which part: `` `adapter.safetensors` is not what was stored ``.
    pub what: String,
    /// What was recorded and what was found.
    pub note: Option<String>,
    /// The file that is damaged, or missing.
    pub(super) path: PathBuf,
}

/// What is wrong with a file, and the facts.
type Wrong = (String, Option<String>);

impl Store {
    /// Looks up the result under `key` that `accept` accepts. Changes nothing but the index.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn lookup(&self, key: CacheKey, accept: AcceptNumerics) -> Result<Lookup, Diag> {
        self.lookup_watched(key, accept, &Unwatched)
    }

    pub(super) fn lookup_watched(
        &self,
        key: CacheKey,
        accept: AcceptNumerics,
        watch: &(dyn Watch + Sync),
    ) -> Result<Lookup, Diag> {
        if let Some(stored) = self.known(key, accept)
            && self.is_whole(&stored)?
        {
            if self.has_manifest(key) {
                return Ok(Lookup::Hit(stored));
            }
            self.forget(key);
        }
        let own = self.lookup_in(self.root(), key, accept, watch)?;
        match (&own, self.shared()) {
            (Lookup::Missing | Lookup::Other(_), Some(root)) => match self.lookup_in(root, key, accept, watch)? {
                Lookup::Missing => Ok(own),
                found => Ok(found),
            },
            _ => Ok(own),
        }
    }

    /// Looks up a key by its manifest in the store at `root`, and checks the files.
    fn lookup_in(
        &self,
        root: &Path,
        key: CacheKey,
        accept: AcceptNumerics,
        watch: &(dyn Watch + Sync),
    ) -> Result<Lookup, Diag> {
        let path = manifest_in(root, key);
        let entry = match Entry::read(&path, key)? {
            None => return Ok(Lookup::Missing),
            Some(Err(what)) => {
                let what = if root == self.root() { what } else { format!("in the shared store, {what}") };
                return Ok(Lookup::Damaged(vec![Damage { what, note: None, path }]));
            }
            Some(Ok(entry)) => entry,
        };
        let Some(at) = entry.made.iter().position(|made| accept(&made.numerics)) else {
            return Ok(Lookup::Other(entry.made[0].numerics.clone()));
        };
        let stored = Arc::new(Stored::of(key, &entry.made[at]));
        let damage = self.damage(&stored, watch)?;
        if !damage.is_empty() {
            return Ok(Lookup::Damaged(damage));
        }
        if at == 0 {
            let mut index = self.index();
            index.results.insert(key, stored.clone());
            index.dirty = true;
        }
        Ok(Lookup::Hit(stored))
    }

    /// What the index has under a key, before its files are checked.
    fn known(&self, key: CacheKey, accept: AcceptNumerics) -> Option<Arc<Stored>> {
        self.index().results.get(&key).filter(|stored| accept(&stored.numerics))
    }

    /// Returns `true` if all objects have the signatures that they had when they were last known to be right.
    pub(super) fn is_whole(&self, stored: &Stored) -> Result<bool, Diag> {
        for file in stored.files.values() {
            let known = self.index().objects.get(&file.bytes).map(|memo| memo.signature);
            let own = known.is_some() && known == self.objects().signature(&file.bytes);
            if !own && !self.whole_in_shared(&file.bytes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same for an object that only the shared store has. The index keeps its files with those of the working tree:
    /// they belong to somebody else, and are not dated back for this store.
    fn whole_in_shared(&self, bytes: &Digest) -> Result<bool, Diag> {
        let Some(path) = self.shared_object(bytes) else { return Ok(false) };
        let known = self.index().files.get(&path);
        Ok(known.is_some_and(|memo| memo.digest == *bytes && !memo.signature.racy(memo.hashed_at))
            && known.map(|memo| memo.signature) == Signature::at(&path)?
            && !self.own_object(bytes).exists())
    }

    /// What is wrong with the files of a result. An object whose signature changed is hashed.
    fn damage(&self, stored: &Stored, watch: &(dyn Watch + Sync)) -> Result<Vec<Damage>, Diag> {
        let mut damage = Vec::new();
        for (name, file) in stored.files.iter() {
            if let Some((what, note)) = self.object_damage(&file.bytes, file.size, watch)? {
                let what = format!("`{name}` {what}");
                damage.push(Damage { what, note, path: self.object(&file.bytes) });
            }
        }
        Ok(damage)
    }

    /// What is wrong with an object, if anything, wherever it lies.
    fn object_damage(&self, bytes: &Digest, size: u64, watch: &(dyn Watch + Sync)) -> Result<Option<Wrong>, Diag> {
        if let Some(path) = self.shared_object(bytes)
            && !self.own_object(bytes).exists()
            && let Some(signature) = Signature::at(&path)?
        {
            let found = self.file_digest(&path, signature, watch)?;
            let what = "in the shared store is not what was stored";
            return Ok((found != *bytes).then(|| (what.to_owned(), Some(facts(bytes, size, &found, signature)))));
        }
        self.own_damage(bytes, size, watch)
    }

    /// What is wrong with an object of the store that is written.
    fn own_damage(&self, bytes: &Digest, size: u64, watch: &dyn Watch) -> Result<Option<Wrong>, Diag> {
        let path = self.own_object(bytes);
        let Some(signature) = Signature::at(&path)? else {
            return Ok(Some(("is missing".to_owned(), Some(format!("recorded {bytes}, {size} bytes")))));
        };
        if self.index().objects.get(bytes).is_some_and(|memo| memo.signature == signature) {
            return Ok(None);
        }
        let hashed_at = now_ns();
        let found = byte_digest_watched(&path, watch)?;
        watch.advance(1, 0);
        if found != *bytes {
            return Ok(Some(("is not what was stored".to_owned(), Some(facts(bytes, size, &found, signature)))));
        }
        self.trust(bytes, signature, hashed_at);
        Ok(None)
    }

    /// Remembers that an object of this store had this signature when it was hashed, and was right.
    pub(super) fn trust(&self, object: &Digest, signature: Signature, hashed_at: i64) {
        if signature.racy(hashed_at) {
            return;
        }
        let mut index = self.index();
        let known = index.objects.get(object).filter(|memo| memo.signature == signature);
        let settled = signature.settled(hashed_at) || known.is_some_and(|memo| memo.settled);
        let memo = ObjectMemo { signature, settled };
        index.dirty |= index.objects.insert(*object, memo);
    }

    /// Returns `true` if the object is there and right. An object that is wrong is set aside.
    pub(super) fn has_object(&self, bytes: &Digest, size: u64, watch: &dyn Watch) -> Result<bool, Diag> {
        match self.own_damage(bytes, size, watch)? {
            None => Ok(true),
            Some(_) => {
                self.set_aside(&self.own_object(bytes))?;
                Ok(false)
            }
        }
    }
}

fn facts(bytes: &Digest, size: u64, found: &Digest, signature: Signature) -> String {
    format!("recorded {bytes}, found {found}; {} of {size} bytes", signature.size)
}
