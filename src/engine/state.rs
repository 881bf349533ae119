//! [`NodeState`]: the life of a node, and [`States`]: the one place where it changes.
//!
//! ```text
//!  Waiting ──► Ready ──────────────────────► Fresh
//!                │ └◄► Queued ◄─► Elsewhere ───▲
//!                │       └──► Running ──► Made
//!                │       ▲       │ └────► Failed
//!                │       └─retry─┘          ▲
//!                └──────────────────────────┘
//!  Waiting, Ready, Queued, Elsewhere ──► Skipped
//! ```

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::graph::{Graph, NodeId};

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Not wanted.
    Unwanted,
    /// Some of its producers have no result yet.
    Waiting,
    /// All of its producers have results. It is not looked up yet.
    Ready,
    /// Must run, and waits for a slot.
    Queued,
    /// Another node or another process is making the same result.
    Elsewhere,
    /// Its stage runs.
    Running,
    /// Has a result that this run did not make for it.
    Fresh,
    /// Has a result that this run made.
    Made,
    /// Failed for good.
    Failed,
    /// Did not get its turn.
    Skipped,
}

impl NodeState {
    /// Returns `true` if consumers can read its result.
    pub fn has_result(self) -> bool {
        matches!(self, Self::Fresh | Self::Made)
    }

    /// Returns `true` if `next` may follow this state.
    fn leads_to(self, next: Self) -> bool {
        use NodeState::*;
        match self {
            Waiting => matches!(next, Ready | Skipped),
            Ready => matches!(next, Fresh | Queued | Elsewhere | Failed | Skipped),
            Queued => matches!(next, Ready | Running | Elsewhere | Fresh | Failed | Skipped),
            Elsewhere => matches!(next, Ready | Queued | Fresh | Failed | Skipped),
            Running => matches!(next, Made | Failed | Queued | Ready | Skipped),
            Unwanted | Fresh | Made | Failed | Skipped => false,
        }
    }
}

/// The nodes that a run must bring up to date.
#[derive(Debug)]
pub struct WantedNodes {
    is: Vec<bool>,
    /// Producers before consumers.
    order: Vec<NodeId>,
}

impl WantedNodes {
    /// `targets` and everything that they need; all nodes if `targets` is empty.
    pub fn new(graph: &Graph, targets: &[NodeId]) -> Self {
        let mut is = vec![targets.is_empty(); graph.len()];
        let mut open: Vec<NodeId> = targets.to_vec();
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut is[id.index()], true) {
                open.extend(graph.producers(id).map(|(from, _)| from));
            }
        }
        let mut order = graph.topological().expect("the planner lets no cycle pass");
        order.retain(|id| is[id.index()]);
        Self { is, order }
    }

    /// No nodes.
    pub fn none(graph: &Graph) -> Self {
        Self { is: vec![false; graph.len()], order: Vec::new() }
    }

    /// The nodes, producers before consumers.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// Returns `true` if a node is wanted.
    pub fn has(&self, id: NodeId) -> bool {
        self.is[id.index()]
    }
}

/// The states of all nodes, and the queues that follow from them.
#[derive(Debug)]
pub struct States<'a> {
    graph: &'a Graph,
    of: Vec<NodeState>,
    /// How many producers of each node have no result yet.
    missing: Vec<u32>,
    /// The length of the longest path from each node to the end of the graph. The node with the longest path goes
    /// first.
    height: Vec<u32>,
    ready: BTreeSet<(Reverse<u32>, NodeId)>,
    queued: BTreeSet<(Reverse<u32>, NodeId)>,
    elsewhere: BTreeSet<NodeId>,
    running: usize,
}

impl<'a> States<'a> {
    /// The states of the `wanted` nodes. Those for which `fresh` is true have results; so must their producers.
    pub fn new(graph: &'a Graph, wanted: &WantedNodes, fresh: impl Fn(NodeId) -> bool) -> Self {
        let first = |id: NodeId| match wanted.has(id) {
            true if fresh(id) => NodeState::Fresh,
            true => NodeState::Waiting,
            false => NodeState::Unwanted,
        };
        let mut states = Self {
            graph,
            of: graph.ids().map(first).collect(),
            missing: vec![0; graph.len()],
            height: vec![0; graph.len()],
            ready: BTreeSet::new(),
            queued: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            running: 0,
        };
        let open = |states: &Self, id: NodeId| states.get(id) == NodeState::Waiting;
        for id in wanted.order().iter().rev().copied().filter(|id| open(&states, *id)).collect::<Vec<_>>() {
            states.height[id.index()] = states.consumers(id).map(|c| states.height[c.index()] + 1).max().unwrap_or(0);
            for consumer in graph.consumers(id) {
                states.missing[consumer.index()] += 1;
            }
        }
        for id in graph.ids() {
            if open(&states, id) && states.missing[id.index()] == 0 {
                states.set(id, NodeState::Ready);
            }
        }
        states
    }

    /// A node's state.
    pub fn get(&self, id: NodeId) -> NodeState {
        self.of[id.index()]
    }

    /// The number of running nodes.
    pub fn running(&self) -> usize {
        self.running
    }

    /// The wanted consumers of a node.
    pub fn consumers(&self, id: NodeId) -> impl Iterator<Item = NodeId> + use<'_, 'a> {
        self.graph.consumers(id).iter().copied().filter(|c| self.get(*c) != NodeState::Unwanted)
    }

    /// The ready node with the longest path to the end.
    pub fn next_ready(&self) -> Option<NodeId> {
        self.ready.first().map(|(_, id)| *id)
    }

    /// The queued nodes, those with the longest path first.
    pub fn queued(&self) -> Vec<NodeId> {
        self.in_queue().collect()
    }

    /// As [`Self::queued`], without a copy.
    pub fn in_queue(&self) -> impl Iterator<Item = NodeId> {
        self.queued.iter().map(|(_, id)| *id)
    }

    /// The nodes whose results are made elsewhere.
    pub fn elsewhere(&self) -> Vec<NodeId> {
        self.elsewhere.iter().copied().collect()
    }

    /// Returns `true` if any node is ready, queued or elsewhere.
    pub fn any_open(&self) -> bool {
        !(self.ready.is_empty() && self.queued.is_empty() && self.elsewhere.is_empty())
    }

    /// The nodes in states that are not final.
    pub fn unsettled(&self) -> Vec<NodeId> {
        use NodeState::*;
        let open = |s: &NodeState| matches!(s, Waiting | Ready | Queued | Elsewhere | Running);
        self.graph.ids().filter(|id| open(&self.get(*id))).collect()
    }

    /// Changes the state of a node. If it gets a result, consumers that waited only for it become ready.
    pub fn set(&mut self, id: NodeId, next: NodeState) {
        let before = self.of[id.index()];
        assert!(before.leads_to(next), "a node cannot go from {before:?} to {next:?}");
        let place = (Reverse(self.height[id.index()]), id);
        match before {
            NodeState::Ready => drop(self.ready.remove(&place)),
            NodeState::Queued => drop(self.queued.remove(&place)),
            NodeState::Elsewhere => drop(self.elsewhere.remove(&id)),
            NodeState::Running => self.running -= 1,
            _ => {}
        }
        match next {
            NodeState::Ready => drop(self.ready.insert(place)),
            NodeState::Queued => drop(self.queued.insert(place)),
            NodeState::Elsewhere => drop(self.elsewhere.insert(id)),
            NodeState::Running => self.running += 1,
            _ => {}
        }
        self.of[id.index()] = next;
        if next.has_result() {
            let graph = self.graph;
            for consumer in graph.consumers(id).iter().copied() {
                self.missing[consumer.index()] -= 1;
                if self.missing[consumer.index()] == 0 && self.get(consumer) == NodeState::Waiting {
                    self.set(consumer, NodeState::Ready);
                }
            }
        }
    }
}
