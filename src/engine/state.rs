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

/// Where in its life a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Not asked for.
    Unwanted,
    /// Some of its producers have no result yet.
    Waiting,
    /// All of its producers have; not looked up yet.
    Ready,
    /// Must run, and waits for a slot.
    Queued,
    /// Someone else is making the same result.
    Elsewhere,
    /// Runs.
    Running,
    /// Has a result that it did not have to make.
    Fresh,
    /// Was made.
    Made,
    /// Failed.
    Failed,
    /// Did not get its turn.
    Skipped,
}

impl NodeState {
    /// Whether a consumer can read its result.
    pub fn has_result(self) -> bool {
        matches!(self, Self::Fresh | Self::Made)
    }

    /// Whether its life can go on as `next`.
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

/// Which nodes are asked for.
#[derive(Debug)]
pub struct WantedNodes {
    is: Vec<bool>,
    /// Producers before consumers.
    order: Vec<NodeId>,
}

impl WantedNodes {
    /// `targets` and all that they need; all nodes, when `targets` is empty.
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

    /// None.
    pub fn none(graph: &Graph) -> Self {
        Self { is: vec![false; graph.len()], order: Vec::new() }
    }

    /// The nodes, producers before consumers.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// Whether it is one of them.
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
    /// How many nodes the longest way from each to an end has: who has the longest goes first.
    height: Vec<u32>,
    ready: BTreeSet<(Reverse<u32>, NodeId)>,
    queued: BTreeSet<(Reverse<u32>, NodeId)>,
    elsewhere: BTreeSet<NodeId>,
    running: usize,
}

impl<'a> States<'a> {
    /// Of the `wanted` nodes, those that are `fresh` have their results; what these read must be fresh too.
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

    /// How many nodes run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// The wanted consumers of a node.
    pub fn consumers(&self, id: NodeId) -> impl Iterator<Item = NodeId> + use<'_, 'a> {
        self.graph.consumers(id).iter().copied().filter(|c| self.get(*c) != NodeState::Unwanted)
    }

    /// The ready node with the longest way to go.
    pub fn next_ready(&self) -> Option<NodeId> {
        self.ready.first().map(|(_, id)| *id)
    }

    /// The queued nodes, those with the longest way to go first.
    pub fn queued(&self) -> Vec<NodeId> {
        self.in_queue().collect()
    }

    /// The same, to look at those in front.
    pub fn in_queue(&self) -> impl Iterator<Item = NodeId> {
        self.queued.iter().map(|(_, id)| *id)
    }

    /// The nodes whose result someone else is making.
    pub fn elsewhere(&self) -> Vec<NodeId> {
        self.elsewhere.iter().copied().collect()
    }

    /// Whether any node can go on by itself, or when someone else has made its result.
    pub fn any_open(&self) -> bool {
        !(self.ready.is_empty() && self.queued.is_empty() && self.elsewhere.is_empty())
    }

    /// The nodes whose life has not ended.
    pub fn unsettled(&self) -> Vec<NodeId> {
        use NodeState::*;
        let open = |s: &NodeState| matches!(s, Waiting | Ready | Queued | Elsewhere | Running);
        self.graph.ids().filter(|id| open(&self.get(*id))).collect()
    }

    /// Changes a node's state; when it gets a result, consumers that waited for it alone become ready.
    pub fn set(&mut self, id: NodeId, next: NodeState) {
        let before = self.of[id.index()];
        assert!(before.leads_to(next), "a node goes from {before:?} to {next:?}");
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
