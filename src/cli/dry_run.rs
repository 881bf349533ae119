//! `dpt run -n` and `--check` as text: what would run and why, as a table like that of `dpt status`, and a time
//! estimate.

use std::collections::HashSet;
use std::time::Instant;

use crate::base::diag::Diag;
use crate::cache::Store;
use crate::engine::event::RunTotals;
use crate::engine::executor::Executor;
use crate::engine::freshness::not_selected;
use crate::engine::freshness::{Freshness, NodeStatus, status};
use crate::engine::graph::NodeId;
use crate::engine::options::RunOptions;
use crate::pipeline::Plan;

use super::CommandResult;
use super::exit::Exit;
use super::forecast::Forecast;
use super::progress;
use super::render::{self, DIM, paint};
use super::status_kind::StatusKind;
use super::status_table;

/// Prints what would run. With `check`, the exit code is 3 if anything would.
///
/// # Errors
/// Fails if a needed node is neither selected nor fresh, or if something that a key depends on cannot be read.
pub fn run(plan: &Plan, store: &Store, options: &RunOptions, executor: &dyn Executor, check: bool) -> CommandResult {
    let began = Instant::now();
    let mut nodes = status(&plan.graph, store, options, executor);
    nodes.sort_by_key(|node| node.id);
    // Keeps the digests of hashed files for the next run. A failure only makes that run slower.
    let _ = store.flush();
    let only: HashSet<NodeId> = options.only.iter().copied().collect();
    let selected = |id: &NodeId| only.is_empty() || only.contains(id);
    let mut totals = RunTotals { nodes: nodes.len(), ..RunTotals::default() };
    let mut errors: Vec<Diag> = Vec::new();
    let mut needed: Vec<Diag> = Vec::new();
    for node in &nodes {
        match &node.freshness {
            Freshness::Fresh { stored } => {
                totals.fresh += 1;
                totals.seconds_saved += stored.seconds;
                totals.bytes_saved += stored.size();
            }
            Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. } if !selected(&node.id) => {
                needed.push(not_selected(&plan.graph.node(node.id).to_string(), reasons));
            }
            Freshness::Stale { .. } | Freshness::Damaged { .. } => totals.would_run += 1,
            Freshness::Blocked { .. } => totals.may_run += 1,
            Freshness::Broken { error } => errors.push(error.clone()),
        }
    }
    // Report the first one and count the others.
    let more = needed.len().saturating_sub(1);
    if let Some(first) = needed.into_iter().next() {
        errors.push(if more > 0 { first.note(format!("and {more} more")) } else { first });
    }
    let shown: Vec<NodeStatus> = nodes.into_iter().filter(|node| selected(&node.id)).collect();
    let slots = (options.jobs, executor.gpus());
    let forecast = Forecast::new(plan, store, &shown, &options.targets, slots);
    if shown.iter().any(|node| StatusKind::of(&node.freshness) != StatusKind::Fresh) {
        render::out(&status_table::table(plan, &shown, Some(&forecast)));
    }
    totals.seconds = began.elapsed().as_secs_f64();
    let line = forecast.line();
    let line = if line.is_empty() { line } else { format!("; {line}") };
    render::err(&format!("{}{}\n", progress::summary(&plan.name, &totals), paint(DIM, line)));
    match errors.is_empty() {
        false => Err(errors),
        true if check && totals.would_run + totals.may_run > 0 => Ok(Exit::Found),
        true => Ok(Exit::Done),
    }
}
