//! [`Index`]: one small file that spares a run without work the opening of a manifest for every node. A memo only: what
//! it says of a file holds as long as the file's signature does, and without it everything is found again from the
//! manifests. Written as a whole, by rename, with a digest at its end; a damaged or foreign one is ignored.
//!
//! A signature speaks for bytes as long as the machine runs. A power cut may take bytes back that were written but not yet on
//! the disk, and some file systems keep the signature then. So what was not [settled](Signature::settled) is forgotten when the
//! machine was started anew, and hashed once more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::digest::{Digest, DigestMap};
use crate::base::fault;
use crate::base::fs::{self, FsError};

use super::entry::{FileRecord, Stored};
use super::key::CacheKey;
use super::stat::{Signature, boot};

const MAGIC: &[u8] = b"dpt.index.3\n";

/// What is remembered of a file of the working tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memo {
    pub signature: Signature,
    /// When the hashing began.
    pub hashed_at: i64,
    pub digest: Digest,
}

/// What is remembered of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// When its bytes were last known to be right.
    pub signature: Signature,
    /// Whether these bytes are known to be on the disk.
    pub settled: bool,
}

/// What else is known of bytes. It follows from them, so it holds as long as they are what their digest says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct About {
    /// What they mean as a file of tensors.
    pub tensors: Option<Digest>,
    pub sha256: Option<[u8; 32]>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// The first making under each key.
    pub results: DigestMap<CacheKey, Arc<Stored>>,
    /// The objects.
    pub objects: DigestMap<Digest, Seen>,
    /// Files of the working tree.
    pub files: HashMap<PathBuf, Memo>,
    /// Bytes of large files of the working tree, by their digest. Kept as long as a file or an object has them.
    pub about: DigestMap<Digest, About>,
    /// The key under which each node (by a digest of pipeline and name) was last found or made.
    pub last: DigestMap<Digest, CacheKey>,
    /// What this process took out, so that merging does not bring it back.
    pub dropped: HashSet<CacheKey>,
    pub dirty: bool,
}

impl Index {
    /// Reads the index; an empty one where there is none that can be used.
    pub fn read(path: &Path) -> Self {
        fs::read(path).ok().and_then(|bytes| Self::decode(&bytes, &boot())).unwrap_or_default()
    }

    /// Writes it. Not synced: losing it costs time alone.
    pub fn write(&self, path: &Path) -> Result<(), FsError> {
        fs::replace_by(&fault::INDEX, path, &self.encode(&boot()), false)
    }

    /// As if written when the machine was last started at `boot`.
    #[cfg(test)]
    pub fn write_as_of(&self, path: &Path, boot: &str) {
        fs::replace(path, &self.encode(boot), false).unwrap();
    }

    /// Adds what another process wrote meanwhile. Where both know something, this one's word counts.
    pub fn merge(&mut self, other: Self) {
        for (key, stored) in other.results {
            if !self.dropped.contains(&key) {
                self.results.entry(key).or_insert(stored);
            }
        }
        other.objects.into_iter().for_each(|(d, s)| {
            self.objects.entry(d).or_insert(s);
        });
        other.files.into_iter().for_each(|(p, m)| {
            self.files.entry(p).or_insert(m);
        });
        for (digest, theirs) in other.about {
            let ours = self.about.entry(digest).or_default();
            ours.tensors = ours.tensors.or(theirs.tensors);
            ours.sha256 = ours.sha256.or(theirs.sha256);
        }
        other.last.into_iter().for_each(|(n, k)| {
            self.last.entry(n).or_insert(k);
        });
    }

    fn encode(&self, boot: &str) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(MAGIC.len() + 256 * self.results.len()));
        w.0.extend_from_slice(MAGIC);
        w.text(boot.as_bytes());
        w.number(self.results.len() as u64);
        for (key, stored) in &self.results {
            w.digest(&key.0);
            w.number(stored.seconds.to_bits());
            w.number(stored.numerics.len() as u64);
            for (name, value) in &stored.numerics {
                w.text(name.as_bytes());
                w.text(value.as_bytes());
            }
            w.number(stored.files.len() as u64);
            for (name, file) in stored.files.iter() {
                w.text(name.as_bytes());
                w.digest(&file.logical);
                w.digest(&file.bytes);
                w.number(file.size);
            }
        }
        w.number(self.objects.len() as u64);
        for (digest, seen) in &self.objects {
            w.digest(digest);
            w.signature(&seen.signature);
            w.number(seen.settled.into());
        }
        // A path that is not text is hashed each time.
        let files: Vec<_> = self.files.iter().filter_map(|(path, memo)| Some((path.to_str()?, memo))).collect();
        w.number(files.len() as u64);
        for (path, memo) in files {
            w.text(path.as_bytes());
            w.signature(&memo.signature);
            w.number(memo.hashed_at as u64);
            w.digest(&memo.digest);
        }
        w.number(self.last.len() as u64);
        for (node, key) in &self.last {
            w.digest(node);
            w.digest(&key.0);
        }
        let sources: HashSet<&Digest> = self.files.values().map(|memo| &memo.digest).collect();
        let here = |(digest, _): &(&Digest, _)| sources.contains(digest) || self.objects.contains_key(*digest);
        let about: Vec<_> = self.about.iter().filter(here).collect();
        w.number(about.len() as u64);
        for (digest, about) in about {
            w.digest(digest);
            for known in [about.tensors, about.sha256.map(Digest)] {
                w.number(known.is_some().into());
                w.digest(&known.unwrap_or(*digest));
            }
        }
        let check = Digest::of(&w.0);
        w.digest(&check);
        w.0
    }

    fn decode(bytes: &[u8], boot: &str) -> Option<Self> {
        let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if Digest::of(body).0 != check {
            return None;
        }
        let mut r = Reader(body.strip_prefix(MAGIC)?);
        let same_boot = r.text()? == boot;
        let mut index = Self::default();
        let count = r.count()?;
        index.results.reserve(count);
        for _ in 0..count {
            let key = CacheKey(r.digest()?);
            let seconds = f64::from_bits(r.number()?);
            let mut numerics = BTreeMap::new();
            for _ in 0..r.count()? {
                numerics.insert(r.text()?, r.text()?);
            }
            let file = |r: &mut Reader| {
                let name = r.text()?;
                Some((name, FileRecord { logical: r.digest()?, bytes: r.digest()?, size: r.number()? }))
            };
            let files = (0..r.count()?).map(|_| file(&mut r)).collect::<Option<_>>()?;
            index.results.insert(key, Arc::new(Stored { key, files, numerics, seconds }));
        }
        let count = r.count()?;
        index.objects.reserve(count);
        for _ in 0..count {
            let digest = r.digest()?;
            let seen = Seen { signature: r.signature()?, settled: r.number()? == 1 };
            if same_boot || seen.settled {
                index.objects.insert(digest, seen);
            }
        }
        for _ in 0..r.count()? {
            let path = PathBuf::from(r.text()?);
            let memo = Memo { signature: r.signature()?, hashed_at: r.number()? as i64, digest: r.digest()? };
            if same_boot || memo.signature.settled(memo.hashed_at) {
                index.files.insert(path, memo);
            }
        }
        let count = r.count()?;
        index.last.reserve(count);
        for _ in 0..count {
            index.last.insert(r.digest()?, CacheKey(r.digest()?));
        }
        for _ in 0..r.count()? {
            let digest = r.digest()?;
            let mut known = || Some((r.number()? == 1, r.digest()?)).map(|(known, value)| known.then_some(value));
            let about = About { tensors: known()?, sha256: known()?.map(|Digest(bytes)| bytes) };
            index.about.insert(digest, about);
        }
        r.0.is_empty().then_some(index)
    }
}

/// Numbers as eight bytes, little endian; texts with their length before them.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    fn digest(&mut self, d: &Digest) {
        self.0.extend_from_slice(&d.0);
    }
    fn text(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    fn signature(&mut self, s: &Signature) {
        for n in [s.size, s.mtime as u64, s.ctime as u64, s.inode] {
            self.number(n);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }
    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    /// A number of things that follow: no more than there are bytes.
    fn count(&mut self) -> Option<usize> {
        self.number().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= self.0.len())
    }
    fn digest(&mut self) -> Option<Digest> {
        self.take().map(Digest)
    }
    fn text(&mut self) -> Option<String> {
        let len = self.count()?;
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        std::str::from_utf8(head).ok().map(str::to_owned)
    }
    fn signature(&mut self) -> Option<Signature> {
        let mut n = || self.number();
        Some(Signature { size: n()?, mtime: n()? as i64, ctime: n()? as i64, inode: n()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Recipe;

    fn sample() -> Index {
        let key = Recipe::new("train", 1).key();
        let digest = Digest::of(b"x");
        let signature = Signature { size: 1, mtime: -2, ctime: 3, inode: 4 };
        let mut index = Index::default();
        let stored = Stored::of(key, &crate::cache::entry::tests::made(&[("device", "cpu")]));
        index.results.insert(key, Arc::new(stored));
        index.objects.insert(digest, Seen { signature, settled: false });
        index.files.insert("/a/é".into(), Memo { signature, hashed_at: 5, digest });
        index.last.insert(digest, key);
        index.about.insert(digest, About { tensors: Some(Digest::of(b"y")), sha256: None });
        index
    }

    #[test]
    fn read_back_as_written_and_any_damage_is_no_index() {
        let index = sample();
        let bytes = index.encode("boot");
        assert_eq!(Index::decode(&bytes, "boot"), Some(index));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(Index::decode(&flipped, "boot"), None);
            assert_eq!(Index::decode(&bytes[..at], "boot"), None);
        }
    }

    #[test]
    fn what_a_power_cut_may_have_taken_is_hashed_again_after_a_start_of_the_machine() {
        let mut index = sample();
        let long_after = Memo { hashed_at: i64::MAX, ..*index.files.values().next().unwrap() };
        index.files.insert("/settled".into(), long_after);
        let later = Index::decode(&index.encode("one boot"), "another").unwrap();
        assert_eq!(later.objects.len(), 0);
        assert_eq!(later.files.keys().collect::<Vec<_>>(), [Path::new("/settled")]);
        assert_eq!(later.results, index.results);
        index.objects.values_mut().for_each(|seen| seen.settled = true);
        assert_eq!(Index::decode(&index.encode("one boot"), "another").unwrap().objects, index.objects);
    }

    #[test]
    fn merging_keeps_both_and_brings_nothing_dropped_back() {
        let key = Recipe::new("train", 1).key();
        let mut fresh = Index::default();
        fresh.merge(sample());
        assert_eq!(fresh, sample());
        fresh.about.values_mut().for_each(|about| *about = About { tensors: None, sha256: Some([1; 32]) });
        fresh.merge(sample());
        let about = About { tensors: Some(Digest::of(b"y")), sha256: Some([1; 32]) };
        assert_eq!(fresh.about.values().collect::<Vec<_>>(), [&about]);
        let mut dropped = Index { dropped: [key].into(), ..Index::default() };
        dropped.merge(sample());
        assert!(dropped.results.is_empty() && !dropped.objects.is_empty());
    }
}
