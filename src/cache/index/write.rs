//! Writes an [`Index`]: the bytes that [`IndexFile`] reads. What was read and what changed are merged in sorted order,
//! so that the cost is linear.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use zerocopy::little_endian::U32;
use zerocopy::{Immutable, IntoBytes};

use super::file::IndexFile;
use super::overlay::Index;
use super::rows::{
    Counts, FileMemo, FileRow, FolderRow, ListRow, MAGIC, NONE, NodeRow, ObjectMemo, ObjectRow, OtherDigests,
    OtherDigestsRow, OutputRow, PipelineRow, ResultRow, TextRow,
};
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs::{self, FsError};
use crate::cache::entry::Stored;
use crate::cache::files::Files;
use crate::cache::key::CacheKey;
use crate::cache::stat::boot;

/// Writes the index on top of what another process wrote meanwhile, and reads it back. It is synced only if `durable`:
/// losing an index costs time, and nothing else.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn write(index: &mut Index, path: &Path, durable: bool) -> Result<(), FsError> {
    index.catch_up(path, false);
    write_with_boot(index, path, &boot(), durable)
}

/// Writes the index as on a machine with this boot id.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn write_with_boot(index: &mut Index, path: &Path, boot: &str, durable: bool) -> Result<(), FsError> {
    fs::replace_with(&fault::INDEX, path, durable, |file| encode(index, boot, file))?;
    // The old one goes first: both together would take twice the memory.
    *index = Index::default();
    *index = Index::read_with_boot(path, boot);
    Ok(())
}

/// Writes the bytes of the file, row by row: all of them at once would take more memory than anything else here.
///
/// # Errors
/// Fails if `file` does.
pub fn encode(index: &Index, boot: &str, file: &mut dyn Write) -> io::Result<()> {
    let read = &*index.file;
    let pipelines = index.last.all();
    let results = results(index);
    let objects = objects(index, &results);
    let order = Order::new(read, &results, &objects, pipelines.values().flatten().map(|(_, key)| *key));
    let files = files(index);
    let other_digests = other_digests(index, &objects, &files);
    let mut texts = Texts::default();
    let mut out = HashingWriter::new(file);
    out.put(MAGIC);
    out.put(&(boot.len() as u64).to_le_bytes());
    out.put(boot.as_bytes());

    for sorted in &order.objects.order {
        let (digest, memo) = &objects[*sorted as usize];
        out.row(&ObjectRow::new(digest, *memo));
    }
    out.row_numbers(&order.objects.rows);
    let mut outputs = 0;
    for sorted in &order.results.order {
        let (key, result) = &results[*sorted as usize];
        let (names, numerics, seconds) = match result {
            Source::Row(row) => (read.names(*row).clone(), read.numerics(*row).clone(), read.seconds(*row)),
            Source::New(stored) => (stored.files.shared_names(), numerics(stored), stored.seconds),
        };
        let count = names.len() as u32;
        out.row(&ResultRow::new(*key, seconds, texts.list(names), texts.list(numerics), outputs));
        outputs += count;
    }
    out.row_numbers(&order.results.rows);
    for sorted in &order.results.order {
        match &results[*sorted as usize].1 {
            Source::Row(row) => read.files_of(*row).for_each(|(file, object)| {
                let object = order.objects.rows[order.moved[object as usize] as usize];
                out.row(&OutputRow::new(&file, object));
            }),
            Source::New(stored) => stored.files.values().for_each(|file| {
                let object = order.objects.rows[place(&objects, &file.bytes) as usize];
                out.row(&OutputRow::new(file, object));
            }),
        }
    }
    for (path, memo) in &files {
        out.row(&FileRow::new(texts.text(path), memo));
    }
    let mut nodes = 0;
    for (name, of) in &pipelines {
        let (name, count) = (texts.text(name.as_bytes()), of.len() as u32);
        out.row(&PipelineRow { name, first_node: U32::new(nodes), nodes: U32::new(count) });
        nodes += count;
    }
    for ((node, key), result) in pipelines.values().flatten().zip(&order.nodes) {
        out.row(&NodeRow::new(*node, *key, *result));
    }
    for (bytes, other) in &other_digests {
        out.row(&OtherDigestsRow::new(bytes, other));
    }
    let mut folders = 0_u64;
    for number in 0..=u8::MAX {
        if let Some(signature) = index.folders.get(&number) {
            out.row(&FolderRow::new(number, signature));
            folders += 1;
        }
    }
    texts.lists.iter().for_each(|list| out.row(list));
    out.put(&texts.text);
    out.row(&Counts {
        objects: (objects.len() as u64).into(),
        results: (results.len() as u64).into(),
        outputs: u64::from(outputs).into(),
        files: (files.len() as u64).into(),
        pipelines: (pipelines.len() as u64).into(),
        nodes: u64::from(nodes).into(),
        other_digests: (other_digests.len() as u64).into(),
        folders: folders.into(),
        lists: (texts.lists.len() as u64).into(),
        text: (texts.text.len() as u64).into(),
    });
    out.finish()
}

/// A result that is written: a row of the file that was read, or a new one.
enum Source<'a> {
    Row(u32),
    New(&'a Arc<Stored>),
}

/// The order in which results and objects are written: that in which the nodes ask for them.
struct Order {
    /// For each node, in the order of the pipelines: the row of its result, or [`NONE`].
    nodes: Vec<u32>,
    results: Permutation,
    objects: Permutation,
    /// For each object row of the old file: the object's place in the new, digest-sorted list.
    moved: Vec<u32>,
}

impl Order {
    /// `keys` are the keys of the nodes, in the order in which they ask.
    fn new(
        read: &IndexFile,
        results: &[(CacheKey, Source)],
        objects: &[(Digest, Option<ObjectMemo>)],
        keys: impl Iterator<Item = CacheKey>,
    ) -> Self {
        let mut of_results = Permutation::new(results.len());
        let put = |key| match results.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(sorted) => of_results.put(sorted as u32),
            Err(_) => NONE,
        };
        let nodes = keys.map(put).collect();
        of_results.put_rest();
        let moved = moved(read, objects);
        let mut of_objects = Permutation::new(objects.len());
        for sorted in &of_results.order {
            match results[*sorted as usize].1 {
                Source::Row(row) => read.objects_of(row).for_each(|object| {
                    of_objects.put(moved[object as usize]);
                }),
                Source::New(stored) => stored.files.values().for_each(|file| {
                    of_objects.put(place(objects, &file.bytes));
                }),
            }
        }
        of_objects.put_rest();
        Self { nodes, results: of_results, objects: of_objects, moved }
    }
}

/// An order of sorted things, in both directions.
struct Permutation {
    /// The place of each thing in the sorted list, in the order in which things are written.
    order: Vec<u32>,
    /// The row of each thing of the sorted list.
    rows: Vec<u32>,
}

impl Permutation {
    fn new(things: usize) -> Self {
        Self { order: Vec::with_capacity(things), rows: vec![NONE; things] }
    }

    /// Gives a thing the next row unless it has one. Returns its row.
    fn put(&mut self, thing: u32) -> u32 {
        let row = &mut self.rows[thing as usize];
        if *row == NONE {
            *row = self.order.len() as u32;
            self.order.push(thing);
        }
        *row
    }

    /// Gives rows to all things that have none.
    fn put_rest(&mut self) {
        for thing in 0..self.rows.len() as u32 {
            self.put(thing);
        }
    }
}

/// The place of an object that a result names in the digest-sorted list.
fn place(objects: &[(Digest, Option<ObjectMemo>)], bytes: &Digest) -> u32 {
    let place = objects.binary_search_by_key(bytes, |(digest, _)| *digest);
    place.expect("the list has all objects that results name") as u32
}

/// All results, sorted by key.
fn results(index: &Index) -> Vec<(CacheKey, Source<'_>)> {
    let (changed, file) = (&index.results.changed, &index.file);
    let read = file.results_sorted().map(|row| (file.key(row), Source::Row(row)));
    let read = read.filter(|(key, _)| !changed.contains_key(key));
    let new = changed.iter().filter_map(|(key, stored)| Some((*key, Source::New(stored.as_ref()?))));
    let mut all: Vec<_> = read.chain(new).collect();
    all.sort_by_key(|(key, _)| *key);
    all
}

/// All objects that have a memo or are named by a result, sorted by digest.
fn objects(index: &Index, results: &[(CacheKey, Source)]) -> Vec<(Digest, Option<ObjectMemo>)> {
    let (changed, file) = (&index.objects.changed, &index.file);
    let mut named = vec![false; file.objects()];
    let mut new = Vec::new();
    for (_, result) in results {
        match result {
            Source::Row(row) => file.objects_of(*row).for_each(|object| named[object as usize] = true),
            Source::New(stored) => new.extend(stored.files.values().map(|file| (file.bytes, None))),
        }
    }
    let read = file.objects_sorted().filter_map(|row| {
        let digest = file.object(row);
        let memo = changed.get(&digest).copied().unwrap_or_else(|| file.object_memo(row));
        (named[row as usize] || memo.is_some()).then_some((digest, memo))
    });
    let mut all: Vec<_> = read.collect();
    all.extend(changed.iter().filter(|(_, memo)| memo.is_some()).map(|(digest, memo)| (*digest, *memo)));
    all.extend(new);
    // Of rows with one digest the one with a memo comes first, and stays.
    all.sort_by_key(|(digest, memo)| (*digest, memo.is_none()));
    all.dedup_by_key(|(digest, _)| *digest);
    all
}

/// For each object row of the old file: the object's place in the new, digest-sorted list.
fn moved(file: &IndexFile, objects: &[(Digest, Option<ObjectMemo>)]) -> Vec<u32> {
    let mut places = vec![NONE; file.objects()];
    let mut place = 0;
    for row in file.objects_sorted() {
        let digest = file.object(row);
        while objects.get(place).is_some_and(|(other, _)| *other < digest) {
            place += 1;
        }
        places[row as usize] = place as u32;
    }
    places
}

/// All files of the working tree, sorted by path. A path that is not UTF-8 is left out, so that such a file is hashed
/// each time.
fn files(index: &Index) -> BTreeMap<Vec<u8>, FileMemo> {
    let read = index.file.files().filter_map(|(path, memo)| Some((path.to_owned(), memo?)));
    let mut all: BTreeMap<Vec<u8>, FileMemo> = read.collect();
    for (path, memo) in &index.files.changed {
        let Some(path) = path.to_str() else { continue };
        match memo {
            Some(memo) => drop(all.insert(path.as_bytes().to_owned(), *memo)),
            None => drop(all.remove(path.as_bytes())),
        }
    }
    all
}

/// The other digests of bytes that an object or a file has, sorted by digest.
fn other_digests(
    index: &Index,
    objects: &[(Digest, Option<ObjectMemo>)],
    files: &BTreeMap<Vec<u8>, FileMemo>,
) -> BTreeMap<Digest, OtherDigests> {
    let mut all: BTreeMap<Digest, OtherDigests> = index.file.other_digests().collect();
    for (bytes, other) in &index.other_digests.changed {
        let known = all.remove(bytes).unwrap_or_default();
        all.extend(other.map(|other| (*bytes, other.or(known))));
    }
    if !all.is_empty() {
        let of_files: HashSet<&Digest> = files.values().map(|memo| &memo.digest).collect();
        let object = |bytes: &Digest| objects.binary_search_by_key(bytes, |(object, _)| *object).is_ok();
        all.retain(|bytes, _| of_files.contains(bytes) || object(bytes));
    }
    all
}

/// The numerics of a result as a list: names and values in turn.
fn numerics(stored: &Stored) -> Arc<[String]> {
    Files::names(stored.numerics.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect())
}

/// The text section and the lists that refer to it. Equal lists are kept once.
#[derive(Default)]
struct Texts {
    text: Vec<u8>,
    lists: Vec<ListRow>,
    known: HashMap<Arc<[String]>, u32>,
}

impl Texts {
    /// Adds a text.
    fn text(&mut self, text: &[u8]) -> TextRow {
        let place = self.text.len() as u32;
        self.text.extend_from_slice(text);
        TextRow { place: place.into(), length: (text.len() as u32).into() }
    }

    /// Adds a list unless it is known. Returns its row.
    fn list(&mut self, list: Arc<[String]>) -> u32 {
        if let Some(known) = self.known.get(&list) {
            return *known;
        }
        let row = self.lists.len() as u32;
        self.lists.push(ListRow { place: (self.text.len() as u32).into(), count: (list.len() as u32).into() });
        for text in list.iter() {
            self.text.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.text.extend_from_slice(text.as_bytes());
        }
        self.known.insert(list, row);
        row
    }
}

/// How many bytes are hashed and written at once.
const BLOCK: usize = 64 * 1024;

/// A writer that ends with the digest of what was written. It goes on after an error, and returns it at the end.
struct HashingWriter<'a> {
    file: &'a mut dyn Write,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    error: Option<io::Error>,
}

impl<'a> HashingWriter<'a> {
    fn new(file: &'a mut dyn Write) -> Self {
        Self { file, hasher: blake3::Hasher::new(), buffer: Vec::with_capacity(BLOCK), error: None }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BLOCK {
            self.write_buffer();
        }
    }

    fn row(&mut self, row: &(impl IntoBytes + Immutable)) {
        self.put(row.as_bytes());
    }

    fn row_numbers(&mut self, rows: &[u32]) {
        rows.iter().for_each(|row| self.row(&U32::new(*row)));
    }

    fn write_buffer(&mut self) {
        self.hasher.update(&self.buffer);
        if self.error.is_none() {
            self.error = self.file.write_all(&self.buffer).err();
        }
        self.buffer.clear();
    }

    fn finish(mut self) -> io::Result<()> {
        self.write_buffer();
        let check = self.hasher.finalize();
        self.error.map_or_else(|| self.file.write_all(check.as_bytes()), Err)
    }
}
