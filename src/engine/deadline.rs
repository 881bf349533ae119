//! What is said of a node that runs longer than its `timeout`. It is asked to end; a worker and a command are made to, a stage
//! that runs in this process cannot be.

use std::time::Duration;

use crate::base::diag::{Class, Diag};

use super::graph::Node;

/// How long a node may run on after it was asked to end, before that is told.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Why a node failed that was asked to end for its timeout. `error`: with what it ended.
pub fn ran_over(node: &Node, error: Diag) -> Diag {
    if error.class != Class::Interrupted {
        return error;
    }
    let timeout = node.resources.timeout.unwrap_or(0);
    Diag::error(Class::Stage, format!("`{node}` ran longer than its timeout of {timeout} s"))
        .help("raise `timeout` in its resources, or make the work smaller")
}

/// That it was asked to end, and runs on.
pub fn late(node: &Node) -> String {
    let timeout = node.resources.timeout.unwrap_or(0);
    format!(
        "its timeout of {timeout} s is over, and it was asked to end: it does so at its next step; if that is its last, its result counts"
    )
}
