//! `dpt check`: is this pipeline right? Runs nothing, opens no store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::base::diag::{Class, Diag, Severity};
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::engine::graph::Graph;
use crate::model::Dtype;
use crate::pipeline::{self, LoadOptions, Plan, sets};

/// Check pipeline files: every problem at once, each with its line. Runs nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files (TOML)
    #[arg(value_name = "PIPELINE", required = true)]
    pub pipelines: Vec<PathBuf>,

    /// What to change in them first
    #[command(flatten)]
    pub changes: Changes,

    /// One JSON object a problem, for editors
    #[arg(long)]
    pub json: bool,
}

/// `--set`, `--dtype` and `--mirror`, for every command that reads a pipeline.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Changes {
    /// Change a value of the pipeline for this run: `params.lr=0.1`, `axes.task=["rte"]`, `stage.train.rank=4`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,

    /// Hold the backbone in this type wherever prompts are trained and scored: short for `--set 'stage.*.dtype=DTYPE'`.
    /// It is part of what a result is: each type has results of its own
    #[arg(long, value_name = "DTYPE", value_parser = PossibleValuesParser::new(Dtype::NAMES))]
    pub dtype: Option<String>,

    /// Take a source from a local folder instead of its url; the results are the same, and so are their keys
    #[arg(long = "mirror", value_name = "NAME=DIR")]
    pub mirrors: Vec<String>,
}

impl Changes {
    /// As options of [`pipeline::load`], with all stage kinds.
    ///
    /// # Errors
    /// One for each argument without its `=`.
    pub fn options(&self) -> Result<LoadOptions<'static>, Vec<Diag>> {
        let mut problems = Vec::new();
        let mut options = LoadOptions::default();
        // First, so that what `--set` says of a single stage holds.
        options.sets.extend(self.dtype.iter().map(|dtype| ("stage.*.dtype".to_owned(), dtype.clone())));
        for set in &self.sets {
            match sets::split(set) {
                Ok(pair) => options.sets.push(pair),
                Err(diag) => problems.push(diag),
            }
        }
        let mut mirrors = BTreeMap::new();
        for mirror in &self.mirrors {
            match mirror.split_once('=') {
                Some((name, dir)) if !name.is_empty() && !dir.is_empty() => {
                    // A stage may run in another folder than this.
                    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
                    mirrors.insert(name.to_owned(), dir);
                }
                _ => {
                    let diag = Diag::error(Class::Usage, format!("`--mirror {mirror}` is not of the form `NAME=DIR`"));
                    problems.push(diag.help("write, for instance, `--mirror superglue=/data/superglue`"));
                }
            }
        }
        options.mirrors = mirrors;
        if problems.is_empty() { Ok(options) } else { Err(problems) }
    }

    /// The plan of the pipeline at `path`, its warnings told on stderr.
    ///
    /// # Errors
    /// Every problem of the file and of the arguments.
    pub fn load(&self, path: &Path) -> Result<Plan, Vec<Diag>> {
        let plan = pipeline::load(path, &self.options()?)?;
        if !plan.warnings.is_empty() {
            anstream::eprintln!("{}", render::diags(&plan.warnings));
        }
        Ok(plan)
    }
}

/// Prints `ok: …` for each right pipeline.
///
/// # Errors
/// The problems of all the others.
pub fn run(args: &Args) -> Result<Exit, Vec<Diag>> {
    let options = args.changes.options()?;
    let mut problems = Vec::new();
    for path in &args.pipelines {
        let (plan, diags) = match pipeline::load(path, &options) {
            Ok(plan) if plan.lacking.is_empty() => (Some(plan.clone()), plan.warnings),
            Ok(plan) => {
                let lacking = plan.lacking.into_iter().map(|(_, diag)| diag);
                (None, plan.warnings.into_iter().chain(lacking).collect())
            }
            Err(diags) => (None, diags),
        };
        if args.json {
            diags.iter().for_each(|d| println!("{}", to_json(path, d)));
        }
        if let Some(plan) = plan {
            if !args.json {
                if !diags.is_empty() {
                    anstream::eprintln!("{}", render::diags(&diags));
                }
                let name = if args.pipelines.len() > 1 { format!("{}: ", path.display()) } else { String::new() };
                anstream::println!("{name}{}: {}", render::paint(render::GOOD, "ok"), summary(&plan));
            }
        } else {
            problems.extend(diags);
        }
    }
    match (problems.is_empty(), args.json) {
        (true, _) => Ok(Exit::Done),
        // Already told.
        (false, true) => Ok(Exit::of(&problems)),
        (false, false) => Err(problems),
    }
}

/// `64 nodes in 8 stages, axes task 8, method 2, seed 3`.
pub fn summary(plan: &Plan) -> String {
    let stages = stages_of(&plan.graph);
    let axes: Vec<_> = plan.axes.iter().map(|(name, values)| format!("{name} {}", values.len())).collect();
    let mut text = format!("{} in {}", render::count(plan.graph.len(), "node"), render::count(stages, "stage"));
    if !axes.is_empty() {
        text.push_str(&format!(", axes {}", axes.join(", ")));
    }
    if plan.targets.len() < plan.graph.len() {
        text.push_str(&format!("; by default brings {} up to date", render::count(plan.targets.len(), "target")));
    }
    text
}

fn stages_of(graph: &Graph) -> usize {
    let mut names: Vec<_> = graph.ids().map(|id| graph.node(id).stage.as_str()).collect();
    names.dedup();
    names.len()
}

/// One problem for a program to read.
fn to_json(path: &Path, diag: &Diag) -> serde_json::Value {
    let place = diag.span.as_ref().map(|s| {
        let (line, column) = s.line_column();
        json!({ "file": s.source.path, "line": line, "column": column, "bytes": [s.range.start, s.range.end] })
    });
    json!({
        "schema": 1,
        "pipeline": path,
        "severity": match diag.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": diag.message,
        "place": place,
        "label": diag.label,
        "notes": diag.notes,
        "help": diag.help,
    })
}
