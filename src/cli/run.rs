//! `dpt run`: brings a pipeline up to date.

use std::io::IsTerminal;
use std::mem::ManuallyDrop;
use std::path::Path;

use crate::cli::Outcome;
use crate::cli::common::{self, DeviceArgs, Loaded, PipelineArgs, Purpose, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::fold::Names;
use crate::cli::locked::LockedArgs;
use crate::cli::progress::{self, json::Json, plain::Plain, tty::Tty};
use crate::cli::render::{BAD, DIM, WARN, paint};
use crate::cli::results::{self, Exported};
use crate::cli::select::{SelectArgs, Selection};
use crate::cli::{dry, render};
use crate::engine::event::Sink;
use crate::engine::graph::Accept;
use crate::engine::graph::NodeId;
use crate::engine::options::{RunOptions, RunSummary};
use crate::engine::run::run as run_graph;
use crate::pipeline::Plan;

/// For the end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt run pipelines/quickstart.toml
      everything that the pipeline's targets need and that is not there yet
  dpt run pipelines/quickstart.toml -n
      the same, but only tell what would run, and why
  dpt run pipelines/superglue_full.toml 'train[rte,dpt,42]' 'eval[task=boolq]'
      some nodes and what they need; a node is a stage with a value for each of its axes
  dpt run pipelines/superglue_full.toml --only 'train[rte|cb,*,42]' --force
      these nodes again, and nothing else: what they read is taken from the store
  dpt run pipelines/superglue_full.toml --from svd_init --until 'train[task=rte]'
      a part of the graph
  dpt run pipelines/quickstart.toml --set stage.train.learning_rate=0.1
      with another value: only what depends on it runs again
  dpt run pipelines/quickstart.toml --locked
      and fail where anything is not as pipelines/quickstart.lock says";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// What to bring up to date: `train`, `train[rte,dpt,42]`, `train[task=rte]`, `train[*,dpt,*]`
    /// [default: the pipeline's own targets].
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    part: SelectArgs,
    /// Tell what would run and why, and run nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// As `--dry-run`, and exit with 3 where anything would run: for scripts.
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// After a failure, go on with what does not need the failed node.
    #[arg(long, short = 'k')]
    keep_going: bool,
    /// How many CPUs to use: nodes that run at the same time share them [default: all].
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Run what is asked for again even where its results are there: the TARGETs, or what `--only`, `--from` and
    /// `--until` leave (without any of them: everything).
    #[arg(long)]
    force: bool,
    /// Which stored results count that were made on another device, libtorch or thread count:
    /// `any`, `same-device` or `exact` [default: as the pipeline says, else `any`].
    #[arg(long, value_name = "WHICH", value_parser = accept)]
    accept: Option<Accept>,
    #[command(flatten)]
    locked: LockedArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Tell what happens as JSON, one object a line, on stdout: for programs.
    #[arg(long)]
    json: bool,
}

fn accept(text: &str) -> Result<Accept, String> {
    match text {
        "any" => Ok(Accept::Any),
        "same-device" => Ok(Accept::SameDevice),
        "exact" => Ok(Accept::Exact),
        _ => Err("expected `any`, `same-device` or `exact`".to_owned()),
    }
}

/// Does it.
///
/// # Errors
/// What kept the run from starting. What went wrong in it was shown when it happened.
pub fn run(args: &Args) -> Outcome {
    let dry_run = args.dry_run || args.check;
    let purpose = if dry_run { Purpose::Look } else { Purpose::Use };
    // It is held until the results are copied out.
    let Loaded { plan, store, in_use: _in_use } = common::plan_and_store(&args.pipeline, &args.store, purpose)?;
    let Selection { targets, only } = args.part.select(&plan, &args.targets)?;
    let lacking = plan.lacking_for(&targets);
    if !lacking.is_empty() {
        return Err(lacking);
    }
    let force = match (args.force, args.targets.is_empty() && only.is_empty()) {
        (false, _) => vec![],
        (true, true) => plan.graph.ids().collect(),
        (true, false) => targets.clone(),
    };
    let folder = args.store.folder(&args.pipeline.pipeline);
    let jobs = args.jobs.map_or_else(common::cpus, usize::from);
    let options = RunOptions {
        pipeline: plan.name.clone(),
        jobs,
        targets: targets.clone(),
        only,
        keep_going: args.keep_going,
        force,
        outside: plan.outside.clone(),
        accept: args.accept,
        dry_run,
    };
    let executor = common::local(args.device.device, jobs, &store, &plan.name);
    let whole = args.targets.is_empty() && args.part.is_empty();
    let guard = args.locked.guard(&plan, whole, args.json)?;
    if let Some(guard) = &guard
        && let Some(exit) = guard.before(&plan, &store, &options, &executor)?
    {
        return Ok(exit);
    }
    if dry_run && !args.json {
        return dry::run(&plan, &store, &options, &executor, args.check);
    }
    let cancel = common::cancel_on_ctrl_c()?;
    let sink = choose(args.json);
    // Left to the system, like plan and store.
    let summary = ManuallyDrop::new(run_graph(&plan.graph, &store, options, &executor, sink.as_ref(), cancel));
    // Bars are taken off the screen before the last line.
    drop(sink);
    // Of a part of the graph, what no other reads.
    let named = if args.part.is_empty() { targets.clone() } else { vec![] };
    // Who wants the run to end does not wait for copies: the next run makes them.
    let copies = !dry_run && !summary.totals.interrupted;
    let copied = if copies { export(&plan, &summary, &named, &store, &folder) } else { Exported::default() };
    if !args.json {
        copied.notes.iter().for_each(|note| render::err(&format!("{} {note}\n", paint(DIM, "note"))));
        let arrow = copied.folders.iter().map(|path| format!("  -> {}", common::shown(path))).collect::<String>();
        render::err(&format!("{}{arrow}\n", progress::summary(&plan.name, &summary.totals)));
        render::err(&rest(args, &plan, &summary));
    }
    match (exit(args, &summary), guard) {
        (Exit::Done, Some(guard)) if !dry_run => guard.after(&plan, &store, &targets, &summary),
        (exit, _) => Ok(exit),
    }
}

/// What failed, what was skipped because of it, and where to read more.
fn rest(args: &Args, plan: &Plan, summary: &RunSummary) -> String {
    if summary.failed.is_empty() && summary.skipped.is_empty() {
        return String::new();
    }
    let names = Names::of(&plan.graph);
    let mut causes: Vec<(String, Vec<usize>)> = Vec::new();
    for (id, error) in &summary.failed {
        // Its name stands before the cause already.
        let name = format!("`{}` ", plan.graph.node(*id));
        let cause = error.message.strip_prefix(&name).unwrap_or(&error.message).to_owned();
        match causes.iter_mut().find(|(other, _)| *other == cause) {
            Some((_, nodes)) => nodes.push(id.index()),
            None => causes.push((cause, vec![id.index()])),
        }
    }
    let mut text = String::new();
    for (cause, nodes) in &causes {
        text += &format!("  {}   {}: {cause}\n", paint(BAD, "failed"), names.line(nodes));
    }
    if !causes.is_empty() && !summary.skipped.is_empty() {
        let nodes: Vec<_> = summary.skipped.iter().map(|id| id.index()).collect();
        text += &format!("  {}  {}\n", paint(WARN, "skipped"), names.line(&nodes));
    }
    if let Some((id, _)) = summary.failed.first() {
        let file = common::typed(&args.pipeline.pipeline);
        let node = plan.graph.node(*id).short();
        text += &format!("  {}\n", paint(DIM, format!("more: dpt explain {file} '{node}'")));
        if !summary.skipped.is_empty() && !args.keep_going && !summary.totals.interrupted {
            text +=
                &format!("  {}\n", paint(DIM, "with `--keep-going`, what does not need the failed nodes still runs"));
        }
    }
    text
}

pub(super) fn choose(json: bool) -> Box<dyn Sink> {
    match (json, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Json::default()),
        (false, true) => Box::new(Tty::new()),
        (false, false) => Box::new(Plain::default()),
    }
}

/// Copies results out; that it cannot be done fails no run.
fn export(
    plan: &Plan,
    summary: &RunSummary,
    targets: &[NodeId],
    store: &crate::cache::Store,
    folder: &Path,
) -> Exported {
    results::export(plan, summary, targets, store, folder).unwrap_or_else(|mut diag| {
        diag.severity = crate::base::diag::Severity::Warning;
        render::err(&render::diag(&diag.note("results are in the store, and could not be copied out of it")));
        Exported::default()
    })
}

fn exit(args: &Args, summary: &RunSummary) -> Exit {
    let totals = &summary.totals;
    if totals.interrupted {
        return Exit::Interrupted;
    }
    if args.check && totals.would_run + totals.may_run > 0 {
        return Exit::Found;
    }
    Exit::of(summary.failed.iter().map(|(_, diag)| diag))
}
