//! [`Explained`]: everything that `dpt explain` prints, as text or as JSON.

use crate::engine::explain::{CompareWith, Explanation};
use crate::engine::history::{PastNode, PastRun};
use crate::pipeline::Plan;

/// Everything that is printed.
pub(super) struct Explained<'a> {
    pub(super) plan: &'a Plan,
    pub(super) node: &'a Explanation,
    pub(super) against: &'a CompareWith<'a>,
    /// The last run with this node, and the node's fate in it.
    pub(super) last: Option<(&'a PastRun, &'a PastNode)>,
    /// The run that made the node's result.
    pub(super) made: Option<(&'a PastRun, &'a PastNode)>,
    pub(super) recipe: bool,
}
