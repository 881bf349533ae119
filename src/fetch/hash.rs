//! The digests of the same bytes in one pass: SHA-256 for comparing with what is published, blake3 for the store, and
//! what tensors mean.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::artifact::Known;
use crate::artifact::pass::{Blake3, Taker, pass};
use crate::artifact::tally::{self, For};
use crate::artifact::tensors::Passing;
use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::watch;

/// A SHA-256 digest: what data hubs and data set catalogues publish. Printed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        tally::add(For::Sha256, bytes.len());
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The first twelve digits and `…`: enough to compare by eye.
    pub fn short(&self) -> String {
        format!("{}…", &self.to_string()[..12])
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no SHA-256 digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest: expected 64 hex digits")]
pub struct BadSha256(String);

impl FromStr for Sha256 {
    type Err = BadSha256;

    fn from_str(text: &str) -> Result<Self, BadSha256> {
        let bad = || BadSha256(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The digests of a file, made while its bytes passed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub bytes: u64,
    /// For comparing with what is published, where that was wanted.
    pub sha256: Option<Sha256>,
    /// For comparing with what the store has.
    pub blake3: Digest,
    /// The logical digest, if the file has tensors and the digest was wanted.
    pub logical: Option<Digest>,
}

impl Summary {
    /// The same, as the store knows it.
    pub fn known(&self) -> Known {
        let sha256 = self.sha256.map(|Sha256(bytes)| bytes);
        Known { size: self.bytes, bytes: self.blake3, logical: self.logical, sha256 }
    }
}

/// Which digests are wanted besides blake3.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// The SHA-256.
    pub sha256: bool,
    /// The logical digest as a file of tensors.
    pub tensors: bool,
}

/// Takes bytes as they go by.
#[derive(Default)]
pub struct Hashes {
    bytes: u64,
    blake3: Blake3,
    sha256: Option<Sha>,
    tensors: Option<Passing>,
}

#[derive(Default)]
struct Sha(sha2::Sha256);

impl Taker for Sha {
    fn take(&mut self, bytes: &[u8]) {
        tally::add(For::Sha256, bytes.len());
        self.0.update(bytes);
    }
}

impl Hashes {
    /// Of nothing yet.
    pub fn new(wants: Wants) -> Self {
        Self {
            sha256: wants.sha256.then(Sha::default),
            tensors: wants.tensors.then(Passing::default),
            ..Self::default()
        }
    }

    /// Of the whole file at `path`, read once. `go_on` hears how many bytes went by.
    ///
    /// # Errors
    /// When it cannot be read, or what `go_on` says.
    pub fn of_file(path: &Path, wants: Wants, go_on: impl FnMut(u64) -> Result<(), Diag>) -> Result<Summary, Diag> {
        let mut hashes = Self::new(wants);
        hashes.bytes = pass(path, &mut hashes.takers(), &GoOn::new(go_on))?;
        Ok(hashes.finish())
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.takers().iter_mut().for_each(|taker| taker.take(bytes));
    }

    fn takers(&mut self) -> Vec<&mut dyn Taker> {
        let mut takers: Vec<&mut dyn Taker> = vec![&mut self.blake3];
        takers.extend(self.sha256.as_mut().map(|taker| taker as &mut dyn Taker));
        takers.extend(self.tensors.as_mut().map(|taker| taker as &mut dyn Taker));
        takers
    }

    /// How many bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The blake3 of all bytes so far.
    pub fn so_far(&self) -> Digest {
        self.blake3.finish()
    }

    /// Returns the digests of all bytes.
    pub fn finish(self) -> Summary {
        Summary {
            bytes: self.bytes,
            sha256: self.sha256.map(|Sha(hasher)| Sha256(hasher.finalize().into())),
            blake3: self.blake3.finish(),
            logical: self.tensors.and_then(Passing::finish),
        }
    }
}

/// Returns only the SHA-256 of the file at `path`. Calls `go_on` with the number of bytes so far.
///
/// # Errors
/// When it cannot be read, or what `go_on` says.
pub fn sha256_of_file(path: &Path, go_on: impl FnMut(u64) -> Result<(), Diag>) -> Result<Sha256, Diag> {
    let mut sha = Sha::default();
    pass(path, &mut [&mut sha], &GoOn::new(go_on))?;
    Ok(Sha256(sha.0.finalize().into()))
}

/// Asks a function before each piece, which hears how many bytes went by.
struct GoOn<F>(RefCell<(F, u64)>);

impl<F> GoOn<F> {
    fn new(go_on: F) -> Self {
        Self(RefCell::new((go_on, 0)))
    }
}

impl<F: FnMut(u64) -> Result<(), Diag>> watch::Watch for GoOn<F> {
    fn advance(&self, _: u64, bytes: u64) {
        self.0.borrow_mut().1 += bytes;
    }

    fn check(&self) -> Result<(), Diag> {
        let (go_on, bytes) = &mut *self.0.borrow_mut();
        go_on(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests_in_pieces() {
        let mut h = Hashes::new(Wants { sha256: true, tensors: true });
        h.update(b"a");
        h.update(b"bc");
        let s = h.finish();
        assert_eq!(s.bytes, 3);
        assert_eq!(s.sha256.unwrap().to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((s.sha256, s.blake3, s.logical), (Some(Sha256::of(b"abc")), Digest::of(b"abc"), None));
    }

    #[test]
    fn read_back_or_refused() {
        let s = Sha256::of(b"x");
        assert_eq!(s.to_string().to_uppercase().parse::<Sha256>().unwrap(), s);
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_has_the_digests_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes = vec![7; 5_000_000];
        std::fs::write(&path, &bytes).unwrap();
        let mut pieces = Hashes::new(Wants { sha256: true, tensors: false });
        bytes.chunks(1000).for_each(|piece| pieces.update(piece));
        let whole = Hashes::of_file(&path, Wants { sha256: true, tensors: false }, |_| Ok(())).unwrap();
        assert_eq!(pieces.finish(), whole);
        assert_eq!(sha256_of_file(&path, |_| Ok(())).unwrap(), whole.sha256.unwrap());
        assert_eq!(Hashes::of_file(&path, Wants::default(), |_| Ok(())).unwrap().sha256, None);
    }
}
