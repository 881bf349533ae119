//! [`Index`]: the index in memory. It is the file that was read ([`IndexFile`]) and beside it, for each kind of row,
//! what changed since ([`Overlay`], [`LastKeys`]). Lookups ask the changes first.

use std::borrow::Borrow;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::file::IndexFile;
use super::rows::{FileMemo, NodeHash, ObjectMemo, OtherDigests};
use crate::base::digest::{Digest, DigestHasher};
use crate::base::fs;
use crate::cache::entry::Stored;
use crate::cache::key::CacheKey;
use crate::cache::stat::{Signature, boot};

type DigestState = BuildHasherDefault<DigestHasher>;

/// The index in memory.
#[derive(Debug)]
pub struct Index {
    /// What was read.
    pub file: Arc<IndexFile>,
    /// The signature of the file when it was read, by which a file that another process wrote is recognised.
    read: Option<Signature>,
    /// The result that was first stored under each key.
    pub results: Overlay<CacheKey, Arc<Stored>, CacheKey, DigestState>,
    /// The objects of this store.
    pub objects: Overlay<Digest, ObjectMemo, Digest, DigestState>,
    /// Files of the working tree, by absolute path.
    pub files: Overlay<PathBuf, FileMemo, Path>,
    /// Other digests of large files, by the digest of their bytes. Kept as long as a file or an object has these bytes.
    pub other_digests: Overlay<Digest, OtherDigests, Digest, DigestState>,
    /// The folders of manifests, by number, as they were when the manifests of all these results were in them.
    pub folders: Overlay<u8, Signature, u8>,
    /// The key under which each node was last found or made.
    pub last: LastKeys,
    /// `true` if something changed that is worth writing.
    pub dirty: bool,
}

impl Default for Index {
    fn default() -> Self {
        Self::of_file(Arc::default(), None)
    }
}

impl Index {
    /// Reads the index at `path`. A file that is missing, damaged or of another layout gives an empty index.
    pub fn read(path: &Path) -> Self {
        Self::read_with_boot(path, &boot())
    }

    /// As [`Self::read`], on a machine with this boot id.
    pub fn read_with_boot(path: &Path, boot: &str) -> Self {
        // Before the bytes, so that a file that replaces this one meanwhile is read again.
        let read = Signature::at(path).ok().flatten();
        let file = fs::read(path).ok().and_then(|bytes| IndexFile::new(bytes, boot)).unwrap_or_default();
        Self::of_file(file.into(), read)
    }

    /// An index of a file that was read, without changes.
    pub fn of_file(file: Arc<IndexFile>, read: Option<Signature>) -> Self {
        Self {
            read,
            results: Overlay::new(&file, |file, key| Some(Arc::new(file.stored(file.find_result(*key)?)))),
            objects: Overlay::new(&file, |file, digest| file.object_memo(file.find_object(digest)?)),
            files: Overlay::new(&file, |file, path| file.find_file(path)),
            other_digests: Overlay::new(&file, |file, digest| file.find_other_digests(digest)),
            folders: Overlay::new(&file, |file, number| file.folder(*number)),
            last: LastKeys { file: file.clone(), pipelines: BTreeMap::new() },
            dirty: false,
            file,
        }
    }

    /// Reads the file again if another process wrote it meanwhile, or in any case with `always`. The changes of this
    /// process stay on top, so where both know something, this process's value counts.
    pub fn catch_up(&mut self, path: &Path, always: bool) {
        if always || Signature::at(path).ok().flatten() != self.read {
            self.rebase(Self::read(path));
        }
    }

    /// Puts the changes on top of another file.
    fn rebase(&mut self, other: Self) {
        let file = other.file;
        self.results.file = file.clone();
        self.objects.file = file.clone();
        self.files.file = file.clone();
        self.other_digests.file = file.clone();
        self.folders.file = file.clone();
        self.last.rebase(&file);
        (self.file, self.read) = (file, other.read);
    }

    /// The keys of all known results whose manifests belong into a folder that `wanted` accepts by its number.
    pub fn keys_in(&self, wanted: &dyn Fn(u8) -> bool) -> Vec<CacheKey> {
        let changed = &self.results.changed;
        let folders = (0..=u8::MAX).filter(|number| wanted(*number));
        let read = folders.flat_map(|number| self.file.keys_beginning_with(number));
        let read = read.filter(|key| !changed.contains_key(key));
        let new = changed.iter().filter(|(key, stored)| stored.is_some() && wanted(key.0.0[0])).map(|(key, _)| *key);
        read.chain(new).collect()
    }

    /// Forgets the result of a key. Returns `true` if one was known.
    pub fn forget(&mut self, key: CacheKey) -> bool {
        let known = self.results.get(&key).is_some();
        if known {
            self.results.remove(&key);
            self.dirty = true;
        }
        known
    }

    /// Adds to the other digests of the bytes with digest `bytes`.
    pub fn learn(&mut self, bytes: Digest, other: OtherDigests) {
        let known = self.other_digests.get(&bytes).unwrap_or_default();
        self.dirty |= self.other_digests.insert(bytes, other.or(known));
    }

    /// Forgets all files of the working tree except those that `keep` accepts.
    pub fn keep_files(&mut self, keep: impl Fn(&Path) -> bool) {
        let known = self.file.files().filter_map(|(path, _)| std::str::from_utf8(path).ok());
        let gone: Vec<PathBuf> = known.map(Path::new).filter(|path| !keep(path)).map(Path::to_owned).collect();
        self.files.changed.retain(|path, _| keep(path));
        gone.iter().for_each(|path| self.files.remove(path));
    }
}

/// One kind of rows: those of the file, and on top of them what changed since. Keys are looked up as `Q`.
#[derive(Debug)]
pub struct Overlay<K, V, Q: ?Sized, S = RandomState> {
    file: Arc<IndexFile>,
    find: fn(&IndexFile, &Q) -> Option<V>,
    /// What changed; `None` stands for a removed row.
    pub changed: HashMap<K, Option<V>, S>,
}

impl<K, V, Q, S> Overlay<K, V, Q, S>
where
    K: Borrow<Q> + Eq + Hash,
    V: Clone + PartialEq,
    Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
    S: BuildHasher + Default,
{
    fn new(file: &Arc<IndexFile>, find: fn(&IndexFile, &Q) -> Option<V>) -> Self {
        Self { file: file.clone(), find, changed: HashMap::default() }
    }

    /// The value of `key`.
    pub fn get(&self, key: &Q) -> Option<V> {
        match self.changed.is_empty() {
            true => (self.find)(&self.file, key),
            false => self.changed.get(key).cloned().unwrap_or_else(|| (self.find)(&self.file, key)),
        }
    }

    /// Sets the value of `key`. Returns `true` if it had another one.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        let news = self.get(key.borrow()).as_ref() != Some(&value);
        if news {
            self.changed.insert(key, Some(value));
        }
        news
    }

    /// Removes the value of `key`.
    pub fn remove(&mut self, key: &Q) {
        self.changed.insert(key.to_owned(), None);
    }
}

/// The key under which each node was last found or made, by pipeline.
#[derive(Debug)]
pub struct LastKeys {
    file: Arc<IndexFile>,
    pipelines: BTreeMap<String, PipelineKeys>,
}

/// The nodes of one pipeline.
#[derive(Debug, Default)]
struct PipelineKeys {
    /// Their rows in the file.
    rows: Range<u32>,
    /// The row of each node, made when it is first needed.
    row_of: OnceLock<HashMap<NodeHash, u32>>,
    changed: HashMap<NodeHash, CacheKey>,
    /// The order in which the nodes are to be written.
    order: Vec<NodeHash>,
}

impl PipelineKeys {
    fn row(&self, file: &IndexFile, node: NodeHash) -> Option<u32> {
        let all = || self.rows.clone().map(|row| (file.node(row).0, row)).collect();
        self.row_of.get_or_init(all).get(&node).copied()
    }
}

impl LastKeys {
    fn rows_in(file: &IndexFile, pipeline: &str) -> Range<u32> {
        file.pipelines().find(|(name, _)| *name == pipeline).map(|(_, rows)| rows).unwrap_or_default()
    }

    /// The rows of a pipeline's nodes in the file.
    pub fn rows(&self, pipeline: &str) -> Range<u32> {
        Self::rows_in(&self.file, pipeline)
    }

    fn of(&mut self, pipeline: &str) -> &mut PipelineKeys {
        if !self.pipelines.contains_key(pipeline) {
            let rows = self.rows(pipeline);
            self.pipelines.insert(pipeline.to_owned(), PipelineKeys { rows, ..PipelineKeys::default() });
        }
        self.pipelines.get_mut(pipeline).expect("inserted above")
    }

    /// The key of a node.
    pub fn get(&mut self, pipeline: &str, node: NodeHash) -> Option<CacheKey> {
        let file = self.file.clone();
        let of = self.of(pipeline);
        let changed = of.changed.get(&node).copied();
        changed.or_else(|| of.row(&file, node).map(|row| file.node(row).1))
    }

    /// Sets the key of a node. Returns `true` if it had another one.
    pub fn insert(&mut self, pipeline: &str, node: NodeHash, key: CacheKey) -> bool {
        let news = self.get(pipeline, node) != Some(key);
        if news {
            self.of(pipeline).changed.insert(node, key);
        }
        news
    }

    /// Sets the order in which the nodes of a pipeline are written: the order in which a run asks for them.
    pub fn order(&mut self, pipeline: &str, nodes: impl Iterator<Item = NodeHash>) {
        self.of(pipeline).order = nodes.collect();
    }

    /// The row of a node in the file.
    pub fn row(&mut self, pipeline: &str, node: NodeHash) -> Option<u32> {
        let file = self.file.clone();
        self.of(pipeline).row(&file, node)
    }

    /// All pipelines with their nodes and keys, in the order in which they are written.
    pub fn all(&self) -> BTreeMap<&str, Vec<(NodeHash, CacheKey)>> {
        let read = self.file.pipelines();
        let read = read.map(|(name, rows)| (name, rows.map(|row| self.file.node(row)).collect::<Vec<_>>()));
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

    fn rebase(&mut self, file: &Arc<IndexFile>) {
        self.file = file.clone();
        for (name, of) in &mut self.pipelines {
            (of.rows, of.row_of) = (Self::rows_in(file, name), OnceLock::new());
        }
    }
}
