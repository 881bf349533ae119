//! The inputs of a report: every result, with the node that made it.

use serde::{Deserialize, Serialize};

use super::records::{EvalRecord, InitRecord};
use crate::base::digest::Digest;
use crate::svd::matrix::Matrix;

/// The node that made a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// `eval[task=rte,method=dpt,seed=42]`.
    pub node: String,
    /// Its axis values, in the pipeline's order.
    pub axes: Vec<(String, String)>,
    /// Its cache key.
    pub key: Digest,
    /// The digest of the file that holds the number.
    pub digest: Digest,
}

impl Origin {
    /// Returns the value of `axis`.
    pub fn axis(&self, axis: &str) -> Option<&str> {
        self.axes.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
    }

    /// Returns `true` if `self` may be upstream of `other`: `other` has every axis of `self`, with the same value.
    pub fn feeds(&self, other: &Origin) -> bool {
        self.axes.iter().all(|(axis, value)| other.axis(axis) == Some(value))
    }
}

/// One evaluated run.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The node that scored it.
    pub origin: Origin,
    /// The contents of its JSON file.
    pub record: EvalRecord,
}

/// One training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The node that made it.
    pub origin: Origin,
    /// How it started, as `adapter.json` says: `svd` for an `svd-init` stage.
    pub init: String,
    /// The task that it was trained for.
    pub task: String,
    /// The prompt method.
    pub method: String,
    /// The split and metric by which a step was chosen, if one was.
    pub select: Option<(String, String)>,
    /// Step and loss.
    pub loss: Vec<(f64, f64)>,
    /// Evaluations on the way.
    pub scores: Vec<ScorePoint>,
    /// The prompt before training, `[virtual_tokens, d_model]`; `None` when the method has no single prompt.
    pub start: Option<Matrix>,
    /// The trained prompt, `[virtual_tokens, d_model]`; `None` when the method has no single prompt.
    pub prompt: Option<Matrix>,
}

/// One evaluation during training.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorePoint {
    /// After this many steps.
    pub step: f64,
    /// Of this split.
    pub split: String,
    /// By this metric.
    pub metric: String,
    /// A fraction, or a loss.
    pub value: f64,
}

/// One initialisation.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// The node that made it.
    pub origin: Origin,
    /// The contents of its JSON file.
    pub record: InitRecord,
    /// Share of the energy in the first k directions of the source, for k = 1, 2, …
    pub energy: Vec<f64>,
    /// The same of the source less its mean row.
    pub centred: Vec<f64>,
    /// The same of a Gaussian matrix of the same shape.
    pub gaussian: Vec<f64>,
}

/// All inputs of a report.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Evaluated runs, in the graph's order.
    pub runs: Vec<Evaluated>,
    /// Trainings.
    pub trainings: Vec<Trained>,
    /// Initialisations.
    pub inits: Vec<Initialised>,
}
