//! [`IndexFile`]: the index as it lies on the disk. It is read in one piece, checked by the digest at its end, and then
//! looked up where it lies, so that a run with nothing to do decodes only the rows that it asks for.
//!
//! The file is a header, sections of [rows](super::rows), and a trailer:
//!
//! ```text
//! magic, boot     the layout's version; the boot id of the machine, behind its length (u64)
//! objects         ObjectRow, in the order in which the results name them; then all row numbers, sorted by digest
//! results         ResultRow, in the order in which the nodes ask for them; then all row numbers, sorted by key
//! outputs         OutputRow, the files of the results
//! files           FileRow, files of the working tree, sorted by path
//! pipelines       PipelineRow, sorted by name
//! nodes           NodeRow, in the order of their pipelines
//! other digests   OtherDigestsRow, sorted by digest
//! folders         FolderRow, sorted by number
//! lists           ListRow: names of files, numerics
//! text            what the rows refer to by place and length
//! counts          Counts
//! check           the digest of all bytes above
//! ```
//!
//! Results and objects lie in the order in which a run asks for them, so that it reads memory from one end to the
//! other.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use super::rows::{
    Counts, FileMemo, FileRow, FolderRow, ListRow, MAGIC, NONE, NodeHash, NodeRow, ObjectMemo, ObjectRow, OtherDigests,
    OtherDigestsRow, OutputRow, PipelineRow, ResultRow, Row, TextRow,
};
use crate::base::digest::Digest;
use crate::cache::entry::Stored;
use crate::cache::files::{FileRecord, Files};
use crate::cache::key::CacheKey;
use crate::cache::stat::Signature;

/// A section of the file: rows of one type.
#[derive(Debug)]
struct Section<T> {
    bytes: Range<usize>,
    rows: PhantomData<T>,
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Self { bytes: 0..0, rows: PhantomData }
    }
}

impl<T> Section<T> {
    /// The number of rows.
    fn len(&self) -> usize {
        self.bytes.len() / size_of::<T>()
    }
}

/// An index that was read. By default an empty one.
#[derive(Debug, Default)]
pub struct IndexFile {
    bytes: Vec<u8>,
    /// `true` if the machine has not been restarted since the file was written.
    same_boot: bool,
    objects: Section<ObjectRow>,
    objects_sorted: Section<U32>,
    results: Section<ResultRow>,
    results_sorted: Section<U32>,
    outputs: Section<OutputRow>,
    files: Section<FileRow>,
    pipelines: Section<PipelineRow>,
    nodes: Section<NodeRow>,
    other_digests: Section<OtherDigestsRow>,
    folders: Section<FolderRow>,
    text: Section<u8>,
    /// The lists of texts, decoded: there are few.
    lists: Vec<Arc<[String]>>,
}

impl IndexFile {
    /// Checks the bytes of a file. Returns `None` unless they are exactly what a writer of this layout wrote. `boot` is
    /// the boot id of the machine now.
    pub fn new(bytes: Vec<u8>, boot: &str) -> Option<Self> {
        let body = bytes.len().checked_sub(size_of::<Digest>())?;
        if Digest::of(&bytes[..body]).0 != bytes[body..] {
            return None;
        }
        let counts_at = body.checked_sub(size_of::<Counts>())?;
        let counts = Counts::read_from_bytes(&bytes[counts_at..body]).ok()?;
        let mut reader = Reader { bytes: &bytes[..counts_at], at: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let boot_length = U64::read_from_bytes(reader.take(size_of::<U64>())?).ok()?.get();
        let same_boot = reader.take(usize::try_from(boot_length).ok()?)? == boot.as_bytes();
        let mut index = Self {
            same_boot,
            objects: reader.section(counts.objects)?,
            objects_sorted: reader.section(counts.objects)?,
            results: reader.section(counts.results)?,
            results_sorted: reader.section(counts.results)?,
            outputs: reader.section(counts.outputs)?,
            files: reader.section(counts.files)?,
            pipelines: reader.section(counts.pipelines)?,
            nodes: reader.section(counts.nodes)?,
            other_digests: reader.section(counts.other_digests)?,
            folders: reader.section(counts.folders)?,
            ..Self::default()
        };
        let lists: Section<ListRow> = reader.section(counts.lists)?;
        index.text = reader.section(counts.text)?;
        let at_end = reader.at == counts_at;
        index.bytes = bytes;
        index.lists = index.rows(&lists).iter().map(|list| index.list(list)).collect::<Option<_>>()?;
        (at_end && index.references_hold()).then_some(index)
    }

    /// The rows of a section.
    fn rows<T: Row>(&self, section: &Section<T>) -> &[T] {
        <[T]>::ref_from_bytes(&self.bytes[section.bytes.clone()]).expect("a section has whole rows, of any alignment")
    }

    /// Decodes a list. Returns `None` if it leaves the text section or is not UTF-8.
    fn list(&self, list: &ListRow) -> Option<Arc<[String]>> {
        let mut rest = self.rows(&self.text).get(list.place.get() as usize..)?;
        let one = |_| {
            let (length, text) = U32::read_from_prefix(rest).ok()?;
            let (text, after) = text.split_at_checked(length.get() as usize)?;
            rest = after;
            String::from_utf8(text.to_vec()).ok()
        };
        (0..list.count.get()).map(one).collect::<Option<Vec<_>>>().map(Files::names)
    }

    /// Checks every reference from one row to another once, so that no lookup has to.
    fn references_hold(&self) -> bool {
        let below = |row: U32, rows: usize| (row.get() as usize) < rows;
        let text = |text: &TextRow| text.place.get() as usize + text.length.get() as usize <= self.text.len();
        let result = |row: &ResultRow| {
            let outputs = |names: &Arc<[String]>| row.first_output.get() as usize + names.len() <= self.outputs.len();
            below(row.numerics, self.lists.len()) && self.lists.get(row.names.get() as usize).is_some_and(outputs)
        };
        let pipeline = |row: &PipelineRow| {
            text(&row.name) && row.first_node.get() as usize + row.nodes.get() as usize <= self.nodes.len()
        };
        let node = |row: &NodeRow| row.result.get() == NONE || below(row.result, self.results.len());
        self.rows(&self.objects_sorted).iter().all(|row| below(*row, self.objects.len()))
            && self.rows(&self.results_sorted).iter().all(|row| below(*row, self.results.len()))
            && self.rows(&self.results).iter().all(result)
            && self.rows(&self.outputs).iter().all(|row| below(row.object, self.objects.len()))
            && self.rows(&self.files).iter().all(|row| text(&row.path))
            && self.rows(&self.pipelines).iter().all(pipeline)
            && self.rows(&self.nodes).iter().all(node)
    }

    fn text(&self, text: &TextRow) -> &[u8] {
        &self.rows(&self.text)[text.place.get() as usize..][..text.length.get() as usize]
    }

    /// The rows of all objects, sorted by digest.
    pub fn objects_sorted(&self) -> impl Iterator<Item = u32> {
        self.rows(&self.objects_sorted).iter().map(|row| row.get())
    }

    /// The rows of all results, sorted by key.
    pub fn results_sorted(&self) -> impl Iterator<Item = u32> {
        self.rows(&self.results_sorted).iter().map(|row| row.get())
    }

    /// The number of objects.
    pub fn objects(&self) -> usize {
        self.objects.len()
    }

    fn object_row(&self, row: u32) -> &ObjectRow {
        &self.rows(&self.objects)[row as usize]
    }

    /// The digest of an object.
    pub fn object(&self, row: u32) -> Digest {
        Digest(self.object_row(row).digest)
    }

    /// The memo of an object. `None` if it has none, or if a power cut may have taken the bytes back.
    pub fn object_memo(&self, row: u32) -> Option<ObjectMemo> {
        self.object_row(row).memo(self.same_boot)
    }

    /// The row of the object with this digest.
    pub fn find_object(&self, digest: &Digest) -> Option<u32> {
        let (objects, sorted) = (self.rows(&self.objects), self.rows(&self.objects_sorted));
        let found = sorted.binary_search_by(|row| objects[row.get() as usize].digest.cmp(&digest.0));
        found.ok().map(|at| sorted[at].get())
    }

    /// The row of the result under `key`.
    pub fn find_result(&self, key: CacheKey) -> Option<u32> {
        let (results, sorted) = (self.rows(&self.results), self.rows(&self.results_sorted));
        let found = sorted.binary_search_by(|row| results[row.get() as usize].key().cmp(&key));
        found.ok().map(|at| sorted[at].get())
    }

    fn result_row(&self, row: u32) -> &ResultRow {
        &self.rows(&self.results)[row as usize]
    }

    /// The key of a result.
    pub fn key(&self, row: u32) -> CacheKey {
        self.result_row(row).key()
    }

    /// How long a result took to make, in seconds.
    pub fn seconds(&self, row: u32) -> f64 {
        self.result_row(row).seconds.get()
    }

    /// The names of a result's files.
    pub fn names(&self, row: u32) -> &Arc<[String]> {
        &self.lists[self.result_row(row).names.get() as usize]
    }

    /// The numerics of a result: names and values in turn.
    pub fn numerics(&self, row: u32) -> &Arc<[String]> {
        &self.lists[self.result_row(row).numerics.get() as usize]
    }

    /// The files of a result, in the order of their names.
    fn outputs(&self, row: u32) -> &[OutputRow] {
        let first = self.result_row(row).first_output.get() as usize;
        &self.rows(&self.outputs)[first..][..self.names(row).len()]
    }

    /// The rows of the objects of a result, in the order of its files' names.
    pub fn objects_of(&self, row: u32) -> impl Iterator<Item = u32> {
        self.outputs(row).iter().map(|output| output.object.get())
    }

    /// The files of a result, each with the row of its object.
    pub fn files_of(&self, row: u32) -> impl Iterator<Item = (FileRecord, u32)> {
        let record = |output: &OutputRow| output.record(self.object(output.object.get()));
        self.outputs(row).iter().map(move |output| (record(output), output.object.get()))
    }

    /// Decodes a result.
    pub fn stored(&self, row: u32) -> Stored {
        let records = self.files_of(row).map(|(file, _)| file).collect();
        let numerics = self.numerics(row).chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        Stored {
            key: self.key(row),
            files: Files::new(self.names(row).clone(), records),
            numerics: numerics.collect::<BTreeMap<_, _>>(),
            seconds: self.seconds(row),
        }
    }

    /// All files of the working tree: paths, and memos as [`Self::find_file`] returns them.
    pub fn files(&self) -> impl Iterator<Item = (&[u8], Option<FileMemo>)> {
        self.rows(&self.files).iter().map(|row| (self.text(&row.path), row.memo(self.same_boot)))
    }

    /// The memo of the file at `path`. `None` if it has none, or if a power cut may have taken its bytes back.
    pub fn find_file(&self, path: &Path) -> Option<FileMemo> {
        let (path, files) = (path.to_str()?.as_bytes(), self.rows(&self.files));
        let found = files.binary_search_by(|row| self.text(&row.path).cmp(path));
        files[found.ok()?].memo(self.same_boot)
    }

    /// All bytes with other digests.
    pub fn other_digests(&self) -> impl Iterator<Item = (Digest, OtherDigests)> {
        self.rows(&self.other_digests).iter().map(|row| (Digest(row.bytes), row.get()))
    }

    /// The other digests of the bytes with this digest.
    pub fn find_other_digests(&self, bytes: &Digest) -> Option<OtherDigests> {
        let rows = self.rows(&self.other_digests);
        rows.binary_search_by(|row| row.bytes.cmp(&bytes.0)).ok().map(|at| rows[at].get())
    }

    /// The signature that folder `number` of the manifests had when the manifests of all known results were in it.
    /// `None` after a restart of the machine: a power cut may have taken manifests.
    pub fn folder(&self, number: u8) -> Option<Signature> {
        let rows = self.rows(&self.folders);
        let found = rows.binary_search_by_key(&u64::from(number), FolderRow::number).ok()?;
        self.same_boot.then(|| rows[found].signature())
    }

    /// The keys that begin with the byte `first`.
    pub fn keys_beginning_with(&self, first: u8) -> impl Iterator<Item = CacheKey> {
        let (results, sorted) = (self.rows(&self.results), self.rows(&self.results_sorted));
        let key = move |row: &U32| results[row.get() as usize].key();
        let begin = sorted.partition_point(|row| key(row).0.0[0] < first);
        sorted[begin..].iter().map(key).take_while(move |key| key.0.0[0] == first)
    }

    /// All pipelines, with the rows of their nodes.
    pub fn pipelines(&self) -> impl Iterator<Item = (&str, Range<u32>)> {
        self.rows(&self.pipelines).iter().map(|row| {
            let first = row.first_node.get();
            let name = std::str::from_utf8(self.text(&row.name)).unwrap_or_default();
            (name, first..first + row.nodes.get())
        })
    }

    fn node_row(&self, row: u32) -> &NodeRow {
        &self.rows(&self.nodes)[row as usize]
    }

    /// A node: its hash, and the key under which it was last found or made.
    pub fn node(&self, row: u32) -> (NodeHash, CacheKey) {
        (self.node_row(row).node(), self.node_row(row).key())
    }

    /// The row of the result under a node's key.
    pub fn node_result(&self, row: u32) -> Option<u32> {
        Some(self.node_row(row).result.get()).filter(|row| *row != NONE)
    }
}

/// Cuts the body of the file into its parts, from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    /// A section of so many rows; fewer than [`NONE`], which is no row's number.
    fn section<T>(&mut self, rows: U64) -> Option<Section<T>> {
        let rows = usize::try_from(rows.get()).ok().filter(|rows| *rows < NONE as usize)?;
        let begin = self.at;
        self.take(rows.checked_mul(size_of::<T>())?)?;
        Some(Section { bytes: begin..self.at, rows: PhantomData })
    }
}
