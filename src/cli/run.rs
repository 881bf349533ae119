//! `dpt run`: brings a pipeline up to date.

use std::io::IsTerminal;
use std::mem::ManuallyDrop;
use std::path::Path;

use crate::cli::CommandResult;
use crate::cli::check_lock::LockedArgs;
use crate::cli::common::{self, DeviceArgs, LoadedPipeline, PipelineArgs, StoreArgs, StorePurpose};
use crate::cli::exit::Exit;
use crate::cli::patterns::Names;
use crate::cli::progress::{self, json::JsonSink, plain::PlainSink, tty::TtySink};
use crate::cli::render::{BAD, DIM, WARN, paint};
use crate::cli::results::{self, ExportedResults};
use crate::cli::select::{SelectArgs, Selection};
use crate::cli::{dry_run, render};
use crate::engine::event::Sink;
use crate::engine::graph::Accept;
use crate::engine::graph::NodeId;
use crate::engine::options::{RunOptions, RunSummary};
use crate::engine::run::run as run_graph;
use crate::pipeline::Plan;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt run pipelines/quickstart.toml
      run whatever the pipeline's targets still need
  dpt run pipelines/quickstart.toml -n
      only show what would run, and why
  dpt run pipelines/superglue_full.toml 'train[rte,dpt,42]' 'eval[task=boolq]'
      run some nodes and what they need; a node is a stage with a value for each of its axes
  dpt run pipelines/superglue_full.toml --only 'train[rte|cb,*,42]' --force
      run these nodes again and no others; their inputs come from the store
  dpt run pipelines/superglue_full.toml --from svd_init --until 'train[task=rte]'
      run a part of the graph
  dpt run pipelines/quickstart.toml --set stage.train.learning_rate=0.1
      run with another value; only what depends on it runs again
  dpt run pipelines/quickstart.toml --locked
      run, and fail if anything differs from pipelines/quickstart.lock";

/// The arguments of `dpt run`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Stages or nodes to bring up to date: `train`, `train[rte,dpt,42]`, `train[task=rte]`, `train[*,dpt,*]`
    /// [default: the pipeline's targets]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    part: SelectArgs,
    /// Show what would run and why; run nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Like `--dry-run`, and exit with code 3 if anything would run
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// After a failure, still run nodes that do not depend on the failed one
    #[arg(long, short = 'k')]
    keep_going: bool,
    /// Number of CPUs that running nodes share [default: all]
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Run nodes again even if they are fresh: the TARGETs, or those selected by `--only`, `--from` and `--until`
    /// (without any of these: all nodes)
    #[arg(long)]
    force: bool,
    /// Which stored results to accept if they were made on another device, libtorch or number of threads:
    /// `any`, `same-device` or `exact` [default: the pipeline's setting, else `any`]
    #[arg(long, value_name = "WHICH", value_parser = accept)]
    accept: Option<Accept>,
    #[command(flatten)]
    locked: LockedArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Print the events of the run to stdout as JSON, one object a line
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

/// Runs the pipeline.
///
/// # Errors
/// Returns what kept the run from starting. Errors of nodes are printed when they happen.
pub fn run(args: &Args) -> CommandResult {
    let dry_run = args.dry_run || args.check;
    let purpose = if dry_run { StorePurpose::Look } else { StorePurpose::Use };
    // `_in_use` is held until the results are copied out.
    let LoadedPipeline { plan, store, in_use: _in_use } = common::plan_and_store(&args.pipeline, &args.store, purpose)?;
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
    let locked = args.locked.read(&plan, whole, args.json)?;
    if let Some(locked) = &locked
        && let Some(exit) = locked.before(&plan, &store, &options, &executor)?
    {
        return Ok(exit);
    }
    if dry_run && !args.json {
        return dry_run::run(&plan, &store, &options, &executor, args.check);
    }
    let cancel = common::cancel_on_ctrl_c()?;
    let sink = choose(args.json);
    // Not dropped: process exit frees a large summary faster than its destructor.
    let summary = ManuallyDrop::new(run_graph(&plan.graph, &store, options, &executor, sink.as_ref(), cancel));
    // Remove the progress bars before the last line.
    drop(sink);
    // A run of a part of the graph copies only results that no other node reads.
    let named = if args.part.is_empty() { targets.clone() } else { vec![] };
    // An interrupted run does not copy: the next one does.
    let copies = !dry_run && !summary.totals.interrupted;
    let copied = if copies { export(&plan, &summary, &named, &store, &folder) } else { ExportedResults::default() };
    if !args.json {
        copied.notes.iter().for_each(|note| render::err(&format!("{} {note}\n", paint(DIM, "note"))));
        let arrow = copied.folders.iter().map(|path| format!("  -> {}", common::shown(path))).collect::<String>();
        render::err(&format!("{}{arrow}\n", progress::summary(&plan.name, &summary.totals)));
        render::err(&rest(args, &plan, &summary));
    }
    match (exit(args, &summary), locked) {
        (Exit::Done, Some(locked)) if !dry_run => locked.after(&plan, &store, &targets, &summary),
        (exit, _) => Ok(exit),
    }
}

/// Lists what failed, what was skipped because of it, and where to read more.
fn rest(args: &Args, plan: &Plan, summary: &RunSummary) -> String {
    if summary.failed.is_empty() && summary.skipped.is_empty() {
        return String::new();
    }
    let names = Names::of(&plan.graph);
    let mut causes: Vec<(String, Vec<usize>)> = Vec::new();
    for (id, error) in &summary.failed {
        // The line names the node before the cause.
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
        text += &format!("  {}\n", paint(DIM, format!("for details: dpt explain {file} '{node}'")));
        if !summary.skipped.is_empty() && !args.keep_going && !summary.totals.interrupted {
            text += &format!("  {}\n", paint(DIM, "`--keep-going` runs nodes that do not depend on the failed ones"));
        }
    }
    text
}

/// Returns the sink for the events of a run: JSON lines, bars on a terminal, or plain lines.
pub(super) fn choose(json: bool) -> Box<dyn Sink> {
    match (json, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(JsonSink::default()),
        (false, true) => Box::new(TtySink::new()),
        (false, false) => Box::new(PlainSink::default()),
    }
}

/// Copies results to `results/`. A failure is only a warning.
fn export(
    plan: &Plan,
    summary: &RunSummary,
    targets: &[NodeId],
    store: &crate::cache::Store,
    folder: &Path,
) -> ExportedResults {
    results::export(plan, summary, targets, store, folder).unwrap_or_else(|mut diag| {
        diag.severity = crate::base::diag::Severity::Warning;
        render::err(&render::diag(&diag.note("the results are in the store, but could not be copied to `results/`")));
        ExportedResults::default()
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
