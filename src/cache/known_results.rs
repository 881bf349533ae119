//! [`KnownResults`]: looks up many nodes of a pipeline at once. The index says what lies under their keys; a few `stat`
//! calls on several threads say whether it still does. This is the fast path of a run with nothing to do;
//! [`Store::lookup`] is the plain one.
//!
//! The order of use: one [`KnownResults::find`] for each node in the pipeline's order, which makes no system call; then
//! one [`KnownResults::confirm`] for all that was found. [`open_in_background`] starts the `stat` calls before that,
//! while the plan is being made.

use std::fmt::Display;
use std::ops::Range;
use std::sync::{Arc, mpsc};

use super::entry::Stored;
use super::index::{IndexFile, NodeHash, Prefetch};
use super::key::CacheKey;
use super::lookup::AcceptNumerics;
use super::store::Store;

/// How many objects are worth a thread of their own.
const WORTH_A_THREAD: usize = 1_000;

/// What the index has under a key, before it is confirmed.
#[derive(Clone, Debug)]
pub struct KnownResult {
    /// The result.
    pub stored: Arc<Stored>,
    /// `true` if the node that asked was last found or made under this key.
    pub remembered: bool,
    /// Its row in the index file; `None` if it is new since the file was read.
    row: Option<u32>,
}

/// A lookup of many nodes of one pipeline.
pub struct KnownResults<'a> {
    store: &'a Store,
    pipeline: String,
    /// The index file and the pipeline's rows in it, unless results changed since it was read.
    file: Option<(Arc<IndexFile>, Range<u32>)>,
    /// The row at which the next node is expected: nodes are written in the order in which they ask.
    next_row: u32,
}

impl KnownResults<'_> {
    /// What the index has for a node under a key.
    pub fn find(&mut self, node: &impl Display, key: CacheKey, accept: AcceptNumerics) -> Option<KnownResult> {
        let hash = NodeHash::of(node);
        let here = self.next_row;
        if let Some((file, rows)) = &self.file
            && rows.contains(&here)
            && file.node(here) == (hash, key)
            && let Some(row) = file.node_result(here)
        {
            self.next_row += 1;
            let stored = Arc::new(file.stored(row));
            return accept(&stored.numerics).then_some(KnownResult { stored, remembered: true, row: Some(row) });
        }
        let mut index = self.store.index();
        let stored = index.results.get(&key).filter(|stored| accept(&stored.numerics))?;
        if let Some(row) = index.last.row(&self.pipeline, hash) {
            self.next_row = row + 1;
        }
        let remembered = index.last.get(&self.pipeline, hash) == Some(key);
        let row = match index.results.changed.contains_key(&key) {
            true => None,
            false => Some(index.file.find_result(key)?),
        };
        Some(KnownResult { stored, remembered, row })
    }

    /// For each result that was found, returns `true` if its manifest and all its objects are as they were. The system
    /// is asked once for each object, on several threads if there are many.
    pub fn confirm(self, found: &[Option<KnownResult>]) -> Vec<bool> {
        let store = self.store;
        let index = store.index();
        let (file, changed) = (index.file.clone(), !index.objects.changed.is_empty());
        drop(index);
        let begun = store.prefetch_slot().get().filter(|prefetch| prefetch.is_of(&file)).cloned();
        let prefetch = match begun {
            Some(prefetch) => {
                prefetch.work();
                prefetch
            }
            None => {
                let rows = found.iter().flatten().filter_map(|known| known.row).filter(|_| !changed);
                let prefetch = Arc::new(Prefetch::of_results(file, store.objects().clone(), rows));
                work_on_threads(&prefetch);
                prefetch
            }
        };
        let elsewhere = |known: &KnownResult| {
            store.is_whole(&known.stored).unwrap_or(false) && store.has_manifest(known.stored.key)
        };
        let is_whole = |known: &KnownResult| match known.row {
            Some(row) if !changed => prefetch.is_whole(row) || store.shared().is_some() && elsewhere(known),
            _ => elsewhere(known),
        };
        let keys = found.iter().map(|known| Some(known.as_ref()?.stored.key));
        let with_manifest = store.check_manifests(keys);
        let both = |(known, manifest): (&Option<KnownResult>, bool)| manifest && known.as_ref().is_some_and(is_whole);
        found.iter().zip(with_manifest).map(both).collect()
    }
}

/// Checks all objects, on as many threads as are worth their start.
fn work_on_threads(prefetch: &Prefetch) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let others = threads.min(prefetch.len() / WORTH_A_THREAD);
        (1..others).for_each(|_| drop(scope.spawn(|| prefetch.work())));
        prefetch.work();
    });
}

impl Store {
    /// Begins a lookup of the nodes of a pipeline.
    pub fn known_results(&self, pipeline: &str) -> KnownResults<'_> {
        let pipeline = self.memory(pipeline);
        let index = self.index();
        let rows = index.last.rows(&pipeline);
        let next_row = rows.start;
        let file = index.results.changed.is_empty().then(|| (index.file.clone(), rows));
        KnownResults { store: self, pipeline, file, next_row }
    }

    /// Lists the objects of the last results of the [pipeline file](Self::for_pipeline), for [`Prefetch::work`].
    /// Without a pipeline file there are none.
    pub(crate) fn prefetch(&self) -> Arc<Prefetch> {
        let index = self.index();
        let file = index.file.clone();
        let rows = file.pipelines().filter(|(name, _)| self.is_memory(name)).flat_map(|(_, rows)| rows);
        let results = rows.filter_map(|node| file.node_result(node));
        let prefetch = Arc::new(Prefetch::of_results(file.clone(), self.objects().clone(), results));
        drop(index);
        self.prefetch_slot().get_or_init(|| prefetch).clone()
    }
}

/// A store that another thread opens.
pub struct OpeningStore<T> {
    opened: mpsc::Receiver<T>,
}

impl<T> OpeningStore<T> {
    /// Waits until the store is open, and returns what `open` returned.
    pub fn wait(self) -> T {
        self.opened.recv().expect("opening a store does not panic")
    }
}

/// Calls `open` on another thread, which then checks the objects of the last results of the store's pipeline file. The
/// caller makes its plan meanwhile: most of these results are what the plan will need. If the caller gives up, nothing
/// waits for the store.
pub fn open_in_background<R, E>(
    open: impl FnOnce() -> Result<(Store, R), E> + Send + 'static,
) -> OpeningStore<Result<(Store, R), E>>
where
    R: Send + 'static,
    E: Send + 'static,
{
    let (sender, opened) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let store = open();
        let prefetch = store.as_ref().ok().map(|(store, _)| store.prefetch());
        // The receiver is gone if the plan is wrong.
        let _ = sender.send(store);
        prefetch.iter().for_each(|prefetch| prefetch.work());
    });
    OpeningStore { opened }
}
