//! [`Index`]: one small file that spares a run without work the opening of a manifest for every node. A memo only: what
//! it says of a file holds as long as the file's signature does, and without it everything is found again from the
//! manifests. Written as a whole, by rename, with a digest at its end; a damaged or foreign one is ignored.
//!
//! In memory it is what was read ([`IndexFile`]), and beside it what changed since.
//!
//! A signature speaks for bytes as long as the machine runs. A power cut may take bytes back that were written but not yet on
//! the disk, and some file systems keep the signature then. So what was not [settled](Signature::settled) is forgotten when the
//! machine was started anew, and hashed once more.

pub mod file;
pub mod prefetch;
mod write;

use std::borrow::Borrow;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::base::digest::{Digest, DigestHasher};
use crate::base::fault;
use crate::base::fs::{self, FsError};

use super::entry::Stored;
use super::key::CacheKey;
use super::stat::{Signature, boot};
use file::IndexFile;

/// What is remembered of a file of the working tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileMemo {
    pub signature: Signature,
    /// When the hashing began.
    pub hashed_at: i64,
    pub digest: Digest,
}

/// What is remembered of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectMemo {
    /// When its bytes were last known to be right.
    pub signature: Signature,
    /// Whether these bytes are known to be on the disk.
    pub settled: bool,
}

/// What else is known of bytes. It follows from them, so it holds as long as they are what their digest says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OtherDigests {
    /// What they mean as a file of tensors.
    pub tensors: Option<Digest>,
    pub sha256: Option<[u8; 32]>,
}

impl OtherDigests {
    /// With what `other` has and this has not.
    pub fn or(self, other: Self) -> Self {
        Self { tensors: self.tensors.or(other.tensors), sha256: self.sha256.or(other.sha256) }
    }
}

type DigestState = BuildHasherDefault<DigestHasher>;

#[derive(Debug)]
pub struct Index {
    /// As read.
    pub packed: Arc<IndexFile>,
    /// Of which file, so that one that another process wrote is told from it.
    read: Option<Signature>,
    /// The first making under each key.
    pub results: Overlay<CacheKey, Arc<Stored>, CacheKey, DigestState>,
    /// The objects.
    pub objects: Overlay<Digest, ObjectMemo, Digest, DigestState>,
    /// Files of the working tree.
    pub files: Overlay<PathBuf, FileMemo, Path>,
    /// Bytes of large files of the working tree, by their digest. Kept as long as a file or an object has them.
    pub about: Overlay<Digest, OtherDigests, Digest, DigestState>,
    /// The folders of manifests, by number, as they were when the manifests of all these results were in them.
    pub folders: Overlay<u8, Signature, u8>,
    /// The key under which each node was last found or made.
    pub last: LastKeys,
    pub dirty: bool,
}

impl Default for Index {
    fn default() -> Self {
        Self::on(Arc::default(), None)
    }
}

impl Index {
    /// Reads the index; an empty one where there is none that can be used.
    pub fn read(path: &Path) -> Self {
        Self::read_as_of(path, &boot())
    }

    fn read_as_of(path: &Path, boot: &str) -> Self {
        // Before the bytes: a file that is put in its place meanwhile is read again.
        let read = Signature::at(path).ok().flatten();
        let packed = fs::read(path).ok().and_then(|bytes| IndexFile::new(bytes, boot)).unwrap_or_default();
        Self::on(packed.into(), read)
    }

    fn on(packed: Arc<IndexFile>, read: Option<Signature>) -> Self {
        Self {
            read,
            results: Overlay::new(&packed, |packed, key| Some(Arc::new(packed.stored(packed.find_result(*key)?)))),
            objects: Overlay::new(&packed, |packed, digest| packed.seen(packed.find_object(digest)?)),
            files: Overlay::new(&packed, |packed, path| packed.memo(packed.find_file(path)?)),
            about: Overlay::new(&packed, |packed, digest| packed.find_about(digest)),
            folders: Overlay::new(&packed, |packed, number| packed.folder(*number)),
            last: LastKeys { packed: packed.clone(), pipelines: BTreeMap::new() },
            dirty: false,
            packed,
        }
    }

    /// Takes over what another process wrote meanwhile: where both know something, this one's word counts. With `anew`
    /// the file is read again even if it is the one that was read.
    pub fn catch_up(&mut self, path: &Path, anew: bool) {
        if anew || Signature::at(path).ok().flatten() != self.read {
            self.rebase(Self::read(path));
        }
    }

    /// Writes it, on top of what another process wrote meanwhile. Synced only if it is to be `durable`: to lose it costs only
    /// time.
    pub fn write(&mut self, path: &Path, durable: bool) -> Result<(), FsError> {
        self.catch_up(path, false);
        self.write_as_of(path, &boot(), durable)
    }

    /// As if written when the machine was last started at `boot`.
    pub fn write_as_of(&mut self, path: &Path, boot: &str, durable: bool) -> Result<(), FsError> {
        fs::replace_with(&fault::INDEX, path, durable, |file| write::pack(self, boot, file))?;
        // First goes what was read before: the two together would take twice the memory.
        *self = Self::default();
        *self = Self::read_as_of(path, boot);
        Ok(())
    }

    /// Puts what changed here on top of `other`.
    fn rebase(&mut self, other: Self) {
        let packed = other.packed;
        self.results.packed = packed.clone();
        self.objects.packed = packed.clone();
        self.files.packed = packed.clone();
        self.about.packed = packed.clone();
        self.folders.packed = packed.clone();
        self.last.rebase(&packed);
        (self.packed, self.read) = (packed, other.read);
    }

    /// The keys of all results that are known whose manifests belong in folders for which `wanted` is true.
    pub fn keys_in(&self, wanted: &dyn Fn(u8) -> bool) -> Vec<CacheKey> {
        let changed = &self.results.changed;
        let folders = (0..=u8::MAX).filter(|number| wanted(*number));
        let read = folders.flat_map(|number| self.packed.keys_beginning_with(number));
        let read = read.filter(|key| !changed.contains_key(key));
        let new = changed.iter().filter(|(key, stored)| stored.is_some() && wanted(key.0.0[0])).map(|(key, _)| *key);
        read.chain(new).collect()
    }

    /// Forgets the result of a key; whether one was known.
    pub fn forget(&mut self, key: CacheKey) -> bool {
        let known = self.results.get(&key).is_some();
        if known {
            self.results.remove(&key);
            self.dirty = true;
        }
        known
    }

    /// Learns more about bytes.
    pub fn learn(&mut self, bytes: Digest, about: OtherDigests) {
        let known = self.about.get(&bytes).unwrap_or_default();
        self.dirty |= self.about.insert(bytes, about.or(known));
    }

    /// Forgets files of the working tree but those that `keep` is true of.
    pub fn keep_files(&mut self, keep: impl Fn(&Path) -> bool) {
        let known = (0..self.packed.files()).filter_map(|row| std::str::from_utf8(self.packed.path(row)).ok());
        let gone: Vec<PathBuf> = known.map(Path::new).filter(|path| !keep(path)).map(Path::to_owned).collect();
        self.files.changed.retain(|path, _| keep(path));
        gone.iter().for_each(|path| self.files.remove(path));
    }
}

/// What was read of one kind, and what changed since. `Q`: as keys are looked up.
#[derive(Debug)]
pub struct Overlay<K, V, Q: ?Sized, S = RandomState> {
    packed: Arc<IndexFile>,
    find: fn(&IndexFile, &Q) -> Option<V>,
    /// `None`: taken out.
    pub changed: HashMap<K, Option<V>, S>,
}

impl<K, V, Q, S> Overlay<K, V, Q, S>
where
    K: Borrow<Q> + Eq + Hash,
    V: Clone + PartialEq,
    Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
    S: BuildHasher + Default,
{
    fn new(packed: &Arc<IndexFile>, find: fn(&IndexFile, &Q) -> Option<V>) -> Self {
        Self { packed: packed.clone(), find, changed: HashMap::default() }
    }

    /// What is known of `key`.
    pub fn get(&self, key: &Q) -> Option<V> {
        match self.changed.is_empty() {
            true => (self.find)(&self.packed, key),
            false => self.changed.get(key).cloned().unwrap_or_else(|| (self.find)(&self.packed, key)),
        }
    }

    /// Learns it; whether that is news.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        let news = self.get(key.borrow()).as_ref() != Some(&value);
        if news {
            self.changed.insert(key, Some(value));
        }
        news
    }

    /// Forgets it.
    pub fn remove(&mut self, key: &Q) {
        self.changed.insert(key.to_owned(), None);
    }
}

/// A node of a pipeline, by a digest of its name that is short and quick: two names with the same one are not to be feared,
/// and would mix up reasons alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeHash(pub(super) u64);

impl NodeHash {
    /// Of the node that is printed so (Fowler, Noll and Vo: FNV-1a, 64 bits).
    pub fn of(node: &(impl fmt::Display + ?Sized)) -> Self {
        struct Fnv(u64);
        impl Write for Fnv {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for byte in text.bytes() {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
                Ok(())
            }
        }
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        write!(hash, "{node}").expect("nothing can fail");
        Self(hash.0)
    }
}

/// The key under which each node was last found or made, by pipeline.
#[derive(Debug)]
pub struct LastKeys {
    packed: Arc<IndexFile>,
    pipelines: BTreeMap<String, LastOf>,
}

/// That of one pipeline.
#[derive(Debug, Default)]
struct LastOf {
    /// Its rows.
    rows: Range<u32>,
    /// Where each node stands among these, once asked for.
    places: OnceLock<HashMap<NodeHash, u32>>,
    changed: HashMap<NodeHash, CacheKey>,
    /// The order in which its nodes are to be written.
    order: Vec<NodeHash>,
}

impl LastOf {
    fn row(&self, packed: &IndexFile, node: NodeHash) -> Option<u32> {
        let places = || self.rows.clone().map(|row| (NodeHash(packed.node_slot(row)), row)).collect();
        self.places.get_or_init(places).get(&node).copied()
    }
}

impl LastKeys {
    fn rows_of(packed: &IndexFile, pipeline: &str) -> Range<u32> {
        packed.pipelines().find(|(name, _)| *name == pipeline).map(|(_, rows)| rows).unwrap_or_default()
    }

    /// Where the nodes of a pipeline stand in what was read.
    pub fn rows(&self, pipeline: &str) -> Range<u32> {
        Self::rows_of(&self.packed, pipeline)
    }

    fn of(&mut self, pipeline: &str) -> &mut LastOf {
        if !self.pipelines.contains_key(pipeline) {
            let rows = self.rows(pipeline);
            self.pipelines.insert(pipeline.to_owned(), LastOf { rows, ..LastOf::default() });
        }
        self.pipelines.get_mut(pipeline).expect("it was put there")
    }

    /// The key of one node.
    pub fn get(&mut self, pipeline: &str, node: NodeHash) -> Option<CacheKey> {
        let packed = self.packed.clone();
        let of = self.of(pipeline);
        let changed = of.changed.get(&node).copied();
        changed.or_else(|| of.row(&packed, node).map(|row| packed.node_key(row)))
    }

    /// Learns it; whether that is news.
    pub fn insert(&mut self, pipeline: &str, node: NodeHash, key: CacheKey) -> bool {
        let news = self.get(pipeline, node) != Some(key);
        if news {
            self.of(pipeline).changed.insert(node, key);
        }
        news
    }

    /// In which order the nodes of a pipeline are to be written: that in which they will be asked for.
    pub fn order(&mut self, pipeline: &str, nodes: impl Iterator<Item = NodeHash>) {
        self.of(pipeline).order = nodes.collect();
    }

    /// Where a node stands in what was read.
    pub fn row(&mut self, pipeline: &str, node: NodeHash) -> Option<u32> {
        let packed = self.packed.clone();
        self.of(pipeline).row(&packed, node)
    }

    /// The pipelines, and their nodes with their keys, in the order in which they are to be written.
    pub fn all(&self) -> BTreeMap<&str, Vec<(NodeHash, CacheKey)>> {
        let row = |row| (NodeHash(self.packed.node_slot(row)), self.packed.node_key(row));
        let read = self.packed.pipelines().map(|(name, rows)| (name, rows.map(row).collect::<Vec<_>>()));
        let mut all: BTreeMap<&str, Vec<_>> = read.collect();
        for (name, of) in self.pipelines.iter().filter(|(_, of)| !(of.changed.is_empty() && of.order.is_empty())) {
            let nodes = all.entry(name).or_default();
            let mut keys: HashMap<NodeHash, CacheKey> = nodes.iter().copied().collect();
            keys.extend(of.changed.iter().map(|(node, key)| (*node, *key)));
            let mut changed: Vec<NodeHash> = of.changed.keys().copied().collect();
            changed.sort();
            let in_order = of.order.iter().copied().chain(nodes.iter().map(|(node, _)| *node)).chain(changed);
            *nodes = in_order.filter_map(|node| Some((node, keys.remove(&node)?))).collect();
        }
        all
    }

    fn rebase(&mut self, packed: &Arc<IndexFile>) {
        self.packed = packed.clone();
        for (name, of) in &mut self.pipelines {
            (of.rows, of.places) = (Self::rows_of(packed, name), OnceLock::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::file::NONE;
    use super::*;
    use crate::cache::Recipe;

    const SIGNATURE: Signature = Signature { size: 1, mtime: -2, ctime: 3, inode: 4 };

    fn key(version: u32) -> CacheKey {
        Recipe::new("train", version).key()
    }

    fn stored(version: u32, numerics: &[(&str, &str)]) -> Arc<Stored> {
        Arc::new(Stored::of(key(version), &crate::cache::entry::tests::made(numerics)))
    }

    fn sample() -> Index {
        let digest = Digest::of(b"x");
        let mut index = Index::default();
        index.results.insert(key(1), stored(1, &[("device", "cpu")]));
        index.results.insert(key(2), stored(2, &[]));
        index.objects.insert(digest, ObjectMemo { signature: SIGNATURE, settled: false });
        index.objects.insert(Digest::of(b"y"), ObjectMemo { signature: SIGNATURE, settled: true });
        index.files.insert("/a/é".into(), FileMemo { signature: SIGNATURE, hashed_at: 5, digest });
        index.files.insert("/a".into(), FileMemo { signature: SIGNATURE, hashed_at: i64::MAX, digest });
        index.learn(digest, OtherDigests { tensors: Some(Digest::of(b"tensors")), sha256: None });
        index.last.insert("p", NodeHash::of("one"), key(1));
        index.last.insert("p", NodeHash::of("gone"), key(3));
        index.last.insert("q", NodeHash::of("one"), key(2));
        index.folders.insert(0, SIGNATURE);
        index.folders.insert(7, SIGNATURE);
        index
    }

    /// All that it says of what [`sample`] knows.
    fn says(index: &mut Index) -> String {
        let results: Vec<_> = (1..4).map(|version| index.results.get(&key(version))).collect();
        let objects: Vec<_> = [b"x", b"y", b"z"].map(|bytes| index.objects.get(&Digest::of(bytes))).into();
        let files: Vec<_> = ["/a", "/a/é", "/b"].map(|path| index.files.get(Path::new(path))).into();
        let nodes = [("p", "one"), ("p", "gone"), ("q", "one"), ("q", "gone"), ("r", "one")];
        let last = nodes.map(|(pipeline, node)| index.last.get(pipeline, NodeHash::of(node)));
        let about = [b"x", b"y", b"z"].map(|bytes| index.about.get(&Digest::of(bytes)));
        let folders = [0, 6, 7, 255].map(|number| index.folders.get(&number));
        format!("{results:?}\n{objects:?}\n{files:?}\n{last:?}\n{about:?}\n{folders:?}")
    }

    fn packed(index: &Index, boot: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write::pack(index, boot, &mut bytes).unwrap();
        bytes
    }

    fn unpacked(bytes: &[u8], boot: &str) -> Option<Index> {
        Some(Index::on(IndexFile::new(bytes.to_owned(), boot)?.into(), None))
    }

    #[test]
    fn read_back_as_written_and_any_damage_is_no_index() {
        let mut index = sample();
        let bytes = packed(&index, "boot");
        let mut back = unpacked(&bytes, "boot").unwrap();
        assert_eq!(says(&mut back), says(&mut index));
        assert!(back.results.changed.is_empty() && back.objects.changed.is_empty());
        assert_eq!(packed(&back, "boot"), bytes);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(unpacked(&flipped, "boot").is_none());
            assert!(unpacked(&bytes[..at], "boot").is_none());
        }
    }

    #[test]
    fn what_refers_to_nothing_is_no_index() {
        let mut bytes = packed(&sample(), "boot");
        let whole = bytes.len() - 32;
        let mut good = 0;
        for at in 0..whole {
            let before = std::mem::replace(&mut bytes[at], 0xfe);
            let check = Digest::of(&bytes[..whole]);
            bytes[whole..].copy_from_slice(&check.0);
            if let Some(mut index) = unpacked(&bytes, "boot") {
                says(&mut index);
                good += 1;
            }
            bytes[at] = before;
        }
        assert!(good > 0 && good < whole);
    }

    #[test]
    fn changes_are_kept_beside_what_was_read_and_written_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        sample().write(&path, false).unwrap();
        let (mut one, mut other) = (Index::read(&path), Index::read(&path));
        let seen = ObjectMemo { signature: SIGNATURE, settled: true };
        assert!(one.objects.insert(Digest::of(b"z"), seen) && !one.objects.insert(Digest::of(b"z"), seen));
        one.results.remove(&key(1));
        one.objects.remove(&Digest::of(b"y"));
        one.last.insert("p", NodeHash::of("gone"), key(4));
        one.keep_files(|path| path == Path::new("/a"));
        let said = says(&mut one);
        one.write(&path, false).unwrap();
        assert_eq!((says(&mut one), says(&mut Index::read(&path))), (said.clone(), said));

        // What another process wrote meanwhile stays, but for what this one knows better.
        other.results.insert(key(3), stored(3, &[]));
        other.last.insert("p", NodeHash::of("one"), key(3));
        other.write(&path, false).unwrap();
        let mut both = Index::read(&path);
        let known = |index: &Index| (1..4).map(|v| index.results.get(&key(v)).is_some()).collect::<Vec<_>>();
        assert_eq!((known(&both), known(&other)), (vec![false, true, true], vec![false, true, true]));
        assert_eq!(both.objects.get(&Digest::of(b"z")), Some(seen));
        assert_eq!(both.last.get("p", NodeHash::of("gone")), Some(key(4)));
        assert_eq!(both.last.get("p", NodeHash::of("one")), Some(key(3)));
    }

    #[test]
    fn what_two_learn_of_the_same_bytes_is_kept_and_what_nobody_has_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        sample().write(&path, false).unwrap();
        let (mut one, mut other) = (Index::read(&path), Index::read(&path));
        let sha256 = Some([1; 32]);
        one.learn(Digest::of(b"y"), OtherDigests { tensors: Some(Digest::of(b"t")), sha256: None });
        one.learn(Digest::of(b"of nobody"), OtherDigests { tensors: None, sha256 });
        one.write(&path, false).unwrap();
        other.learn(Digest::of(b"x"), OtherDigests { tensors: None, sha256 });
        other.learn(Digest::of(b"y"), OtherDigests { tensors: None, sha256 });
        other.write(&path, false).unwrap();
        let both = Index::read(&path);
        let about = |bytes: &[u8]| both.about.get(&Digest::of(bytes));
        assert_eq!(about(b"x"), Some(OtherDigests { tensors: Some(Digest::of(b"tensors")), sha256 }));
        assert_eq!(about(b"y"), Some(OtherDigests { tensors: Some(Digest::of(b"t")), sha256 }));
        assert_eq!(about(b"of nobody"), None);
    }

    #[test]
    fn nodes_are_written_in_the_order_in_which_they_will_be_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let nodes: Vec<NodeHash> = (0..4).map(|n| NodeHash::of(&n)).collect();
        let mut index = Index::default();
        for node in nodes.iter().rev() {
            index.last.insert("p", *node, key(1));
        }
        index.last.insert("p", NodeHash::of("of another time"), key(2));
        index.last.order("p", nodes.iter().copied());
        index.results.insert(key(1), stored(1, &[]));
        index.write(&path, false).unwrap();
        for (at, node) in nodes.iter().enumerate() {
            assert_eq!(index.last.row("p", *node), Some(at as u32));
            assert_eq!(index.packed.key(index.packed.node_result(at as u32)), key(1));
        }
        assert_eq!(index.last.row("p", NodeHash::of("of another time")), Some(4));
        assert_eq!((index.packed.node_result(4), index.last.row("p", NodeHash::of("none"))), (NONE, None));
    }

    #[test]
    fn what_a_power_cut_may_have_taken_is_hashed_again_after_a_start_of_the_machine() {
        let bytes = packed(&sample(), "one boot");
        let later = unpacked(&bytes, "another").unwrap();
        let object = |index: &Index, bytes: &[u8]| index.objects.get(&Digest::of(bytes)).is_some();
        assert_eq!((object(&later, b"x"), object(&later, b"y")), (false, true));
        let file = |path: &str| later.files.get(Path::new(path)).is_some();
        assert_eq!((file("/a/é"), file("/a")), (false, true));
        assert!(later.results.get(&key(1)).is_some());
        assert_eq!(later.folders.get(&7), None);
        // What was forgotten is not written as if it were known.
        let again = unpacked(&packed(&later, "another"), "another").unwrap();
        assert_eq!((object(&again, b"x"), object(&again, b"y")), (false, true));
    }
}
