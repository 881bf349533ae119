//! The same walk as a run's, looking only: which nodes are fresh, which are stale and why, which wait for these.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::cache::{CacheKey, Lookup, StaleReason, Stored, Watched};

use super::executor::Executor;
use super::fast_path::FreshResults;
use super::graph::{Graph, NodeId};
use super::prepare::{prepare, prepare_key};
use super::run::RunOptions;
use super::state::WantedNodes;

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
pub fn status<'a>(
    graph: &Graph,
    store: impl Into<Watched<'a>>,
    options: &RunOptions,
    executor: &dyn Executor,
) -> Vec<NodeStatus> {
    let store = store.into();
    let wanted = WantedNodes::new(graph, &options.targets);
    let force: HashSet<NodeId> = options.force.iter().copied().collect();
    let mut results = vec![None; graph.len()];
    let mut statuses = Vec::new();
    let foreseen = FreshResults::new(graph, &wanted, store, options, executor);
    for id in wanted.order().iter().copied() {
        if let Some(stored) = foreseen.result(id) {
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
            true => of(graph, id, &results, store, options, executor, force.contains(&id))
                .unwrap_or_else(|error| Freshness::Broken { error }),
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
    store: Watched,
    options: &RunOptions,
    executor: &dyn Executor,
    forced: bool,
) -> Result<Freshness, Diag> {
    let keyed = prepare_key(graph, id, results, store, &options.outside, options.accept, executor)?;
    let mut found = keyed.look(store)?;
    let prepared = match found {
        Lookup::Hit(stored) if !forced => return Ok(Freshness::Fresh { stored }),
        _ => prepare(graph, id, results, store, &options.outside, options.accept, executor)?,
    };
    let key = prepared.key;
    if key != keyed.key {
        // A file of the working tree was changed just now.
        found = prepared.look(store)?;
    }
    let node = graph.node(id).to_string();
    let reasons = prepared.reasons(&store, &options.pipeline, &node, &found)?;
    Ok(match found {
        Lookup::Damaged(_) => Freshness::Damaged { key, reasons },
        _ => Freshness::Stale { key, reasons },
    })
}
