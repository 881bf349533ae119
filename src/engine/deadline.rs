//! What is said of a node that runs longer than its `timeout`. It is asked to end; a worker and a command are made to, a stage
//! that runs in this process cannot be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::stages::ctx::Cancel;

use super::graph::{Node, NodeId};

/// How long a node may run on after it was asked to end, before that is told; and how long its result may still be stored.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The deadlines of running nodes, for when the loop cannot look at them: while it hashes the sources of another node.
#[derive(Debug, Default)]
pub struct Deadlines(Mutex<HashMap<NodeId, (Instant, Arc<Cancel>)>>);

impl Deadlines {
    /// A node runs.
    pub fn add(&self, id: NodeId, deadline: Instant, cancel: Arc<Cancel>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (deadline, cancel));
    }

    /// It came to its end.
    pub fn remove(&self, id: NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Asks those to end whose deadline is over.
    pub fn ask_those_over(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() {
            let now = Instant::now();
            running.values().filter(|(deadline, _)| *deadline <= now).for_each(|(_, cancel)| cancel.ask());
        }
    }
}

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
        "its timeout of {timeout} s is over, and it was asked to end: it does so at its next step; if that is its last, and its result is quickly stored, it counts"
    )
}
