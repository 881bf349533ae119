//! Verifies the store: hashes every object in parallel, whatever its signature says. A damaged object is set aside and
//! reported with the nodes whose results it belongs to. Which entries a pipeline uses is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::artifact::{byte_digest_watched, each};
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::watch::Watch;

use super::entry::Entry;
use super::inventory::{list, named};
use super::key::CacheKey;
use super::stat::{Signature, now_ns};
use super::store::Store;

/// The prefix of the folders in `work/` in which nodes run again. After a kill, gc removes them.
pub const SCRATCH: &str = "verify-";

/// What to verify.
#[derive(Clone, Debug)]
pub enum VerifyScope {
    /// Everything: all entries, and the objects that no entry names.
    Store,
    /// The entries under these keys.
    Keys(BTreeSet<CacheKey>),
}

/// A part of the store that is not what was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenPart {
    /// What is wrong with which part: `` `adapter.safetensors` is not what was stored ``.
    pub what: String,
    /// What was recorded and what was found.
    pub note: Option<String>,
    /// The nodes whose results it belongs to, each once.
    pub nodes: Vec<String>,
    /// `true` if it was moved to `quarantine/`.
    pub aside: SetAside,
}

/// Where a broken part is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetAside {
    /// It is missing, so there was nothing to move.
    Missing,
    /// In `quarantine/`.
    Moved,
    /// In its place: it could not be moved, for this reason.
    Stays(String),
}

/// What was verified, and what was found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Entries whose manifest was read.
    pub entries: usize,
    /// Objects hashed.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that no entry names. Counted only for [`VerifyScope::Store`].
    pub unnamed: usize,
    /// Keys without an entry.
    pub absent: Vec<CacheKey>,
    /// Keys whose manifests are missing although the index knew results. The index has forgotten them.
    pub forgotten: Vec<CacheKey>,
    /// What is wrong, manifests first.
    pub broken: Vec<BrokenPart>,
}

/// An object to hash, and the files, nodes and keys that refer to it.
#[derive(Default)]
struct ObjectToHash {
    size: Option<u64>,
    names: BTreeSet<String>,
    nodes: BTreeSet<String>,
    keys: BTreeSet<CacheKey>,
}

/// A watch that calls two functions.
struct Asked<'a> {
    progress: &'a (dyn Fn(u64) + Sync),
    ask: &'a (dyn Fn() -> bool + Sync),
}

impl Watch for Asked<'_> {
    fn advance(&self, _: u64, bytes: u64) {
        (self.progress)(bytes);
    }

    fn check(&self) -> Result<(), Diag> {
        if (self.ask)() { Err(Diag::error(Class::Interrupted, "verifying was interrupted")) } else { Ok(()) }
    }
}

/// Hashes all objects in `scope`. `progress` is called with the number of bytes hashed; if `ask` returns `true`, the
/// work ends early.
///
/// # Errors
/// Fails if the store's folders cannot be read. An object that cannot be read counts as broken.
pub fn verify(
    store: &Store,
    scope: &VerifyScope,
    progress: &(dyn Fn(u64) + Sync),
    ask: &(dyn Fn() -> bool + Sync),
) -> Result<VerifyReport, Diag> {
    let mut verified = VerifyReport::default();
    let keys = match scope {
        VerifyScope::Keys(keys) => keys.clone(),
        VerifyScope::Store => {
            let mut keys = every_key(store)?;
            // Results that the index knows and that have no manifest are lost.
            keys.extend(store.index().keys_in(&|_| true).into_iter().filter(|key| !store.has_manifest(*key)));
            keys
        }
    };
    let mut wanted: BTreeMap<Digest, ObjectToHash> = BTreeMap::new();
    let read: Vec<_> = keys.par_iter().map(|key| (*key, Entry::read(&store.manifest_of(*key), *key))).collect();
    for (key, entry) in read {
        match entry {
            Ok(Some(Ok(entry))) => {
                verified.entries += 1;
                for made in &entry.made {
                    for (name, file) in &made.files {
                        let object = wanted.entry(file.bytes).or_default();
                        object.size = Some(file.size);
                        object.names.insert(name.clone());
                        object.nodes.insert(made.node.clone());
                        object.keys.insert(key);
                    }
                }
            }
            // The caller may have found this already, when it made the keys.
            Ok(None) if store.forget(key) || store.lost().contains(&key) => verified.forgotten.push(key),
            Ok(None) => verified.absent.push(key),
            Ok(Some(Err(what))) => {
                let path = store.manifest_of(key);
                let what = format!("entry `{key}`: {what}");
                store.forget(key);
                verified.broken.push(BrokenPart { what, note: None, nodes: vec![], aside: put_aside(store, &path) });
            }
            Err(error) => {
                let what = format!("entry `{key}` cannot be read");
                let aside = SetAside::Stays(error.to_string());
                verified.broken.push(BrokenPart { what, note: None, nodes: vec![], aside });
            }
        }
    }
    if matches!(scope, VerifyScope::Store) {
        for (digest, path) in every_object(store)? {
            match digest {
                Some(digest) => drop(wanted.entry(digest).or_default()),
                None => {
                    let what = format!("`{}` is not an object of this store", below(store, &path));
                    let aside = put_aside(store, &path);
                    verified.broken.push(BrokenPart { what, note: None, nodes: vec![], aside });
                }
            }
        }
    }
    verified.unnamed = wanted.values().filter(|object| object.names.is_empty()).count();
    let bytes = AtomicU64::new(0);
    let asked = Asked { progress, ask };
    let wanted: Vec<_> = wanted.into_iter().collect();
    let hashed: Vec<Option<Option<BrokenPart>>> = each(
        &wanted,
        |(_, object)| object.size.unwrap_or(0),
        |(digest, object)| {
            Ok((!ask()).then(|| hash_object(store, digest, object, &asked)).flatten().map(|(size, broken)| {
                bytes.fetch_add(size, Ordering::Relaxed);
                broken
            }))
        },
    )?;
    verified.bytes = bytes.into_inner();
    for broken in hashed.into_iter().flatten() {
        verified.objects += 1;
        verified.broken.extend(broken);
    }
    Ok(verified)
}

/// Hashes one object. Returns its size and what is wrong with it; `None` if the work was ended before.
fn hash_object(
    store: &Store,
    digest: &Digest,
    object: &ObjectToHash,
    watch: &dyn Watch,
) -> Option<(u64, Option<BrokenPart>)> {
    let path = store.object(digest);
    let broken = |what: String, note: Option<String>, aside: SetAside| {
        for key in &object.keys {
            store.forget(*key);
        }
        distrust(store, digest);
        let names: Vec<_> = object.names.iter().map(|name| format!("`{name}`")).collect();
        let name = if names.is_empty() { format!("object `{digest}`") } else { names.join(", ") };
        let nodes = object.nodes.iter().cloned().collect();
        Some(BrokenPart { what: format!("{name} {what}"), note, nodes, aside })
    };
    let recorded = match object.size {
        Some(size) => format!("recorded {digest}, {size} bytes"),
        None => format!("recorded {digest}"),
    };
    let before = match Signature::at(&path) {
        Ok(Some(signature)) => signature,
        Ok(None) => return Some((0, broken("is missing".to_owned(), Some(recorded), SetAside::Missing))),
        Err(error) => return Some((0, broken("cannot be read".into(), None, SetAside::Stays(error.to_string())))),
    };
    let hashed_at = now_ns();
    Some(match byte_digest_watched(&path, watch) {
        Ok(found) if found == *digest => {
            if path.starts_with(store.root()) {
                store.trust(digest, before, hashed_at);
            }
            (before.size, None)
        }
        Ok(found) => {
            let note = format!("{recorded}; found {found}, {} bytes", before.size);
            (before.size, broken("is not what was stored".to_owned(), Some(note), put_aside(store, &path)))
        }
        Err(error) if error.class == Class::Interrupted => return None,
        Err(error) => (0, broken("cannot be read".to_owned(), Some(error.message), put_aside(store, &path))),
    })
}

fn put_aside(store: &Store, path: &Path) -> SetAside {
    if !path.starts_with(store.root()) {
        return SetAside::Stays("the shared store is read-only".to_owned());
    }
    match store.set_aside(path) {
        Ok(()) => SetAside::Moved,
        Err(error) => SetAside::Stays(error.message),
    }
}

fn distrust(store: &Store, object: &Digest) {
    let mut index = store.index();
    index.dirty |= index.objects.get(object).is_some();
    index.objects.remove(object);
}

fn every_key(store: &Store) -> Result<BTreeSet<CacheKey>, Diag> {
    let files = named(&store.root().join("entries"), ".json")?;
    Ok(files.into_iter().map(|(digest, _)| CacheKey(digest)).collect())
}

/// Every file in `objects/` with its name as a digest, or `None` if its name is no digest. Temporary files of writers
/// are left out.
fn every_object(store: &Store) -> Result<Vec<(Option<Digest>, PathBuf)>, Diag> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for dir in list(&store.root().join("objects"))?.into_iter().filter(|dir| dir.is_dir()) {
        for path in list(&dir)?.into_iter().filter(|path| !name(path).starts_with(".tmp-")) {
            found.push((format!("{}{}", name(&dir), name(&path)).parse().ok(), path));
        }
    }
    Ok(found)
}

fn below(store: &Store, path: &Path) -> String {
    path.strip_prefix(store.root()).unwrap_or(path).display().to_string()
}
