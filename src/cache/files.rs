//! [`Files`]: the files of a result by name. The index holds one for each key, so it is small: a sorted slice, where a tree
//! would take a kilobyte.

use std::collections::BTreeMap;
use std::ops::Index;

use super::entry::FileRecord;

/// Files by name, in name order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files(Box<[(String, FileRecord)]>);

impl Files {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The file called `name`.
    pub fn get(&self, name: &str) -> Option<&FileRecord> {
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok().map(|at| &self.0[at].1)
    }

    /// All, in name order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&String, &FileRecord)> {
        self.0.iter().map(|(name, file)| (name, file))
    }

    /// All names, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// All records, in name order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &FileRecord> {
        self.0.iter().map(|(_, file)| file)
    }
}

impl Index<&str> for Files {
    type Output = FileRecord;
    fn index(&self, name: &str) -> &FileRecord {
        self.get(name).expect("a file of that name")
    }
}

/// Of one name the last counts.
impl FromIterator<(String, FileRecord)> for Files {
    fn from_iter<I: IntoIterator<Item = (String, FileRecord)>>(files: I) -> Self {
        let mut files: Vec<_> = files.into_iter().collect();
        if !files.is_sorted_by(|a, b| a.0 < b.0) {
            files = files.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        Self(files.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    #[test]
    fn sorted_however_they_come_and_found_by_name() {
        let file = |size| FileRecord { logical: Digest::of(b"x"), bytes: Digest::of(b"x"), size };
        let of = |names: &[(&str, u64)]| names.iter().map(|(n, s)| ((*n).to_owned(), file(*s))).collect::<Files>();
        let files = of(&[("b", 1), ("a", 2), ("b", 3)]);
        assert_eq!(files, of(&[("a", 2), ("b", 3)]));
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((files.get("b").unwrap().size, files.get("c"), files.len()), (3, None, 2));
        assert!(of(&[]).is_empty());
    }
}
