//! What a run or a look will find, as far as the store's memo tells: the keys of all nodes whose results it knows, and
//! whether these results are still as they were, asked of the system for all of them at once and on several threads. So
//! that a run without work costs little more than these questions.
//!
//! Only a forecast: it holds for a node as long as its producers have just the results that it was made from.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::{Store, Stored};

use super::executor::Executor;
use super::graph::{Graph, NodeId};
use super::prepare::{Outer, outer};
use super::run::RunOptions;
use super::state::States;

/// The forecast, by node.
#[derive(Debug)]
pub struct Foreseen {
    /// What the memo has under the key that each node has if its producers have what the memo has.
    known: Vec<Option<Arc<Stored>>>,
    /// Whether that is as it was.
    whole: Vec<bool>,
}

impl Foreseen {
    /// Looks ahead, over the wanted nodes.
    pub fn new(graph: &Graph, wanted: &States, store: &Store, options: &RunOptions, executor: &dyn Executor) -> Self {
        let mut known: Vec<Option<Arc<Stored>>> = vec![None; graph.len()];
        let mut outers = HashMap::new();
        for id in wanted.order() {
            if graph.producers(*id).iter().any(|(from, _)| known[from.index()].is_none()) {
                continue;
            }
            // What goes wrong here goes wrong again where it is told.
            let node = graph.node(*id);
            let own;
            let outer = if Arc::strong_count(&node.params) > 1 {
                let shared = || outer(node, store, &options.outside).ok();
                outers.entry((node.kind.name, Arc::as_ptr(&node.params))).or_insert_with(shared).as_ref()
            } else {
                own = outer(node, store, &options.outside).ok();
                own.as_ref()
            };
            let known_as = |outer: &Outer| outer.known(graph, *id, &known, store, options.accept, executor);
            let found = outer.and_then(known_as);
            known[id.index()] = found;
        }
        let whole = store.whole(&known);
        Self { known, whole }
    }

    /// What a look-up of `id` finds, if that is certain: `results` are those that its producers have.
    pub fn result(&self, graph: &Graph, id: NodeId, results: &[Option<Arc<Stored>>]) -> Option<&Arc<Stored>> {
        let same = |from: NodeId| match (&self.known[from.index()], &results[from.index()]) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            _ => false,
        };
        let certain = self.whole[id.index()] && graph.producers(id).iter().all(|(from, _)| same(*from));
        self.known[id.index()].as_ref().filter(|_| certain)
    }
}
