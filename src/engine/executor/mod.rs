//! Where nodes run: the trait [`Executor`], and the slots that running nodes hold.

pub mod local;
pub mod worker;

use std::collections::BTreeMap;

use crate::base::diag::Diag;
use crate::stages::ctx::{Cancel, Job, Progress};
use crate::stages::stage::{Runs, StageKind, StageResult};

use super::graph::{Graph, Node, NodeId, Resources};

/// Runs the job of a node somewhere, and returns its outcome. It knows no store: the job names all folders.
pub trait Executor: Sync {
    /// Runs one job to its end. Several threads call this at once.
    ///
    /// # Errors
    /// Fails with the error of the stage, or if it could not be started; with class `Interrupted` if it was cancelled.
    fn run(&self, job: &Job, kind: &'static StageKind, progress: &dyn Progress, cancel: &Cancel) -> StageResult;

    /// The device of each GPU slot: `cuda:0`, … If there are none, nodes that would use one run on [`Self::device`].
    fn gpus(&self) -> &[String];

    /// The device of a torch stage that holds no GPU slot: `cpu`, or `auto` if the worker chooses.
    fn device(&self) -> &str;

    /// The numerics that a torch stage with these resources would record now. Needed only if `accept` is not `any`.
    ///
    /// # Errors
    /// Fails if there is no worker or no such device.
    fn numerics(&self, resources: &Resources) -> Result<BTreeMap<String, String>, Diag>;
}

/// The free slots of this machine.
#[derive(Debug)]
pub struct Slots {
    cpus: usize,
    free_cpus: usize,
    has_gpus: bool,
    free_gpus: Vec<String>,
}

/// The slots that a running node holds.
#[derive(Debug)]
pub struct HeldSlots {
    /// CPU slots, and so threads.
    pub cpus: usize,
    /// Devices.
    pub gpus: Vec<String>,
}

impl HeldSlots {
    /// The device on which a stage of this kind runs.
    pub fn device<'a>(&'a self, kind: &StageKind, executor: &'a dyn Executor) -> &'a str {
        let otherwise = match kind.runs {
            Runs::Here(_) | Runs::Program(_) => "cpu",
            Runs::Worker => executor.device(),
        };
        self.gpus.first().map_or(otherwise, String::as_str)
    }
}

impl Slots {
    /// `cpus` CPU slots (at least one) and one slot for each device.
    pub fn new(cpus: usize, gpus: &[String]) -> Self {
        let cpus = cpus.max(1);
        Self { cpus, free_cpus: cpus, has_gpus: !gpus.is_empty(), free_gpus: gpus.iter().rev().cloned().collect() }
    }

    /// Takes the slots of `node`, if they are free. A node whose kind has no use for a GPU gets none.
    pub fn take_for(&mut self, node: &Node) -> Option<HeldSlots> {
        self.take(node.resources.cpu, if node.kind.may_use_gpu() { node.resources.gpu } else { 0 })
    }

    /// Takes so many slots, if they are free. A request for more CPU slots than there are takes all of them; a request
    /// for several GPUs takes one.
    pub fn take(&mut self, cpus: usize, gpus: usize) -> Option<HeldSlots> {
        let cpus = cpus.clamp(1, self.cpus);
        let gpus = if self.has_gpus { gpus.min(1) } else { 0 };
        if cpus > self.free_cpus || gpus > self.free_gpus.len() {
            return None;
        }
        self.free_cpus -= cpus;
        let gpus = (0..gpus).filter_map(|_| self.free_gpus.pop()).collect();
        Some(HeldSlots { cpus, gpus })
    }

    /// Takes slots for as many queued nodes as fit, in queue order. Stops when no CPU slot is free.
    pub fn fill(&mut self, graph: &Graph, queue: impl Iterator<Item = NodeId>) -> Vec<(NodeId, HeldSlots)> {
        let mut found = Vec::new();
        for id in queue {
            if self.free_cpus == 0 {
                break;
            }
            found.extend(self.take_for(graph.node(id)).map(|held| (id, held)));
        }
        found
    }

    /// Gives slots back.
    pub fn give(&mut self, held: HeldSlots) {
        self.free_cpus += held.cpus;
        self.free_gpus.extend(held.gpus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_taken_and_given_back() {
        let mut slots = Slots::new(2, &["cuda:0".into()]);
        let one = slots.take(1, 1).unwrap();
        assert_eq!(one.gpus, ["cuda:0"]);
        assert!(slots.take(1, 1).is_none());
        assert!(slots.take(8, 0).is_none());
        slots.give(one);
        assert_eq!(slots.take(8, 0).unwrap().cpus, 2);
        assert_eq!(Slots::new(0, &[]).take(1, 1).unwrap().gpus, [""; 0]);
    }
}
