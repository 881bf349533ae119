//! [`ManifestDir`]: are the manifests still there of the results that the index knows? A result counts only with its manifest:
//! `lock`, `export`, `explain` and `verify` read it, so a run that calls a result fresh whose manifest is gone leaves a store
//! that no other command can use.
//!
//! A manifest may vanish without a word to the index: a process is killed between two steps, a person removes files, the
//! index or a folder is restored from a backup, a power cut takes a file that was not synced. To ask for every manifest
//! costs as much again as to ask for every object. But a name can vanish only from a folder, which then has other times,
//! and there are at most 256 folders (`entries/ab`). So the index records, for each folder, the signature that it had when
//! the manifests of all results of the index were seen in it. Of a folder with this signature no manifest is asked for; of
//! any other each one is, and what has none is forgotten and made again. Whatever changed the folder, this finds it. A number
//! that gc writes would only find what gc did.
//!
//! A signature is recorded only where a later change must show: the folder is dated back, as objects are, before its
//! manifests are asked for. Where it cannot be (it belongs to somebody else, or is read-only), only one that is old
//! enough is recorded. After a start of the machine all folders are asked for anew.
//!
//! What this does not find is a manifest whose bytes change in its place. Commands that read it find that, and the index
//! forgets the result, so that the next run makes it again ([`Store::entry`]).

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};

use crate::base::fault;

use super::index::Index;
use super::key::CacheKey;
use super::lookup::KnownResult;
use super::stat::{Signature, now_ns, stat_below};
use super::store::{Store, manifest_in};

/// The folder of manifests.
#[derive(Debug)]
pub struct ManifestDir(Option<File>);

impl ManifestDir {
    /// At `path`. One that cannot be opened has no manifest.
    pub fn open(path: &Path) -> Self {
        Self(File::open(path).ok())
    }

    /// The signature of folder `number`, `None` where there is none.
    fn folder(&self, number: u8) -> Option<Signature> {
        let stat = stat_below(self.0.as_ref()?, &name(number))?;
        // The size of a folder says nothing, and differs between file systems.
        (stat.st_mode & libc::S_IFMT == libc::S_IFDIR).then(|| Signature { size: 0, ..Signature::of_stat(&stat) })
    }

    /// Whether a key has a manifest with something in it.
    fn has(&self, key: CacheKey) -> bool {
        let hex = key.hex();
        let name = CString::new(format!("{}/{}.json", &hex[..2], &hex[2..])).expect("hex digits have no zero byte");
        let stat = self.0.as_ref().and_then(|folder| stat_below(folder, &name));
        stat.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_size > 0)
    }

    /// The signature of folder `number`, if every later change must give it another one.
    fn lasting(&self, number: u8) -> Option<Signature> {
        let before = now_ns();
        // A time that every file system can keep exactly.
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

impl Store {
    /// Whether a key has a manifest, here or in the shared store.
    pub(super) fn has_manifest(&self, key: CacheKey) -> bool {
        let shared = || self.shared().is_some_and(|root| manifest_in(root, key).is_file());
        self.manifests().has(key) || shared()
    }

    /// Whether the results that the index knows have their manifests, asked for as few as possible. What has none is forgotten.
    pub(super) fn have_manifests(&self, known: &[Option<KnownResult>]) -> Vec<bool> {
        let mut index = self.index();
        let mut asked = [None; 256];
        let mut changed = |index: &Index, key: CacheKey| {
            let number = key.0.0[0];
            *asked[usize::from(number)].get_or_insert_with(|| {
                let now = self.manifests().folder(number);
                now.is_none() || now != index.folders.get(&number)
            })
        };
        let mut there = Vec::with_capacity(known.len());
        for known in known {
            there.push(known.as_ref().is_some_and(|known| {
                let key = known.stored.key;
                if !changed(&index, key) {
                    return true;
                }
                // So that the folder is recorded, and the next run need not ask.
                index.dirty = true;
                self.has_manifest(key) || !index.forget(key)
            }));
        }
        there
    }

    /// Records the folders of manifests in the index that is about to be written, and forgets results without a manifest.
    pub(super) fn confirm_manifests(&self, index: &mut Index) {
        let manifests = self.manifests();
        let mut changed = [false; 256];
        let mut now = Vec::new();
        for number in 0..=u8::MAX {
            let signature = manifests.folder(number);
            if signature != index.folders.get(&number) {
                changed[usize::from(number)] = true;
                // Before its manifests are asked for: what changes meanwhile shows.
                now.push((number, signature.and_then(|_| manifests.lasting(number))));
            }
        }
        for key in index.keys_in(&|number| changed[usize::from(number)]) {
            if !self.has_manifest(key) {
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
}
