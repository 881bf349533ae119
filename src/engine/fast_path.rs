//! The fast path of a run with nothing to do: makes every key from the index alone, and checks the objects of all
//! results at once, on several threads. What it cannot confirm goes through the loop.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::value::Params;
use crate::cache::{KnownResult, Stored};

use super::context::Context;
use super::graph::{Node, NodeId};
use super::key::KeyMaker;
use super::prepare::producers_with;
use super::state::WantedNodes;

/// The results of nodes that are fresh, and so are all their producers. A run need not make these.
#[derive(Debug)]
pub struct FreshResults {
    of: Vec<Option<KnownResult>>,
}

impl FreshResults {
    /// Looks up the wanted nodes. A forced node is not fresh, nor is any node that needs it.
    pub fn new(context: Context, wanted: &WantedNodes, force: &[NodeId]) -> Self {
        let Context { graph, store, .. } = context;
        let mut of: Vec<Option<KnownResult>> = vec![None; graph.len()];
        let mut known_results = store.known_results(context.pipeline);
        let mut keys = KeyMakers::default();
        for id in wanted.order() {
            if graph.producers(*id).any(|(from, _)| of[from.index()].is_none()) {
                continue;
            }
            let node = graph.node(*id);
            let result = |from: NodeId| of[from.index()].as_ref().map(|known| &*known.stored);
            // An error here comes again in the loop, which reports it.
            let found = keys.of(node, context).and_then(|keys| {
                let key = keys.key(&producers_with(graph, *id, result));
                let numerics = context.numerics(node).ok()?;
                known_results.find(node, key, &|made| numerics.accepts(made))
            });
            of[id.index()] = found;
        }
        let mut confirmed = known_results.confirm(&of);
        force.iter().for_each(|id| confirmed[id.index()] = false);
        for id in wanted.order() {
            if !confirmed[id.index()] || graph.producers(*id).any(|(from, _)| of[from.index()].is_none()) {
                of[id.index()] = None;
            }
        }
        Self { of }
    }

    /// The result of a node, if it is fresh.
    pub fn result(&self, id: NodeId) -> Option<&Arc<Stored>> {
        self.of[id.index()].as_ref().map(|known| &known.stored)
    }

    /// Returns `true` if the store remembers already that this is the node's result.
    pub fn is_remembered(&self, id: NodeId) -> bool {
        self.of[id.index()].as_ref().is_some_and(|known| known.remembered)
    }
}

/// Makes keys. What all nodes with the same parameters share is found only once.
#[derive(Default)]
struct KeyMakers {
    shared: HashMap<(&'static str, *const Params), Option<KeyMaker>>,
    own: Option<KeyMaker>,
}

impl KeyMakers {
    fn of(&mut self, node: &Node, context: Context) -> Option<&mut KeyMaker> {
        let make = || Some(context.outside_fields(node).ok()?.key_maker(node));
        if Arc::strong_count(&node.params) > 1 {
            self.shared.entry((node.kind.name, Arc::as_ptr(&node.params))).or_insert_with(make).as_mut()
        } else {
            self.own = make();
            self.own.as_mut()
        }
    }
}
