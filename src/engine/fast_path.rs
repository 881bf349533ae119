//! What a run or a look will find, as far as the store's memo tells: the keys of all nodes whose results it knows, and
//! whether these results are still as they were, asked of the system for all of them at once and on several threads. So
//! that a run without work costs little more than these questions.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::value::Params;
use crate::cache::{KnownResult, Stored, Watched};

use super::executor::Executor;
use super::graph::{Graph, Node, NodeId};
use super::key::KeyMaker;
use super::prepare::{numerics, outer, producers_with, wants};
use super::run::RunOptions;
use super::state::WantedNodes;

/// The nodes whose results are there, and whose producers' results are, up to the first ones: whatever else a run does,
/// these it need not make.
#[derive(Debug)]
pub struct FreshResults {
    fresh: Vec<Option<KnownResult>>,
}

impl FreshResults {
    /// Looks ahead, over the wanted nodes. What is forced is not fresh, nor what needs it.
    pub fn new(
        graph: &Graph,
        wanted: &WantedNodes,
        store: Watched,
        options: &RunOptions,
        executor: &dyn Executor,
    ) -> Self {
        let mut known: Vec<Option<KnownResult>> = vec![None; graph.len()];
        let mut known_results = store.known_results(&options.pipeline);
        let mut keys = KeyMakers::default();
        for id in wanted.order() {
            if graph.producers(*id).any(|(from, _)| known[from.index()].is_none()) {
                continue;
            }
            let node = graph.node(*id);
            let result = |from: NodeId| known[from.index()].as_ref().map(|known| &*known.stored);
            // What goes wrong here goes wrong again where it is told.
            let found = keys.of(node, store, options).and_then(|keys| {
                let key = keys.key(&producers_with(graph, *id, result));
                let numerics = numerics(node, options.accept, executor).ok()?;
                known_results.find(node, key, &|made| wants(&numerics, made))
            });
            known[id.index()] = found;
        }
        let mut whole = known_results.confirm(&known);
        options.force.iter().for_each(|id| whole[id.index()] = false);
        for id in wanted.order() {
            if !whole[id.index()] || graph.producers(*id).any(|(from, _)| known[from.index()].is_none()) {
                known[id.index()] = None;
            }
        }
        Self { fresh: known }
    }

    /// The result of a node that is fresh.
    pub fn result(&self, id: NodeId) -> Option<&Arc<Stored>> {
        self.fresh[id.index()].as_ref().map(|known| &known.stored)
    }

    /// Whether the store remembers already that this is its result.
    pub fn remembered(&self, id: NodeId) -> bool {
        self.fresh[id.index()].as_ref().is_some_and(|known| known.remembered)
    }
}

/// Makes keys: what counts for all nodes with the same parameters is asked for once.
#[derive(Default)]
struct KeyMakers {
    shared: HashMap<(&'static str, *const Params), Option<KeyMaker>>,
    own: Option<KeyMaker>,
}

impl KeyMakers {
    fn of(&mut self, node: &Node, store: Watched, options: &RunOptions) -> Option<&mut KeyMaker> {
        let keys = || Some(outer(node, store, &options.outside).ok()?.keys(node));
        if Arc::strong_count(&node.params) > 1 {
            self.shared.entry((node.kind.name, Arc::as_ptr(&node.params))).or_insert_with(keys).as_mut()
        } else {
            self.own = keys();
            self.own.as_mut()
        }
    }
}
