//! [`Files`]: the files of a result by name. A run holds one for each node, so it is small: a sorted slice, where a
//! tree would take a kilobyte, and a list of names that most results of a pipeline share.

use std::collections::{BTreeMap, HashSet};
use std::ops::Index;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;

/// One file of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The digest of what it means. Keys of consumers hold this digest, unless they are commands.
    pub logical: Digest,
    /// The digest of its bytes, which names its object.
    pub bytes: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// `true` if its owner may execute it. Objects are never executable; the bit is set on each copy of the file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

impl FileRecord {
    /// The digest of everything that a program can see of the file: its bytes, and whether it is executable.
    pub fn for_programs(&self) -> Digest {
        if self.executable { self.bytes.executable() } else { self.bytes }
    }

    /// The digest by which two results are compared: what the file means, and whether it is executable.
    pub fn for_comparison(&self) -> Digest {
        if self.executable { self.logical.executable() } else { self.logical }
    }
}

/// Files by name, in name order.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    names: Arc<[String]>,
    records: Box<[FileRecord]>,
}

impl Files {
    /// From sorted names and their records.
    pub(super) fn new(names: Arc<[String]>, records: Box<[FileRecord]>) -> Self {
        debug_assert!(names.len() == records.len() && names.is_sorted_by(|a, b| a < b));
        Self { names, records }
    }

    /// Returns the list that all results with these names share.
    pub(super) fn names(names: Vec<String>) -> Arc<[String]> {
        static SHARED: LazyLock<Mutex<HashSet<Arc<[String]>>>> = LazyLock::new(Mutex::default);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.get(&names[..]) {
            return known.clone();
        }
        let names: Arc<[String]> = names.into();
        shared.insert(names.clone());
        names
    }

    /// The shared list of names.
    pub(super) fn shared_names(&self) -> Arc<[String]> {
        self.names.clone()
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns `true` if there are no files.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The file called `name`.
    pub fn get(&self, name: &str) -> Option<&FileRecord> {
        self.names.binary_search_by(|n| n.as_str().cmp(name)).ok().map(|at| &self.records[at])
    }

    /// All files, in name order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&String, &FileRecord)> {
        self.names.iter().zip(&self.records)
    }

    /// All names, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> {
        self.names.iter()
    }

    /// All records, in name order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &FileRecord> {
        self.records.iter()
    }
}

impl Index<&str> for Files {
    type Output = FileRecord;
    fn index(&self, name: &str) -> &FileRecord {
        self.get(name).expect("a file of that name")
    }
}

/// If a name comes twice, the last file counts.
impl FromIterator<(String, FileRecord)> for Files {
    fn from_iter<I: IntoIterator<Item = (String, FileRecord)>>(files: I) -> Self {
        let mut files: Vec<_> = files.into_iter().collect();
        if !files.is_sorted_by(|a, b| a.0 < b.0) {
            files = files.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        let (names, records): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        Self::new(Self::names(names), records.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    #[test]
    fn files_are_sorted_and_found_by_name() {
        let file = |size| FileRecord { logical: Digest::of(b"x"), bytes: Digest::of(b"x"), size, executable: false };
        let of = |names: &[(&str, u64)]| names.iter().map(|(n, s)| ((*n).to_owned(), file(*s))).collect::<Files>();
        let files = of(&[("b", 1), ("a", 2), ("b", 3)]);
        assert_eq!(files, of(&[("a", 2), ("b", 3)]));
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((files.get("b").unwrap().size, files.get("c"), files.len()), (3, None, 2));
        assert!(of(&[]).is_empty());
    }
}
