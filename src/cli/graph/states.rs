//! [`States`]: the status of each drawn node, and its colour. Runs nothing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::cache::{Recipe, Store, Stored};
use crate::cli::common;
use crate::cli::render::plain;
use crate::cli::status_kind::StatusKind;
use crate::cli::status_table::why;
use crate::engine::freshness::{Freshness, status};
use crate::engine::graph::NodeId;
use crate::engine::options::RunOptions;
use crate::pipeline::Plan;
use crate::worker::device::DeviceChoice;

/// The meaning and colours of a status.
pub(super) struct Look {
    pub(super) word: &'static str,
    /// Its meaning, for legends.
    pub(super) means: &'static str,
    /// A box shows the status of the node with the highest weight.
    pub(super) weight: u8,
    /// Colour of a cell, on a light and on a dark background.
    pub(super) fill: [&'static str; 2],
    /// Colour of a cell's border, on a light and on a dark background.
    pub(super) line: [&'static str; 2],
}

/// A row for each status, in the order of [`StatusKind`].
pub(super) const LOOKS: [Look; 6] = [
    row(StatusKind::Fresh, 0, "its result is in the store", ["#2f9e77", "#2fa37c"], ["#1f7a5a", "#57c79f"]),
    row(StatusKind::Stale, 3, "the next run makes it again", ["#f0b429", "#d99a1c"], ["#a8700a", "#f3c565"]),
    row(StatusKind::Missing, 2, "has no result", ["#ffffff", "#1b1f26"], ["#7b8492", "#9aa3b0"]),
    row(StatusKind::Blocked, 1, "reads nodes that are not fresh", ["#c9ced6", "#4a515d"], ["#98a0ac", "#7c8594"]),
    row(
        StatusKind::Damaged,
        4,
        "its stored files were changed or lost",
        ["#d6455d", "#d6455d"],
        ["#96203a", "#ff8b9d"],
    ),
    row(
        StatusKind::Unknown,
        5,
        "a file that its key depends on cannot be read",
        ["#7d4fc4", "#8a5fd0"],
        ["#54309a", "#bfa1f0"],
    ),
];

const fn row(
    state: StatusKind,
    weight: u8,
    means: &'static str,
    fill: [&'static str; 2],
    line: [&'static str; 2],
) -> Look {
    Look { word: state.word(), means, weight, fill, line }
}

/// Returns the row of a status.
pub(super) fn look(state: StatusKind) -> &'static Look {
    &LOOKS[state as usize]
}

/// The status and stored result of a node.
pub(super) struct Standing {
    pub(super) state: StatusKind,
    /// The reason, in one line.
    pub(super) why: String,
    /// Its key, if it is known.
    pub(super) key: Option<String>,
    /// Its result, if it is fresh.
    pub(super) stored: Option<Arc<Stored>>,
}

/// The status of each drawn node.
pub(super) struct States {
    pub(super) standings: HashMap<NodeId, Standing>,
}

impl States {
    /// Finds the status of `targets` and of all nodes that they need.
    pub(super) fn new(plan: &Plan, targets: Vec<NodeId>, store: &Store) -> Self {
        let options =
            RunOptions { pipeline: plan.name.clone(), targets, outside: plan.outside.clone(), ..RunOptions::default() };
        let executor = common::local(DeviceChoice::Auto, 1, store, &plan.name);
        let statuses = status(&plan.graph, store, &options, &executor);
        // Keeps the digests of hashed files for the next run. A failure only makes that run slower.
        let _ = store.flush();
        let standings = statuses.into_iter().map(|node| {
            let state = StatusKind::of(&node.freshness);
            let why = plain(&why(plan, &node.freshness));
            let (key, stored) = match node.freshness {
                Freshness::Fresh { stored } => (Some(stored.key), Some(stored)),
                Freshness::Stale { key, .. } | Freshness::Damaged { key, .. } => (Some(key), None),
                Freshness::Blocked { .. } | Freshness::Broken { .. } => (None, None),
            };
            (node.id, Standing { state, why, key: key.map(|key| key.hex()), stored })
        });
        Self { standings: standings.collect() }
    }

    pub(super) fn of(&self, id: NodeId) -> &Standing {
        &self.standings[&id]
    }

    /// Counts `ids` by status, in the order of [`StatusKind`].
    pub(super) fn counts(&self, ids: &[NodeId]) -> Vec<(StatusKind, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        ids.iter().for_each(|id| *counts.entry(self.of(*id).state).or_default() += 1);
        counts.into_iter().collect()
    }

    /// Returns the status of `ids` with the highest weight.
    pub(super) fn worst(&self, ids: &[NodeId]) -> StatusKind {
        ids.iter().map(|id| self.of(*id).state).max_by_key(|state| look(*state).weight).unwrap_or(StatusKind::Fresh)
    }

    /// Returns the counts as text: `6 fresh · 2 stale`, or `fresh` for one node.
    pub(super) fn words(&self, ids: &[NodeId]) -> String {
        let words = self.counts(ids).into_iter().map(|(state, n)| match ids.len() {
            1 => state.word().to_owned(),
            _ => format!("{n} {}", state.word()),
        });
        words.collect::<Vec<_>>().join(" · ")
    }

    /// Returns the first of `ids` that is stale for a reason of its own.
    pub(super) fn first_cause(&self, ids: &[NodeId]) -> Option<(NodeId, &Standing)> {
        let own = |s: &Standing| !matches!(s.state, StatusKind::Fresh | StatusKind::Blocked);
        ids.iter().map(|id| (*id, self.of(*id))).find(|(_, standing)| own(standing))
    }
}

/// Returns the recipe of a fresh result.
///
/// # Errors
/// Fails if its manifest cannot be read.
pub(super) fn recipe(store: &Store, stored: &Stored) -> Result<Option<Recipe>, Diag> {
    Ok(store.entry(stored.key)?.map(|entry| entry.recipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_row() {
        for state in StatusKind::ALL {
            assert_eq!(look(state).word, state.word());
        }
        let mut weights: Vec<u8> = LOOKS.iter().map(|look| look.weight).collect();
        weights.sort_unstable();
        assert_eq!(weights, [0, 1, 2, 3, 4, 5]);
    }
}
