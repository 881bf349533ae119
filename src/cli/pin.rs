//! `dpt pin`: records the sizes and digests of a pipeline's downloads, in a file beside the pipeline.

use std::collections::BTreeSet;

use crate::cli::CommandResult;
use crate::cli::check::ChangeArgs;
use crate::cli::common::{self, PipelineArgs, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::{render, run};
use crate::engine::graph::NodeId;
use crate::engine::options::{RunOptions, RunSummary};
use crate::engine::run::run as run_graph;
use crate::pipeline::Plan;
use crate::pipeline::pins::{self, Pin, Pins};
use crate::worker::device::DeviceChoice;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt pin pipelines/superglue_full.toml
      download what is missing, and record each file without a pin in pipelines/superglue_full.pins.toml
  dpt pin pipelines/superglue_full.toml --force
      download everything again, and replace all pins by what the servers have now

Later downloads are checked against the pins. Keep the file under version control, with the pipeline.";

/// The arguments of `dpt pin`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Ignore the pins, download everything again and record the files
    #[arg(long)]
    force: bool,
}

/// Downloads the sources and records them.
///
/// # Errors
/// Fails if the pipeline is invalid, or if the pins cannot be read or written. Failed downloads are printed when they
/// happen.
pub fn run(args: &Args) -> CommandResult {
    let mut plan = args.pipeline.load()?;
    let mut nodes = remote(&plan);
    if args.force {
        plan = unverified(&args.pipeline, &plan, &nodes).load()?;
        nodes = remote(&plan);
    }
    if nodes.is_empty() {
        render::err("nothing to pin: this pipeline has no downloads\n");
        return Ok(Exit::Done);
    }
    let store = args.store.open(&args.pipeline.pipeline)?;
    let jobs = common::cpus();
    let options = RunOptions {
        pipeline: plan.name.clone(),
        jobs,
        targets: nodes.clone(),
        only: vec![],
        keep_going: false,
        force: if args.force { nodes.clone() } else { vec![] },
        outside: plan.outside.clone(),
        accept: None,
        dry_run: false,
    };
    let executor = common::local(DeviceChoice::Cpu, jobs, &store, &plan.name);
    let cancel = common::cancel_on_ctrl_c()?;
    let sink = run::choose(false);
    let summary = run_graph(&plan.graph, &store, options, &executor, sink.as_ref(), cancel);
    drop(sink);
    if summary.totals.interrupted {
        return Ok(Exit::Interrupted);
    }
    if !summary.failed.is_empty() {
        return Ok(Exit::of(summary.failed.iter().map(|(_, diag)| diag)));
    }
    let found = found(&plan, &nodes, &summary, &store)?;
    record(&plan, found)?;
    Ok(Exit::Done)
}

/// Returns the nodes that download from the network.
fn remote(plan: &Plan) -> Vec<NodeId> {
    let is_remote = |id: &NodeId| {
        let node = plan.graph.node(*id);
        node.kind.pinning.is_some_and(|pinning| (pinning.is_remote)(&node.params))
    };
    plan.graph.ids().filter(is_remote).collect()
}

/// Returns the same arguments, with verification of the sources turned off.
fn unverified(args: &PipelineArgs, plan: &Plan, nodes: &[NodeId]) -> PipelineArgs {
    let mut sets = args.changes.sets.clone();
    let source = |id: &NodeId| {
        let node = plan.graph.node(*id);
        (node.kind.pinning?.source)(&node.params)
    };
    let sources: BTreeSet<&str> = nodes.iter().filter_map(source).collect();
    sets.extend(sources.iter().map(|name| format!("source.{name}.verify=false")));
    let changes = ChangeArgs { sets, ..args.changes.clone() };
    PipelineArgs { pipeline: args.pipeline.clone(), changes }
}

/// Returns the files that were downloaded without a pin.
fn found(
    plan: &Plan,
    nodes: &[NodeId],
    summary: &RunSummary,
    store: &crate::cache::Store,
) -> Result<Pins, Vec<crate::base::diag::Diag>> {
    let mut found = Pins::new();
    for id in nodes {
        let Some(stored) = summary.results[id.index()].as_deref() else { continue };
        let node = plan.graph.node(*id);
        let Some(pinning) = node.kind.pinning else { continue };
        let Some(record) = store.paths(stored).remove(pinning.record) else { continue };
        let records = (pinning.unpinned)(&node.params, &record).map_err(|diag| vec![diag])?;
        for (source, files) in records {
            let pins = files
                .into_iter()
                .map(|(key, file)| (key, Pin { path: file.path, sha256: file.sha256, bytes: file.bytes }));
            found.entry(source).or_default().extend(pins);
        }
    }
    Ok(found)
}

/// Adds the found files to the pins, and prints them.
fn record(plan: &Plan, found: Pins) -> Result<(), Vec<crate::base::diag::Diag>> {
    let path = pins::path_of(&plan.path);
    let mut recorded = pins::read(&plan.path)?;
    let mut changes = 0;
    for (source, files) in found {
        for (key, pin) in files {
            let old = recorded.entry(source.clone()).or_default().insert(key.clone(), pin.clone());
            if old.as_ref() != Some(&pin) {
                changes += 1;
                let what = if old.is_some() { "changed" } else { "pinned" };
                render::out(&format!("{what} {source} {key}: {} bytes, sha256 {}\n", pin.bytes, pin.sha256));
            }
        }
    }
    if changes == 0 {
        render::err("all files are pinned already\n");
        return Ok(());
    }
    pins::write(&plan.path, &recorded).map_err(|diag| vec![diag])?;
    render::err(&format!(
        "wrote {} to {}; the next run downloads these files again to check them\n",
        render::count(changes, "pin"),
        common::shown(&path)
    ));
    Ok(())
}
