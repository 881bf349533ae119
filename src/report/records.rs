//! The JSON files of `eval`, `train` and `svd-init`, as the report reads them. The stages write the same
//! types, so that a field has one name and one meaning. Scores are fractions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::value::{Params, Value};
use crate::svd::factor::{Fill, Split};
use crate::svd::figures::Figures;

/// How predictions were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoredBy {
    /// The candidate answer of highest log-likelihood.
    Verbalizer,
    /// The text of greedy generation.
    Greedy,
}

impl ScoredBy {
    /// As written in pipelines and reports.
    pub fn name(self) -> &'static str {
        match self {
            ScoredBy::Verbalizer => "verbalizer",
            ScoredBy::Greedy => "greedy",
        }
    }
}

/// A backbone and where its weights come from (`backbone.json` of the stage that made it).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backbone {
    /// Its name.
    pub name: String,
    /// `download`, `pretrained-here` or `random`.
    pub origin: String,
}

impl Backbone {
    /// Returns where its weights come from, in words.
    pub fn origin_in_words(&self) -> &str {
        match self.origin.as_str() {
            "random" => "random weights, never trained",
            "pretrained-here" => "pretrained by this tool",
            "download" => "existing checkpoint",
            other => other,
        }
    }
}

/// Scores of one kind of prediction, and what the official metrics say of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The task's score: its one metric, or the mean of its two.
    pub score: f64,
    /// Every metric by name.
    pub metrics: BTreeMap<String, f64>,
}

/// The best that one constant answer reaches; for accuracy that is the share of the majority class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    /// The answer.
    pub answer: String,
    /// Its score.
    pub score: f64,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
}

/// What a score is to be compared with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// The best constant answer; absent where answers are free text.
    pub majority: Option<Constant>,
    /// The same method, seed and backbone before training, scored alike; absent when not asked for.
    pub untrained: Option<Scored>,
}

/// Both kinds of scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// By log-likelihood of the candidates; absent where there are none.
    pub verbalizer: Option<Scored>,
    /// By greedy generation; absent when not asked for.
    pub greedy: Option<Scored>,
}

/// `eval.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// The task.
    pub task: String,
    /// The prompt method.
    pub method: String,
    /// The training seed; absent for an imported prompt.
    pub seed: Option<i64>,
    /// The split that was scored.
    pub split: String,
    /// The score that counts; absent for a split without labels.
    pub score: Option<f64>,
    /// How the score that counts was made.
    pub scored_by: ScoredBy,
    /// The names of the task's metrics; the first counts, or the mean where the task says so.
    pub counts: Vec<String>,
    /// `official` or `dpt-paper`.
    pub metric_mode: String,
    /// The template by which examples were written.
    pub template: String,
    /// All scores.
    pub metrics: Scores,
    /// What to compare with.
    pub baselines: Baselines,
    /// How many examples.
    pub examples: u64,
    /// How many sources were cut off at the window.
    pub truncated: u64,
    /// Greedy answers that are none of the candidates.
    pub invalid: u64,
    /// The most frequent prediction (of the kind that counts) and its share.
    pub modal: Modal,
    /// Numbers that training changed.
    pub trainable_parameters: u64,
    /// Rows of the soft prompt.
    pub virtual_tokens: u64,
    /// Inner size of its factors; absent for a full prompt.
    pub rank: Option<u64>,
    /// Other parameters of the method.
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    pub params: Params,
    /// Its columns.
    pub d_model: u64,
    /// The frozen model.
    pub backbone: Backbone,
    /// The step whose prompt was kept.
    pub best_step: Option<i64>,
    /// The split on which it was chosen.
    pub select_on: Option<String>,
}

impl EvalRecord {
    /// Returns the parameters of the run's method in the order of the report's columns; `None` where the method has no
    /// such parameter.
    pub fn method_parameters(&self) -> Vec<(String, Option<Value>)> {
        let whole = |n: u64| i64::try_from(n).ok().map(Value::Int);
        let first = [("virtual_tokens".into(), whole(self.virtual_tokens)), ("rank".into(), self.rank.and_then(whole))];
        let others = self.params.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
        first.into_iter().chain(others).collect()
    }
}

/// A prediction made more often than any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Modal {
    /// The prediction.
    pub answer: String,
    /// Its share of all predictions.
    pub share: f64,
}

/// From this share of one and the same prediction on, a run counts as collapsed.
pub const COLLAPSED: f64 = 0.98;

/// `svd_init.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitRecord {
    /// The prompt method that the factors are for.
    pub method: String,
    /// Where the source matrix came from: `vocab`, `text`, `labels`, `prompt`, `uniform`, `gaussian`.
    pub source: String,
    /// Token ids of its rows, where rows are tokens; a row averaged of several has several.
    pub ids: Option<Vec<Vec<i64>>>,
    /// Rows of the matrix before they were brought to `virtual_tokens`.
    pub source_rows: u64,
    /// How they were brought there: `as-is`, `tile`, `sample` or `basis`.
    pub rows: String,
    /// Where the singular values went; absent where no decomposition gave the factors.
    pub split: Option<Split>,
    /// What stands in for missing directions.
    pub fill: Option<Fill>,
    /// The factor by which the product was scaled.
    pub scale: f64,
    /// Seed of all draws.
    pub seed: i64,
    /// Version of the sign rule.
    pub sign_rule: u32,
    /// The frozen model that it is for.
    pub backbone: Option<Backbone>,
    /// The digest of that model's config and weights.
    pub backbone_digest: String,
    /// All figures; absent for a full prompt (nothing is cut off).
    pub figures: Option<Figures>,
    /// What the user should know.
    pub warnings: Vec<String>,
}
