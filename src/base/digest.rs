//! [`Digest`]: blake3 of bytes, and [`FieldHasher`]: the one written rule by which structured things are hashed.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A blake3-256 digest. Printed short (`b3:` and 12 hex digits) by `Display`, stored in full.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of all bytes that `reader` gives.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_reader(reader: impl io::Read) -> io::Result<Self> {
        Ok(Self(*blake3::Hasher::new().update_reader(reader)?.finalize().as_bytes()))
    }

    /// Returns the digest of the same file if it is executable: a program can see the difference.
    pub fn executable(&self) -> Self {
        FieldHasher::new("dpt.executable.1").field(&self.0).finish()
    }

    /// All 64 hex digits, without the `b3:` prefix.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", &self.hex()[..12])
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a full digest (`b3:` optional, then 64 hex digits).
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest: expected 64 hex digits")]
pub struct BadDigest(String);

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let hex = text.strip_prefix("b3:").unwrap_or(text);
        blake3::Hash::from_hex(hex).map(|h| Self(*h.as_bytes())).map_err(|_| BadDigest(text.to_owned()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A map whose keys are digests.
pub type DigestMap<K, V> = HashMap<K, V, BuildHasherDefault<DigestHasher>>;

/// For the keys of a hash map that are digests: any eight of their bytes are as good as a hash of them.
#[derive(Debug, Default)]
pub struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        match bytes.first_chunk() {
            Some(first) => self.0 ^= u64::from_le_bytes(*first),
            None => bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte)),
        }
    }
    /// The length of a digest, which all have.
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Hashes a sequence of fields so that no two different sequences give the same bytes: every field is preceded by its
/// length (u64, little endian), the whole by a domain (a name and a version of the rule in use).
///
/// Most sequences are short and of many small fields: they are gathered, and hashed at once.
pub struct FieldHasher {
    gathered: Vec<u8>,
    /// The hash of earlier fields, once there were many.
    hashed: Option<Box<blake3::Hasher>>,
    /// `true` if all is gathered, however much.
    part: bool,
}

/// From this many bytes on, what was gathered is hashed.
const GATHERED: usize = 16 * 1024;

/// The digest of a folder: of the names and digests of all files below it, which are sorted by name.
pub fn of_folder<'a>(files: impl ExactSizeIterator<Item = (&'a str, Digest)>) -> Digest {
    let mut h = FieldHasher::new("dpt.folder.1");
    h.number(files.len() as u64);
    for (name, digest) in files {
        h.field(name.as_bytes()).field(&digest.0);
    }
    h.finish()
}

impl FieldHasher {
    /// Starts a hash in `domain`, such as `dpt.recipe.1`.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self { gathered: Vec::with_capacity(512), hashed: None, part: false };
        hasher.field(domain.as_bytes());
        hasher
    }

    /// A part of a sequence, to be gathered: it is hashed as a whole, or behind a [`Beginning`].
    pub fn part() -> Self {
        Self { gathered: Vec::with_capacity(512), hashed: None, part: true }
    }

    /// What a [part](Self::part) has gathered.
    pub fn gathered(&self) -> &[u8] {
        &self.gathered
    }

    /// Takes all fields out of a [part](Self::part), and keeps the room.
    pub fn clear(&mut self) {
        self.gathered.clear();
    }

    /// Adds one field: its length, then its bytes.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.gathered.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        if self.part || self.gathered.len() + bytes.len() < GATHERED {
            self.gathered.extend_from_slice(bytes);
            return self;
        }
        let hasher = self.hashed.get_or_insert_with(Box::default);
        hasher.update(&self.gathered).update(bytes);
        self.gathered.clear();
        self
    }

    /// Adds a number: eight bytes, little endian, as a field.
    pub fn number(&mut self, n: u64) -> &mut Self {
        self.field(&n.to_le_bytes())
    }

    /// The digest of all fields so far.
    pub fn finish(&self) -> Digest {
        match &self.hashed {
            None => Digest::of(&self.gathered),
            Some(hasher) => Digest(*hasher.as_ref().clone().update(&self.gathered).finalize().as_bytes()),
        }
    }
}

/// The common beginning of many sequences of fields, hashed once.
pub struct Beginning(Box<blake3::Hasher>);

impl Beginning {
    /// Of sequences in `domain`, whose next fields are `parts`.
    pub fn new(domain: &FieldHasher, parts: &[u8]) -> Self {
        let mut hasher = Box::<blake3::Hasher>::default();
        hasher.update(&domain.gathered).update(parts);
        Self(hasher)
    }

    /// The digest of a sequence that goes on with `rest`.
    pub fn and(&self, rest: &FieldHasher) -> Digest {
        Digest(*self.0.as_ref().clone().update(&rest.gathered).finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_short_and_read_back_in_full() {
        let d = Digest::of(b"abc");
        assert_eq!(d.to_string(), "b3:6437b3ac3846");
        assert_eq!(d.hex().parse::<Digest>().unwrap(), d);
        assert!("b3:6437".parse::<Digest>().is_err());
    }

    #[test]
    fn many_fields_and_long_ones_hash_as_their_bytes_would() {
        for len in [0, 1, 500, GATHERED, 3 * GATHERED] {
            let long = vec![7; len];
            let mut hasher = FieldHasher::new("t");
            let mut bytes = [&1_u64.to_le_bytes()[..], b"t"].concat();
            for field in [&long[..], b"ab", &long, b""] {
                hasher.field(field);
                bytes.extend_from_slice(&[&(field.len() as u64).to_le_bytes()[..], field].concat());
                assert_eq!(hasher.finish(), Digest::of(&bytes), "{len}");
            }
            let (mut first, mut rest) = (FieldHasher::part(), FieldHasher::part());
            first.field(&long).field(b"ab");
            rest.field(&long).field(b"");
            let begun = Beginning::new(&FieldHasher::new("t"), first.gathered());
            assert_eq!(begun.and(&rest), hasher.finish(), "{len}");
        }
    }

    #[test]
    fn fields_cannot_be_shifted() {
        let two = |a: &[u8], b: &[u8]| FieldHasher::new("t").field(a).field(b).finish();
        assert_ne!(two(b"ab", b"c"), two(b"a", b"bc"));
        assert_ne!(two(b"", b"abc"), two(b"abc", b""));
        assert_ne!(FieldHasher::new("t").finish(), FieldHasher::new("u").finish());
    }
}
