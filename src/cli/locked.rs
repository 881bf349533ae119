//! `dpt run --locked`: the run against the pipeline's lock, before anything runs and afterwards.

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
use crate::repro::locked::{Check, Checked, check};
use crate::repro::lockfile::{self, Lock};

/// Rows of a report on the terminal.
const MOST: usize = 20;
/// Of which so many of one node.
const MOST_OF_A_NODE: usize = 3;

/// Its arguments, as part of a run's.
#[derive(clap::Args, Debug)]
pub struct LockedArgs {
    /// Hold the run against the lock file beside the pipeline (`dpt lock` writes it), and exit with 3 where anything differs:
    /// before running, where other things are asked for; afterwards, where results differ.
    #[arg(long)]
    locked: bool,
    /// How far a metric may be from the lock's where the lock was made on other hardware: `score=0.05`, `best_step=any`, or a
    /// number for all [default: as the pipeline says, else 0.02].
    #[arg(long = "tolerance", value_name = "METRIC=NUMBER", requires = "locked")]
    tolerance: Vec<String>,
}

/// A lock that a run is held against.
pub struct Guard {
    lock: Lock,
    path: PathBuf,
    tolerance: Tolerance,
    whole: bool,
    json: bool,
}

/// The pipeline's tolerance, with what the command line says.
///
/// # Errors
/// Every argument that is of another form.
pub fn tolerance(plan: &Plan, texts: &[String]) -> Result<Tolerance, Vec<Diag>> {
    let mut tolerance = plan.tolerance.clone();
    let wrong: Vec<Diag> = texts.iter().filter_map(|text| tolerance.set(text).err()).collect();
    if wrong.is_empty() { Ok(tolerance) } else { Err(wrong) }
}

/// A warning for each tolerance that names no metric of these.
pub fn warn_unused(tolerance: &Tolerance, metrics: &[(String, String)]) {
    let seen: Vec<_> = metrics.iter().map(|(stage, metric)| (stage.as_str(), metric.as_str())).collect();
    for name in tolerance.unused(&seen) {
        let mut known: Vec<_> = metrics.iter().map(|(_, metric)| metric.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        let diag = Diag::warning(format!("the tolerance of `{name}` is used for no metric"));
        let known: Vec<_> = known.iter().map(|metric| format!("`{metric}`")).collect();
        render::err(&render::diag(&diag.note(format!("the metrics are {}", known.join(", ")))));
    }
}

impl LockedArgs {
    /// The guard, if one is asked for. `whole`: the run has no targets of its own.
    ///
    /// # Errors
    /// When there is no lock, or it cannot be read.
    pub fn guard(&self, plan: &Plan, whole: bool, json: bool) -> Result<Option<Guard>, Vec<Diag>> {
        if !self.locked {
            return Ok(None);
        }
        let tolerance = tolerance(plan, &self.tolerance)?;
        let path = lockfile::path_of(&plan.path);
        let Some(lock) = Lock::read(&path)? else {
            let pipeline = common::typed(&plan.path);
            let message = format!("`--locked`, and there is no lock file `{}`", common::shown(&path));
            return Err(vec![
                Diag::error(Class::Usage, message)
                    .help(format!("`dpt run {pipeline}`, then `dpt lock {pipeline}` writes it")),
            ]);
        };
        Ok(Some(Guard { lock, path, tolerance, whole, json }))
    }
}

impl Guard {
    /// Before the run: what the nodes ask for, and what is there already. Some exit code where anything differs.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn before(
        &self,
        plan: &Plan,
        store: &Store,
        options: &RunOptions,
        executor: &dyn Executor,
    ) -> Result<Option<Exit>, Vec<Diag>> {
        let mut results = vec![None; plan.graph.len()];
        for node in status(&plan.graph, store, options, executor) {
            // What is forced to run again, a rerun shall show.
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
                "{path}: {nodes} ask for what is locked; {there} made, as locked, and {open} not yet\n"
            ));
        }
        Ok(None)
    }

    /// After a run that ended well.
    ///
    /// # Errors
    /// When the store cannot be read.
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
            let mut line = format!("{}: {nodes} as locked, {} identical", common::shown(&self.path), checked.identical);
            if checked.close > 0 {
                let limits = self.tolerance.told();
                line += &format!(", {} made with other numerics and within tolerance ({limits})", checked.close);
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
    ) -> Result<Checked, Vec<Diag>> {
        let Self { lock, tolerance, whole, .. } = self;
        let whole = *whole;
        check(Check { plan, targets, whole, lock, store, tolerance }, results).map_err(|diag| vec![diag])
    }

    /// Tells what differs.
    fn report(&self, plan: &Plan, checked: &Checked, then: &str) -> Exit {
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
            note += &format!("and {} more, listed with `--json`", checked.mismatches.len() - shown);
        }
        let follow = match checked.following {
            0 => String::new(),
            n => format!(
                "; {} that read{} from them not compared",
                render::count(n, "node"),
                if n == 1 { "s" } else { "" }
            ),
        };
        let of = render::count(checked.differing, "node");
        let verb = if checked.differing == 1 { "differs" } else { "differ" };
        let lock = common::shown(&self.path);
        let pipeline = common::typed(&plan.path);
        let diag = Diag::error(Class::Stage, format!("{of} {verb} from `{lock}`{follow}; {then}"))
            .note(note.trim_end())
            .help(format!(
                "if that is meant: `dpt run {pipeline}`, then `dpt lock {pipeline}`. If it is not: `dpt explain` tells what \
                 changed, `dpt verify {pipeline} --rerun NODE` whether a node gives the same twice"
            ));
        render::err(&render::diag(&diag));
        Exit::Found
    }
}
