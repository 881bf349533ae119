//! [`Explained`]: everything that `dpt explain` prints, as text or as JSON.

use crate::engine::explain::{Against, Explanation};
use crate::engine::history::{Run, Seen};
use crate::pipeline::Plan;

/// Everything that is printed.
pub(super) struct Explained<'a> {
    pub(super) plan: &'a Plan,
    pub(super) node: &'a Explanation,
    pub(super) against: &'a Against<'a>,
    /// The last run with this node, and the node's fate in it.
    pub(super) last: Option<(&'a Run, &'a Seen)>,
    /// The run that made the node's result.
    pub(super) made: Option<(&'a Run, &'a Seen)>,
    pub(super) recipe: bool,
}
