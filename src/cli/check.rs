//! `dpt check`: checks pipeline files. Runs nothing and opens no store.

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

/// The arguments of `dpt check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files (TOML)
    #[arg(value_name = "PIPELINE", required = true)]
    pub pipelines: Vec<PathBuf>,

    /// Changes to the pipelines.
    #[command(flatten)]
    pub changes: ChangeArgs,

    /// Print one JSON object for each problem, for editors
    #[arg(long)]
    pub json: bool,
}

/// The arguments `--set`, `--dtype` and `--mirror` of every command that reads a pipeline.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ChangeArgs {
    /// Change a value of the pipeline for this command: `params.lr=0.1`, `axes.task=["rte"]`, `stage.train.rank=4`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,

    /// Data type of the backbone in training and evaluation; short for `--set 'stage.*.dtype=DTYPE'`. The type is part
    /// of the cache key
    #[arg(long, value_name = "DTYPE", value_parser = PossibleValuesParser::new(Dtype::NAMES))]
    pub dtype: Option<String>,

    /// Read a source from a local folder instead of its url; cache keys do not change if its files are pinned
    #[arg(long = "mirror", value_name = "NAME=DIR")]
    pub mirrors: Vec<String>,
}

impl ChangeArgs {
    /// Returns the options for [`pipeline::load`].
    ///
    /// # Errors
    /// Returns an error for each argument that is not of the form `NAME=VALUE`.
    pub fn options(&self) -> Result<LoadOptions<'static>, Vec<Diag>> {
        let mut problems = Vec::new();
        let mut options = LoadOptions::default();
        // Comes first, so that `--set` for a single stage wins.
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
                    // A stage may run in another working directory.
                    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
                    mirrors.insert(name.to_owned(), dir);
                }
                _ => {
                    let diag = Diag::error(Class::Usage, format!("`--mirror {mirror}` is not of the form `NAME=DIR`"));
                    problems.push(diag.help("write it like `--mirror superglue=/data/superglue`"));
                }
            }
        }
        options.mirrors = mirrors;
        if problems.is_empty() { Ok(options) } else { Err(problems) }
    }

    /// Loads the pipeline at `path` and prints its warnings to stderr.
    ///
    /// # Errors
    /// Returns every problem of the file and of the arguments.
    pub fn load(&self, path: &Path) -> Result<Plan, Vec<Diag>> {
        let plan = pipeline::load(path, &self.options()?)?;
        if !plan.warnings.is_empty() {
            anstream::eprintln!("{}", render::diags(&plan.warnings));
        }
        Ok(plan)
    }
}

/// Prints `ok: …` for each valid pipeline.
///
/// # Errors
/// Returns the problems of the others.
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
            diags.iter().for_each(|d| render::out(&format!("{}\n", to_json(path, d))));
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
        // Printed above.
        (false, true) => Ok(Exit::of(&problems)),
        (false, false) => Err(problems),
    }
}

/// Describes a plan: `64 nodes in 8 stages, axes task 8, method 2, seed 3`.
pub fn summary(plan: &Plan) -> String {
    let stages = stages_of(&plan.graph);
    let axes: Vec<_> = plan.axes.iter().map(|(name, values)| format!("{name} {}", values.len())).collect();
    let mut text = format!("{} in {}", render::count(plan.graph.len(), "node"), render::count(stages, "stage"));
    if !axes.is_empty() {
        text.push_str(&format!(", axes {}", axes.join(", ")));
    }
    if plan.targets.len() < plan.graph.len() {
        text.push_str(&format!("; {} by default", render::count(plan.targets.len(), "target")));
    }
    text
}

fn stages_of(graph: &Graph) -> usize {
    let mut names: Vec<_> = graph.ids().map(|id| graph.node(id).stage.as_str()).collect();
    names.dedup();
    names.len()
}

/// Returns a problem as JSON.
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
