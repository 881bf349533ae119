//! The last row of the grid: for each column, the mean over its tasks.

use serde::{Deserialize, Serialize};

use super::collect::in_a_row;
use super::grid::{ScoreCell, TaskRow, superglue};
use super::runs::ScoredRun;
use crate::report::stats::Sample;

/// The mean over tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskMean {
    /// The column.
    pub variant: String,
    /// The tasks in it.
    pub tasks: Vec<String>,
    /// Mean and spread over the values of the averaged axis for which every task has a run; absent without any.
    pub score: Option<Sample>,
    /// The same before training.
    pub untrained: Option<Sample>,
    /// The mean of the best constant answers of the same tasks; absent when a task has none.
    pub majority: Option<f64>,
    /// `true` if these are the eight tasks of the SuperGLUE score.
    pub superglue: bool,
}

/// Averages the tasks of `variant`.
pub fn task_mean(
    variant: &str,
    tasks: &[TaskRow],
    runs: &[ScoredRun],
    cells: &[ScoreCell],
    over_values: &[String],
) -> TaskMean {
    let has: Vec<&TaskRow> =
        tasks.iter().filter(|t| cells.iter().any(|c| c.task == t.task && c.variant == variant)).collect();
    let per_value = |of: &dyn Fn(&ScoredRun) -> Option<f64>| {
        let values: Vec<f64> = over_values
            .iter()
            .filter_map(|value| {
                let scores: Option<Vec<f64>> = has
                    .iter()
                    .map(|t| {
                        let run = runs
                            .iter()
                            .find(|r| r.record.task == t.task && r.variant == variant && r.over == *value)?;
                        of(run)
                    })
                    .collect();
                scores.filter(|s| !s.is_empty()).map(|s| s.iter().sum::<f64>() / s.len() as f64)
            })
            .collect();
        Sample::of(&values)
    };
    let majorities: Option<Vec<f64>> = has.iter().map(|t| t.majority.as_ref().map(|m| m.0)).collect();
    TaskMean {
        variant: variant.into(),
        tasks: has.iter().map(|t| t.task.clone()).collect(),
        score: per_value(&|r| Some(r.score)),
        untrained: per_value(&ScoredRun::untrained_score),
        majority: majorities.filter(|m| !m.is_empty()).map(|m| m.iter().sum::<f64>() / m.len() as f64),
        superglue: has.iter().map(|t| t.task.as_str()).eq(superglue()),
    }
}

/// Returns the name of the row of `means`, and a note about it. `tasks` is the number of rows above it.
pub fn mean_row(means: &[TaskMean], tasks: usize) -> (String, Option<String>) {
    let first = means.first();
    if first.is_some_and(|m| m.superglue) && means.iter().all(|m| m.superglue) && tasks == superglue().len() {
        return (
            "SuperGLUE".into(),
            Some(format!("The SuperGLUE row is the unweighted mean of {}.", in_a_row(&superglue()))),
        );
    }
    let same = means.iter().all(|m| Some(&m.tasks) == first.map(|f| &f.tasks));
    if same {
        let tasks = first.map(|m| m.tasks.as_slice()).unwrap_or_default();
        let note =
            format!("The mean is over {}; it is not the SuperGLUE score, which has eight tasks.", in_a_row(tasks));
        return (format!("mean of {}", tasks.len()), Some(note));
    }
    let each: Vec<_> = means.iter().map(|m| format!("{}: {}", m.variant, in_a_row(&m.tasks))).collect();
    ("mean".into(), Some(format!("The means are over different tasks and cannot be compared ({}).", each.join("; "))))
}
