//! Looking into the store: what lies under a key, and whether its files are what was stored. Nothing but a few stats where
//! nothing changed. First in the store that is written, then in the shared one; a file counts wherever it lies.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::artifact::byte_digest;
use crate::base::diag::Diag;
use crate::base::digest::{Digest, DigestMap};

use super::entry::{Entry, Stored};
use super::index::Seen;
use super::key::CacheKey;
use super::stat::{Signature, now_ns};
use super::store::{Damage, Found, Store, Wanted, manifest_in};

/// How many questions to the system are worth a thread of their own.
const WORTH_A_THREAD: usize = 1_000;

/// What is wrong with a file: in a phrase, and the facts.
type Wrong = (String, Option<String>);

impl Store {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn look(&self, key: CacheKey, wanted: Wanted) -> Result<Found, Diag> {
        if let Some(stored) = self.known(key, wanted)
            && self.is_whole(&stored)?
        {
            return Ok(Found::Hit(stored));
        }
        let own = self.look_in(self.root(), key, wanted)?;
        match (&own, self.shared()) {
            (Found::Missing | Found::Other(_), Some(root)) => match self.look_in(root, key, wanted)? {
                Found::Missing => Ok(own),
                found => Ok(found),
            },
            _ => Ok(own),
        }
    }

    /// What the manifest below `root` says, if its files are there.
    fn look_in(&self, root: &Path, key: CacheKey, wanted: Wanted) -> Result<Found, Diag> {
        let path = manifest_in(root, key);
        let entry = match Entry::read(&path, key)? {
            None => return Ok(Found::Missing),
            Some(Err(what)) => {
                let what = if root == self.root() { what } else { format!("in the shared store, {what}") };
                return Ok(Found::Damaged(vec![Damage { what, note: None, path }]));
            }
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

    /// What the index has under a key, whether or not it is still whole.
    pub fn known(&self, key: CacheKey, wanted: Wanted) -> Option<Arc<Stored>> {
        self.index().results.get(&key).filter(|stored| wanted(&stored.numerics)).cloned()
    }

    /// Whether all objects have the signatures that they had when they were right.
    fn is_whole(&self, stored: &Stored) -> Result<bool, Diag> {
        for file in stored.files.values() {
            let known = self.index().objects.get(&file.bytes).map(|seen| seen.signature);
            let own = known.is_some() && known == self.objects().signature(&file.bytes);
            if !own && !self.whole_in_shared(&file.bytes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same of many. The system is asked once for each object, on several threads when there is much to ask. What lies
    /// in the shared store alone is not asked for here, and so not called whole.
    pub fn whole(&self, results: &[Option<Arc<Stored>>]) -> Vec<bool> {
        let objects = || results.iter().flatten().flat_map(|stored| stored.files.values()).map(|file| file.bytes);
        let mut known: DigestMap<Digest, Option<Signature>> = DigestMap::default();
        known.reserve(results.len());
        let index = self.index();
        for bytes in objects() {
            known.entry(bytes).or_insert_with(|| index.objects.get(&bytes).map(|seen| seen.signature));
        }
        drop(index);
        let asked: Vec<_> = known.into_iter().collect();
        let changed = |asked: &[(Digest, Option<Signature>)]| -> Vec<Digest> {
            let same = |known: &Option<Signature>, bytes| known.is_some() && *known == self.objects().signature(bytes);
            asked.iter().filter(|(bytes, known)| !same(known, bytes)).map(|(bytes, _)| *bytes).collect()
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = asked.len().div_ceil(threads).max(WORTH_A_THREAD);
        let changed: HashSet<Digest> = std::thread::scope(|scope| {
            let mut shares = asked.chunks(share);
            let own = shares.next().unwrap_or_default();
            let others: Vec<_> = shares.map(|share| scope.spawn(|| changed(share))).collect();
            let others = others.into_iter().flat_map(|thread| thread.join().expect("asking does not panic"));
            changed(own).into_iter().chain(others).collect()
        });
        let whole = |stored: &Arc<Stored>| !stored.files.values().any(|file| changed.contains(&file.bytes));
        results.iter().map(|stored| stored.as_ref().is_some_and(whole)).collect()
    }

    /// The same of an object that lies in the shared store alone. What is known of its files is kept like that of files of
    /// the working tree: they are not ours, and not dated back for us.
    fn whole_in_shared(&self, bytes: &Digest) -> Result<bool, Diag> {
        let Some(path) = self.shared_object(bytes) else { return Ok(false) };
        let known = self.index().files.get(&path).copied();
        Ok(known.is_some_and(|memo| memo.digest == *bytes && !memo.signature.racy(memo.hashed_at))
            && known.map(|memo| memo.signature) == Signature::at(&path)?
            && !self.own_object(bytes).exists())
    }

    /// What is wrong with the files of a result. Objects whose signature does not speak for them are hashed.
    fn damage(&self, stored: &Stored) -> Result<Vec<Damage>, Diag> {
        let mut damage = Vec::new();
        for (name, file) in stored.files.iter() {
            if let Some((what, note)) = self.object_damage(&file.bytes, file.size)? {
                let what = format!("`{name}` {what}");
                damage.push(Damage { what, note, path: self.object(&file.bytes) });
            }
        }
        Ok(damage)
    }

    /// What is wrong with an object, if anything, wherever it lies.
    fn object_damage(&self, bytes: &Digest, size: u64) -> Result<Option<Wrong>, Diag> {
        if let Some(path) = self.shared_object(bytes)
            && !self.own_object(bytes).exists()
            && let Some(signature) = Signature::at(&path)?
        {
            let found = self.file_digest(&path, signature)?;
            let what = "in the shared store is not what was stored";
            return Ok((found != *bytes).then(|| (what.to_owned(), Some(facts(bytes, size, &found, signature)))));
        }
        self.own_damage(bytes, size)
    }

    /// What is wrong with an object of the store that is written.
    fn own_damage(&self, bytes: &Digest, size: u64) -> Result<Option<Wrong>, Diag> {
        let path = self.own_object(bytes);
        let Some(signature) = Signature::at(&path)? else {
            return Ok(Some(("is missing".to_owned(), Some(format!("recorded {bytes}, {size} bytes")))));
        };
        if self.index().objects.get(bytes).is_some_and(|seen| seen.signature == signature) {
            return Ok(None);
        }
        let hashed_at = now_ns();
        let found = byte_digest(&path)?;
        if found != *bytes {
            return Ok(Some(("is not what was stored".to_owned(), Some(facts(bytes, size, &found, signature)))));
        }
        self.trust(bytes, signature, hashed_at);
        Ok(None)
    }

    /// The object of the store that is written had this signature when it was hashed, and was right.
    pub(super) fn trust(&self, object: &Digest, signature: Signature, hashed_at: i64) {
        if signature.racy(hashed_at) {
            return;
        }
        let mut index = self.index();
        let known = index.objects.get(object).filter(|seen| seen.signature == signature);
        let settled = signature.settled(hashed_at) || known.is_some_and(|seen| seen.settled);
        let seen = Seen { signature, settled };
        index.dirty |= index.objects.insert(*object, seen) != Some(seen);
    }

    /// Whether the object is there and right. One that is there and wrong is set aside.
    pub(super) fn has_object(&self, bytes: &Digest, size: u64) -> Result<bool, Diag> {
        match self.own_damage(bytes, size)? {
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
