//! [`Event`]: all that can be observed of a run. Terminal, JSON lines and the journal are sinks of the same stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cache::{CacheKey, StaleReason};
use crate::stages::ctx::Update;
use crate::worker::protocol::WireDiag;

use super::graph::Node;

/// The version of the format of `--json` and of journals. It is raised if a field changes its meaning or is removed.
/// New fields may be added.
pub const SCHEMA: u32 = 1;

/// A listener of a run. Called from several threads.
pub trait Sink: Sync {
    /// Something happened.
    fn event(&self, event: &Event);

    /// A node need not run. In most runs these are most nodes, so a sink that only counts them can avoid an event for
    /// each.
    fn hit(&self, hit: &HitNode) {
        self.event(&hit.event());
    }
}

/// A node that need not run, before it becomes an [event](Event::NodeHit).
#[derive(Clone, Copy, Debug)]
pub struct HitNode<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its key.
    pub key: CacheKey,
    /// Why.
    pub how: HitKind,
    /// How long it took when it was made.
    pub seconds: f64,
}

impl HitNode<'_> {
    /// As an event.
    pub fn event(&self) -> Event {
        Event::NodeHit { node: self.node.to_string(), key: self.key, how: self.how, seconds: self.seconds }
    }
}

impl Event {
    /// Returns `true` if the event only reports progress. Journals leave such events out.
    pub fn is_progress(&self) -> bool {
        matches!(self, Event::NodeProgress { .. } | Event::RunProgress { .. })
    }
}

/// Why a node need not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HitKind {
    /// Nothing that counts has changed.
    Fresh,
    /// A producer ran, and what it made means the same as before.
    CutOff,
    /// Another node of this run, or another process, made it meanwhile.
    Shared,
}

/// One thing that happened. `node` is a node's full name, `train[task=rte,seed=42]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// First of all.
    RunStarted {
        /// [`SCHEMA`].
        #[serde(default)]
        schema: u32,
        /// The run's id, by which its journal is called.
        run: String,
        /// The pipeline's name.
        pipeline: String,
        /// The pipeline file, relative to the parent of the store's folder. An older `dpt` leaves it out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// How many nodes are wanted.
        nodes: usize,
        /// `true` if the run is a dry run.
        dry_run: bool,
    },
    /// A node need not run.
    NodeHit {
        /// The node.
        node: String,
        /// Its key.
        key: CacheKey,
        /// Why.
        how: HitKind,
        /// How long it took when it was made.
        seconds: f64,
    },
    /// Several nodes need not run. Journals have this in place of many [`Event::NodeHit`].
    NodesHit {
        /// Why.
        how: HitKind,
        /// The nodes, with their keys.
        nodes: BTreeMap<String, CacheKey>,
    },
    /// A node must run, and waits for a slot.
    NodeQueued {
        /// The node.
        node: String,
        /// Its key.
        key: CacheKey,
        /// Why it must run.
        reasons: Vec<StaleReason>,
    },
    /// A node must run, and another node or process is making the same result. The node waits, and shares it.
    NodeElsewhere {
        /// The node.
        node: String,
        /// The other maker: `process 4711`, or a node's name.
        holder: String,
    },
    /// A node runs.
    NodeStarted {
        /// The node.
        node: String,
        /// Its key.
        key: CacheKey,
        /// Which try, counted from 1.
        attempt: u32,
        /// The device given to it.
        device: String,
    },
    /// How far a node is.
    NodeProgress {
        /// The node.
        node: String,
        /// How far.
        update: Update,
    },
    /// A line from a stage to the user.
    NodeNote {
        /// The node.
        node: String,
        /// The line.
        text: String,
    },
    /// Part of a stored result was damaged: it was set aside, and the node runs again.
    NodeDamaged {
        /// The node.
        node: String,
        /// What was damaged.
        what: String,
        /// Recorded and found.
        note: Option<String>,
    },
    /// A try failed, and another follows.
    NodeRetry {
        /// The node.
        node: String,
        /// The try that failed, counted from 1.
        attempt: u32,
        /// Why.
        error: WireDiag,
        /// Seconds until the next try.
        #[serde(default)]
        after: f64,
    },
    /// A node was made and stored.
    NodeDone {
        /// The node.
        node: String,
        /// Its key.
        key: CacheKey,
        /// How long it ran.
        seconds: f64,
        /// How many bytes it made.
        bytes: u64,
        /// Its figures.
        metrics: BTreeMap<String, f64>,
    },
    /// A node failed.
    NodeFailed {
        /// The node.
        node: String,
        /// Why.
        error: WireDiag,
    },
    /// A node did not get its turn.
    NodeSkipped {
        /// The node.
        node: String,
        /// The node that failed, or why the run stopped.
        because: String,
    },
    /// A dry run: a node would run.
    NodeWouldRun {
        /// The node.
        node: String,
        /// Its key.
        key: CacheKey,
        /// Why.
        reasons: Vec<StaleReason>,
    },
    /// A dry run: a node runs if what these would make differs from what is there.
    NodeMayRun {
        /// The node.
        node: String,
        /// The nodes that it waits for.
        by: Vec<String>,
    },
    /// The progress of work for no single node: hashing of sources for keys.
    RunProgress {
        /// How far.
        update: Update,
    },
    /// Something about the run as a whole that the user should know.
    RunNote {
        /// The line.
        text: String,
    },
    /// Last of all.
    RunEnded {
        /// Counts and times.
        summary: RunTotals,
    },
}

/// Counts and times of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunTotals {
    /// How many were wanted.
    pub nodes: usize,
    /// Need not run, nothing having changed.
    pub fresh: usize,
    /// Need not run, since a producer that ran made the same again.
    pub cut_off: usize,
    /// Made meanwhile by another node or process.
    pub shared: usize,
    /// Made.
    pub made: usize,
    /// Failed.
    pub failed: usize,
    /// Did not get their turn.
    pub skipped: usize,
    /// A dry run: would run.
    pub would_run: usize,
    /// A dry run: run if what they wait for changes.
    pub may_run: usize,
    /// `true` if the user interrupted the run.
    pub interrupted: bool,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Seconds that stages ran, all together.
    pub seconds_made: f64,
    /// Seconds that hits took when they were made.
    pub seconds_saved: f64,
    /// Bytes made.
    pub bytes_made: u64,
    /// Bytes of hits.
    pub bytes_saved: u64,
}
