//! [`Inventory`]: everything in a store, found by reading every manifest and asking for every object. For `gc`, `ls`
//! and other commands; a run never needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::fs::on;
use crate::base::walk;

use super::entry::Entry;
use super::key::CacheKey;
use super::recipe::FieldName;
use super::stat::Signature;
use super::store::Store;

/// The contents of a store.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Every entry whose manifest is whole, oldest first.
    pub entries: Vec<Entry>,
    /// Manifests that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Every object, whether its bytes are right or not.
    pub objects: BTreeMap<Digest, Signature>,
}

impl Entry {
    /// When its newest result was made: seconds since 1970.
    pub fn at(&self) -> u64 {
        self.made.iter().map(|made| made.at).max().unwrap_or(0)
    }

    /// Its stage kind, from its recipe.
    pub fn kind(&self) -> String {
        self.recipe.get(&FieldName::Stage).map(ToString::to_string).unwrap_or_default()
    }

    /// How long all its results took to make, in seconds.
    pub fn seconds(&self) -> f64 {
        self.made.iter().map(|made| made.seconds).sum()
    }

    /// The objects of all its results, each once, with their sizes.
    pub fn objects(&self) -> BTreeMap<Digest, u64> {
        self.made.iter().flat_map(|made| made.files.values()).map(|file| (file.bytes, file.size)).collect()
    }
}

impl Inventory {
    /// Reads every manifest of the store that is written, and lists its objects. Hashes nothing.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn of(store: &Store) -> Result<Self, Diag> {
        let manifests: Vec<_> = named(&store.root().join("entries"), ".json")?;
        let read = |(digest, path): (Digest, PathBuf)| Ok((Entry::read(&path, CacheKey(digest))?, path));
        let mut inventory = Self::default();
        for (entry, path) in manifests.into_par_iter().map(read).collect::<Result<Vec<_>, Diag>>()? {
            match entry {
                Some(Ok(entry)) => inventory.entries.push(entry),
                Some(Err(why)) => inventory.unreadable.push((path, why)),
                // Removed since the folder was listed.
                None => {}
            }
        }
        inventory.entries.sort_by_key(|entry| (entry.at(), entry.key));
        for (digest, path) in named(&store.root().join("objects"), "")? {
            if let Some(signature) = Signature::at(&path)? {
                inventory.objects.insert(digest, signature);
            }
        }
        Ok(inventory)
    }

    /// Bytes of all objects.
    pub fn size(&self) -> u64 {
        self.objects.values().map(|object| object.size).sum()
    }

    /// Entries and bytes by group. An object that several groups share counts for the first of them in alphabetical
    /// order.
    pub fn grouped(&self, group: impl Fn(&Entry) -> String) -> BTreeMap<String, (usize, u64)> {
        let mut entries: Vec<_> = self.entries.iter().map(|entry| (group(entry), entry)).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let mut counted = BTreeSet::new();
        let mut sums: BTreeMap<String, (usize, u64)> = BTreeMap::new();
        for (group, entry) in entries {
            let sum = sums.entry(group).or_default();
            sum.0 += 1;
            for object in entry.objects().into_keys().filter(|object| counted.insert(*object)) {
                sum.1 += self.objects.get(&object).map_or(0, |signature| signature.size);
            }
        }
        sums
    }
}

/// The files `ab/cdef…` with this ending below `folder`. Files with other names are left out.
pub(super) fn named(folder: &Path, ending: &str) -> Result<Vec<(Digest, PathBuf)>, Diag> {
    let mut found = Vec::new();
    for dir in list(folder)? {
        if !dir.is_dir() {
            continue;
        }
        let head = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for path in list(&dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let digest = name.strip_suffix(ending).and_then(|tail| format!("{head}{tail}").parse().ok());
            found.extend(digest.map(|digest| (digest, path)));
        }
    }
    Ok(found)
}

/// The contents of a folder, sorted by name; empty if there is no such folder.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, Diag> {
    let items = match std::fs::read_dir(folder) {
        Ok(items) => items,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(on("read", folder)(e).into()),
    };
    let mut paths = Vec::new();
    for item in items {
        paths.push(item.map_err(on("read", folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The number of plain files at and below a path, their bytes, and when the last of them changed (nanoseconds since
/// 1970). Links are not followed.
///
/// # Errors
/// Fails if something there cannot be read.
pub fn below(path: &Path) -> Result<(usize, u64, i64), Diag> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0, 0)),
        Err(e) => return Err(on("read", path)(e).into()),
    };
    let own = Signature::of(&meta).ctime;
    if !meta.is_dir() {
        return Ok((1, meta.len(), own));
    }
    let mut sum = (0, 0, own);
    walk::walk(walk::open(path).map_err(on("read", path))?, path, usize::MAX, &mut |entry| {
        // It was removed meanwhile.
        let Ok(stat) = entry.stat() else { return Ok(()) };
        let (files, bytes) = if entry.kind.is_dir() { (0, 0) } else { (1, stat.st_size as u64) };
        #[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
        let changed = (stat.st_ctime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_ctime_nsec as i64);
        sum = (sum.0 + files, sum.1 + bytes, sum.2.max(changed));
        Ok(())
    })?;
    Ok(sum)
}
