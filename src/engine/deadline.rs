//! Nodes that run longer than their `timeout`. They are asked to end. Workers and commands are killed if they do not; a
//! stage that runs in this process cannot be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::stages::ctx::Cancel;

use super::graph::{Node, NodeId};

/// How long a node may go on after it was asked to end, before the user is told.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The deadlines of running nodes, for the time when the loop hashes the sources of another node and cannot check them.
#[derive(Debug, Default)]
pub struct Deadlines(Mutex<HashMap<NodeId, (Instant, Arc<Cancel>)>>);

impl Deadlines {
    /// Adds a running node.
    pub fn add(&self, id: NodeId, deadline: Instant, cancel: Arc<Cancel>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (deadline, cancel));
    }

    /// Removes a node that ended.
    pub fn remove(&self, id: NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Asks the nodes to end whose deadline has passed.
    pub fn ask_those_over(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() {
            let now = Instant::now();
            running.values().filter(|(deadline, _)| *deadline <= now).for_each(|(_, cancel)| cancel.ask());
        }
    }
}

/// The error of a node that was asked to end because of its timeout, and ended with `error`.
pub fn ran_over(node: &Node, error: Diag) -> Diag {
    if error.class != Class::Interrupted {
        return error;
    }
    let timeout = node.resources.timeout.unwrap_or(0);
    Diag::error(Class::Stage, format!("`{node}` ran longer than its timeout of {timeout} s"))
        .help("raise `timeout` in its resources, or make the work smaller")
}

/// The note on a node that goes on after its timeout.
pub fn late(node: &Node) -> String {
    let timeout = node.resources.timeout.unwrap_or(0);
    format!(
        "its timeout of {timeout} s has passed, and it was asked to end; it ends at its next step, or its result \
         counts if it ends by itself before that"
    )
}
