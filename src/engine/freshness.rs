//! The status of nodes: which are fresh, which are stale and why, which wait for these. The walk is that of a run; it
//! runs nothing.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::diag::{Class, Diag};
use crate::cache::{CacheKey, Lookup, StaleReason, Stored, Watched};

use super::context::Context;
use super::executor::Executor;
use super::fast_path::FreshResults;
use super::graph::{Graph, NodeId};
use super::options::RunOptions;
use super::state::WantedNodes;

/// The status of a node.
#[derive(Clone, Debug)]
pub enum Freshness {
    /// The store has its result.
    Fresh {
        /// The result.
        stored: Arc<Stored>,
    },
    /// A run would make it.
    Stale {
        /// The key it would have.
        key: CacheKey,
        /// Why; at least one.
        reasons: Vec<StaleReason>,
    },
    /// A producer is not fresh. Whether the node must run depends on what that producer makes.
    Blocked {
        /// Its producers that are not fresh.
        by: Vec<NodeId>,
    },
    /// A part of its result is not what was stored. A run would set that part aside and make the result again.
    Damaged {
        /// Its key.
        key: CacheKey,
        /// Which parts.
        reasons: Vec<StaleReason>,
    },
    /// Unknown: something outside the store that its key depends on cannot be read.
    Broken {
        /// Why.
        error: Diag,
    },
}

/// A node and its status.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// The node.
    pub id: NodeId,
    /// Its status.
    pub freshness: Freshness,
}

/// Returns the status of the wanted nodes, producers before consumers. Uses `pipeline`, `targets`, `force`, `outside`
/// and `accept` of the options.
pub fn status<'a>(
    graph: &'a Graph,
    store: impl Into<Watched<'a>>,
    options: &'a RunOptions,
    executor: &'a dyn Executor,
) -> Vec<NodeStatus> {
    status_in(Context::new(graph, store, options, executor), &options.targets, &options.force)
}

/// As [`status`], in a context.
pub(super) fn status_in(context: Context, targets: &[NodeId], force: &[NodeId]) -> Vec<NodeStatus> {
    let graph = context.graph;
    let wanted = WantedNodes::new(graph, targets);
    let fresh = FreshResults::new(context, &wanted, force);
    let force: HashSet<NodeId> = force.iter().copied().collect();
    let mut results = vec![None; graph.len()];
    let mut statuses = Vec::new();
    for id in wanted.order().iter().copied() {
        if let Some(stored) = fresh.result(id) {
            results[id.index()] = Some(stored.clone());
            statuses.push(NodeStatus { id, freshness: Freshness::Fresh { stored: stored.clone() } });
            continue;
        }
        let mut by: Vec<NodeId> = graph.producers(id).map(|(from, _)| from).collect();
        by.retain(|from| results[from.index()].is_none());
        by.sort();
        by.dedup();
        let freshness = match by.is_empty() {
            false => Freshness::Blocked { by },
            true => {
                context.freshness(id, &results, force.contains(&id)).unwrap_or_else(|error| Freshness::Broken { error })
            }
        };
        if let Freshness::Fresh { stored } = &freshness {
            results[id.index()] = Some(stored.clone());
        }
        statuses.push(NodeStatus { id, freshness });
    }
    statuses
}

impl Context<'_> {
    /// The freshness of a node whose producers all have results.
    fn freshness(&self, id: NodeId, results: &[Option<Arc<Stored>>], forced: bool) -> Result<Freshness, Diag> {
        let node_key = self.key(id, results)?;
        let mut found = self.lookup(node_key.key, &node_key.numerics)?;
        let prepared = match found {
            Lookup::Hit(stored) if !forced => return Ok(Freshness::Fresh { stored }),
            _ => self.prepare(id, results)?,
        };
        let key = prepared.key;
        if key != node_key.key {
            // A file of the working tree has changed since.
            found = self.lookup(key, &prepared.numerics)?;
        }
        let reasons = self.reasons(id, &prepared, &found)?;
        Ok(match found {
            Lookup::Damaged(_) => Freshness::Damaged { key, reasons },
            _ => Freshness::Stale { key, reasons },
        })
    }
}

/// The error of a node that is needed and may not run.
pub fn not_selected(node: &str, reasons: &[StaleReason]) -> Diag {
    let why: Vec<_> = reasons.iter().take(3).map(ToString::to_string).collect();
    Diag::error(Class::Usage, format!("`{node}` is needed, is not among the nodes to run, and is not up to date"))
        .note(why.join("; "))
        .help("select it too, or run it first")
}
