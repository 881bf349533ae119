//! [`ManifestDir`]: are the manifests still there of the results that the index knows? A result counts only with its
//! manifest. `lock`, `export`, `explain` and `verify` read it, so a run that calls a result fresh although its manifest
//! is gone would leave a store that no other command can use.
//!
//! A manifest may vanish without the index knowing: a process is killed between two steps, a person removes files, the
//! index or a folder is restored from a backup, a power cut takes a file that was not synced. Checking every manifest
//! costs as much again as checking every object. But a name can only vanish from a folder, which then has other times,
//! and there are at most 256 folders (`entries/ab`). So the index records, for each folder, the signature that it had
//! when the manifests of all known results were seen in it. In a folder with this signature no manifest is checked. In
//! any other folder each one is, and a result without a manifest is forgotten and made again. This finds every change
//! of a folder, whoever made it; a counter that gc writes would find only what gc did.
//!
//! A signature is recorded only where a later change must show. The folder is dated back, as objects are, before its
//! manifests are checked. A folder that cannot be dated back (it belongs to somebody else, or is read-only) is recorded
//! only if it is old enough. After a restart of the machine all folders are checked anew.
//!
//! This does not find a manifest whose bytes change in its place. Commands that read it find that, and the index
//! forgets the result, so that the next run makes it again ([`Store::entry`](super::Store::entry)).

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Timespec, Timestamps, UTIME_OMIT, utimensat};

use crate::base::fault;

use super::index::Index;
use super::key::CacheKey;
use super::stat::{Signature, now_ns, stat_below};

/// The folder of manifests, held open.
#[derive(Debug)]
pub struct ManifestDir(Option<File>);

impl ManifestDir {
    /// Opens the folder at `path`. A folder that cannot be opened has no manifests.
    pub fn open(path: &Path) -> Self {
        Self(File::open(path).ok())
    }

    /// Returns `true` if `key` has a manifest that is not empty.
    pub fn has(&self, key: CacheKey) -> bool {
        let hex = key.hex();
        let name = CString::new(format!("{}/{}.json", &hex[..2], &hex[2..])).expect("hex digits have no zero byte");
        let stat = self.0.as_ref().and_then(|folder| stat_below(folder, &name));
        stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_size > 0)
    }

    /// For each key, returns `true` if the manifest is there. Calls `has` only for keys in folders that changed, and
    /// forgets results without a manifest.
    pub fn check(
        &self,
        index: &mut Index,
        keys: impl Iterator<Item = Option<CacheKey>>,
        has: &dyn Fn(CacheKey) -> bool,
    ) -> Vec<bool> {
        let mut asked = [None; 256];
        let mut changed = |index: &Index, key: CacheKey| {
            let number = key.0.0[0];
            *asked[usize::from(number)].get_or_insert_with(|| {
                let now = self.folder(number);
                now.is_none() || now != index.folders.get(&number)
            })
        };
        let mut check = |key: CacheKey| {
            if !changed(index, key) {
                return true;
            }
            // Then the folder is recorded, and the next run need not check.
            index.dirty = true;
            has(key) || !index.forget(key)
        };
        keys.map(|key| key.is_some_and(&mut check)).collect()
    }

    /// Records the signatures of the folders in an index that is about to be written, and forgets results without a
    /// manifest.
    pub fn confirm(&self, index: &mut Index, has: &dyn Fn(CacheKey) -> bool) {
        let mut changed = [false; 256];
        let mut now = Vec::new();
        for number in 0..=u8::MAX {
            let signature = self.folder(number);
            if signature != index.folders.get(&number) {
                changed[usize::from(number)] = true;
                // Taken before the manifests are checked, so that a change meanwhile shows.
                now.push((number, signature.and_then(|_| self.lasting_signature(number))));
            }
        }
        for key in index.keys_in(&|number| changed[usize::from(number)]) {
            if !has(key) {
                index.forget(key);
            }
        }
        for (number, signature) in now {
            match signature {
                Some(signature) => drop(index.folders.insert(number, signature)),
                None => index.folders.remove(&number),
            }
        }
    }

    /// The signature of folder `number`; `None` if there is no such folder.
    fn folder(&self, number: u8) -> Option<Signature> {
        let stat = stat_below(self.0.as_ref()?, &name(number))?;
        let is_folder = FileType::from_raw_mode(stat.st_mode).is_dir();
        // The size of a folder says nothing, and differs between file systems.
        is_folder.then(|| Signature { size: 0, ..Signature::of_stat(&stat) })
    }

    /// The signature of folder `number`, if every later change must give it another one.
    fn lasting_signature(&self, number: u8) -> Option<Signature> {
        let before = now_ns();
        // A time that every file system can store exactly.
        let seconds = (before / 1_000_000_000 - 2) & !1;
        let dated = self.date_back(number, seconds).is_ok();
        let signature = self.folder(number)?;
        (dated && signature.mtime == seconds * 1_000_000_000 || !signature.racy(before)).then_some(signature)
    }

    fn date_back(&self, number: u8, seconds: i64) -> std::io::Result<()> {
        fault::point("index.folder")?;
        let folder = self.0.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
        };
        Ok(utimensat(folder, name(number).as_c_str(), &times, AtFlags::empty())?)
    }
}

fn name(number: u8) -> CString {
    CString::new(format!("{number:02x}")).expect("hex digits have no zero byte")
}
