//! The keys that `dpt cache gc` keeps: those of pipelines, lock files, runs and nodes.

use std::collections::BTreeSet;
use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::cache::{CacheKey, Store};
use crate::cli::check::ChangeArgs;
use crate::cli::common;
use crate::engine::gc_roots;
use crate::engine::options::RunOptions;
use crate::worker::device::DeviceChoice;

/// The keys to keep, with reasons.
#[derive(Debug, Default)]
pub struct GcRoots {
    /// The keys.
    pub keys: BTreeSet<CacheKey>,
    /// The reasons, such as `the last 10 runs`.
    pub why: Vec<String>,
}

impl GcRoots {
    /// Adds keys with a reason.
    pub fn add(&mut self, keys: impl IntoIterator<Item = CacheKey>, why: String) {
        self.keys.extend(keys);
        self.why.push(why);
    }

    /// Adds the results that the last `n` runs with a journal made or used.
    ///
    /// # Errors
    /// Fails if a journal cannot be read.
    pub fn add_runs(&mut self, store: &Store, n: usize) -> Result<(), Diag> {
        let runs = gc_roots::runs(&store.runs())?;
        let found = runs.len().min(n);
        if let Some(run) = runs.iter().take(n).find(|run| run.broken.is_some()) {
            let (why, path) =
                (run.broken.as_deref().unwrap_or_default(), store.runs().join(format!("{}.jsonl", run.run)));
            let text = format!("the journal `{}` cannot be read: {why}", common::shown(&path));
            return Err(Diag::error(Class::Store, text)
                .note("the results of that run are unknown, so nothing was removed")
                .help(
                    "name what to keep with `--keep-pipeline FILE…` or `--keep-lock FILE…`, or delete the journal if you do \
                     not need the results of that run",
                ));
        }
        let keys = runs.into_iter().take(n).flat_map(|run| run.keys);
        self.add(keys, if found == 1 { "the last run".to_owned() } else { format!("the last {found} runs") });
        Ok(())
    }
}

/// Returns the keys of a pipeline's results and the number of its nodes. With `before`, also the last key of each node
/// from before the pipeline was edited.
///
/// # Errors
/// Returns every problem of the file. Fails if the key of a node cannot be made.
pub fn of_pipeline(file: &Path, store: &Store, before: bool) -> Result<(BTreeSet<CacheKey>, usize), Vec<Diag>> {
    let plan = ChangeArgs::default().load(file)?;
    let store = &store.again_for(file).map_err(|diag| vec![diag])?;
    let options = RunOptions { pipeline: plan.name.clone(), outside: plan.outside.clone(), ..RunOptions::default() };
    let executor = common::local(DeviceChoice::Auto, 1, store, &plan.name);
    let keys = gc_roots::of_graph(&plan.graph, store, &options, &executor, before).map_err(|diag| vec![diag])?;
    Ok((keys, plan.graph.len()))
}
