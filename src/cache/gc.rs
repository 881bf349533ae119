//! Clearing up: first a plan that changes nothing ([`plan`]), then its execution ([`sweep`]), which removes no entry
//! that the plan did not name.
//!
//! Kept are the entries that the caller names, whatever is younger than the grace period, the objects of all entries
//! that stay, and journals. Removed are all other entries, objects that no entry refers to, working folders of dead
//! runs whose result is there or that are old, old quarantine, and temporary files of killed writers.
//!
//! A kill at any point is safe. First an index without the removed results is written and synced. Then manifests are
//! removed and their folders synced. Then the objects are removed that no manifest refers to any more. A kill in
//! between leaves manifests that the index does not know, or objects without a manifest. The next gc removes both, and
//! no run calls a result fresh that has no manifest. No other process uses the store meanwhile: runs hold [`InUse`]
//! together, gc holds it alone.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs::{self, on};
use crate::base::walk;

use super::entry::Entry;
use super::inventory::{Inventory, below, list};
use super::key::CacheKey;
use super::lock::InUse;
use super::stat::now_ns;
use super::store::Store;

/// What limits a gc, besides what the caller keeps.
#[derive(Clone, Copy, Debug)]
pub struct GcLimits {
    /// Remove only entries that were made longer ago than this.
    pub older_than: Option<Duration>,
    /// Remove only as many entries as it takes to bring the objects below this size: first those that are quickest to
    /// make again for each byte that they free.
    pub max_size: Option<u64>,
    /// Remove nothing that is younger than this.
    pub grace: Duration,
    /// Remove quarantined files, and working folders with a checkpoint, only if they are older than this.
    pub leftovers: Duration,
}

impl Default for GcLimits {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { older_than: None, max_size: None, grace: hour, leftovers: hour * 24 * 7 }
    }
}

/// An entry to remove.
#[derive(Clone, Debug)]
pub struct GoneEntry {
    /// Its key.
    pub key: CacheKey,
    /// The node it was last made for.
    pub node: String,
    /// Its stage kind.
    pub kind: String,
    /// Bytes that its removal frees, after all before it in the list were removed.
    pub bytes: u64,
    /// How long it took to make.
    pub seconds: f64,
    /// When it was made: seconds since 1970.
    pub at: u64,
}

/// A file or folder to remove.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// Its path.
    pub path: PathBuf,
    /// Bytes in it.
    pub bytes: u64,
}

/// What would be removed, or was removed.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Entries.
    pub entries: Vec<GoneEntry>,
    /// Objects that no entry refers to, apart from those of `entries`.
    pub orphans: Vec<Leftover>,
    /// Working folders of dead runs.
    pub work: Vec<Leftover>,
    /// Damaged files that were set aside.
    pub quarantine: Vec<Leftover>,
    /// Temporary files of killed writers.
    pub temporary: Vec<Leftover>,
    /// The number of entries that stay.
    pub kept: usize,
    /// Bytes of the objects that stay.
    pub kept_bytes: u64,
    /// The number of manifests that cannot be read. If there is one, objects without an entry stay: they may belong to
    /// it.
    pub unreadable: usize,
    objects: Vec<(Digest, u64)>,
}

impl Sweep {
    /// Returns `true` if there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.leftovers().next().is_none()
    }

    /// Bytes of everything that is removed.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|gone| gone.bytes).sum::<u64>() + self.leftovers().map(|left| left.bytes).sum::<u64>()
    }

    fn leftovers(&self) -> impl Iterator<Item = &Leftover> {
        self.orphans.iter().chain(&self.work).chain(&self.quarantine).chain(&self.temporary)
    }
}

/// Returns `true` if the time `at` (nanoseconds since 1970) is longer ago than `than`. A time in the future, on a
/// machine whose clock was set back, is not.
pub(super) fn older(at: i64, now: i64, than: Duration) -> bool {
    now.saturating_sub(at) >= i64::try_from(than.as_nanos()).unwrap_or(i64::MAX)
}

/// Plans what to remove, without the entries that `keep` accepts. Removes nothing.
///
/// # Errors
/// Fails if the store cannot be read.
pub fn plan(store: &Store, keep: &dyn Fn(CacheKey) -> bool, limits: GcLimits) -> Result<Sweep, Diag> {
    let now = now_ns();
    let Inventory { entries, unreadable, objects } = Inventory::of(store)?;
    let mut users: HashMap<Digest, usize> = HashMap::new();
    for entry in &entries {
        entry.objects().keys().for_each(|object| *users.entry(*object).or_default() += 1);
    }
    let mut sweep = Sweep { unreadable: unreadable.len(), ..Sweep::default() };
    let mut size: u64 = objects.values().map(|object| object.size).sum();
    if unreadable.is_empty() {
        for (digest, signature) in &objects {
            if !users.contains_key(digest) && older(signature.ctime, now, limits.grace) {
                size -= signature.size;
                sweep.orphans.push(Leftover { path: store.own_object(digest), bytes: signature.size });
            }
        }
    }
    let age = limits.grace.max(limits.older_than.unwrap_or_default());
    let at = |entry: &Entry| i64::try_from(entry.at()).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    let (mut gone, kept): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| !keep(entry.key) && older(at(entry), now, age));
    // Removing an entry without bytes frees nothing.
    let worth = |entry: &Entry| entry.seconds() / entry.objects().values().sum::<u64>().max(1) as f64;
    if limits.max_size.is_some() {
        gone.sort_by(|a, b| worth(a).total_cmp(&worth(b)));
    }
    sweep.kept = kept.len();
    for entry in gone {
        if limits.max_size.is_some_and(|max| size <= max) {
            sweep.kept += 1;
            continue;
        }
        let mut bytes = 0;
        for object in entry.objects().into_keys() {
            let left = users.get_mut(&object).expect("counted above");
            *left -= 1;
            if *left == 0
                && let Some(signature) = objects.get(&object)
            {
                bytes += signature.size;
                sweep.objects.push((object, signature.size));
            }
        }
        size -= bytes;
        sweep.entries.push(GoneEntry {
            key: entry.key,
            node: entry.made.last().map(|made| made.node.clone()).unwrap_or_default(),
            kind: entry.kind(),
            bytes,
            seconds: entry.seconds(),
            at: entry.at(),
        });
    }
    sweep.kept_bytes = size;
    let there: BTreeSet<String> = entries.iter().map(|entry| entry.key.hex()).collect();
    plan_leftovers(store, &mut sweep, &there, now, limits)?;
    Ok(sweep)
}

fn plan_leftovers(
    store: &Store,
    sweep: &mut Sweep,
    made: &BTreeSet<String>,
    now: i64,
    limits: GcLimits,
) -> Result<(), Diag> {
    for path in list(&store.root().join("work"))? {
        let (files, bytes, changed) = below(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let passing = [super::archive::UNPACKING, super::verify::SCRATCH, super::work::SPARE]
            .iter()
            .any(|begin| name.starts_with(begin));
        let ours = name.parse::<Digest>().is_ok() || passing;
        // A checkpoint may be worth hours.
        let of_use = files > 0 && !made.contains(&name) && !passing;
        let age = if of_use { limits.grace.max(limits.leftovers) } else { limits.grace };
        if ours && older(changed, now, age) {
            sweep.work.push(Leftover { path, bytes });
        }
    }
    let quarantine = store.root().join("quarantine");
    // Everything in it is removed, whatever its name. So it must be the store's own folder, not the target of a link.
    for path in if quarantine.is_symlink() { vec![] } else { list(&quarantine)? } {
        let (_, bytes, changed) = below(&path)?;
        if older(changed, now, limits.grace.max(limits.leftovers)) {
            sweep.quarantine.push(Leftover { path, bytes });
        }
    }
    let mut places = vec![store.root().to_owned()];
    for folder in ["objects", "entries"] {
        let own = |path: &PathBuf| path.is_dir() && !path.is_symlink();
        places.extend(list(&store.root().join(folder))?.into_iter().filter(own));
    }
    if let Some(cache) = store.root().parent() {
        folders(&cache.join("results"), &mut places)?;
    }
    for place in places {
        for path in list(&place)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (files, bytes, changed) = if name.starts_with(".tmp-") { below(&path)? } else { (0, 0, 0) };
            if files == 1 && older(changed, now, limits.grace) {
                sweep.temporary.push(Leftover { path, bytes });
            }
        }
    }
    Ok(())
}

/// Removes what `planned` names, if a new plan still has it. `_alone` proves that no other process uses the store.
///
/// # Errors
/// Fails if something cannot be removed. What was removed before stays removed; everything else is whole.
pub fn sweep(
    store: &Store,
    planned: &Sweep,
    keep: &dyn Fn(CacheKey) -> bool,
    limits: GcLimits,
    _alone: &InUse,
) -> Result<Sweep, Diag> {
    let shown: BTreeSet<CacheKey> = planned.entries.iter().map(|gone| gone.key).collect();
    // The size has chosen these entries already; what was stored since does not change that.
    let limits = GcLimits { max_size: None, ..limits };
    let sweep = plan(store, &|key| !shown.contains(&key) || keep(key), limits)?;
    if !sweep.entries.is_empty() {
        forget_gone(store, &sweep)?;
    }
    let mut folders = BTreeSet::new();
    for gone in &sweep.entries {
        let path = store.manifest(gone.key);
        remove("gc.entry", &path)?;
        folders.extend(path.parent().map(Path::to_owned));
    }
    for folder in &folders {
        fault::point("gc.folder").map_err(on("sync", folder))?;
        fs::sync_dir(folder)?;
    }
    for (object, _) in &sweep.objects {
        remove("gc.object", &store.own_object(object))?;
    }
    for orphan in &sweep.orphans {
        remove("gc.object", &orphan.path)?;
    }
    for folder in &sweep.work {
        remove_work(store, &folder.path)?;
    }
    for left in sweep.quarantine.iter().chain(&sweep.temporary) {
        remove("gc.leftover", &left.path)?;
    }
    let mut index = store.index();
    index.keep_files(Path::exists);
    store.write_index(&mut index, false)?;
    drop(index);
    Ok(sweep)
}

fn remove_work(store: &Store, path: &Path) -> Result<(), Diag> {
    let lock = match path.file_name().and_then(|name| name.to_string_lossy().parse::<Digest>().ok()) {
        Some(key) => match store.locks().try_take(CacheKey(key))? {
            Ok(lock) => Some(lock),
            // Another process works there after all.
            Err(_) => return Ok(()),
        },
        None => None,
    };
    remove("gc.work", path)?;
    drop(lock);
    Ok(())
}

/// Writes and syncs an index without the entries to remove, before the first manifest is removed.
fn forget_gone(store: &Store, sweep: &Sweep) -> Result<(), Diag> {
    let mut index = store.index();
    for gone in &sweep.entries {
        index.results.remove(&gone.key);
    }
    for (object, _) in &sweep.objects {
        index.objects.remove(object);
    }
    fault::point("gc.index").map_err(on("write", &store.root().join("index")))?;
    store.write_index(&mut index, true)
}

/// Removes a file, or a folder with its contents. It may be gone already.
#[allow(clippy::disallowed_methods, reason = "files and folders share one error")]
fn remove(point: &'static str, path: &Path) -> Result<(), Diag> {
    let folder = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let removed = fault::point(point).and_then(|()| match folder {
        true => walk::remove(path),
        false => std::fs::remove_file(path),
    });
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(on("remove", path)(e).into()),
        _ => Ok(()),
    }
}

/// Collects all folders at and below `dir` without following links, down to `walk::DEEPEST` levels.
fn folders(dir: &Path, into: &mut Vec<PathBuf>) -> Result<(), Diag> {
    let mut open = vec![(dir.to_owned(), 0)];
    while let Some((dir, depth)) = open.pop() {
        if depth <= walk::DEEPEST && std::fs::symlink_metadata(&dir).is_ok_and(|meta| meta.is_dir()) {
            open.extend(list(&dir)?.into_iter().map(|path| (path, depth + 1)));
            into.push(dir);
        }
    }
    Ok(())
}
