//! What a run is asked to do, and what it returns.

use std::sync::Arc;

use crate::base::diag::Diag;
use crate::cache::Stored;
use crate::stages::stage::Outside;

use super::event::RunTotals;
use super::graph::{Accept, NodeId};

/// What a run is asked to do.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The pipeline's name. It is in events, and under it the index remembers what each node was last made from.
    pub pipeline: String,
    /// CPU slots; at least one.
    pub jobs: usize,
    /// The nodes that are wanted, with everything that they need. If empty, all nodes are.
    pub targets: Vec<NodeId>,
    /// Only these nodes may run; the results of all others must be in the store. If empty, all may run.
    pub only: Vec<NodeId>,
    /// After a failure, go on with nodes that do not need the failed one.
    pub keep_going: bool,
    /// Nodes that run even if the store has their results.
    pub force: Vec<NodeId>,
    /// Where relative paths begin, and mirrors.
    pub outside: Outside,
    /// Which numerics count. Overrides what the nodes say.
    pub accept: Option<Accept>,
    /// Report what would run, and run nothing.
    pub dry_run: bool,
}

/// What became of a run.
#[derive(Debug)]
pub struct RunSummary {
    /// The run's id.
    pub run: String,
    /// Counts and times.
    pub totals: RunTotals,
    /// The nodes that failed and why, in the order in which they failed.
    pub failed: Vec<(NodeId, Diag)>,
    /// The nodes that did not get their turn.
    pub skipped: Vec<NodeId>,
    /// The result of each node, by [`NodeId::index`].
    pub results: Vec<Option<Arc<Stored>>>,
}
