//! `dpt diff`: two runs, two journals, two pipelines or two revisions of one: which parameters, nodes and metrics differ.
//! Runs nothing, writes nothing.

mod compare;
mod git;
mod show;
mod side;

use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cli::Outcome;
use crate::cli::check::Changes;
use crate::cli::common::{self, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::engine::history::{History, PastRun};
use crate::pipeline;

use compare::Diff;
use side::Side;

/// For the end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt diff last~1 last
      the run before the last, and the last
  dpt diff 20261123-171158 last --all
      with what is the same
  dpt diff cache/v1/runs/A.jsonl there/B.jsonl
      two journals
  dpt diff pipelines/quickstart.toml HEAD~1
      a revision of a pipeline, and the file as it is; a second revision compares the two
  dpt diff pipelines/quickstart.toml origin/main --format markdown
      for a comment on a pull request";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Two runs (an id or its beginning, `last`, `last~1`, a journal's path), two pipeline files, or a pipeline file and
    /// one or two git revisions. What is left out is `last`, or the file as it is.
    #[arg(value_name = "A B", required = true, num_args = 1..=3)]
    what: Vec<String>,
    /// The axis over which means are taken.
    #[arg(long, value_name = "AXIS", default_value = "seed")]
    over: String,
    /// Print every figure: also what is the same or on one side alone, and those of all stages, not scores alone.
    #[arg(long)]
    all: bool,
    /// How to print it.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "markdown"])]
    format: String,
    /// One JSON object: for programs.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    store: StoreArgs,
}

/// Does it.
///
/// # Errors
/// A run or a revision that is not there, an invalid pipeline, a store that cannot be read.
pub fn run(args: &Args) -> Outcome {
    let (mut old, new) = sides(args)?;
    if old.pipeline != new.pipeline {
        old.notes.push(format!(
            "these are two pipelines, `{}` and `{}`: nodes that have the same name in both are compared, the others are \
             added or removed",
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
        let diag = Diag::error(Class::Usage, "`--set` and `--mirror` change pipelines, and these are runs");
        return Err(vec![diag.help("leave them out: what a run did is over")]);
    }
    match &args.what[..] {
        [a, b] if is_pipeline(a) && is_pipeline(b) => Ok((file(args, Path::new(a))?, file(args, Path::new(b))?)),
        [a] if is_pipeline(a) => revisions(args, Path::new(a), "HEAD", None),
        [a, b] if is_pipeline(a) => revisions(args, Path::new(a), b, None),
        [a, b, c] if is_pipeline(a) => revisions(args, Path::new(a), b, Some(c)),
        [a] => Ok((journal(args, a)?, journal(args, "last")?)),
        [a, b] => Ok((journal(args, a)?, journal(args, b)?)),
        _ => {
            let diag = Diag::error(Class::Usage, "three arguments are a pipeline file and two git revisions");
            Err(vec![diag.help("write `dpt diff PIPELINE.toml REV REV`, or name two runs")])
        }
    }
}

/// A pipeline as it is.
fn file(args: &Args, path: &Path) -> Result<Side, Vec<Diag>> {
    let plan = args.changes.load(path)?;
    Side::of_plan(path.display().to_string(), &plan, &args.store.peek(path)?)
}

/// A pipeline at one revision, and at another or as it is.
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

/// A run: by its journal's path, else by its name in the store.
fn journal(args: &Args, text: &str) -> Result<Side, Vec<Diag>> {
    let one = |diag: Diag| vec![diag];
    let path = PathBuf::from(text);
    if text.ends_with(".jsonl") {
        let run = PastRun::read(&path).map_err(|diag| {
            let diag = Diag { class: Class::Usage, ..diag };
            vec![diag.help("a journal lies in `cache/v1/runs/` of the store that its run used")]
        })?;
        // The store that it lies in has its entries.
        let own = std::path::absolute(&path).ok().and_then(|path| path.ancestors().nth(3).map(Path::to_path_buf));
        let own = own.filter(|folder| folder.join("v1").join("entries").is_dir());
        let store = own.map_or_else(|| args.store.peek(Path::new(".")), |folder| Store::peek(&folder).map_err(one))?;
        return Side::of_run(&run, &store).map_err(one);
    }
    let store = args.store.peek(Path::new("."))?;
    let history = History::of(&store.runs());
    let run = history.find(text, None).map_err(|diag| {
        let help = match text.starts_with(|c: char| c.is_ascii_digit()) || text.starts_with("last") {
            true => format!("the store is `{}`; another is named with `--cache DIR`", store.root().display()),
            false => "a git revision comes after its pipeline: `dpt diff PIPELINE.toml HEAD~1 HEAD`".to_owned(),
        };
        vec![if diag.help.is_none() { diag.help(help) } else { diag }]
    })?;
    common::tell_unreadable(&history);
    Side::of_run(run, &store).map_err(one)
}
