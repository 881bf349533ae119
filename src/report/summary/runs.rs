//! The evaluated runs: to which column each belongs, and how its number was made.

use serde::{Deserialize, Serialize};

use super::collect::distinct;
use crate::base::diag::{Class, Diag};
use crate::report::inputs::{Evaluated, Origin};
use crate::report::records::{COLLAPSED, EvalRecord};

/// How a number was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scoring {
    /// Of this split.
    pub split: String,
    /// `verbalizer` or `greedy`.
    pub scored_by: String,
    /// `official` or `dpt-paper`.
    pub metric_mode: String,
    /// The words of the examples: `plain` or `dpt-paper`.
    pub template: String,
}

impl Scoring {
    /// Returns `validation split, verbalizer answers, official metrics, plain template`.
    pub fn in_words(&self) -> String {
        let Scoring { split, scored_by, metric_mode, template } = self;
        format!("{split} split, {scored_by} answers, {metric_mode} metrics, {template} template")
    }
}

/// One run, with where its number came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoredRun {
    /// The column that it belongs to.
    pub variant: String,
    /// Its value of the averaged axis.
    pub over: String,
    /// The node that scored it, its key, and the digest of its `eval.json`.
    pub origin: Origin,
    /// How it was scored.
    pub scoring: Scoring,
    /// Its score.
    pub score: f64,
    /// Everything that it tells.
    pub record: EvalRecord,
    /// `true` if it nearly always gives the same answer.
    pub collapsed: bool,
}

impl ScoredRun {
    /// Returns the score of the same prompt before training, if it was measured.
    pub fn untrained_score(&self) -> Option<f64> {
        self.record.baselines.untrained.as_ref().map(|untrained| untrained.score)
    }
}

/// Assigns every run to its column.
///
/// # Errors
/// Fails if a run has no score, or lacks the axis to average over.
pub fn scored_runs(evaluated: &[Evaluated], over: &str) -> Result<Vec<ScoredRun>, Diag> {
    let extra = extra_axes(evaluated, over);
    evaluated.iter().map(|run| scored_run(run, over, &extra)).collect()
}

/// Returns the axes that tell columns apart: all but the averaged one and those that only repeat a run's task or
/// method.
fn extra_axes(runs: &[Evaluated], over: &str) -> Vec<String> {
    let all = distinct(runs.iter().flat_map(|r| r.origin.axes.iter().map(|(axis, _)| axis.clone())));
    all.into_iter()
        .filter(|axis| axis != over)
        .filter(|axis| {
            let repeats = |of: fn(&EvalRecord) -> &str| {
                runs.iter().all(|r| r.origin.axis(axis).is_none_or(|value| value == of(&r.record)))
            };
            !repeats(|r| &r.task) && !repeats(|r| &r.method)
        })
        .collect()
}

fn scored_run(evaluated: &Evaluated, over: &str, extra: &[String]) -> Result<ScoredRun, Diag> {
    let Evaluated { origin, record } = evaluated;
    let over = match origin.axis(over) {
        Some(value) => value.to_owned(),
        None if over == "seed" => record.seed.map_or_else(|| "imported".to_owned(), |seed| seed.to_string()),
        None => {
            return Err(Diag::error(Class::Stage, format!("`{}` has no axis `{over}` to average over", origin.node))
                .help("set `over` to an axis of the evaluated stage"));
        }
    };
    let mut variant = record.method.clone();
    for axis in extra {
        if let Some(value) = origin.axis(axis) {
            variant.push_str(&format!(" · {axis}={value}"));
        }
    }
    let score = record.score.ok_or_else(|| {
        Diag::error(Class::Stage, format!("`{}` has no score: its split `{}` has no labels", origin.node, record.split))
            .help("report runs of a labelled split")
    })?;
    Ok(ScoredRun {
        score,
        variant,
        over,
        origin: origin.clone(),
        scoring: Scoring {
            split: record.split.clone(),
            scored_by: record.scored_by.name().into(),
            metric_mode: record.metric_mode.clone(),
            template: record.template.clone(),
        },
        record: record.clone(),
        collapsed: record.modal.share >= COLLAPSED,
    })
}
