//! `dpt exec`: runs single nodes from the pipeline file and the store. An executor starts it on another machine. It
//! never runs the nodes' inputs.

use crate::base::diag::{Class, Diag};
use crate::cli::CommandResult;
use crate::cli::common::{self, DeviceArgs, PipelineArgs, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::progress::json::JsonSink;
use crate::engine::freshness::{Freshness, status};
use crate::engine::options::RunOptions;
use crate::engine::run::run as run_graph;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Example:
  dpt exec pipelines/superglue_full.toml 'train[rte,dpt,42]'";

/// The arguments of `dpt exec`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Nodes to run, such as `train[rte,dpt,42]`
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
    /// Number of CPUs to use [default: all]
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the nodes and prints the events to stdout as JSON lines.
///
/// # Errors
/// Fails if an input of a node is not in the store.
pub fn run(args: &Args) -> CommandResult {
    let plan = args.pipeline.load()?;
    let targets = plan.select(&args.nodes)?;
    let store = args.store.open(&args.pipeline.pipeline)?;
    let jobs = args.jobs.map_or_else(common::cpus, usize::from);
    let options = RunOptions {
        pipeline: plan.name.clone(),
        jobs,
        targets: targets.clone(),
        outside: plan.outside.clone(),
        ..RunOptions::default()
    };
    let executor = common::local(args.device.device, jobs, &store, &plan.name);
    let mut missing = Vec::new();
    for node in status(&plan.graph, &store, &options, &executor) {
        if !targets.contains(&node.id) && !matches!(node.freshness, Freshness::Fresh { .. }) {
            let text = format!("the input `{}` is not in the store", plan.graph.node(node.id));
            missing.push(Diag::error(Class::Usage, text));
        }
    }
    if !missing.is_empty() {
        return Err(missing);
    }
    let cancel = common::cancel_on_ctrl_c()?;
    let summary = run_graph(&plan.graph, &store, options, &executor, &JsonSink::default(), cancel);
    Ok(if summary.totals.interrupted {
        Exit::Interrupted
    } else {
        Exit::of(summary.failed.iter().map(|(_, diag)| diag))
    })
}
