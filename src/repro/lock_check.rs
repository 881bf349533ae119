//! [`check`]: compares a pipeline and its results with its lock file, node by node, producers first. Nodes that read a
//! differing node are counted but not listed, so the report shows causes and not consequences.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::cache::{MadeResult, Store, Stored};
use crate::engine::graph::NodeId;
use crate::engine::state::WantedNodes;
use crate::pipeline::Plan;
use crate::pipeline::tolerance::Tolerance;

use super::compare::{Difference, ResultFacts, Verdict, compare, making};
use super::lockfile::{LockFile, LockLine};
use super::request::request;

/// One difference from the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockMismatch {
    /// The node.
    pub node: String,
    /// The field: `learning_rate`, `adapter.safetensors`, `score`.
    pub field: String,
    /// The value in the lock.
    pub lock: String,
    /// The value now.
    pub now: String,
}

/// The outcome of a check.
#[derive(Clone, Debug, Default)]
pub struct LockReport {
    /// Every difference, node by node.
    pub mismatches: Vec<LockMismatch>,
    /// The number of nodes that differ.
    pub differing: usize,
    /// The number of nodes that were not compared, because a node that they read differs.
    pub following: usize,
    /// The number of nodes with equal digests and metrics.
    pub identical: usize,
    /// The number of nodes that were made under other numerics, with metrics within their tolerance.
    pub close: usize,
    /// The number of nodes with an unchanged request and no result yet.
    pub open: usize,
    /// Stage and metric of everything compared, for finding tolerances that match nothing.
    pub metrics: Vec<(String, String)>,
}

impl LockReport {
    /// Returns `true` if nothing differs.
    pub fn agrees(&self) -> bool {
        self.mismatches.is_empty()
    }
}

/// The outcome for one node.
#[derive(Clone, Copy, PartialEq)]
enum NodeVerdict {
    Identical,
    Close,
    Open,
    Wrong,
}

/// The input of a check.
#[derive(Clone, Copy)]
pub struct LockCheck<'a> {
    /// The pipeline.
    pub plan: &'a Plan,
    /// These nodes and what they need are checked.
    pub targets: &'a [NodeId],
    /// The targets are the pipeline's own, so a node that only the lock has is a difference.
    pub whole: bool,
    /// The lock.
    pub lock: &'a LockFile,
    /// The store with the results.
    pub store: &'a Store,
    /// How much metrics may differ under other numerics.
    pub tolerance: &'a Tolerance,
}

/// Returns `targets` and all nodes that they need, producers first.
pub fn reached(plan: &Plan, targets: &[NodeId]) -> Vec<NodeId> {
    WantedNodes::new(&plan.graph, targets).order().to_vec()
}

/// Returns the record of a stored result from its manifest.
///
/// # Errors
/// Fails if the manifest cannot be read or no longer lists this result.
pub fn made(store: &Store, stored: &Stored) -> Result<MadeResult, Diag> {
    let entry = store.entry(stored.key)?;
    entry.and_then(|entry| making(&entry.made, stored).cloned()).ok_or_else(|| {
        Diag::error(Class::Store, format!("entry `{}` was removed or is damaged", stored.key))
            .help("`dpt verify` checks the whole store; `dpt run` makes missing results again")
    })
}

/// Returns the lock line of a node with this result.
///
/// # Errors
/// Fails if the store or a file of the working tree cannot be read.
pub fn line(plan: &Plan, id: NodeId, store: &Store, stored: &Stored) -> Result<LockLine, Diag> {
    let request = request(&plan.graph, id, store, &plan.outside)?;
    let facts = ResultFacts::of(&made(store, stored)?);
    Ok(LockLine::new(plan.graph.node(id).to_string(), stored.key, request, facts))
}

/// Checks a pipeline against its lock. `results` is indexed by [`NodeId::index`]. Only the request is compared for a
/// node without a result.
///
/// # Errors
/// Fails if the store or a file of the working tree cannot be read.
pub fn check(check: LockCheck, results: &[Option<Arc<Stored>>]) -> Result<LockReport, Diag> {
    let graph = &check.plan.graph;
    let mut checked = LockReport::default();
    let mut verdicts = vec![NodeVerdict::Open; graph.len()];
    let order = reached(check.plan, check.targets);
    let mut wrong = Vec::new();
    for id in &order {
        let producers = graph.producers(*id);
        let is = |verdict: NodeVerdict| producers.clone().any(|(from, _)| verdicts[from.index()] == verdict);
        let (wrong_input, open_input) = (is(NodeVerdict::Wrong), is(NodeVerdict::Open));
        let close_input = is(NodeVerdict::Close);
        let node = graph.node(*id);
        let outcome = check_node(&check, *id, results[id.index()].as_deref(), wrong_input, close_input || open_input)?;
        verdicts[id.index()] = match outcome {
            NodeOutcome::Follows => {
                checked.following += 1;
                NodeVerdict::Wrong
            }
            NodeOutcome::Wrong(mismatches) => {
                wrong.push((*id, mismatches));
                checked.differing += 1;
                NodeVerdict::Wrong
            }
            NodeOutcome::Open => {
                checked.open += 1;
                NodeVerdict::Open
            }
            NodeOutcome::Same(line, close) => {
                checked.metrics.extend(line.metrics.keys().map(|metric| (node.stage.clone(), metric.clone())));
                *(if close { &mut checked.close } else { &mut checked.identical }) += 1;
                if close { NodeVerdict::Close } else { NodeVerdict::Identical }
            }
        };
    }
    // Report in the order of the pipeline file.
    wrong.sort_by_key(|(id, _)| *id);
    checked.mismatches = wrong.into_iter().flat_map(|(_, mismatches)| mismatches).collect();
    if check.whole {
        let names: HashSet<String> = order.iter().map(|id| graph.node(*id).to_string()).collect();
        for line in check.lock.lines().filter(|line| !names.contains(&line.node)) {
            checked.differing += 1;
            checked.mismatches.push(mismatch(&line.node, "the node", "in the lock", "not in the pipeline"));
        }
    }
    Ok(checked)
}

/// The outcome for one node, with its details.
enum NodeOutcome<'a> {
    /// It differs.
    Wrong(Vec<LockMismatch>),
    /// It reads a node that differs.
    Follows,
    /// It has no result yet.
    Open,
    /// It agrees with this line. `true`: only within tolerance.
    Same(&'a LockLine, bool),
}

/// Checks one node. `loose`: an input differs from the lock's in an allowed way, so the key may differ too.
fn check_node<'a>(
    check: &LockCheck<'a>,
    id: NodeId,
    stored: Option<&Stored>,
    wrong_input: bool,
    loose: bool,
) -> Result<NodeOutcome<'a>, Diag> {
    let LockCheck { plan, store, .. } = *check;
    let node = plan.graph.node(id);
    let name = node.to_string();
    let Some(line) = check.lock.get(&name) else {
        return Ok(NodeOutcome::Wrong(vec![mismatch(&name, "the node", "not in the lock", "in the pipeline")]));
    };
    let now = request(&plan.graph, id, store, &plan.outside)?;
    if now != line.request {
        return Ok(NodeOutcome::Wrong(request_mismatches(&name, &line.request, &now)));
    }
    let Some(stored) = stored else {
        return Ok(if wrong_input { NodeOutcome::Follows } else { NodeOutcome::Open });
    };
    if wrong_input {
        return Ok(NodeOutcome::Follows);
    }
    let facts = ResultFacts::of(&made(store, stored)?);
    let same_key = line.key == stored.key;
    if !same_key && !loose {
        return Ok(NodeOutcome::Wrong(vec![mismatch(&name, "key", &line.key.to_string(), &stored.key.to_string())]));
    }
    let strict = same_key && line.numerics == facts.numerics;
    Ok(match compare(&line.facts(), &facts, strict, &node.stage, check.tolerance) {
        Verdict::Identical => NodeOutcome::Same(line, !same_key),
        Verdict::Close(_) => NodeOutcome::Same(line, true),
        Verdict::Differs(list) => NodeOutcome::Wrong(list.iter().map(|d| result_mismatch(&name, d)).collect()),
    })
}

/// Returns a mismatch for each field of the request that differs from the lock.
fn request_mismatches(
    name: &str,
    lock: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<LockMismatch> {
    let fields: BTreeSet<&String> = lock.keys().chain(now.keys()).collect();
    let shown = |text: Option<&String>| match text.map(|text| (text, text.parse::<Digest>())) {
        None => "-".to_owned(),
        Some((_, Ok(digest))) => digest.to_string(),
        Some((text, Err(_))) => text.clone(),
    };
    let differing = fields.into_iter().filter(|field| lock.get(*field) != now.get(*field));
    differing
        .map(|field| {
            let what = field.strip_prefix("param.").unwrap_or(field);
            mismatch(name, what, &shown(lock.get(field)), &shown(now.get(field)))
        })
        .collect()
}

/// Returns the mismatch for one difference between a recorded and a new result.
fn result_mismatch(node: &str, difference: &Difference) -> LockMismatch {
    match difference {
        Difference::File { name, recorded, found } => {
            let shown = |d: &Option<_>| d.map_or("missing".to_owned(), |d: Digest| d.to_string());
            mismatch(node, name, &shown(recorded), &shown(found))
        }
        Difference::Metric { name, recorded, found, limit } => {
            let shown = |x: &Option<f64>| x.map_or("missing".to_owned(), |x| format!("{x:?}"));
            let limit = limit.map(|limit| format!(" (tolerance {limit})")).unwrap_or_default();
            mismatch(node, name, &shown(recorded), &format!("{}{limit}", shown(found)))
        }
    }
}

fn mismatch(node: &str, field: &str, lock: &str, now: &str) -> LockMismatch {
    LockMismatch { node: node.to_owned(), field: field.to_owned(), lock: lock.to_owned(), now: now.to_owned() }
}
