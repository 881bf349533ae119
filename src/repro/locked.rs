//! [`check`]: a pipeline and its results against its lock, node by node, producers first. Where a node differs, what follows
//! from that is counted and not listed: the first cause is what one must look at.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::cache::{MadeResult, Store, Stored};
use crate::engine::graph::NodeId;
use crate::engine::state::WantedNodes;
use crate::pipeline::Plan;
use crate::pipeline::tolerance::Tolerance;

use super::compare::{Difference, Facts, Verdict, compare, making};
use super::lockfile::{Line, Lock};
use super::own::asks;

/// One thing that is not as the lock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The node.
    pub node: String,
    /// What of it: `learning_rate`, `adapter.safetensors`, `score`.
    pub field: String,
    /// In the lock.
    pub lock: String,
    /// Now.
    pub now: String,
}

/// What came of a check.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What differs, node by node.
    pub mismatches: Vec<Mismatch>,
    /// Nodes that differ themselves.
    pub differing: usize,
    /// Nodes that are not compared, since a node that they read differs.
    pub following: usize,
    /// Nodes with the same digests and metrics.
    pub identical: usize,
    /// Nodes with other digests, made under other numerics, and metrics within their tolerance.
    pub close: usize,
    /// Nodes that ask for the same, and have not been made.
    pub open: usize,
    /// Stage and metric of everything compared: to find a tolerance that names none.
    pub metrics: Vec<(String, String)>,
}

impl Checked {
    /// Whether nothing differs.
    pub fn agrees(&self) -> bool {
        self.mismatches.is_empty()
    }
}

/// How a node stands to the lock.
#[derive(Clone, Copy, PartialEq)]
enum Standing {
    Identical,
    Close,
    Open,
    Wrong,
}

/// What a check looks at.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    /// The pipeline.
    pub plan: &'a Plan,
    /// These and what they need.
    pub targets: &'a [NodeId],
    /// Whether these are the pipeline's own targets: then nodes that only the lock has are told.
    pub whole: bool,
    /// The lock.
    pub lock: &'a Lock,
    /// Where results are.
    pub store: &'a Store,
    /// How far metrics may be off under other numerics.
    pub tolerance: &'a Tolerance,
}

/// The nodes that `targets` need, producers first.
pub fn reached(plan: &Plan, targets: &[NodeId]) -> Vec<NodeId> {
    WantedNodes::new(&plan.graph, targets).order().to_vec()
}

/// How the making of a stored result reads in its manifest.
///
/// # Errors
/// When the manifest cannot be read, or no longer has it.
pub fn made(store: &Store, stored: &Stored) -> Result<MadeResult, Diag> {
    let entry = store.entry(stored.key)?;
    entry.and_then(|entry| making(&entry.made, stored).cloned()).ok_or_else(|| {
        Diag::error(Class::Store, format!("entry `{}` went away, or is damaged", stored.key))
            .help("`dpt verify` looks at the whole store; `dpt run` makes again what is missing")
    })
}

/// The lines that the lock of a pipeline has when these are its results.
///
/// # Errors
/// When the store or a file of the working tree cannot be read.
pub fn line(plan: &Plan, id: NodeId, store: &Store, stored: &Stored) -> Result<Line, Diag> {
    let asks = asks(&plan.graph, id, store, &plan.outside)?;
    let facts = Facts::of(&made(store, stored)?);
    Ok(Line::new(plan.graph.node(id).to_string(), stored.key, asks, facts))
}

/// Checks. `results` by [`NodeId::index`]; of a node without one, what it asks for is compared alone.
///
/// # Errors
/// When the store or a file of the working tree cannot be read.
pub fn check(check: Check, results: &[Option<Arc<Stored>>]) -> Result<Checked, Diag> {
    let graph = &check.plan.graph;
    let mut checked = Checked::default();
    let mut standing = vec![Standing::Open; graph.len()];
    let order = reached(check.plan, check.targets);
    let mut wrong = Vec::new();
    for id in &order {
        let producers = graph.producers(*id);
        let is = |what: Standing| producers.clone().any(|(from, _)| standing[from.index()] == what);
        let (wrong_input, open_input, close_input) = (is(Standing::Wrong), is(Standing::Open), is(Standing::Close));
        let node = graph.node(*id);
        let found = one(&check, *id, results[id.index()].as_deref(), wrong_input, close_input || open_input)?;
        let now = match found {
            Found::Follows => {
                checked.following += 1;
                Standing::Wrong
            }
            Found::Wrong(mismatches) => {
                wrong.push((*id, mismatches));
                checked.differing += 1;
                Standing::Wrong
            }
            Found::Open => {
                checked.open += 1;
                Standing::Open
            }
            Found::Same(line, close) => {
                checked.metrics.extend(line.metrics.keys().map(|metric| (node.stage.clone(), metric.clone())));
                *(if close { &mut checked.close } else { &mut checked.identical }) += 1;
                if close { Standing::Close } else { Standing::Identical }
            }
        };
        standing[id.index()] = now;
    }
    // In the order of the pipeline file.
    wrong.sort_by_key(|(id, _)| *id);
    checked.mismatches = wrong.into_iter().flat_map(|(_, mismatches)| mismatches).collect();
    if check.whole {
        let names: HashSet<String> = order.iter().map(|id| graph.node(*id).to_string()).collect();
        for line in check.lock.lines().filter(|line| !names.contains(&line.node)) {
            checked.differing += 1;
            checked.mismatches.push(mismatch(&line.node, "the node", "there", "not in the pipeline"));
        }
    }
    Ok(checked)
}

enum Found<'a> {
    Wrong(Vec<Mismatch>),
    Follows,
    Open,
    Same(&'a Line, bool),
}

/// One node. `loose`: an input is not the one that the lock knows, though nothing is wrong with it.
fn one<'a>(
    check: &Check<'a>,
    id: NodeId,
    stored: Option<&Stored>,
    wrong_input: bool,
    loose: bool,
) -> Result<Found<'a>, Diag> {
    let Check { plan, store, .. } = *check;
    let node = plan.graph.node(id);
    let name = node.to_string();
    let Some(line) = check.lock.get(&name) else {
        return Ok(Found::Wrong(vec![mismatch(&name, "the node", "not in the lock", "in the pipeline")]));
    };
    let now = asks(&plan.graph, id, store, &plan.outside)?;
    if now != line.asks {
        return Ok(Found::Wrong(asked(&name, &line.asks, &now)));
    }
    let Some(stored) = stored else {
        return Ok(if wrong_input { Found::Follows } else { Found::Open });
    };
    if wrong_input {
        return Ok(Found::Follows);
    }
    let facts = Facts::of(&made(store, stored)?);
    let same_key = line.key == stored.key;
    if !same_key && !loose {
        return Ok(Found::Wrong(vec![mismatch(&name, "key", &line.key.to_string(), &stored.key.to_string())]));
    }
    let strict = same_key && line.numerics == facts.numerics;
    Ok(match compare(&line.facts(), &facts, strict, &node.stage, check.tolerance) {
        Verdict::Identical => Found::Same(line, !same_key),
        Verdict::Close(_) => Found::Same(line, true),
        Verdict::Differs(list) => Found::Wrong(list.iter().map(|d| words(&name, d)).collect()),
    })
}

/// What a node asks for is not what the lock says.
fn asked(name: &str, lock: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Mismatch> {
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

/// A difference between recorded and found.
pub fn words(node: &str, difference: &Difference) -> Mismatch {
    match difference {
        Difference::File { name, recorded, found } => {
            let shown = |d: &Option<_>| d.map_or("not there".to_owned(), |d: Digest| d.to_string());
            mismatch(node, name, &shown(recorded), &shown(found))
        }
        Difference::Metric { name, recorded, found, limit } => {
            let shown = |x: &Option<f64>| x.map_or("not there".to_owned(), |x| format!("{x:?}"));
            let limit = limit.map(|limit| format!(" (tolerance {limit})")).unwrap_or_default();
            mismatch(node, name, &shown(recorded), &format!("{}{limit}", shown(found)))
        }
    }
}

fn mismatch(node: &str, field: &str, lock: &str, now: &str) -> Mismatch {
    Mismatch { node: node.to_owned(), field: field.to_owned(), lock: lock.to_owned(), now: now.to_owned() }
}
