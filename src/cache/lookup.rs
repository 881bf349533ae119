//! Looking into the store: what lies under a key, and whether its files are what was stored. Nothing but a few stats where
//! nothing changed. First in the store that is written, then in the shared one; a file counts wherever it lies.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::artifact::byte_digest_watched;
use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::watch::{Unwatched, Watch};

use super::entry::{Entry, Stored};
use super::index::file::{IndexFile, NONE};
use super::index::prefetch::Prefetch;
use super::index::{NodeHash, ObjectMemo};
use super::key::CacheKey;
use super::stat::{Signature, now_ns};
use super::store::{AcceptNumerics, Damage, Lookup, Store, manifest_in};

/// How many questions to the system are worth a thread of their own.
const WORTH_A_THREAD: usize = 1_000;

/// What is wrong with a file: in a phrase, and the facts.
type Wrong = (String, Option<String>);

/// What the index has under a key, whether or not it is still whole.
#[derive(Clone, Debug)]
pub struct KnownResult {
    /// The result.
    pub stored: Arc<Stored>,
    /// Whether the node for which it was looked for was last found or made under this key.
    pub remembered: bool,
    /// Its row; [`NONE`]: it is new.
    row: u32,
}

/// What the index knows of the nodes of a pipeline, to be asked for each in the pipeline's order.
pub struct Recall<'a> {
    store: &'a Store,
    pipeline: String,
    /// What was read, and the pipeline's rows in it, as long as nothing has changed since.
    read: Option<(Arc<IndexFile>, Range<u32>)>,
    /// Where the next node stands, most likely.
    near: u32,
}

impl Recall<'_> {
    /// What the index has of a node under a key.
    pub fn known(&mut self, node: &impl Display, key: CacheKey, wanted: AcceptNumerics) -> Option<KnownResult> {
        let slot = NodeHash::of(node);
        let here = self.near;
        if let Some((packed, rows)) = &self.read
            && rows.contains(&here)
            && packed.node_slot(here) == slot.0
            && packed.node_key(here) == key
            && packed.node_result(here) != NONE
        {
            self.near += 1;
            let row = packed.node_result(here);
            let stored = Arc::new(packed.stored(row));
            return wanted(&stored.numerics).then_some(KnownResult { stored, remembered: true, row });
        }
        let mut index = self.store.index();
        let stored = index.results.get(&key).filter(|stored| wanted(&stored.numerics))?;
        if let Some(row) = index.last.row(&self.pipeline, slot) {
            self.near = row + 1;
        }
        let remembered = index.last.get(&self.pipeline, slot) == Some(key);
        let row = if index.results.changed.contains_key(&key) { NONE } else { index.packed.find_result(key)? };
        Some(KnownResult { stored, remembered, row })
    }
}

impl Store {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn look(&self, key: CacheKey, wanted: AcceptNumerics) -> Result<Lookup, Diag> {
        self.look_watched(key, wanted, &Unwatched)
    }

    pub(super) fn look_watched(
        &self,
        key: CacheKey,
        wanted: AcceptNumerics,
        watch: &(dyn Watch + Sync),
    ) -> Result<Lookup, Diag> {
        if let Some(stored) = self.known(key, wanted)
            && self.is_whole(&stored)?
        {
            if self.has_manifest(key) {
                return Ok(Lookup::Hit(stored));
            }
            self.forget(key);
        }
        let own = self.look_in(self.root(), key, wanted, watch)?;
        match (&own, self.shared()) {
            (Lookup::Missing | Lookup::Other(_), Some(root)) => match self.look_in(root, key, wanted, watch)? {
                Lookup::Missing => Ok(own),
                found => Ok(found),
            },
            _ => Ok(own),
        }
    }

    /// What the manifest below `root` says, if its files are there.
    fn look_in(
        &self,
        root: &Path,
        key: CacheKey,
        wanted: AcceptNumerics,
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
        let Some(at) = entry.made.iter().position(|made| wanted(&made.numerics)) else {
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

    /// What the index has under a key, whether or not it is still whole.
    fn known(&self, key: CacheKey, wanted: AcceptNumerics) -> Option<Arc<Stored>> {
        self.index().results.get(&key).filter(|stored| wanted(&stored.numerics))
    }

    /// A result as the index has it, where that is the same.
    pub fn one_of(&self, stored: Arc<Stored>) -> Arc<Stored> {
        match self.index().results.changed.get(&stored.key) {
            Some(Some(known)) if *known == stored => known.clone(),
            _ => stored,
        }
    }

    /// What the index knows of the nodes of a pipeline.
    pub fn recall(&self, pipeline: &str) -> Recall<'_> {
        let pipeline = self.memory(pipeline);
        let index = self.index();
        let rows = index.last.rows(&pipeline);
        let near = rows.start;
        let read = index.results.changed.is_empty().then(|| (index.packed.clone(), rows));
        Recall { store: self, pipeline, read, near }
    }

    /// Whether the objects of a pipeline's last results are as they were: to be [asked](Prefetch::work) by another thread, while
    /// it is still being found out which of them are needed.
    pub fn look_ahead(&self, pipeline: &str) -> Arc<Prefetch> {
        let index = self.index();
        let nodes = index.last.rows(&self.memory(pipeline));
        let ahead = Arc::new(Prefetch::of_nodes(index.packed.clone(), self.objects().clone(), nodes));
        drop(index);
        self.ahead().get_or_init(|| ahead).clone()
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

    /// The same of many. The system is asked once for each object, on several threads when there is much to ask.
    pub fn whole(&self, known: &[Option<KnownResult>]) -> Vec<bool> {
        let index = self.index();
        let (packed, changed) = (index.packed.clone(), !index.objects.changed.is_empty());
        drop(index);
        let rows = known.iter().flatten().map(|known| known.row).filter(|_| !changed);
        let (begun, new);
        let ahead = match self.ahead().get().filter(|ahead| ahead.is_of(&packed)) {
            Some(ahead) => {
                begun = ahead.clone();
                begun.work();
                &*begun
            }
            None => {
                new = Prefetch::of(packed, self.objects().clone(), rows);
                let threads = std::thread::available_parallelism().map_or(1, usize::from);
                std::thread::scope(|scope| {
                    let others = threads.min(new.len() / WORTH_A_THREAD);
                    (1..others).for_each(|_| drop(scope.spawn(|| new.work())));
                    new.work();
                });
                &new
            }
        };
        let elsewhere =
            |known: &KnownResult| self.is_whole(&known.stored).unwrap_or(false) && self.has_manifest(known.stored.key);
        let whole = |known: &KnownResult| match known.row {
            row if row != NONE && !changed => ahead.whole(row) || self.shared().is_some() && elsewhere(known),
            _ => elsewhere(known),
        };
        let there = self.have_manifests(known);
        let both = |(known, there): (&Option<KnownResult>, bool)| there && known.as_ref().is_some_and(whole);
        known.iter().zip(there).map(both).collect()
    }

    /// The same of an object that lies in the shared store alone. What is known of its files is kept like that of files of
    /// the working tree: they are not ours, and not dated back for us.
    fn whole_in_shared(&self, bytes: &Digest) -> Result<bool, Diag> {
        let Some(path) = self.shared_object(bytes) else { return Ok(false) };
        let known = self.index().files.get(&path);
        Ok(known.is_some_and(|memo| memo.digest == *bytes && !memo.signature.racy(memo.hashed_at))
            && known.map(|memo| memo.signature) == Signature::at(&path)?
            && !self.own_object(bytes).exists())
    }

    /// What is wrong with the files of a result. ObjectDir whose signature does not speak for them are hashed.
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
        if self.index().objects.get(bytes).is_some_and(|seen| seen.signature == signature) {
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

    /// The object of the store that is written had this signature when it was hashed, and was right.
    pub(super) fn trust(&self, object: &Digest, signature: Signature, hashed_at: i64) {
        if signature.racy(hashed_at) {
            return;
        }
        let mut index = self.index();
        let known = index.objects.get(object).filter(|seen| seen.signature == signature);
        let settled = signature.settled(hashed_at) || known.is_some_and(|seen| seen.settled);
        let seen = ObjectMemo { signature, settled };
        index.dirty |= index.objects.insert(*object, seen);
    }

    /// Whether the object is there and right. One that is there and wrong is set aside.
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
