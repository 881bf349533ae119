//! [`Forecast`]: how long a run may take, by what was recorded.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::cache::Store;
use crate::engine::executor::{HeldSlots, Slots};
use crate::engine::freshness::{Freshness, NodeStatus};
use crate::engine::graph::{Graph, NodeId};
use crate::engine::state::{NodeState, States, WantedNodes};
use crate::pipeline::Plan;

use super::render;
use super::standing::{State, seconds};

/// How long what is not fresh may take, by what was recorded of earlier runs: of the node itself, else of others of its
/// stage.
#[derive(Debug, Default)]
pub struct Forecast {
    /// By stage: seconds, and how many nodes nothing is known of.
    stages: HashMap<String, (f64, usize)>,
    /// Seconds from the beginning to the end, with the slots that there are.
    wall: f64,
    cpus: usize,
    /// Whether some need not run after all, when what they read comes out the same.
    at_most: bool,
}

impl Forecast {
    /// Looks into the store. `targets`, `cpus` and `gpus` as in the run.
    pub fn new(
        plan: &Plan,
        store: &Store,
        statuses: &[NodeStatus],
        targets: &[NodeId],
        (cpus, gpus): (usize, &[String]),
    ) -> Self {
        let mut known: HashMap<&str, (f64, usize)> = HashMap::new();
        let mut own: HashMap<NodeId, f64> = HashMap::new();
        for status in statuses {
            let node = plan.graph.node(status.id);
            let seconds = match &status.freshness {
                Freshness::Fresh { stored } => Some(stored.seconds),
                _ => store.last_key(&plan.name, &node.to_string()).and_then(|key| {
                    let entry = store.entry(key).ok().flatten()?;
                    Some(entry.made[0].seconds)
                }),
            };
            if let Some(seconds) = seconds {
                own.insert(status.id, seconds);
                let (sum, n) = known.entry(&node.stage).or_default();
                (*sum, *n) = (*sum + seconds, *n + 1);
            }
        }
        let mut forecast = Self { cpus, ..Self::default() };
        let mut costs: HashMap<NodeId, f64> = HashMap::new();
        for status in statuses.iter().filter(|s| State::of(&s.freshness) != State::Fresh) {
            let stage = plan.graph.node(status.id).stage.as_str();
            let mean = known.get(stage).map(|(sum, n)| sum / *n as f64);
            let (sum, unknown) = forecast.stages.entry(stage.to_owned()).or_default();
            let cost = own.get(&status.id).copied().or(mean);
            match cost {
                Some(seconds) => *sum += seconds,
                None => *unknown += 1,
            }
            costs.insert(status.id, cost.unwrap_or(0.0));
            forecast.at_most |= State::of(&status.freshness) == State::Blocked;
        }
        forecast.wall = wall(&plan.graph, targets, &costs, Slots::new(cpus, gpus));
        forecast
    }

    /// Of a stage: `2m 10s`, `?` where nothing is known of some node, or nothing.
    pub fn of_stage(&self, stage: &str) -> String {
        match self.stages.get(stage) {
            None => String::new(),
            Some((_, unknown)) if *unknown > 0 => "?".to_owned(),
            Some((sum, _)) => seconds(*sum),
        }
    }

    /// `about 12m on 4 CPUs (41m of work), by earlier runs; no earlier run tells the time of 3 nodes`. Empty when all is fresh.
    pub fn line(&self) -> String {
        let unknown: usize = self.stages.values().map(|(_, n)| n).sum();
        let sum: f64 = self.stages.values().map(|(sum, _)| sum).sum();
        let about = if self.at_most { "up to" } else { "about" };
        let known = (sum > 0.0).then(|| {
            let (wall, work) = (seconds(self.wall), seconds(sum));
            let cpus = render::count(self.cpus, "CPU");
            match wall == work {
                true => format!("{about} {work} of work, by earlier runs"),
                false => format!("{about} {wall} on {cpus} ({work} of work), by earlier runs"),
            }
        });
        let rest =
            (unknown > 0).then(|| format!("no earlier run tells the time of {}", render::count(unknown, "node")));
        known.into_iter().chain(rest).collect::<Vec<_>>().join("; ")
    }
}

/// When the last node would be done, if each of `costs` took so many seconds and all others none: nodes are started in the
/// order and with the slots of a run.
fn wall(graph: &Graph, targets: &[NodeId], costs: &HashMap<NodeId, f64>, mut slots: Slots) -> f64 {
    let mut states = States::new(graph, &WantedNodes::new(graph, targets), |_| false);
    let mut ends: BinaryHeap<Reverse<(u64, NodeId)>> = BinaryHeap::new();
    let mut held: HashMap<NodeId, HeldSlots> = HashMap::new();
    let mut now = 0;
    loop {
        while let Some(id) = states.next_ready() {
            states.set(id, if costs.contains_key(&id) { NodeState::Queued } else { NodeState::Fresh });
        }
        for (id, room) in slots.fill(graph, states.in_queue()) {
            held.insert(id, room);
            states.set(id, NodeState::Running);
            ends.push(Reverse((now + (costs[&id] * 1e6) as u64, id)));
        }
        let Some(Reverse((end, id))) = ends.pop() else { return now as f64 / 1e6 };
        now = end;
        slots.give(held.remove(&id).expect("it runs"));
        states.set(id, NodeState::Made);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pipeline::{LoadOptions, load_text};

    /// Two chains of two nodes, and one that gathers both.
    const TEXT: &str = "schema = 1\n[axes]\nseed = [1, 2]\n\
        [stage.a]\nkind = \"generate\"\ntasks = [\"rte\"]\naxes = [\"seed\"]\n\
        [stage.b]\nkind = \"command\"\naxes = [\"seed\"]\nneeds = { a = \"a\" }\nrun = [\"true\"]\noutputs = { o = \"o\" }\n\
        [stage.c]\nkind = \"command\"\nneeds = { b = \"b[*]\" }\nrun = [\"true\"]\noutputs = { o = \"o\" }\nresources = { cpu = 2 }\n";

    #[test]
    fn wall_time_is_that_of_the_slots() {
        let plan = load_text(Path::new("wall.toml"), TEXT.to_owned(), &LoadOptions::default()).unwrap();
        let of = |name: &str| plan.graph.ids().find(|id| plan.graph.node(*id).short() == name).unwrap();
        let costs = HashMap::from([
            (of("a[1]"), 10.0),
            (of("a[2]"), 20.0),
            (of("b[1]"), 30.0),
            (of("b[2]"), 5.0),
            (of("c"), 2.0),
        ]);
        let wall = |costs: &HashMap<NodeId, f64>, cpus| wall(&plan.graph, &[], costs, Slots::new(cpus, &[]));
        assert_eq!(wall(&costs, 1), 67.0);
        assert_eq!(wall(&costs, 2), 42.0);
        assert_eq!(wall(&costs, 64), 42.0);
        assert_eq!(wall(&HashMap::from([(of("c"), 2.0)]), 2), 2.0);
        assert_eq!(wall(&HashMap::new(), 2), 0.0);
    }
}
