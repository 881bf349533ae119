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
            Running => matches!(next, Made | Failed | Queued | Skipped),
            Unwanted | Fresh | Made | Failed | Skipped => false,
        }
    }
}

/// The states of all nodes, and the queues that follow from them.
#[derive(Debug)]
pub struct States {
    ids: Vec<NodeId>,
    /// The wanted nodes, producers before consumers.
    order: Vec<NodeId>,
    of: Vec<NodeState>,
    consumers: Vec<Vec<NodeId>>,
    /// How many producers of each node have no result yet.
    missing: Vec<u32>,
    /// How many nodes the longest way from each to an end has: who has the longest goes first.
    height: Vec<u32>,
    ready: BTreeSet<(Reverse<u32>, NodeId)>,
    queued: BTreeSet<(Reverse<u32>, NodeId)>,
    elsewhere: BTreeSet<NodeId>,
    running: usize,
}

impl States {
    /// `targets` and all that they need are wanted; all nodes, when `targets` is empty.
    pub fn new(graph: &Graph, targets: &[NodeId]) -> Self {
        let all: Vec<NodeId> = graph.ids().collect();
        let mut wanted = vec![targets.is_empty(); all.len()];
        let mut open: Vec<NodeId> = targets.to_vec();
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut wanted[id.index()], true) {
                open.extend(graph.producers(id).iter().map(|(from, _)| *from));
            }
        }
        let consumers: Vec<_> = all
            .iter()
            .map(|id| graph.consumers(*id).into_iter().filter(|c| wanted[c.index()]).collect::<Vec<_>>())
            .collect();
        let mut states = Self {
            ids: Vec::new(),
            order: Vec::new(),
            of: wanted.iter().map(|w| if *w { NodeState::Waiting } else { NodeState::Unwanted }).collect(),
            missing: vec![0; all.len()],
            height: vec![0; all.len()],
            consumers,
            ready: BTreeSet::new(),
            queued: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            running: 0,
        };
        let order = graph.topological().expect("the planner lets no cycle pass");
        for id in order.iter().rev() {
            let below = states.consumers[id.index()].iter().map(|c| states.height[c.index()] + 1).max();
            states.height[id.index()] = below.unwrap_or(0);
            if wanted[id.index()] {
                for consumer in &states.consumers[id.index()] {
                    states.missing[consumer.index()] += 1;
                }
            }
        }
        states.order = order.into_iter().filter(|id| wanted[id.index()]).collect();
        states.ids = all;
        for id in states.ids.clone() {
            if wanted[id.index()] && states.missing[id.index()] == 0 {
                states.set(id, NodeState::Ready);
            }
        }
        states
    }

    /// The wanted nodes, producers before consumers.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// A node's state.
    pub fn get(&self, id: NodeId) -> NodeState {
        self.of[id.index()]
    }

    /// How many nodes are wanted.
    pub fn wanted(&self) -> usize {
        self.of.iter().filter(|s| **s != NodeState::Unwanted).count()
    }

    /// How many nodes run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// The wanted consumers of a node.
    pub fn consumers(&self, id: NodeId) -> &[NodeId] {
        &self.consumers[id.index()]
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
        self.ids.iter().filter(|id| open(&self.get(**id))).copied().collect()
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
            for at in 0..self.consumers[id.index()].len() {
                let consumer = self.consumers[id.index()][at];
                self.missing[consumer.index()] -= 1;
                if self.missing[consumer.index()] == 0 && self.get(consumer) == NodeState::Waiting {
                    self.set(consumer, NodeState::Ready);
                }
            }
        }
    }
}
