//! Clearing up: first a plan that changes nothing ([`Store::plan_gc`]), then its execution ([`Store::sweep`]), which removes
//! no entry that the plan did not name.
//!
//! What is kept: the entries that the caller names; what is younger than the grace period; all that an entry which stays
//! refers to; journals. What goes: other entries; objects that no entry refers to; working folders of dead runs whose
//! result is there or that nobody came back for; old quarantine; files that killed writers left beside.
//!
//! Safe at any point: first an index is written, and synced, that knows nothing of what is to go; then manifests go and their
//! folders are synced; then the objects go that no manifest refers to any more. A kill in between leaves manifests that
//! nothing remembers, or objects without a manifest: the next gc removes both, and no run takes for fresh what has no manifest.
//! Nobody else uses the store meanwhile: runs hold [`InUse`] together, gc holds it alone.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::fault;
use crate::base::fs::{self, on};
use crate::base::walk;

use super::census::{Census, below, list};
use super::entry::Entry;
use super::key::CacheKey;
use super::lock::InUse;
use super::stat::now_ns;
use super::store::Store;

/// How much is cleared up, besides what nobody keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the entries that nobody keeps only those that were made longer ago than this.
    pub older_than: Option<Duration>,
    /// Of these only as many as it takes to bring the objects below this size: those first that are quickest to make again for
    /// each byte that they free.
    pub max_size: Option<u64>,
    /// Nothing that is younger.
    pub grace: Duration,
    /// Quarantine, and working folders with something in them that a run could go on from, only when they are older.
    pub leftovers: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { older_than: None, max_size: None, grace: hour, leftovers: hour * 24 * 7 }
    }
}

/// An entry that would go.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Its key.
    pub key: CacheKey,
    /// The node it was last made for.
    pub node: String,
    /// Its stage kind.
    pub kind: String,
    /// What its going frees, with all before it in the list gone.
    pub bytes: u64,
    /// How long it took to make.
    pub seconds: f64,
    /// When it was made: seconds since 1970.
    pub at: u64,
}

/// A file or folder that would go.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// Where.
    pub path: PathBuf,
    /// Bytes in it.
    pub bytes: u64,
}

/// What would go, or went.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Entries.
    pub entries: Vec<Gone>,
    /// Objects that no entry refers to, apart from those of `entries`.
    pub orphans: Vec<Leftover>,
    /// Working folders of dead runs.
    pub work: Vec<Leftover>,
    /// What was set aside as damaged.
    pub quarantine: Vec<Leftover>,
    /// What killed writers left beside.
    pub temporary: Vec<Leftover>,
    /// How many entries stay.
    pub kept: usize,
    /// Bytes of the objects that stay.
    pub kept_bytes: u64,
    /// Manifests that cannot be read. Where there are any, objects without an entry stay: they may be theirs.
    pub unreadable: usize,
    objects: Vec<(Digest, u64)>,
}

impl Sweep {
    /// Whether there is nothing to clear up.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.leftovers().next().is_none()
    }

    /// All bytes that go.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|gone| gone.bytes).sum::<u64>() + self.leftovers().map(|left| left.bytes).sum::<u64>()
    }

    fn leftovers(&self) -> impl Iterator<Item = &Leftover> {
        self.orphans.iter().chain(&self.work).chain(&self.quarantine).chain(&self.temporary)
    }
}

/// Whether something of time `at` (nanoseconds since 1970) is older than this. What lies in the future, on a machine whose clock
/// was set back, is not.
fn older(at: i64, now: i64, than: Duration) -> bool {
    now.saturating_sub(at) >= i64::try_from(than.as_nanos()).unwrap_or(i64::MAX)
}

impl Store {
    /// What a gc would remove that keeps all entries of which `keep` says so. Removes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn plan_gc(&self, keep: &dyn Fn(CacheKey) -> bool, limits: Limits) -> Result<Sweep, Diag> {
        let now = now_ns();
        let Census { entries, unreadable, objects } = self.census()?;
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
                    sweep.orphans.push(Leftover { path: self.own_object(digest), bytes: signature.size });
                }
            }
        }
        let age = limits.grace.max(limits.older_than.unwrap_or_default());
        let at = |entry: &Entry| i64::try_from(entry.at()).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        let (mut gone, kept): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| !keep(entry.key) && older(at(entry), now, age));
        // A zero-sized entry is never worth its going.
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
            sweep.entries.push(Gone {
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
        self.plan_leftovers(&mut sweep, &there, now, limits)?;
        Ok(sweep)
    }

    fn plan_leftovers(&self, sweep: &mut Sweep, made: &BTreeSet<String>, now: i64, limits: Limits) -> Result<(), Diag> {
        for path in list(&self.root().join("work"))? {
            let (files, bytes, changed) = below(&path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let passing = [super::pack::UNPACKING, super::verify::SCRATCH, super::work::SPARE]
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
        let quarantine = self.root().join("quarantine");
        // All in it goes, whatever its name: so it must be the store's own folder, and none that a link leads to.
        for path in if quarantine.is_symlink() { vec![] } else { list(&quarantine)? } {
            let (_, bytes, changed) = below(&path)?;
            if older(changed, now, limits.grace.max(limits.leftovers)) {
                sweep.quarantine.push(Leftover { path, bytes });
            }
        }
        let mut places = vec![self.root().to_owned()];
        for folder in ["objects", "entries"] {
            let own = |path: &PathBuf| path.is_dir() && !path.is_symlink();
            places.extend(list(&self.root().join(folder))?.into_iter().filter(own));
        }
        if let Some(cache) = self.root().parent() {
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

    /// Removes what `planned` names, as far as that still is to go when looked at again. `_alone` keeps all others away.
    ///
    /// # Errors
    /// When something cannot be removed. What was removed until then is gone, all else is whole.
    pub fn sweep(
        &self,
        planned: &Sweep,
        keep: &dyn Fn(CacheKey) -> bool,
        limits: Limits,
        _alone: &InUse,
    ) -> Result<Sweep, Diag> {
        let shown: BTreeSet<CacheKey> = planned.entries.iter().map(|gone| gone.key).collect();
        // Chosen already: what came since changes nothing about these.
        let limits = Limits { max_size: None, ..limits };
        let sweep = self.plan_gc(&|key| !shown.contains(&key) || keep(key), limits)?;
        if !sweep.entries.is_empty() {
            self.forget_gone(&sweep)?;
        }
        let mut folders = BTreeSet::new();
        for gone in &sweep.entries {
            let path = self.manifest(gone.key);
            remove("gc.entry", &path)?;
            folders.extend(path.parent().map(Path::to_owned));
        }
        for folder in &folders {
            fault::point("gc.folder").map_err(on("sync", folder))?;
            fs::sync_dir(folder)?;
        }
        for (object, _) in &sweep.objects {
            remove("gc.object", &self.own_object(object))?;
        }
        for orphan in &sweep.orphans {
            remove("gc.object", &orphan.path)?;
        }
        for folder in &sweep.work {
            self.remove_work(&folder.path)?;
        }
        for left in sweep.quarantine.iter().chain(&sweep.temporary) {
            remove("gc.leftover", &left.path)?;
        }
        let mut index = self.index();
        index.keep_files(Path::exists);
        self.write_index(&mut index, false)?;
        drop(index);
        Ok(sweep)
    }

    fn remove_work(&self, path: &Path) -> Result<(), Diag> {
        let lock = match path.file_name().and_then(|name| name.to_string_lossy().parse::<Digest>().ok()) {
            Some(key) => match self.locks().try_take(CacheKey(key))? {
                Ok(lock) => Some(lock),
                // Someone is at it after all.
                Err(_) => return Ok(()),
            },
            None => None,
        };
        remove("gc.work", path)?;
        drop(lock);
        Ok(())
    }

    /// Takes out of the index what is to go, and brings that to the disk: before the first manifest goes.
    fn forget_gone(&self, sweep: &Sweep) -> Result<(), Diag> {
        let mut index = self.index();
        for gone in &sweep.entries {
            index.results.remove(&gone.key);
        }
        for (object, _) in &sweep.objects {
            index.objects.remove(object);
        }
        fault::point("gc.index").map_err(on("write", &self.root().join("index")))?;
        self.write_index(&mut index, true)
    }

    /// The entries that any node of any pipeline was last found or made under, as far as this store remembers.
    pub fn last_keys(&self) -> BTreeSet<CacheKey> {
        self.index().last.all().into_values().flatten().map(|(_, key)| key).collect()
    }
}

/// Removes a file, or a folder with all in it. Already gone is as good.
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

/// All folders below and at `dir`, links not followed. Nothing of ours lies deeper than `walk::DEEPEST` levels.
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

#[cfg(test)]
#[path = "gc_tests.rs"]
mod tests;
