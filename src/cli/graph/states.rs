//! [`States`]: how the drawn nodes stand, for the colours of a drawing. Looks, runs nothing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::cache::{Recipe, Store, Stored};
use crate::cli::common;
use crate::cli::render::plain;
use crate::cli::standing::{State, why};
use crate::engine::freshness::{Freshness, status};
use crate::engine::graph::NodeId;
use crate::engine::options::RunOptions;
use crate::pipeline::Plan;
use crate::worker::device::Wanted;

/// What a state means and looks like.
pub(super) struct Look {
    pub(super) word: &'static str,
    /// What it means, for legends.
    pub(super) means: &'static str,
    /// A box has the look of the node for which this is highest.
    pub(super) weight: u8,
    /// Colour of a cell, on light and on dark ground.
    pub(super) fill: [&'static str; 2],
    /// Colour of a cell's border, on light and on dark ground.
    pub(super) line: [&'static str; 2],
}

/// A row a state, in the order of [`State`].
pub(super) const LOOKS: [Look; 6] = [
    row(State::Fresh, 0, "its result is in the store", ["#2f9e77", "#2fa37c"], ["#1f7a5a", "#57c79f"]),
    row(State::Stale, 3, "a run would make it anew", ["#f0b429", "#d99a1c"], ["#a8700a", "#f3c565"]),
    row(State::Missing, 2, "has no result", ["#ffffff", "#1b1f26"], ["#7b8492", "#9aa3b0"]),
    row(State::Blocked, 1, "waits for inputs that are not fresh", ["#c9ced6", "#4a515d"], ["#98a0ac", "#7c8594"]),
    row(State::Damaged, 4, "its result is not what was stored", ["#d6455d", "#d6455d"], ["#96203a", "#ff8b9d"]),
    row(State::Unknown, 5, "what its key depends on cannot be read", ["#7d4fc4", "#8a5fd0"], ["#54309a", "#bfa1f0"]),
];

const fn row(state: State, weight: u8, means: &'static str, fill: [&'static str; 2], line: [&'static str; 2]) -> Look {
    Look { word: state.word(), means, weight, fill, line }
}

/// The row of a state.
pub(super) fn look(state: State) -> &'static Look {
    &LOOKS[state as usize]
}

/// How one node stands, and what is stored of it.
pub(super) struct Standing {
    pub(super) state: State,
    /// One line.
    pub(super) why: String,
    /// Its key, where that is known.
    pub(super) key: Option<String>,
    /// Its result, where that is fresh.
    pub(super) stored: Option<Arc<Stored>>,
}

/// How the drawn nodes stand.
pub(super) struct States {
    pub(super) standings: HashMap<NodeId, Standing>,
}

impl States {
    /// Of `targets` and all that they read.
    pub(super) fn new(plan: &Plan, targets: Vec<NodeId>, store: &Store) -> Self {
        let options =
            RunOptions { pipeline: plan.name.clone(), targets, outside: plan.outside.clone(), ..RunOptions::default() };
        let executor = common::local(Wanted::Auto, 1, store, &plan.name);
        let statuses = status(&plan.graph, store, &options, &executor);
        // What was learnt of files is kept for the next look; without it that is slower and no different.
        let _ = store.flush();
        let standings = statuses.into_iter().map(|node| {
            let state = State::of(&node.freshness);
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

    /// How many of `ids` stand in each way that occurs, in the order of [`State`].
    pub(super) fn counts(&self, ids: &[NodeId]) -> Vec<(State, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        ids.iter().for_each(|id| *counts.entry(self.of(*id).state).or_default() += 1);
        counts.into_iter().collect()
    }

    /// The worst of `ids`.
    pub(super) fn worst(&self, ids: &[NodeId]) -> State {
        ids.iter().map(|id| self.of(*id).state).max_by_key(|state| look(*state).weight).unwrap_or(State::Fresh)
    }

    /// `6 fresh · 2 stale`; `fresh` for one node.
    pub(super) fn words(&self, ids: &[NodeId]) -> String {
        let words = self.counts(ids).into_iter().map(|(state, n)| match ids.len() {
            1 => state.word().to_owned(),
            _ => format!("{n} {}", state.word()),
        });
        words.collect::<Vec<_>>().join(" · ")
    }

    /// The first of `ids` that a run would make for a reason of its own, with that reason.
    pub(super) fn first_cause(&self, ids: &[NodeId]) -> Option<(NodeId, &Standing)> {
        let own = |s: &Standing| !matches!(s.state, State::Fresh | State::Blocked);
        ids.iter().map(|id| (*id, self.of(*id))).find(|(_, standing)| own(standing))
    }
}

/// The recipe that a fresh result was made from.
///
/// # Errors
/// When its manifest cannot be read.
pub(super) fn recipe(store: &Store, stored: &Stored) -> Result<Option<Recipe>, Diag> {
    Ok(store.entry(stored.key)?.map(|entry| entry.recipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_row() {
        let all = [State::Fresh, State::Stale, State::Missing, State::Blocked, State::Damaged, State::Unknown];
        for state in all {
            assert_eq!(look(state).word, state.word());
        }
        let mut weights: Vec<u8> = LOOKS.iter().map(|look| look.weight).collect();
        weights.sort_unstable();
        assert_eq!(weights, [0, 1, 2, 3, 4, 5]);
    }
}
