//! The grid of scores: tasks are its rows, variants of a method its columns.

use serde::{Deserialize, Serialize};

use super::collect::{distinct, in_a_row};
use super::method_parameters::MethodParameters;
use super::runs::ScoredRun;
use crate::base::diag::{Class, Diag};
use crate::data::task::TASKS;
use crate::report::records::EvalRecord;
use crate::report::stats::Sample;

/// Returns the tasks whose mean is the SuperGLUE score, in its order.
pub fn superglue() -> Vec<&'static str> {
    TASKS.iter().filter(|task| task.is_superglue()).map(|task| task.name()).collect()
}

/// A row of the main table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskRow {
    /// The task.
    pub task: String,
    /// The name of its score: `accuracy`, `mean of accuracy and f1`.
    pub measure: String,
    /// How many examples were scored.
    pub examples: u64,
    /// The best that one constant answer reaches, and the answer.
    pub majority: Option<(f64, String)>,
}

/// A column of the main table: a method, and any axis beside task, method and the one averaged over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Variant {
    /// `dpt`, or `dpt · rank=4`.
    pub name: String,
    /// The method.
    pub method: String,
    /// Trained numbers: least and most over its runs.
    pub trainable_parameters: (u64, u64),
    /// Trained numbers of prompt tuning with as many virtual tokens: least and most.
    pub prompt_tuning_parameters: (u64, u64),
    /// The parameters of the method.
    #[serde(flatten)]
    pub parameters: MethodParameters,
}

/// The runs of one task and variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoreCell {
    /// The row.
    pub task: String,
    /// The column.
    pub variant: String,
    /// Mean and spread of the score.
    pub score: Sample,
    /// The same before training, where it was measured.
    pub untrained: Option<Sample>,
    /// Values of the averaged axis that it lacks.
    pub lacks: Vec<String>,
    /// Runs that give nearly always the same answer.
    pub collapsed: usize,
}

/// Returns a row for each task: SuperGLUE's tasks in its order, then others by name.
pub fn task_rows(runs: &[ScoredRun]) -> Vec<TaskRow> {
    let mut tasks = distinct(runs.iter().map(|r| r.record.task.clone()));
    let first = superglue();
    tasks.sort_by_key(|t| (first.iter().position(|s| s == t).unwrap_or(first.len()), t.clone()));
    tasks
        .into_iter()
        .map(|task| {
            let record = &runs.iter().find(|r| r.record.task == task).expect("taken from the runs").record;
            let measure = match record.counts.as_slice() {
                [one] => one.clone(),
                several => format!("mean of {}", in_a_row(several)),
            };
            let majority = record.baselines.majority.as_ref().map(|m| (m.score, m.answer.clone()));
            TaskRow { task, measure, examples: record.examples, majority }
        })
        .collect()
}

/// Returns the columns, in order of appearance.
pub fn variants(runs: &[ScoredRun]) -> Vec<Variant> {
    distinct(runs.iter().map(|r| r.variant.clone()))
        .into_iter()
        .map(|name| {
            let of: Vec<&EvalRecord> = runs.iter().filter(|r| r.variant == name).map(|r| &r.record).collect();
            let range = |f: &dyn Fn(&EvalRecord) -> u64| {
                let values: Vec<u64> = of.iter().map(|r| f(r)).collect();
                (values.iter().copied().min().unwrap_or(0), values.iter().copied().max().unwrap_or(0))
            };
            Variant {
                method: of[0].method.clone(),
                trainable_parameters: range(&|r| r.trainable_parameters),
                prompt_tuning_parameters: range(&|r| r.virtual_tokens * r.d_model),
                parameters: MethodParameters::of(&of.iter().map(|r| r.method_parameters()).collect::<Vec<_>>()),
                name,
            }
        })
        .collect()
}

/// Returns the cells that have a run.
///
/// # Errors
/// Fails if two runs belong to one cell and value of the averaged axis, or if runs of one cell are scored differently.
pub fn cells(
    runs: &[ScoredRun],
    tasks: &[TaskRow],
    variants: &[Variant],
    over_values: &[String],
) -> Result<Vec<ScoreCell>, Diag> {
    let mut cells = Vec::new();
    for task in tasks {
        for variant in variants {
            let of: Vec<&ScoredRun> =
                runs.iter().filter(|r| r.record.task == task.task && r.variant == variant.name).collect();
            let Some(first) = of.first() else { continue };
            for (i, run) in of.iter().enumerate() {
                if let Some(twin) = of[..i].iter().find(|other| other.over == run.over) {
                    return Err(Diag::error(
                        Class::Stage,
                        format!(
                            "`{}` and `{}` stand for the same cell of the table",
                            twin.origin.node, run.origin.node
                        ),
                    )
                    .note(format!("task {}, {}, {}", task.task, variant.name, run.over)));
                }
                if run.scoring != first.scoring {
                    return Err(Diag::error(
                        Class::Stage,
                        format!(
                            "`{}` and `{}` are scored differently and cannot be averaged",
                            first.origin.node, run.origin.node
                        ),
                    )
                    .note(format!(
                        "{} against {}",
                        first.scoring.in_words(),
                        run.scoring.in_words()
                    )));
                }
            }
            let scores: Vec<f64> = of.iter().map(|r| r.score).collect();
            let untrained: Vec<f64> = of.iter().filter_map(|r| r.untrained_score()).collect();
            cells.push(ScoreCell {
                task: task.task.clone(),
                variant: variant.name.clone(),
                score: Sample::of(&scores).expect("a cell has a run"),
                untrained: Sample::of(&untrained),
                lacks: over_values.iter().filter(|v| of.iter().all(|r| r.over != **v)).cloned().collect(),
                collapsed: of.iter().filter(|r| r.collapsed).count(),
            });
        }
    }
    Ok(cells)
}

/// Describes each cell that lacks runs.
pub fn missing(tasks: &[TaskRow], variants: &[Variant], cells: &[ScoreCell]) -> Vec<String> {
    let mut out = Vec::new();
    for task in tasks {
        for variant in variants {
            match cells.iter().find(|c| c.task == task.task && c.variant == variant.name) {
                None => out.push(format!("{} with {}: no run", task.task, variant.name)),
                Some(cell) if !cell.lacks.is_empty() => {
                    out.push(format!("{} with {}: lacks {}", task.task, variant.name, cell.lacks.join(", ")));
                }
                Some(_) => {}
            }
        }
    }
    out
}
