//! Packs an [`Index`]: the bytes that [`super::packed`] reads. What was read is gone through in its own order together with
//! what changed, so that the cost is linear.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use crate::base::digest::Digest;

use super::file::{IndexFile, MAGIC, NONE};
use super::{FileMemo, Index, ObjectMemo, OtherDigests};
use crate::cache::entry::{FileRecord, Stored};
use crate::cache::files::Files;
use crate::cache::key::CacheKey;
use crate::cache::stat::Signature;

/// Writes the bytes of the file, as if the machine was last started at `boot`: piece by piece, since all of them at once would be
/// the greatest part of what is needed for it.
///
/// # Errors
/// When they cannot be written.
pub fn pack(index: &Index, boot: &str, file: &mut dyn Write) -> std::io::Result<()> {
    let packed = &index.packed;
    let pipelines = index.last.all();
    let results = results(index);
    let objects = objects(index, &results);
    let at = Places::new(packed, &results, &objects, pipelines.values().flatten().map(|(_, key)| *key));
    let files = files(index);
    let about = about(index, &objects, &files);
    let outputs: usize = results.iter().map(|(_, result)| result.files(packed)).sum();
    let mut texts = Texts::default();
    let mut w = Hashed { file, hasher: blake3::Hasher::new(), gathered: Vec::with_capacity(PIECE), failed: None };
    w.put(MAGIC);
    w.number(boot.len() as u64);
    w.put(boot.as_bytes());

    for sorted in &at.objects.order {
        let (digest, seen) = &objects[*sorted as usize];
        w.digest(digest);
        let unseen = Signature { size: 0, mtime: 0, ctime: 0, inode: 0 };
        w.number(seen.map_or(0, |seen| 1 + 2 * u64::from(seen.settled)));
        w.signature(&seen.map_or(unseen, |seen| seen.signature));
    }
    at.objects.rows.iter().for_each(|row| w.short(*row));
    let mut first = 0;
    for sorted in &at.results.order {
        let (key, result) = &results[*sorted as usize];
        let (names, numerics, seconds) = match result {
            ResultSource::Row(row) => (packed.names(*row).clone(), packed.numerics(*row).clone(), packed.seconds(*row)),
            ResultSource::New(stored) => (stored.files.shared_names(), flat(stored), stored.seconds),
        };
        w.digest(&key.0);
        w.number(seconds.to_bits());
        w.short(texts.list(names));
        w.short(texts.list(numerics));
        w.short(first);
        w.short(0);
        first += result.files(packed) as u32;
    }
    at.results.rows.iter().for_each(|row| w.short(*row));
    for sorted in &at.results.order {
        let mut put = |file: &FileRecord, object: u32| {
            w.digest(&file.logical);
            w.number(file.size);
            w.short(at.objects.rows[object as usize]);
            w.short(u32::from(file.executable));
        };
        match &results[*sorted as usize].1 {
            ResultSource::Row(row) => packed.outputs(*row).for_each(|output| {
                let file = packed.output(output);
                put(&file, at.moved[packed.output_object(output) as usize]);
            }),
            ResultSource::New(stored) => {
                stored.files.values().for_each(|file| put(file, place(&objects, &file.bytes)));
            }
        }
    }
    for (path, memo) in &files {
        w.text(&mut texts, path);
        w.number(memo.hashed_at as u64);
        w.signature(&memo.signature);
        w.digest(&memo.digest);
    }
    let mut nodes = 0;
    for (name, of) in &pipelines {
        w.text(&mut texts, name.as_bytes());
        w.short(nodes);
        w.short(of.len() as u32);
        nodes += of.len() as u32;
    }
    for ((node, key), result) in pipelines.values().flatten().zip(&at.nodes) {
        w.number(node.0);
        w.short(*result);
        w.short(0);
        w.digest(&key.0);
    }
    for (digest, about) in &about {
        w.digest(digest);
        w.number(u64::from(about.tensors.is_some()) + 2 * u64::from(about.sha256.is_some()));
        w.digest(&about.tensors.unwrap_or(*digest));
        w.digest(&about.sha256.map_or(*digest, Digest));
    }
    let folders: Vec<_> = (0..=u8::MAX).filter_map(|number| Some((number, index.folders.get(&number)?))).collect();
    for (number, signature) in &folders {
        w.number(u64::from(*number));
        w.signature(signature);
    }
    w.put(&texts.lists);
    w.put(&texts.text);
    let counts = [objects.len(), results.len(), outputs, files.len(), pipelines.len(), nodes as usize];
    let counts = counts.into_iter().chain([about.len(), folders.len(), texts.lists.len() / 8, texts.text.len()]);
    counts.for_each(|count| w.number(count as u64));
    w.finish()
}

/// Where results and objects are put.
struct Places {
    /// The row of each node's result; [`NONE`] where there is none.
    nodes: Vec<u32>,
    results: Order,
    objects: Order,
    /// Where the objects that were read stand by digest now.
    moved: Vec<u32>,
}

impl Places {
    /// In the order in which the nodes with these `keys` ask for them.
    fn new(
        packed: &IndexFile,
        results: &[(CacheKey, ResultSource)],
        objects: &[(Digest, Option<ObjectMemo>)],
        keys: impl Iterator<Item = CacheKey>,
    ) -> Self {
        let mut order = Order::new(results.len());
        let put = |key| match results.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(sorted) => order.next(sorted as u32),
            Err(_) => NONE,
        };
        let nodes = keys.map(put).collect();
        order.rest();
        let moved = moved(packed, objects);
        let mut of_objects = Order::new(objects.len());
        for sorted in &order.order {
            match results[*sorted as usize].1 {
                ResultSource::Row(row) => {
                    for file in packed.outputs(row) {
                        of_objects.next(moved[packed.output_object(file) as usize]);
                    }
                }
                ResultSource::New(stored) => {
                    for file in stored.files.values() {
                        of_objects.next(place(objects, &file.bytes));
                    }
                }
            }
        }
        of_objects.rest();
        Self { nodes, results: order, objects: of_objects, moved }
    }
}

/// An order in which sorted things are put.
struct Order {
    /// The things by number, in the order.
    order: Vec<u32>,
    /// Where each was put.
    rows: Vec<u32>,
}

impl Order {
    fn new(things: usize) -> Self {
        Self { order: Vec::with_capacity(things), rows: vec![NONE; things] }
    }

    /// Puts a thing next, unless it was put before; where it is.
    fn next(&mut self, thing: u32) -> u32 {
        let row = &mut self.rows[thing as usize];
        if *row == NONE {
            *row = self.order.len() as u32;
            self.order.push(thing);
        }
        *row
    }

    fn rest(&mut self) {
        for thing in 0..self.rows.len() as u32 {
            self.next(thing);
        }
    }
}

/// Where an object that a result names stands by digest.
fn place(objects: &[(Digest, Option<ObjectMemo>)], bytes: &Digest) -> u32 {
    let place = objects.binary_search_by_key(bytes, |(digest, _)| *digest);
    place.expect("all that results name are there") as u32
}

/// A result: as it was read, or new.
enum ResultSource<'a> {
    Row(u32),
    New(&'a Arc<Stored>),
}

impl ResultSource<'_> {
    /// How many files it has.
    fn files(&self, packed: &IndexFile) -> usize {
        match self {
            ResultSource::Row(row) => packed.names(*row).len(),
            ResultSource::New(stored) => stored.files.len(),
        }
    }
}

/// All results, by key.
fn results(index: &Index) -> Vec<(CacheKey, ResultSource<'_>)> {
    let changed = &index.results.changed;
    let packed = &index.packed;
    let read = packed.results_sorted().map(|row| (packed.key(row), ResultSource::Row(row)));
    let read = read.filter(|(key, _)| !changed.contains_key(key));
    let new = changed.iter().filter_map(|(key, stored)| Some((*key, ResultSource::New(stored.as_ref()?))));
    let mut all: Vec<_> = read.chain(new).collect();
    all.sort_by_key(|(key, _)| *key);
    all
}

/// All objects that were seen or are named by a result, by digest.
fn objects(index: &Index, results: &[(CacheKey, ResultSource)]) -> Vec<(Digest, Option<ObjectMemo>)> {
    let (changed, packed) = (&index.objects.changed, &index.packed);
    let mut named = vec![false; packed.objects() as usize];
    let mut new = Vec::new();
    for (_, result) in results {
        match result {
            ResultSource::Row(row) => {
                packed.outputs(*row).for_each(|file| named[packed.output_object(file) as usize] = true)
            }
            ResultSource::New(stored) => new.extend(stored.files.values().map(|file| (file.bytes, None))),
        }
    }
    let now = |digest: Digest, read| changed.get(&digest).copied().unwrap_or(read);
    let read = packed.objects_sorted().map(|row| {
        let digest = packed.object(row);
        (named[row as usize], (digest, now(digest, packed.seen(row))))
    });
    let mut all: Vec<_> =
        read.filter(|(named, (_, seen))| *named || seen.is_some()).map(|(_, object)| object).collect();
    all.extend(changed.iter().filter(|(_, seen)| seen.is_some()).map(|(digest, seen)| (*digest, *seen)));
    all.extend(new);
    // Of one digest what was seen comes first.
    all.sort_by_key(|(digest, seen)| (*digest, seen.is_none()));
    all.dedup_by_key(|(digest, _)| *digest);
    all
}

/// Where the objects that were read stand by digest now.
fn moved(packed: &IndexFile, objects: &[(Digest, Option<ObjectMemo>)]) -> Vec<u32> {
    let mut places = vec![NONE; packed.objects() as usize];
    let mut now = 0;
    for row in packed.objects_sorted() {
        let digest = packed.object(row);
        while objects.get(now).is_some_and(|(other, _)| *other < digest) {
            now += 1;
        }
        places[row as usize] = now as u32;
    }
    places
}

/// All files of the working tree, by path. A path that is not text is hashed each time.
fn files(index: &Index) -> BTreeMap<Vec<u8>, FileMemo> {
    let packed = &index.packed;
    let read = (0..packed.files()).filter_map(|row| Some((packed.path(row).to_owned(), packed.memo(row)?)));
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

/// What else is known of bytes that an object or a file has.
fn about(
    index: &Index,
    objects: &[(Digest, Option<ObjectMemo>)],
    files: &BTreeMap<Vec<u8>, FileMemo>,
) -> BTreeMap<Digest, OtherDigests> {
    let packed = &index.packed;
    let mut all: BTreeMap<Digest, OtherDigests> = (0..packed.abouts()).map(|row| packed.about(row)).collect();
    for (digest, about) in &index.about.changed {
        let known = all.remove(digest).unwrap_or_default();
        all.extend(about.map(|about| (*digest, about.or(known))));
    }
    if !all.is_empty() {
        let of_files: HashSet<&Digest> = files.values().map(|memo| &memo.digest).collect();
        let object = |digest: &Digest| objects.binary_search_by_key(digest, |(object, _)| *object).is_ok();
        all.retain(|digest, _| of_files.contains(digest) || object(digest));
    }
    all
}

/// Names and values of the numerics in turn.
fn flat(stored: &Stored) -> Arc<[String]> {
    Files::names(stored.numerics.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect())
}

/// Texts, and lists of them, each list once.
#[derive(Default)]
struct Texts {
    text: Vec<u8>,
    lists: Vec<u8>,
    known: HashMap<Arc<[String]>, u32>,
}

impl Texts {
    fn list(&mut self, list: Arc<[String]>) -> u32 {
        let number = self.known.len() as u32;
        if let Some(known) = self.known.get(&list) {
            return *known;
        }
        self.lists.short(self.text.len() as u32);
        self.lists.short(list.len() as u32);
        for text in list.iter() {
            self.text.short(text.len() as u32);
            self.text.put(text.as_bytes());
        }
        self.known.insert(list, number);
        number
    }
}

/// Takes bytes, and numbers in little endian.
trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn short(&mut self, n: u32) {
        self.put(&n.to_le_bytes());
    }
    fn number(&mut self, n: u64) {
        self.put(&n.to_le_bytes());
    }
    fn digest(&mut self, d: &Digest) {
        self.put(&d.0);
    }
    /// Where a text stands, and its length.
    fn text(&mut self, texts: &mut Texts, text: &[u8]) {
        self.short(texts.text.len() as u32);
        self.short(text.len() as u32);
        texts.text.put(text);
    }
    fn signature(&mut self, s: &Signature) {
        for n in [s.size, s.mtime as u64, s.ctime as u64, s.inode] {
            self.number(n);
        }
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// How much is written at once.
const PIECE: usize = 64 * 1024;

/// A file, and the digest of what was written to it.
struct Hashed<'a> {
    file: &'a mut dyn Write,
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
    /// What went wrong first.
    failed: Option<std::io::Error>,
}

impl Put for Hashed<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.pass_on();
        }
    }
}

impl Hashed<'_> {
    fn pass_on(&mut self) {
        self.hasher.update(&self.gathered);
        if self.failed.is_none() {
            self.failed = self.file.write_all(&self.gathered).err();
        }
        self.gathered.clear();
    }

    /// Ends with the digest of all before.
    fn finish(mut self) -> std::io::Result<()> {
        self.pass_on();
        let check = self.hasher.finalize();
        self.failed.map_or_else(|| self.file.write_all(check.as_bytes()), Err)
    }
}
