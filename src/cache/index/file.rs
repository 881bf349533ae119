//! [`IndexFile`]: the index as it lies on the disk. It is read in one piece, checked by the digest at its end, and then looked
//! into where it lies: rows of one length, so that a run without work decodes nothing that it does not ask for. Results and
//! objects stand in the order in which the nodes of a pipeline ask for them, so that memory is read from one end to the other;
//! beside them stands their order by digest.
//!
//! ```text
//! magic, boot
//! objects     DIGEST FLAGS SIGNATURE      FLAGS: 1 seen, 2 settled; then all ROWs by digest
//! results     KEY SECONDS NAMES NUMERICS FIRST  NAMES, NUMERICS: lists; FIRST: the first of its files; then all ROWs by key
//! outputs     LOGICAL SIZE OBJECT FLAGS   the files of results, each in the order of its names; FLAGS: 1 executable
//! files       PLACE LENGTH HASHED-AT SIGNATURE DIGEST   of the working tree, by path
//! pipelines   PLACE LENGTH FIRST COUNT    names, and their part of the next
//! nodes       SLOT RESULT KEY             under which key each was last found or made, in the order of its pipeline
//! abouts      DIGEST FLAGS TENSORS SHA256   what else is known of bytes, by digest; FLAGS: 1 tensors, 2 SHA-256
//! folders     NUMBER SIGNATURE        folders of manifests whose files were all there, by number (see `manifests.rs`)
//! lists       PLACE COUNT                 of texts in a row: the names of a result's files, or names and values of numerics
//! text        what all these have of texts, by place and length
//! counts      of objects, results, files of results, files of the tree, pipelines, nodes, abouts, folders, lists, bytes of
//!             text
//! check       the digest of all above
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::base::digest::Digest;

use super::{FileMemo, ObjectMemo, OtherDigests};
use crate::cache::entry::{FileRecord, Stored};
use crate::cache::files::Files;
use crate::cache::key::CacheKey;
use crate::cache::stat::Signature;

pub const MAGIC: &[u8] = b"dpt.index.5\n";
/// In the place of a row: none.
pub const NONE: u32 = u32::MAX;

const LIST: usize = 8;
const ROW: usize = 4;
const OBJECT: usize = 72;
const RESULT: usize = 56;
const OUTPUT: usize = 48;
const FILE: usize = 80;
const PIPELINE: usize = 16;
const NODE: usize = 48;
const ABOUT: usize = 104;
const FOLDER: usize = 40;
/// How many counts there are.
const COUNTS: usize = 10;

/// A part of the file: where it begins, and how many rows it has.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    at: usize,
    rows: usize,
}

/// What was read.
#[derive(Debug, Default)]
pub struct IndexFile {
    bytes: Vec<u8>,
    /// Whether the machine was not started anew since it was written.
    same_boot: bool,
    text: usize,
    objects: Part,
    objects_sorted: Part,
    results: Part,
    results_sorted: Part,
    outputs: Part,
    files: Part,
    pipelines: Part,
    nodes: Part,
    abouts: Part,
    folders: Part,
    /// The lists of texts, decoded: there are few.
    names: Vec<Arc<[String]>>,
}

impl IndexFile {
    /// Of the bytes of a file, if these are what was written.
    pub fn new(bytes: Vec<u8>, boot: &str) -> Option<Self> {
        let body = bytes.len().checked_sub(32)?;
        if Digest::of(&bytes[..body]).0 != bytes[body..] {
            return None;
        }
        let mut r = Reader { bytes: &bytes[..body], at: 0 };
        if r.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let length = r.number()?;
        let same_boot = r.take(length)? == boot.as_bytes();
        // They come last: who writes it knows them when all else is written.
        let end = body.checked_sub(8 * COUNTS)?;
        let mut last = Reader { bytes: &bytes[..body], at: end };
        let mut counts = [0; COUNTS];
        for count in &mut counts {
            *count = last.number()?;
        }
        let mut packed = Self {
            same_boot,
            objects: r.part(counts[0], OBJECT)?,
            objects_sorted: r.part(counts[0], ROW)?,
            results: r.part(counts[1], RESULT)?,
            results_sorted: r.part(counts[1], ROW)?,
            outputs: r.part(counts[2], OUTPUT)?,
            files: r.part(counts[3], FILE)?,
            pipelines: r.part(counts[4], PIPELINE)?,
            nodes: r.part(counts[5], NODE)?,
            abouts: r.part(counts[6], ABOUT)?,
            folders: r.part(counts[7], FOLDER)?,
            text: 0,
            names: Vec::new(),
            bytes: Vec::new(),
        };
        let lists = r.part(counts[8], LIST)?;
        let text = counts[9];
        packed.text = r.at;
        r.take(text)?;
        let whole = r.at == end;
        packed.bytes = bytes;
        packed.names = (0..lists.rows).map(|row| packed.list(lists.at + row * LIST, text)).collect::<Option<_>>()?;
        (whole && packed.refers_to_what_is_there(text)).then_some(packed)
    }

    /// The texts of a list.
    fn list(&self, at: usize, text: usize) -> Option<Arc<[String]>> {
        let end = self.text + text;
        let mut place = self.text + self.short(at) as usize;
        let one = |_| {
            let begins = place.checked_add(4).filter(|begins| *begins <= end)?;
            place = begins + self.short(place) as usize;
            let bytes = self.bytes.get(begins..place.min(end))?;
            String::from_utf8(bytes.to_vec()).ok()
        };
        (0..self.short(at + 4)).map(one).collect::<Option<Vec<_>>>().map(Files::names)
    }

    /// So that nothing that follows needs to look again.
    fn refers_to_what_is_there(&self, text: usize) -> bool {
        let within = |place: u32, length: u32| place as usize + length as usize <= text;
        let list = |number: u32| (number as usize) < self.names.len();
        let result = |row| {
            let at = self.results.at + row * RESULT;
            let (names, numerics, first) = (self.short(at + 40), self.short(at + 44), self.short(at + 48));
            let files = |names: &Arc<[String]>| first as usize + names.len() <= self.outputs.rows;
            list(numerics) && self.names.get(names as usize).is_some_and(files)
        };
        let output = |row| (self.output_object(row) as usize) < self.objects.rows;
        let file = |row| within(self.short(self.files.at + row * FILE), self.short(self.files.at + row * FILE + 4));
        let pipeline = |row| {
            let at = self.pipelines.at + row * PIPELINE;
            let nodes = self.short(at + 8) as usize + self.short(at + 12) as usize;
            within(self.short(at), self.short(at + 4)) && nodes <= self.nodes.rows
        };
        let node = |row| match self.node_result(row) {
            NONE => true,
            result => (result as usize) < self.results.rows,
        };
        let sorted = |part: Part| (0..part.rows).all(|at| (self.short(part.at + at * ROW) as usize) < part.rows);
        sorted(self.objects_sorted)
            && sorted(self.results_sorted)
            && (0..self.results.rows).all(result)
            && (0..self.outputs.rows as u32).all(output)
            && (0..self.files.rows).all(file)
            && (0..self.pipelines.rows).all(pipeline)
            && (0..self.nodes.rows as u32).all(node)
    }

    fn short(&self, at: usize) -> u32 {
        u32::from_le_bytes(*self.bytes[at..].first_chunk().expect("within the file"))
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(*self.bytes[at..].first_chunk().expect("within the file"))
    }

    fn digest(&self, at: usize) -> &Digest32 {
        self.bytes[at..].first_chunk().expect("within the file")
    }

    fn signature(&self, at: usize) -> Signature {
        let n = |i: usize| self.number(at + 8 * i);
        Signature { size: n(0), mtime: n(1) as i64, ctime: n(2) as i64, inode: n(3) }
    }

    fn texts(&self, place: u32, length: u32) -> &[u8] {
        &self.bytes[self.text + place as usize..][..length as usize]
    }

    /// The row that begins with `digest`.
    fn find(&self, part: Part, row: usize, sorted: Part, digest: &Digest) -> Option<u32> {
        let (mut low, mut high) = (0, part.rows);
        while low < high {
            let middle = low.midpoint(high);
            let found = self.short(sorted.at + middle * ROW);
            match self.digest(part.at + found as usize * row).cmp(&digest.0) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(found),
            }
        }
        None
    }

    /// All objects, by digest.
    pub fn objects_sorted(&self) -> impl Iterator<Item = u32> {
        (0..self.objects_sorted.rows).map(|at| self.short(self.objects_sorted.at + at * ROW))
    }

    /// All results, by key.
    pub fn results_sorted(&self) -> impl Iterator<Item = u32> {
        (0..self.results_sorted.rows).map(|at| self.short(self.results_sorted.at + at * ROW))
    }

    pub fn objects(&self) -> u32 {
        self.objects.rows as u32
    }

    pub fn object(&self, row: u32) -> Digest {
        Digest(*self.digest(self.objects.at + row as usize * OBJECT))
    }

    /// What is known of an object. What a power cut may have taken back is forgotten.
    pub fn seen(&self, row: u32) -> Option<ObjectMemo> {
        let at = self.objects.at + row as usize * OBJECT + 32;
        let flags = self.number(at);
        let settled = flags & 2 != 0;
        let holds = flags & 1 != 0 && (self.same_boot || settled);
        holds.then(|| ObjectMemo { signature: self.signature(at + 8), settled })
    }

    pub fn find_object(&self, digest: &Digest) -> Option<u32> {
        self.find(self.objects, OBJECT, self.objects_sorted, digest)
    }

    pub fn find_result(&self, key: CacheKey) -> Option<u32> {
        self.find(self.results, RESULT, self.results_sorted, &key.0)
    }

    pub fn key(&self, row: u32) -> CacheKey {
        CacheKey(Digest(*self.digest(self.results.at + row as usize * RESULT)))
    }

    pub fn seconds(&self, row: u32) -> f64 {
        f64::from_bits(self.number(self.results.at + row as usize * RESULT + 32))
    }

    /// The names of a result's files.
    pub fn names(&self, row: u32) -> &Arc<[String]> {
        &self.names[self.short(self.results.at + row as usize * RESULT + 40) as usize]
    }

    /// Names and values of a result's numerics, in turn.
    pub fn numerics(&self, row: u32) -> &Arc<[String]> {
        &self.names[self.short(self.results.at + row as usize * RESULT + 44) as usize]
    }

    /// The files of a result, as rows.
    pub fn outputs(&self, row: u32) -> std::ops::Range<u32> {
        let first = self.short(self.results.at + row as usize * RESULT + 48);
        first..first + self.names(row).len() as u32
    }

    pub fn output(&self, row: u32) -> FileRecord {
        let at = self.outputs.at + row as usize * OUTPUT;
        let bytes = self.object(self.output_object(row));
        let executable = self.short(at + 44) & 1 != 0;
        FileRecord { logical: Digest(*self.digest(at)), size: self.number(at + 32), bytes, executable }
    }

    pub fn output_object(&self, row: u32) -> u32 {
        self.short(self.outputs.at + row as usize * OUTPUT + 40)
    }

    pub fn stored(&self, row: u32) -> Stored {
        let records = self.outputs(row).map(|output| self.output(output)).collect();
        Stored {
            key: self.key(row),
            files: Files::new(self.names(row).clone(), records),
            numerics: pairs(self.numerics(row)),
            seconds: self.seconds(row),
        }
    }

    pub fn files(&self) -> u32 {
        self.files.rows as u32
    }

    /// The path of a file of the working tree.
    pub fn path(&self, row: u32) -> &[u8] {
        let at = self.files.at + row as usize * FILE;
        self.texts(self.short(at), self.short(at + 4))
    }

    /// What is remembered of it. What a power cut may have taken back is forgotten.
    pub fn memo(&self, row: u32) -> Option<FileMemo> {
        let at = self.files.at + row as usize * FILE + 8;
        let digest = Digest(*self.digest(at + 40));
        let memo = FileMemo { hashed_at: self.number(at) as i64, signature: self.signature(at + 8), digest };
        (self.same_boot || memo.signature.settled(memo.hashed_at)).then_some(memo)
    }

    pub fn find_file(&self, path: &Path) -> Option<u32> {
        let path = path.to_str()?.as_bytes();
        let (mut low, mut high) = (0, self.files());
        while low < high {
            let middle = low.midpoint(high);
            match self.path(middle).cmp(path) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// How many bytes more is known of.
    pub fn abouts(&self) -> u32 {
        self.abouts.rows as u32
    }

    /// Bytes of which more is known, and what.
    pub fn about(&self, row: u32) -> (Digest, OtherDigests) {
        let at = self.abouts.at + row as usize * ABOUT;
        let flags = self.number(at + 32);
        let known = |flag: u64, place: usize| (flags & flag != 0).then(|| *self.digest(at + place));
        (Digest(*self.digest(at)), OtherDigests { tensors: known(1, 40).map(Digest), sha256: known(2, 72) })
    }

    pub fn find_about(&self, digest: &Digest) -> Option<OtherDigests> {
        let (mut low, mut high) = (0, self.abouts());
        while low < high {
            let middle = low.midpoint(high);
            let (other, about) = self.about(middle);
            match other.cmp(digest) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(about),
            }
        }
        None
    }

    /// The signature that folder `number` of the manifests had when all manifests of known results were in it. After a power
    /// cut the folder may have lost some: then it is not known.
    pub fn folder(&self, number: u8) -> Option<Signature> {
        let at = |row: usize| self.folders.at + row * FOLDER;
        // Sorted, and at most one of each number: a folder's row is at its number or before.
        let mut rows = (0..self.folders.rows.min(usize::from(number) + 1)).rev();
        let row = rows.find(|row| self.number(at(*row)) <= u64::from(number))?;
        (self.same_boot && self.number(at(row)) == u64::from(number)).then(|| self.signature(at(row) + 8))
    }

    /// The keys of the results that were read whose digests begin with `first`.
    pub fn keys_beginning_with(&self, first: u8) -> impl Iterator<Item = CacheKey> {
        let sorted = self.results_sorted;
        let key = move |at: usize| self.key(self.short(sorted.at + at * ROW));
        let (mut low, mut high) = (0, sorted.rows);
        while low < high {
            let middle = low.midpoint(high);
            if key(middle).0.0[0] < first { low = middle + 1 } else { high = middle }
        }
        (low..sorted.rows).map(key).take_while(move |key| key.0.0[0] == first)
    }

    /// The pipelines, with their nodes' rows.
    pub fn pipelines(&self) -> impl Iterator<Item = (&str, std::ops::Range<u32>)> {
        (0..self.pipelines.rows).map(|row| {
            let at = self.pipelines.at + row * PIPELINE;
            let (first, count) = (self.short(at + 8), self.short(at + 12));
            let name = std::str::from_utf8(self.texts(self.short(at), self.short(at + 4))).unwrap_or_default();
            (name, first..first + count)
        })
    }

    pub fn node_slot(&self, row: u32) -> u64 {
        self.number(self.nodes.at + row as usize * NODE)
    }

    /// The row of the result under a node's key; [`NONE`] where there is none.
    pub fn node_result(&self, row: u32) -> u32 {
        self.short(self.nodes.at + row as usize * NODE + 8)
    }

    pub fn node_key(&self, row: u32) -> CacheKey {
        CacheKey(Digest(*self.digest(self.nodes.at + row as usize * NODE + 16)))
    }
}

type Digest32 = [u8; 32];

/// Names and values in turn as a map.
fn pairs(list: &[String]) -> BTreeMap<String, String> {
    list.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
    fn number(&mut self) -> Option<usize> {
        let number = u64::from_le_bytes(*self.take(8)?.first_chunk()?);
        usize::try_from(number).ok()
    }
    fn part(&mut self, rows: usize, row: usize) -> Option<Part> {
        let at = self.at;
        self.take(rows.checked_mul(row)?)?;
        (rows < NONE as usize).then_some(Part { at, rows })
    }
}
