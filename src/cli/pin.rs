//! `dpt pin`: records what the sources of a pipeline hold, beside the pipeline.

use std::collections::BTreeSet;

use crate::cli::Outcome;
use crate::cli::check::Changes;
use crate::cli::common::{self, PipelineArgs, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::{render, run};
use crate::engine::graph::NodeId;
use crate::engine::options::{RunOptions, RunSummary};
use crate::engine::run::run as run_graph;
use crate::pipeline::Plan;
use crate::pipeline::pins::{self, Pin, Pins};
use crate::stages::download;
use crate::worker::device::Wanted;

/// For the end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt pin pipelines/superglue_full.toml
      download what is not there yet, and record every file without a pin in pipelines/superglue_full.pins.toml
  dpt pin pipelines/superglue_full.toml --force
      download everything again, and record what the servers have now instead of what was recorded

From then on every download is checked against the record. Keep it under version control, with the pipeline.";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Download everything again, without looking at the pins, and record what comes.
    #[arg(long)]
    force: bool,
}

/// Does it.
///
/// # Errors
/// A wrong pipeline, or a record that cannot be read or written. A download that fails was shown when it happened.
pub fn run(args: &Args) -> Outcome {
    let mut plan = args.pipeline.load()?;
    let mut nodes = remote(&plan);
    if args.force {
        plan = unverified(&args.pipeline, &plan, &nodes).load()?;
        nodes = remote(&plan);
    }
    if nodes.is_empty() {
        render::err("nothing to pin: this pipeline downloads nothing\n");
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
    let executor = common::local(Wanted::Cpu, jobs, &store, &plan.name);
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

/// The nodes that read from the net.
fn remote(plan: &Plan) -> Vec<NodeId> {
    let is_remote = |id: &NodeId| {
        let node = plan.graph.node(*id);
        node.kind.name == download::KIND.name && download::is_remote(&node.params)
    };
    plan.graph.ids().filter(is_remote).collect()
}

/// The same pipeline, its sources taken as they come.
fn unverified(args: &PipelineArgs, plan: &Plan, nodes: &[NodeId]) -> PipelineArgs {
    let mut sets = args.changes.sets.clone();
    let sources: BTreeSet<&str> =
        nodes.iter().filter_map(|id| download::source_name(&plan.graph.node(*id).params)).collect();
    sets.extend(sources.iter().map(|name| format!("source.{name}.verify=false")));
    let changes = Changes { sets, ..args.changes.clone() };
    PipelineArgs { pipeline: args.pipeline.clone(), changes }
}

/// What was fetched without being checked.
fn found(
    plan: &Plan,
    nodes: &[NodeId],
    summary: &RunSummary,
    store: &crate::cache::Store,
) -> Result<Pins, Vec<crate::base::diag::Diag>> {
    let mut found = Pins::new();
    for id in nodes {
        let Some(stored) = summary.results[id.index()].as_deref() else { continue };
        let Some(fetched) = store.paths(stored).remove("fetched.json") else { continue };
        let records = download::unpinned(&plan.graph.node(*id).params, &fetched).map_err(|diag| vec![diag])?;
        for (source, files) in records {
            let pins = files
                .into_iter()
                .map(|(key, file)| (key, Pin { path: file.path, sha256: file.sha256, bytes: file.bytes }));
            found.entry(source).or_default().extend(pins);
        }
    }
    Ok(found)
}

/// Adds what was found to what is recorded, and tells it.
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
        render::err("everything is pinned already\n");
        return Ok(());
    }
    pins::write(&plan.path, &recorded).map_err(|diag| vec![diag])?;
    render::err(&format!(
        "{changes} written to {}; the next run fetches them once more, to check them\n",
        common::shown(&path)
    ));
    Ok(())
}
