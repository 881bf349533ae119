//! [`Summary`]: the report as data. It is what `report.json` holds and what every table is made from, so that all
//! formats show the same numbers.

pub mod cautions;
pub mod collect;
pub mod grid;
pub mod means;
pub mod method_parameters;
pub mod prompts;
pub mod runs;

use serde::{Deserialize, Serialize};

use cautions::cautions;
use collect::{counted, distinct};
use grid::{ScoreCell, TaskRow, Variant, cells, missing, task_rows, variants};
use means::{TaskMean, mean_row, task_mean};
use prompts::{PromptDrift, PromptStart, drifts, starts};
use runs::{ScoredRun, Scoring, scored_runs};

use super::inputs::Inputs;
use super::records::Backbone;
use crate::base::diag::{Class, Diag};

/// The options of a report, from the pipeline.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// Its title.
    pub title: String,
    /// The axis over which mean and spread are taken.
    pub over: String,
    /// A cell that lacks a value of that axis is an error.
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
    pub cells: Vec<ScoreCell>,
    /// Its last row: for each variant, the mean over the tasks that it has.
    pub means: Vec<TaskMean>,
    /// Cells that lack runs, in words.
    pub missing: Vec<String>,
    /// Limits of the numbers that a reader should know before quoting them.
    pub cautions: Vec<String>,
    /// Every run.
    pub runs: Vec<ScoredRun>,
    /// Every initialisation.
    pub inits: Vec<PromptStart>,
    /// How far each trained prompt is from the one that it started from.
    pub drifts: Vec<PromptDrift>,
}

impl Summary {
    /// Groups and averages the runs of `inputs`.
    ///
    /// # Errors
    /// Fails if there are no runs, if two runs belong to one cell and value of the averaged axis, if runs of one cell
    /// are scored differently, and, when all is required, if a cell lacks a value of the averaged axis.
    pub fn of(inputs: &Inputs, options: &ReportOptions) -> Result<Self, Diag> {
        if inputs.runs.is_empty() {
            return Err(Diag::error(Class::Stage, "there is no run to report"));
        }
        let runs = scored_runs(&inputs.runs, &options.over)?;
        let over_values = distinct(runs.iter().map(|r| r.over.clone()));
        let tasks = task_rows(&runs);
        let variants = variants(&runs);
        let cells = cells(&runs, &tasks, &variants, &over_values)?;
        let missing = missing(&tasks, &variants, &cells);
        let short: Vec<_> = cells.iter().filter(|c| !c.lacks.is_empty()).collect();
        if options.complete && !short.is_empty() {
            let mut diag =
                Diag::error(Class::Stage, format!("{} of {} cells lack a {}", short.len(), cells.len(), options.over));
            for cell in short {
                diag = diag.note(format!("{} with {} lacks {}", cell.task, cell.variant, cell.lacks.join(", ")));
            }
            return Err(diag.help("make the missing runs, or set `require = \"partial\"` to report what there is"));
        }
        let means = variants.iter().map(|v| task_mean(&v.name, &tasks, &runs, &cells, &over_values)).collect();
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
            inits: starts(inputs),
            drifts: drifts(inputs),
        })
    }

    /// Returns the cell of `task` and `variant`, if it has a run.
    pub fn cell(&self, task: &str, variant: &str) -> Option<&ScoreCell> {
        self.cells.iter().find(|c| c.task == task && c.variant == variant)
    }

    /// Returns the names of backbones with random weights: their scores say nothing about a method.
    pub fn random_backbones(&self) -> Vec<&str> {
        self.backbones.iter().filter(|(b, _)| b.origin == "random").map(|(b, _)| b.name.as_str()).collect()
    }

    /// Returns the name of the last row of the grid, and a note about it.
    pub fn mean_row(&self) -> (String, Option<String>) {
        mean_row(&self.means, self.tasks.len())
    }
}
