//! `dpt run --locked`: compares the run with the pipeline's lock file, before anything runs and afterwards.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cli::exit::Exit;
use crate::cli::{common, render};
use crate::engine::executor::Executor;
use crate::engine::freshness::{Freshness, status};
use crate::engine::graph::NodeId;
use crate::engine::options::{RunOptions, RunSummary};
use crate::pipeline::Plan;
use crate::pipeline::tolerance::Tolerance;
use crate::repro::lock_check::{LockCheck, LockReport, check};
use crate::repro::lockfile::{self, LockFile};

/// The number of rows of the report on the terminal.
const MOST: usize = 20;
/// The number of rows for one node.
const MOST_OF_A_NODE: usize = 3;

/// The arguments of `dpt run` that concern the lock file.
#[derive(clap::Args, Debug)]
pub struct LockedArgs {
    /// Compare with the lock file beside the pipeline, which `dpt lock` writes. Exit with code 3 if anything differs:
    /// parameters or inputs before the run, results after it
    #[arg(long)]
    locked: bool,
    /// How much a metric may differ from a lock made on other hardware: `score=0.05`, `best_step=any`, or a number for
    /// all metrics [default: the pipeline's `[tolerance]`, else 0.02]
    #[arg(long = "tolerance", value_name = "METRIC=NUMBER", requires = "locked")]
    tolerance: Vec<String>,
}

/// The lock file that a run is compared with.
pub struct LockedRun {
    lock: LockFile,
    path: PathBuf,
    tolerance: Tolerance,
    whole: bool,
    json: bool,
}

/// Returns the pipeline's tolerance, changed by the command line.
///
/// # Errors
/// Returns an error for each invalid argument.
pub fn tolerance(plan: &Plan, texts: &[String]) -> Result<Tolerance, Vec<Diag>> {
    let mut tolerance = plan.tolerance.clone();
    let wrong: Vec<Diag> = texts.iter().filter_map(|text| tolerance.set(text).err()).collect();
    if wrong.is_empty() { Ok(tolerance) } else { Err(wrong) }
}

/// Prints a warning for each tolerance that matches none of the metrics.
pub fn warn_unused(tolerance: &Tolerance, metrics: &[(String, String)]) {
    let seen: Vec<_> = metrics.iter().map(|(stage, metric)| (stage.as_str(), metric.as_str())).collect();
    for name in tolerance.unused(&seen) {
        let mut known: Vec<_> = metrics.iter().map(|(_, metric)| metric.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        let diag = Diag::warning(format!("the tolerance of `{name}` matches no metric"));
        let known: Vec<_> = known.iter().map(|metric| format!("`{metric}`")).collect();
        render::err(&render::diag(&diag.note(format!("the metrics are {}", known.join(", ")))));
    }
}

impl LockedArgs {
    /// Reads the lock file if `--locked` is given. `whole`: the run has no targets on the command line.
    ///
    /// # Errors
    /// Fails if there is no lock file or it cannot be read.
    pub fn read(&self, plan: &Plan, whole: bool, json: bool) -> Result<Option<LockedRun>, Vec<Diag>> {
        if !self.locked {
            return Ok(None);
        }
        let tolerance = tolerance(plan, &self.tolerance)?;
        let path = lockfile::path_of(&plan.path);
        let Some(lock) = LockFile::read(&path)? else {
            let pipeline = common::typed(&plan.path);
            let message = format!("`--locked` needs the lock file `{}`, which does not exist", common::shown(&path));
            return Err(vec![
                Diag::error(Class::Usage, message)
                    .help(format!("write it with `dpt run {pipeline}`, then `dpt lock {pipeline}`")),
            ]);
        };
        Ok(Some(LockedRun { lock, path, tolerance, whole, json }))
    }
}

impl LockedRun {
    /// Compares requests and stored results before the run. Returns an exit code if anything differs.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn before(
        &self,
        plan: &Plan,
        store: &Store,
        options: &RunOptions,
        executor: &dyn Executor,
    ) -> Result<Option<Exit>, Vec<Diag>> {
        let mut results = vec![None; plan.graph.len()];
        for node in status(&plan.graph, store, options, executor) {
            // A node that `--force` runs again is compared after the run.
            if let Freshness::Fresh { stored } = node.freshness {
                results[node.id.index()] = Some(stored);
            }
        }
        let checked = self.check(plan, &options.targets, store, &results)?;
        if !checked.agrees() {
            return Ok(Some(self.report(plan, &checked, "nothing was run")));
        }
        if options.dry_run && !self.json {
            let (there, open) = (checked.identical + checked.close, checked.open);
            let path = common::shown(&self.path);
            let nodes = render::count(there + open, "node");
            render::err(&format!(
                "{path}: {nodes} unchanged; {there} have the locked results, {open} have no result yet\n"
            ));
        }
        Ok(None)
    }

    /// Compares the results after a successful run.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn after(
        &self,
        plan: &Plan,
        store: &Store,
        targets: &[NodeId],
        summary: &RunSummary,
    ) -> Result<Exit, Vec<Diag>> {
        let checked = self.check(plan, targets, store, &summary.results)?;
        if !checked.agrees() {
            return Ok(self.report(plan, &checked, "the results are in the store"));
        }
        warn_unused(&self.tolerance, &checked.metrics);
        if !self.json {
            let nodes = render::count(checked.identical + checked.close, "node");
            let agree = if checked.identical + checked.close == 1 { "agrees" } else { "agree" };
            let mut line = format!("{}: {nodes} {agree}, {} identical", common::shown(&self.path), checked.identical);
            if checked.close > 0 {
                let limits = self.tolerance.told();
                line += &format!(", {} within tolerance ({limits}) under other numerics", checked.close);
            }
            render::err(&(line + "\n"));
        }
        Ok(Exit::Done)
    }

    fn check(
        &self,
        plan: &Plan,
        targets: &[NodeId],
        store: &Store,
        results: &[Option<std::sync::Arc<crate::cache::Stored>>],
    ) -> Result<LockReport, Vec<Diag>> {
        let Self { lock, tolerance, whole, .. } = self;
        let whole = *whole;
        check(LockCheck { plan, targets, whole, lock, store, tolerance }, results).map_err(|diag| vec![diag])
    }

    /// Reports the differences.
    fn report(&self, plan: &Plan, checked: &LockReport, then: &str) -> Exit {
        if self.json {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
            for m in &checked.mismatches {
                let line = json!({
                    "at": at, "event": "lock-mismatch", "node": m.node, "field": m.field, "lock": m.lock, "now": m.now,
                });
                render::out(&format!("{line}\n"));
            }
            return Exit::Found;
        }
        let mut rows = vec![["node", "what", "lock", "now"].map(str::to_owned).to_vec()];
        let mut of_node = 0;
        for (at, m) in checked.mismatches.iter().enumerate() {
            let again = at > 0 && checked.mismatches[at - 1].node == m.node;
            of_node = if again { of_node + 1 } else { 1 };
            if of_node <= MOST_OF_A_NODE && rows.len() <= MOST {
                let node = if again { String::new() } else { m.node.clone() };
                rows.push(vec![node, m.field.clone(), m.lock.clone(), m.now.clone()]);
            }
        }
        let mut note = render::table(&rows, &[]);
        let shown = rows.len() - 1;
        if checked.mismatches.len() > shown {
            note += &format!("and {} more; `--json` lists all", checked.mismatches.len() - shown);
        }
        let follow = match checked.following {
            0 => String::new(),
            n => format!(
                "; {} downstream {} not compared",
                render::count(n, "node"),
                if n == 1 { "was" } else { "were" }
            ),
        };
        let of = render::count(checked.differing, "node");
        let verb = if checked.differing == 1 { "differs" } else { "differ" };
        let lock = common::shown(&self.path);
        let pipeline = common::typed(&plan.path);
        let diag = Diag::error(Class::Stage, format!("{of} {verb} from `{lock}`{follow}; {then}"))
            .note(note.trim_end())
            .help(format!(
                "if the change is intended, run `dpt run {pipeline}`, then `dpt lock {pipeline}`. If not, `dpt explain` \
                 shows what changed, and `dpt verify {pipeline} --rerun NODE` shows if a node is reproducible"
            ));
        render::err(&render::diag(&diag));
        Exit::Found
    }
}
