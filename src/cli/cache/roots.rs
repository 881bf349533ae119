//! What is to be kept: the keys that pipelines, runs and nodes reach.

use std::collections::BTreeSet;
use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::cache::{CacheKey, Store};
use crate::cli::check::Changes;
use crate::cli::common;
use crate::engine::gc_roots;
use crate::engine::options::RunOptions;
use crate::worker::device::Wanted;

/// Keys, and why they count.
#[derive(Debug, Default)]
pub struct Roots {
    /// The keys.
    pub keys: BTreeSet<CacheKey>,
    /// For people: `the last 10 runs`.
    pub why: Vec<String>,
}

impl Roots {
    /// Adds keys and why.
    pub fn add(&mut self, keys: impl IntoIterator<Item = CacheKey>, why: String) {
        self.keys.extend(keys);
        self.why.push(why);
    }

    /// Adds what the last `n` runs made or found that left a journal.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub fn add_runs(&mut self, store: &Store, n: usize) -> Result<(), Diag> {
        let runs = gc_roots::runs(&store.runs())?;
        let found = runs.len().min(n);
        if let Some(run) = runs.iter().take(n).find(|run| run.broken.is_some()) {
            let (why, path) =
                (run.broken.as_deref().unwrap_or_default(), store.runs().join(format!("{}.jsonl", run.run)));
            let text = format!("the journal `{}` cannot be read: {why}", common::shown(&path));
            return Err(Diag::error(Class::Store, text)
                .note("what that run made and found is not known, so nothing was removed")
                .help(
                    "say what to keep without journals (`--keep-pipeline FILE…` or `--keep-lock FILE…`), or remove the \
                     journal if nothing of that run is to be kept",
                ));
        }
        let keys = runs.into_iter().take(n).flat_map(|run| run.keys);
        self.add(keys, if found == 1 { "the last run".to_owned() } else { format!("the last {found} runs") });
        Ok(())
    }
}

/// The results that the nodes of a pipeline have, and how many nodes it has. With `before` also what each had before it was
/// edited.
///
/// # Errors
/// Every problem of the file; a node of which it cannot be told.
pub fn of_pipeline(file: &Path, store: &Store, before: bool) -> Result<(BTreeSet<CacheKey>, usize), Vec<Diag>> {
    let plan = Changes::default().load(file)?;
    let store = &store.again_for(file).map_err(|diag| vec![diag])?;
    let options = RunOptions { pipeline: plan.name.clone(), outside: plan.outside.clone(), ..RunOptions::default() };
    let executor = common::local(Wanted::Auto, 1, store, &plan.name);
    let keys = gc_roots::of_graph(&plan.graph, store, &options, &executor, before).map_err(|diag| vec![diag])?;
    Ok((keys, plan.graph.len()))
}
