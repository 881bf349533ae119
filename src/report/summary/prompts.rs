//! The initial prompts, and how far training moved them.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::report::inputs::{Inputs, Origin};
use crate::report::records::InitRecord;
use crate::svd::figures::Drift;

/// One initialisation, with where it came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PromptStart {
    /// The node, its key, and the digest of its `svd_init.json`.
    pub origin: Origin,
    /// Everything that it tells.
    pub record: InitRecord,
}

/// How far training went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PromptDrift {
    /// The training.
    pub training: String,
    /// How it started: `reference`, `gaussian`, `vocab`, `svd`.
    pub init: String,
    /// How far.
    pub drift: Drift,
}

/// Lists every initialisation.
pub fn starts(inputs: &Inputs) -> Vec<PromptStart> {
    inputs.inits.iter().map(|i| PromptStart { origin: i.origin.clone(), record: i.record.clone() }).collect()
}

/// Measures how far each training went, where the shape of the prompt stayed the same.
pub fn drifts(inputs: &Inputs) -> Vec<PromptDrift> {
    inputs
        .trainings
        .par_iter()
        .filter_map(|t| Some((t, t.start.as_ref()?, t.prompt.as_ref()?)))
        .filter(|(_, start, prompt)| (start.rows, start.cols) == (prompt.rows, prompt.cols))
        .map(|(t, start, prompt)| PromptDrift {
            training: t.origin.node.clone(),
            init: t.init.clone(),
            drift: Drift::of(start, prompt),
        })
        .collect()
}
