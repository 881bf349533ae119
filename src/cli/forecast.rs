//! [`Forecast`]: how long a run may take, by what was recorded.

use std::collections::HashMap;

use crate::cache::Store;
use crate::engine::freshness::{Freshness, NodeStatus};
use crate::engine::graph::NodeId;
use crate::pipeline::Plan;

use super::render;
use super::standing::{State, seconds};

/// How long what is not fresh may take, by what was recorded of earlier runs: of the node itself, else of others of its
/// stage.
#[derive(Debug, Default)]
pub struct Forecast {
    /// By stage: seconds, and how many nodes nothing is known of.
    stages: HashMap<String, (f64, usize)>,
}

impl Forecast {
    /// Looks into the store.
    pub fn new(plan: &Plan, store: &Store, statuses: &[NodeStatus]) -> Self {
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
        let mut forecast = Self::default();
        for status in statuses.iter().filter(|s| State::of(&s.freshness) != State::Fresh) {
            let stage = plan.graph.node(status.id).stage.as_str();
            let mean = known.get(stage).map(|(sum, n)| sum / *n as f64);
            let (sum, unknown) = forecast.stages.entry(stage.to_owned()).or_default();
            match own.get(&status.id).copied().or(mean) {
                Some(seconds) => *sum += seconds,
                None => *unknown += 1,
            }
        }
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

    /// `about 2m 10s of work by earlier runs; nothing is known of 3 nodes`. Empty when all is fresh.
    pub fn line(&self) -> String {
        let unknown: usize = self.stages.values().map(|(_, n)| n).sum();
        let sum: f64 = self.stages.values().map(|(sum, _)| sum).sum();
        let known = (sum > 0.0).then(|| format!("up to {} of work, by earlier runs", seconds(sum)));
        let rest =
            (unknown > 0).then(|| format!("no earlier run tells how long {} take", render::count(unknown, "node")));
        known.into_iter().chain(rest).collect::<Vec<_>>().join("; ")
    }
}
