//! [`Summary`]: the report as data, which is also `report.json`. Markdown and HTML are written from it alone (the
//! pictures excepted), so that all three say the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::material::{Evaluated, Material, Origin};
use super::records::{Backbone, COLLAPSED, EvalRecord, InitRecord};
use super::stats::Sample;
use crate::base::diag::{Class, Diag};
use crate::svd::figures::Drift;

/// The tasks whose mean is the SuperGLUE score, in its order.
pub const SUPERGLUE: [&str; 8] = ["boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"];

/// What the pipeline asks of a report.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its title.
    pub title: String,
    /// The axis over which mean and spread are taken.
    pub over: String,
    /// Whether a cell that lacks a value of that axis is an error.
    pub complete: bool,
}

/// The whole report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this layout.
    pub schema: u32,
    /// The title.
    pub title: String,
    /// The axis over which mean and spread are taken.
    pub over: String,
    /// Its values, in order of appearance.
    pub over_values: Vec<String>,
    /// Every frozen model, with the number of runs on it.
    pub backbones: Vec<(Backbone, usize)>,
    /// Every way of scoring, with the number of runs scored so.
    pub scorings: Vec<(Scoring, usize)>,
    /// The rows of the main table.
    pub tasks: Vec<TaskRow>,
    /// Its columns.
    pub variants: Vec<Variant>,
    /// Its cells: those that have a run.
    pub cells: Vec<Cell>,
    /// Its last row: for each variant, the mean over the tasks that it has.
    pub means: Vec<Mean>,
    /// Cells that lack runs, in words.
    pub missing: Vec<String>,
    /// What a reader should know before quoting a number.
    pub cautions: Vec<String>,
    /// Every run.
    pub runs: Vec<Run>,
    /// Every initialisation.
    pub inits: Vec<Init>,
    /// How far each trained prompt is from the one that it started from.
    pub drifts: Vec<RunDrift>,
}

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

/// A row of the main table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskRow {
    /// The task.
    pub task: String,
    /// What its score is: `accuracy`, `mean of accuracy and f1`.
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
    /// Rows of the soft prompt: least and most.
    pub virtual_tokens: (u64, u64),
    /// Inner size of the factors, where there are factors: least and most.
    pub rank: Option<(u64, u64)>,
    /// Other parameters of the method, as text: each value once, in the order of its runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Vec<String>>,
}

/// The runs of one task and variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
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

/// The mean over tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mean {
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
    /// Whether these are the eight tasks of the SuperGLUE score.
    pub superglue: bool,
}

/// One run, with where its number came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
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
    /// Whether it gives nearly always the same answer.
    pub collapsed: bool,
}

/// One initialisation, with where it came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Init {
    /// The node, its key, and the digest of its `svd_init.json`.
    pub origin: Origin,
    /// Everything that it tells.
    pub record: InitRecord,
}

/// How far training went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunDrift {
    /// The training.
    pub training: String,
    /// How it started: `reference`, `gaussian`, `vocab`, `svd`.
    pub init: String,
    /// How far.
    pub drift: Drift,
}

impl Summary {
    /// Puts `material` together.
    ///
    /// # Errors
    /// No runs; two runs for one cell and value of the averaged axis; runs of one cell that are scored differently; and,
    /// when all is required, cells that lack a value of the averaged axis.
    pub fn of(material: &Material, options: &Options) -> Result<Self, Diag> {
        if material.runs.is_empty() {
            return Err(stage_error("there is no run to report"));
        }
        let extra = extra_axes(&material.runs, &options.over);
        let runs = material.runs.iter().map(|r| run(r, &options.over, &extra)).collect::<Result<Vec<_>, _>>()?;
        let over_values = distinct(runs.iter().map(|r| r.over.clone()));
        let tasks = task_rows(&runs);
        let variants = variants(&runs);
        let cells = cells(&runs, &tasks, &variants, &over_values)?;
        let missing = missing(&tasks, &variants, &cells);
        let short: Vec<_> = cells.iter().filter(|c| !c.lacks.is_empty()).collect();
        if options.complete && !short.is_empty() {
            let mut diag = stage_error(format!("{} of {} cells lack a {}", short.len(), cells.len(), options.over));
            for cell in short {
                diag = diag.note(format!("{} with {} lacks {}", cell.task, cell.variant, cell.lacks.join(", ")));
            }
            return Err(diag.help("make the missing runs, or set `require = \"partial\"` to report what there is"));
        }
        let means = variants.iter().map(|v| mean(&v.name, &tasks, &runs, &cells, &over_values)).collect();
        Ok(Self {
            schema: 1,
            title: options.title.clone(),
            over: options.over.clone(),
            backbones: counted(runs.iter().map(|r| r.record.backbone.clone())),
            scorings: counted(runs.iter().map(|r| r.scoring.clone())),
            cautions: cautions(&runs, &tasks, &options.over, over_values.len()),
            over_values,
            tasks,
            variants,
            cells,
            means,
            missing,
            runs,
            inits: material.inits.iter().map(|i| Init { origin: i.origin.clone(), record: i.record.clone() }).collect(),
            drifts: drifts(material),
        })
    }

    /// The cell of `task` and `variant`, if it has a run.
    pub fn cell(&self, task: &str, variant: &str) -> Option<&Cell> {
        self.cells.iter().find(|c| c.task == task && c.variant == variant)
    }

    /// Backbones that were drawn at random: their scores say nothing about a method.
    pub fn random_backbones(&self) -> Vec<&str> {
        self.backbones.iter().filter(|(b, _)| b.origin == "random").map(|(b, _)| b.name.as_str()).collect()
    }

    /// What the last row of the main table is: its name, and what a reader must know of it.
    pub fn mean_row(&self) -> (String, Option<String>) {
        let first = self.means.first();
        if first.is_some_and(|m| m.superglue) && self.means.iter().all(|m| m.superglue) && self.tasks.len() == 8 {
            return (
                "SuperGLUE".into(),
                Some(format!("The SuperGLUE row is the unweighted mean of {}.", list(&SUPERGLUE))),
            );
        }
        let same = self.means.iter().all(|m| Some(&m.tasks) == first.map(|f| &f.tasks));
        if same {
            let tasks = first.map(|m| m.tasks.as_slice()).unwrap_or_default();
            let note =
                format!("The mean is over {}; it is not the SuperGLUE score, which has eight tasks.", list(tasks));
            return (format!("mean of {}", tasks.len()), Some(note));
        }
        let each: Vec<_> = self.means.iter().map(|m| format!("{}: {}", m.variant, list(&m.tasks))).collect();
        (
            "mean".into(),
            Some(format!("The means are over different tasks and cannot be compared ({}).", each.join("; "))),
        )
    }
}

fn stage_error(message: impl Into<String>) -> Diag {
    Diag::error(Class::Stage, message)
}

/// `a, b and c`.
pub fn list(items: &[impl AsRef<str>]) -> String {
    match items {
        [] => "nothing".into(),
        [one] => one.as_ref().into(),
        [head @ .., last] => {
            let head: Vec<_> = head.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", head.join(", "), last.as_ref())
        }
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut out = Vec::new();
    for item in items {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}

fn counted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// Axes that tell columns apart: not the averaged one, nor those that only repeat a run's task or method.
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

fn run(evaluated: &Evaluated, over: &str, extra: &[String]) -> Result<Run, Diag> {
    let Evaluated { origin, record } = evaluated;
    let over = match origin.axis(over) {
        Some(value) => value.to_owned(),
        None if over == "seed" => record.seed.map_or_else(|| "imported".to_owned(), |seed| seed.to_string()),
        None => {
            return Err(stage_error(format!("`{}` has no axis `{over}` to average over", origin.node))
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
        stage_error(format!("`{}` has no score: its split `{}` has no labels", origin.node, record.split))
            .help("report runs of a labelled split")
    })?;
    Ok(Run {
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

/// SuperGLUE's tasks in its order, then others by name.
fn task_rows(runs: &[Run]) -> Vec<TaskRow> {
    let mut tasks = distinct(runs.iter().map(|r| r.record.task.clone()));
    tasks.sort_by_key(|t| (SUPERGLUE.iter().position(|s| s == t).unwrap_or(SUPERGLUE.len()), t.clone()));
    tasks
        .into_iter()
        .map(|task| {
            let record = &runs.iter().find(|r| r.record.task == task).expect("taken from the runs").record;
            let measure = match record.counts.as_slice() {
                [one] => one.clone(),
                several => format!("mean of {}", list(several)),
            };
            let majority = record.baselines.majority.as_ref().map(|m| (m.score, m.answer.clone()));
            TaskRow { task, measure, examples: record.examples, majority }
        })
        .collect()
}

/// In order of appearance.
fn variants(runs: &[Run]) -> Vec<Variant> {
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
                virtual_tokens: range(&|r| r.virtual_tokens),
                rank: of.iter().all(|r| r.rank.is_some()).then(|| range(&|r| r.rank.unwrap_or(0))),
                params: params(&of),
                name,
            }
        })
        .collect()
}

/// The values of the methods' parameters that have no column of their own, by name.
fn params(records: &[&EvalRecord]) -> BTreeMap<String, Vec<String>> {
    let mut params: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in records.iter().flat_map(|record| record.params.iter()) {
        let (values, value) = (params.entry(name.clone()).or_default(), value.to_string());
        if !values.contains(&value) {
            values.push(value);
        }
    }
    params
}

impl Summary {
    /// The names of parameters that some variant has and that have no column of their own.
    pub fn other_params(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.variants.iter().flat_map(|v| v.params.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Variant {
    /// The values of parameter `name`, for a table.
    pub fn param(&self, name: &str) -> String {
        self.params.get(name).map_or("–".into(), |values| values.join(", "))
    }
}

fn cells(runs: &[Run], tasks: &[TaskRow], variants: &[Variant], over_values: &[String]) -> Result<Vec<Cell>, Diag> {
    let mut cells = Vec::new();
    for task in tasks {
        for variant in variants {
            let of: Vec<&Run> =
                runs.iter().filter(|r| r.record.task == task.task && r.variant == variant.name).collect();
            let Some(first) = of.first() else { continue };
            for (i, run) in of.iter().enumerate() {
                if let Some(twin) = of[..i].iter().find(|other| other.over == run.over) {
                    return Err(stage_error(format!(
                        "`{}` and `{}` stand for the same cell of the table",
                        twin.origin.node, run.origin.node
                    ))
                    .note(format!("task {}, {}, {}", task.task, variant.name, run.over)));
                }
                if run.scoring != first.scoring {
                    return Err(stage_error(format!(
                        "`{}` and `{}` are scored differently and cannot be averaged",
                        first.origin.node, run.origin.node
                    ))
                    .note(format!(
                        "{} against {}",
                        in_words(&first.scoring),
                        in_words(&run.scoring)
                    )));
                }
            }
            let scores: Vec<f64> = of.iter().map(|r| r.score).collect();
            let untrained: Vec<f64> = of.iter().filter_map(|r| untrained(r)).collect();
            cells.push(Cell {
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

fn untrained(run: &Run) -> Option<f64> {
    run.record.baselines.untrained.as_ref().map(|u| u.score)
}

/// `validation split, verbalizer answers, official metrics, plain template`.
pub fn in_words(scoring: &Scoring) -> String {
    let Scoring { split, scored_by, metric_mode, template } = scoring;
    format!("{split} split, {scored_by} answers, {metric_mode} metrics, {template} template")
}

fn missing(tasks: &[TaskRow], variants: &[Variant], cells: &[Cell]) -> Vec<String> {
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

fn mean(variant: &str, tasks: &[TaskRow], runs: &[Run], cells: &[Cell], over_values: &[String]) -> Mean {
    let has: Vec<&TaskRow> =
        tasks.iter().filter(|t| cells.iter().any(|c| c.task == t.task && c.variant == variant)).collect();
    let per_value = |of: &dyn Fn(&Run) -> Option<f64>| {
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
    Mean {
        variant: variant.into(),
        tasks: has.iter().map(|t| t.task.clone()).collect(),
        score: per_value(&|r| Some(r.score)),
        untrained: per_value(&untrained),
        majority: majorities.filter(|m| !m.is_empty()).map(|m| m.iter().sum::<f64>() / m.len() as f64),
        superglue: has.len() == 8 && has.iter().zip(SUPERGLUE).all(|(t, s)| t.task == s),
    }
}

/// Fewer values than this make a poor spread.
const FEW: usize = 3;
/// Fewer examples than this make one of them worth half a point and more.
const SMALL: u64 = 200;

fn cautions(runs: &[Run], tasks: &[TaskRow], over: &str, values: usize) -> Vec<String> {
    let mut out = Vec::new();
    if values < FEW {
        let what = if values == 1 { "a single value" } else { "two values" };
        out.push(format!("Every number rests on {what} of {over}: differences between columns are not established."));
    }
    let small: Vec<_> = tasks
        .iter()
        .filter(|t| t.examples > 0 && t.examples < SMALL)
        .map(|t| format!("{} ({} examples, {:.1} points each)", t.task, t.examples, 100.0 / t.examples as f64))
        .collect();
    if !small.is_empty() {
        out.push(format!("Few examples: {}.", list(&small)));
    }
    let collapsed: Vec<_> = runs.iter().filter(|r| r.collapsed).map(|r| format!("`{}`", r.origin.node)).collect();
    if !collapsed.is_empty() {
        out.push(format!(
            "Collapsed (at least {:.0} % of the answers are the same): {}.",
            COLLAPSED * 100.0,
            list(&collapsed)
        ));
    }
    if runs.iter().any(|r| r.record.select_on.as_deref() == Some(r.scoring.split.as_str())) {
        out.push("The reported split is also the one on which the best step was chosen: scores are optimistic.".into());
    }
    if distinct(runs.iter().map(|r| &r.scoring)).len() > 1 {
        out.push(
            "Not all runs are scored alike (see the table of runs): columns or rows may not be comparable.".into(),
        );
    }
    out
}

fn drifts(material: &Material) -> Vec<RunDrift> {
    use rayon::prelude::*;
    material
        .trainings
        .par_iter()
        .filter_map(|t| Some((t, t.start.as_ref()?, t.prompt.as_ref()?)))
        .filter(|(_, start, prompt)| (start.rows, start.cols) == (prompt.rows, prompt.cols))
        .map(|(t, start, prompt)| RunDrift {
            training: t.origin.node.clone(),
            init: t.init.clone(),
            drift: Drift::of(start, prompt),
        })
        .collect()
}
