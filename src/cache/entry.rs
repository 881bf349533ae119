//! [`Entry`]: what lies under a key, as written to its manifest in `entries/`. The last field is a digest of all
//! others, so that a damaged manifest is recognised.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::artifact::json;
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs;

use super::files::{FileRecord, Files};
use super::key::CacheKey;
use super::recipe::Recipe;

/// The version of the manifest's layout.
pub const ENTRY_SCHEMA: u32 = 1;

/// A result: what one run of the stage made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeResult {
    /// The node it was made for.
    pub node: String,
    /// The run that made it.
    pub run: String,
    /// When it was made: seconds since 1970.
    pub at: u64,
    /// How long the stage ran.
    pub seconds: f64,
    /// Its files, by name.
    pub files: BTreeMap<String, FileRecord>,
    /// Named figures.
    pub metrics: BTreeMap<String, f64>,
    /// Device, libtorch, threads: what shaped floating-point results without being asked for.
    pub numerics: BTreeMap<String, String>,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// Everything under a key: the recipe, and one result for each set of numerics under which it was made. The first is
/// the oldest; consumers get it if they accept any numerics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`ENTRY_SCHEMA`].
    pub schema: u32,
    /// The key.
    pub key: CacheKey,
    /// The recipe of the key.
    pub recipe: Recipe,
    /// The results, oldest first.
    pub made: Vec<MadeResult>,
    /// The digest of all fields above.
    check: Option<Digest>,
}

impl Entry {
    /// A new entry with one result.
    pub fn new(recipe: Recipe, made: MadeResult) -> Self {
        Self { schema: ENTRY_SCHEMA, key: recipe.key(), recipe, made: vec![made], check: None }
    }

    /// Adds a result. It replaces the one with the same numerics, if there is one.
    pub fn put(&mut self, made: MadeResult) {
        match self.made.iter_mut().find(|m| m.numerics == made.numerics) {
            Some(same) => *same = made,
            None => self.made.push(made),
        }
    }

    /// Writes the manifest by a rename; synced if `durable`.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn write(&mut self, path: &Path, durable: bool) -> Result<(), fs::FsError> {
        let text = self.text();
        fs::replace_by(&fault::ENTRY, path, text.as_bytes(), durable)
    }

    /// The text of the manifest.
    pub(super) fn text(&mut self) -> String {
        self.check = None;
        self.check = Some(self.digest());
        json::to_text(self).expect("an entry is JSON")
    }

    /// Reads a manifest; `None` if there is none. The inner error says what is wrong with its text.
    ///
    /// # Errors
    /// Fails if the file exists and cannot be read.
    pub fn read(path: &Path, key: CacheKey) -> Result<Option<Result<Self, String>>, fs::FsError> {
        let bytes = match fs::read_if_there(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(e) if matches!(e.source.raw_os_error(), Some(libc::EISDIR | libc::ELOOP)) => {
                return Ok(Some(Err("its manifest is not a plain file".to_owned())));
            }
            Err(e) => return Err(e),
        };
        Ok(Some(Self::parse(&bytes, key)))
    }

    pub(super) fn parse(bytes: &[u8], key: CacheKey) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            schema: u32,
        }
        let Versioned { schema } =
            serde_json::from_slice(bytes).map_err(|e| format!("its manifest is not whole: {e}"))?;
        if schema != ENTRY_SCHEMA {
            return Err(format!("its manifest has schema {schema}, and this `dpt` reads {ENTRY_SCHEMA}"));
        }
        let mut entry: Self = serde_json::from_slice(bytes).map_err(|e| format!("its manifest is not whole: {e}"))?;
        let check = entry.check.take();
        if check != Some(entry.digest()) || entry.key != key || entry.recipe.key() != key || entry.made.is_empty() {
            return Err("its manifest is not what was written".to_owned());
        }
        Ok(entry)
    }

    fn digest(&self) -> Digest {
        Digest::of(json::to_text(self).expect("an entry is JSON").as_bytes())
    }
}

/// A result in the store, as its consumers need it. It is small, because the index may hold thousands.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its key.
    pub key: CacheKey,
    /// Its files, by name.
    pub files: Files,
    /// Device, libtorch, threads: what shaped floating-point results without being asked for.
    pub numerics: BTreeMap<String, String>,
    /// How long it took to make, in seconds.
    pub seconds: f64,
}

impl Stored {
    /// From the manifest.
    pub fn of(key: CacheKey, made: &MadeResult) -> Self {
        Self {
            key,
            files: made.files.clone().into_iter().collect(),
            numerics: made.numerics.clone(),
            seconds: made.seconds,
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.values().map(|f| f.size).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn made(numerics: &[(&str, &str)]) -> MadeResult {
        let digest = Digest::of(b"x");
        MadeResult {
            node: "train[rte]".into(),
            run: "r".into(),
            at: 1,
            seconds: 0.1,
            files: [("a.json".to_owned(), FileRecord { logical: digest, bytes: digest, size: 1, executable: false })]
                .into(),
            metrics: [("loss".to_owned(), 0.1 + 0.2)].into(),
            numerics: numerics.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            notes: vec![],
        }
    }

    #[test]
    fn manifest_reads_back_and_any_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.json");
        let mut entry = Entry::new(Recipe::new("train", 1), made(&[]));
        entry.write(&path, true).unwrap();
        let read = |path: &Path| Entry::read(path, entry.key).unwrap();
        let mut back = read(&path).unwrap().unwrap();
        back.check = entry.check;
        assert_eq!(back, entry);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x04;
            let same = Entry::parse(&flipped, entry.key).is_ok_and(|mut e| {
                e.check = entry.check;
                e != entry
            });
            assert!(!same, "a flip at byte {at} gives another entry unseen");
        }
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(read(&path).unwrap().unwrap_err().starts_with("its manifest is not whole"));
        assert!(Entry::read(&dir.path().join("none"), entry.key).unwrap().is_none());
    }

    #[test]
    fn entry_keeps_one_result_for_each_set_of_numerics() {
        let mut entry = Entry::new(Recipe::new("train", 1), made(&[("device", "cpu")]));
        entry.put(made(&[("device", "cuda sm90")]));
        entry.put(MadeResult { seconds: 9.0, ..made(&[("device", "cpu")]) });
        assert_eq!(entry.made.len(), 2);
        assert_eq!(entry.made[0].seconds, 9.0);
    }
}
