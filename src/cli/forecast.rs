//! [`Forecast`]: estimates how long a run will take, from the recorded times of earlier runs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::cache::Store;
use crate::engine::executor::{HeldSlots, Slots};
use crate::engine::freshness::{Freshness, NodeStatus};
use crate::engine::graph::{Graph, NodeId};
use crate::engine::state::{NodeState, States, WantedNodes};
use crate::pipeline::Plan;

use super::render;
use super::status_kind::StatusKind;

/// A time estimate for the nodes that are not fresh. A node's time is its last recorded one, else the mean of its
/// stage.
#[derive(Debug, Default)]
pub struct Forecast {
    /// For each stage: seconds of work, and the number of nodes without a known time.
    stages: HashMap<String, (f64, usize)>,
    /// Wall time in seconds with the given slots.
    wall: f64,
    cpus: usize,
    /// Some nodes may turn out to be fresh, so the estimate is an upper bound.
    at_most: bool,
}

impl Forecast {
    /// Makes the estimate from records in the store. `targets`, `cpus` and `gpus` are those of the run.
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
        for status in statuses.iter().filter(|s| StatusKind::of(&s.freshness) != StatusKind::Fresh) {
            let stage = plan.graph.node(status.id).stage.as_str();
            let mean = known.get(stage).map(|(sum, n)| sum / *n as f64);
            let (sum, unknown) = forecast.stages.entry(stage.to_owned()).or_default();
            let cost = own.get(&status.id).copied().or(mean);
            match cost {
                Some(seconds) => *sum += seconds,
                None => *unknown += 1,
            }
            costs.insert(status.id, cost.unwrap_or(0.0));
            forecast.at_most |= StatusKind::of(&status.freshness) == StatusKind::Blocked;
        }
        forecast.wall = wall(&plan.graph, targets, &costs, Slots::new(cpus, gpus));
        forecast
    }

    /// Returns the time of a stage as text: `2m 10s`, `?` if some node has no known time, or empty if all are fresh.
    pub fn of_stage(&self, stage: &str) -> String {
        match self.stages.get(stage) {
            None => String::new(),
            Some((_, unknown)) if *unknown > 0 => "?".to_owned(),
            Some((sum, _)) => render::seconds(*sum),
        }
    }

    /// Returns a line such as `about 12m on 4 CPUs (41m of work), as in earlier runs; 3 nodes have no recorded time`.
    /// Empty if all nodes are fresh.
    pub fn line(&self) -> String {
        let unknown: usize = self.stages.values().map(|(_, n)| n).sum();
        let sum: f64 = self.stages.values().map(|(sum, _)| sum).sum();
        let about = if self.at_most { "up to" } else { "about" };
        let known = (sum > 0.0).then(|| {
            let (wall, work) = (render::seconds(self.wall), render::seconds(sum));
            let cpus = render::count(self.cpus, "CPU");
            match wall == work {
                true => format!("{about} {work} of work, as in earlier runs"),
                false => format!("{about} {wall} on {cpus} ({work} of work), as in earlier runs"),
            }
        });
        let have = if unknown == 1 { "has" } else { "have" };
        let rest = (unknown > 0).then(|| format!("{} {have} no recorded time", render::count(unknown, "node")));
        known.into_iter().chain(rest).collect::<Vec<_>>().join("; ")
    }
}

/// Simulates a run and returns its wall time in seconds. `costs` has the seconds of each node that runs; other nodes
/// take no time. Order and slots are those of a run.
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

    /// Two chains of two nodes, and a node that gathers both.
    const TEXT: &str = "schema = 1\n[axes]\nseed = [1, 2]\n\
        [stage.a]\nkind = \"generate\"\ntasks = [\"rte\"]\naxes = [\"seed\"]\n\
        [stage.b]\nkind = \"command\"\naxes = [\"seed\"]\nneeds = { a = \"a\" }\nrun = [\"true\"]\noutputs = { o = \"o\" }\n\
        [stage.c]\nkind = \"command\"\nneeds = { b = \"b[*]\" }\nrun = [\"true\"]\noutputs = { o = \"o\" }\nresources = { cpu = 2 }\n";

    #[test]
    fn wall_time_depends_on_the_slots() {
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
