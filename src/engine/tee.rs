//! [`Tee`]: sends the events of a run to both of its sinks, the user's and the journal.

use std::sync::{Mutex, PoisonError};

use crate::cache::{CacheKey, Stored};

use super::event::{Event, HitKind, HitNode, Sink};
use super::graph::{Graph, NodeId};
use super::journal::Journal;

/// The most hits in one line of a journal, because a line is made in memory.
const HITS_A_LINE: usize = 1_000;

/// Both sinks of a run. Hits reach the journal together, before its next event: in most runs they are most of the
/// nodes.
pub(super) struct Tee<'a> {
    sink: &'a dyn Sink,
    journal: Option<&'a Journal>,
    graph: &'a Graph,
    hits: Mutex<Vec<(NodeId, CacheKey, HitKind)>>,
}

impl<'a> Tee<'a> {
    pub(super) fn new(graph: &'a Graph, sink: &'a dyn Sink, journal: Option<&'a Journal>) -> Self {
        Self { sink, journal, graph, hits: Mutex::default() }
    }

    /// Sends a hit.
    pub(super) fn hit(&self, id: NodeId, how: HitKind, stored: &Stored) {
        let node = self.graph.node(id);
        self.sink.hit(&HitNode { node, key: stored.key, how, seconds: stored.seconds });
        if self.journal.is_some() {
            self.hits.lock().unwrap_or_else(PoisonError::into_inner).push((id, stored.key, how));
        }
    }
}

impl Sink for Tee<'_> {
    fn event(&self, event: &Event) {
        self.sink.event(event);
        let Some(journal) = self.journal else { return };
        if event.is_progress() || (Journal::quiet(event) && !journal.is_open()) {
            return journal.event(event);
        }
        let hits = std::mem::take(&mut *self.hits.lock().unwrap_or_else(PoisonError::into_inner));
        for same in hits.chunk_by(|a, b| a.2 == b.2).flat_map(|same| same.chunks(HITS_A_LINE)) {
            let nodes = same.iter().map(|(id, key, _)| (self.graph.node(*id).to_string(), *key)).collect();
            journal.event(&Event::NodesHit { how: same[0].2, nodes });
        }
        journal.event(event);
    }
}
