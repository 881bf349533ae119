//! `dpt diff`: compares parameters, nodes and metrics of two runs, journals, pipelines or revisions of a pipeline. Runs
//! nothing and writes nothing.

mod compare;
mod git;
mod show;
mod side;

use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cli::CommandResult;
use crate::cli::check::ChangeArgs;
use crate::cli::common::{self, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::engine::history::{History, PastRun};
use crate::pipeline;

use compare::Diff;
use side::Side;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt diff last~1 last
      compare the last two runs
  dpt diff 20261123-171158 last --all
      list unchanged metrics too
  dpt diff cache/v1/runs/A.jsonl there/B.jsonl
      compare two journals
  dpt diff pipelines/quickstart.toml HEAD~1
      compare a revision of a pipeline with the working tree, or with a second revision
  dpt diff pipelines/quickstart.toml origin/main --format markdown
      write a comment for a pull request";

/// The arguments of `dpt diff`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Two runs (an id or its first digits, `last`, `last~1`, or the path of a journal), two pipeline files, or a
    /// pipeline file and one or two git revisions. The second defaults to `last`, or to the file in the working tree
    #[arg(value_name = "A B", required = true, num_args = 1..=3)]
    what: Vec<String>,
    /// The axis to average metrics over
    #[arg(long, value_name = "AXIS", default_value = "seed")]
    over: String,
    /// Print every metric of every stage, also if it is unchanged or on one side only [default: changed scores]
    #[arg(long)]
    all: bool,
    /// Output format
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "markdown"])]
    format: String,
    /// Print one JSON object
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints the differences.
///
/// # Errors
/// Fails if a run or revision does not exist, a pipeline is invalid, or the store cannot be read.
pub fn run(args: &Args) -> CommandResult {
    let (mut old, new) = sides(args)?;
    if old.pipeline != new.pipeline {
        old.notes.push(format!(
            "these are two pipelines, `{}` and `{}`: only nodes with the same name in both are compared, the others count \
             as added or removed",
            old.pipeline, new.pipeline
        ));
    }
    let diff = Diff::of(&old, &new, &args.over, args.all);
    render::out(&match (args.json, args.format.as_str()) {
        (true, _) => show::json(&old, &new, &diff),
        (false, "markdown") => show::markdown(&old, &new, &diff),
        (false, _) => show::text(&old, &new, &diff),
    });
    Ok(Exit::Done)
}

fn sides(args: &Args) -> Result<(Side, Side), Vec<Diag>> {
    let is_pipeline = |text: &String| text.ends_with(".toml");
    let changed = !(args.changes.sets.is_empty() && args.changes.mirrors.is_empty());
    if changed && !is_pipeline(&args.what[0]) {
        let diag = Diag::error(Class::Usage, "`--set` and `--mirror` apply to pipelines, not to runs");
        return Err(vec![diag.help("leave them out, or compare pipeline files")]);
    }
    match &args.what[..] {
        [a, b] if is_pipeline(a) && is_pipeline(b) => Ok((file(args, Path::new(a))?, file(args, Path::new(b))?)),
        [a] if is_pipeline(a) => revisions(args, Path::new(a), "HEAD", None),
        [a, b] if is_pipeline(a) => revisions(args, Path::new(a), b, None),
        [a, b, c] if is_pipeline(a) => revisions(args, Path::new(a), b, Some(c)),
        [a] => Ok((journal(args, a)?, journal(args, "last")?)),
        [a, b] => Ok((journal(args, a)?, journal(args, b)?)),
        _ => {
            let diag = Diag::error(Class::Usage, "three arguments must be a pipeline file and two git revisions");
            Err(vec![diag.help("write `dpt diff PIPELINE.toml REV REV`, or name two runs")])
        }
    }
}

/// Returns the side of a pipeline file in the working tree.
fn file(args: &Args, path: &Path) -> Result<Side, Vec<Diag>> {
    let plan = args.changes.load(path)?;
    Side::of_plan(path.display().to_string(), &plan, &args.store.peek(path)?)
}

/// Returns the sides of a pipeline at one revision, and at another one or in the working tree.
fn revisions(args: &Args, path: &Path, old: &str, new: Option<&String>) -> Result<(Side, Side), Vec<Diag>> {
    let at = |revision: &str| -> Result<Side, Vec<Diag>> {
        let text = git::show(path, revision).map_err(|diag| vec![diag])?;
        let pins = git::show(&pipeline::pins::path_of(path), revision).unwrap_or_default();
        let options = pipeline::LoadOptions { pins: Some(pins), ..args.changes.options()? };
        let note = |diag: Diag| diag.note(format!("in `{}` at revision `{revision}`", path.display()));
        let plan = pipeline::load_text(path, text, &options)
            .map_err(|diags| diags.into_iter().map(note).collect::<Vec<_>>())?;
        Side::of_plan(format!("{} at {revision}", path.display()), &plan, &args.store.peek(path)?)
    };
    let new = match new {
        Some(revision) => at(revision)?,
        None => file(args, path)?,
    };
    Ok((at(old)?, new))
}

/// Returns the side of a run, named by the path of its journal or by its id in the store.
fn journal(args: &Args, text: &str) -> Result<Side, Vec<Diag>> {
    let one = |diag: Diag| vec![diag];
    let path = PathBuf::from(text);
    if text.ends_with(".jsonl") {
        let run = PastRun::read(&path).map_err(|diag| {
            let diag = Diag { class: Class::Usage, ..diag };
            vec![diag.help("journals are in `cache/v1/runs/` of the store that the run used")]
        })?;
        // The results of the run are in the store that has its journal.
        let own = std::path::absolute(&path).ok().and_then(|path| path.ancestors().nth(3).map(Path::to_path_buf));
        let own = own.filter(|folder| folder.join("v1").join("entries").is_dir());
        let store = own.map_or_else(|| args.store.peek(Path::new(".")), |folder| Store::peek(&folder).map_err(one))?;
        return Side::of_run(&run, &store).map_err(one);
    }
    let store = args.store.peek(Path::new("."))?;
    let history = History::of(&store.runs());
    let run = history.find(text, None).map_err(|diag| {
        let help = match text.starts_with(|c: char| c.is_ascii_digit()) || text.starts_with("last") {
            true => format!("the store is `{}`; name another one with `--cache DIR`", store.root().display()),
            false => "name the pipeline before a git revision: `dpt diff PIPELINE.toml HEAD~1 HEAD`".to_owned(),
        };
        vec![if diag.help.is_none() { diag.help(help) } else { diag }]
    })?;
    common::warn_unreadable(&history);
    Side::of_run(run, &store).map_err(one)
}
