//! The same walk as a run's, looking only: which nodes are fresh, which are stale and why, which wait for these.

use std::sync::Arc;

use crate::base::diag::Diag;
use crate::cache::{CacheKey, Found, StaleReason, Store, Stored};

use super::executor::Executor;
use super::graph::{Graph, NodeId};
use super::prepare::prepare;
use super::run::RunOptions;
use super::state::{NodeState, States};

/// How a node stands.
#[derive(Clone, Debug)]
pub enum Freshness {
    /// Its result is there.
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
    /// A producer is not fresh: whether it must run depends on what that makes.
    Blocked {
        /// Its producers that are not fresh.
        by: Vec<NodeId>,
    },
    /// Its result is there, and a part of it is not what was stored: a run would set that aside and make it again.
    Damaged {
        /// Its key.
        key: CacheKey,
        /// Which parts.
        reasons: Vec<StaleReason>,
    },
    /// It cannot be told: something outside the store that its key depends on cannot be read.
    Broken {
        /// Why.
        error: Diag,
    },
}

/// A node and how it stands.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// The node.
    pub id: NodeId,
    /// How it stands.
    pub freshness: Freshness,
}

/// How the wanted nodes stand, producers before consumers. Runs nothing; of the options it minds `pipeline`, `targets`,
/// `force`, `outside` and `accept`.
pub fn status(graph: &Graph, store: &Store, options: &RunOptions, executor: &dyn Executor) -> Vec<NodeStatus> {
    let wanted = States::new(graph, &options.targets);
    let mut results = vec![None; graph.len()];
    let mut statuses = Vec::new();
    for id in graph.topological().expect("the planner lets no cycle pass") {
        if wanted.get(id) == NodeState::Unwanted {
            continue;
        }
        let mut by: Vec<NodeId> = graph.producers(id).into_iter().map(|(from, _)| from).collect();
        by.retain(|from| results[from.index()].is_none());
        by.sort();
        by.dedup();
        let freshness = match by.is_empty() {
            false => Freshness::Blocked { by },
            true => {
                of(graph, id, &results, store, options, executor).unwrap_or_else(|error| Freshness::Broken { error })
            }
        };
        if let Freshness::Fresh { stored } = &freshness {
            results[id.index()] = Some(stored.clone());
        }
        statuses.push(NodeStatus { id, freshness });
    }
    statuses
}

fn of(
    graph: &Graph,
    id: NodeId,
    results: &[Option<Arc<Stored>>],
    store: &Store,
    options: &RunOptions,
    executor: &dyn Executor,
) -> Result<Freshness, Diag> {
    let prepared = prepare(graph, id, results, store, &options.outside, options.accept, executor)?;
    let found = prepared.look(store)?;
    let key = prepared.key;
    if !options.force.contains(&id)
        && let Found::Hit(stored) = found
    {
        return Ok(Freshness::Fresh { stored });
    }
    let node = graph.node(id).to_string();
    let reasons = prepared.reasons(store, &options.pipeline, &node, &found)?;
    Ok(match found {
        Found::Damaged(_) => Freshness::Damaged { key, reasons },
        _ => Freshness::Stale { key, reasons },
    })
}
