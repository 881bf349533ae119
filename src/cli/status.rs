//! `dpt status`: the status of each node of a pipeline. Runs nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::base::diag::Diag;
use crate::base::watch::{Counting, Work};
use crate::cache::StaleReason;
use crate::cli::CommandResult;
use crate::cli::common::{self, LoadedPipeline, PipelineArgs, StoreArgs, StorePurpose};
use crate::cli::exit::Exit;
use crate::cli::progress::Bar;
use crate::cli::render::{self, DIM, paint};
use crate::cli::status_kind::StatusKind;
use crate::cli::status_table::{self, why};
use crate::engine::freshness::{Freshness, NodeStatus, status};
use crate::engine::options::RunOptions;
use crate::pipeline::Plan;
use crate::worker::device::DeviceChoice;

/// The end of the help text.
pub const EXAMPLES: &str = "\
A node is
  fresh     if its result is in the store
  stale     if something in its recipe (parameters, inputs, code) has changed since its last result
  missing   if it has no result
  blocked   if it reads a node that is not fresh; it runs again only if that input changes
  damaged   if its stored files were changed or lost; the next run makes them again
  unknown   if a file that its key depends on cannot be read

Examples:
  dpt status pipelines/quickstart.toml
  dpt status pipelines/quickstart.toml --nodes 'train[task=rte]'
  dpt explain pipelines/quickstart.toml 'train[rte,dpt,42]'      explain one node in detail";

/// The arguments of `dpt status`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Stages or nodes to show, with what they need [default: the pipeline's targets]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Print a line for each node instead of each stage
    #[arg(long, short = 'l', visible_alias = "expand")]
    nodes: bool,
    /// Print one JSON object for each node
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints the status.
///
/// # Errors
/// Fails if the pipeline is invalid, a target matches no node, or a file that a key depends on cannot be read.
pub fn run(args: &Args) -> CommandResult {
    let began = Instant::now();
    let LoadedPipeline { plan, store, in_use: _in_use } =
        common::plan_and_store(&args.pipeline, &args.store, StorePurpose::Look)?;
    let targets = common::select(&plan, &args.targets)?;
    let options =
        RunOptions { pipeline: plan.name.clone(), targets, outside: plan.outside.clone(), ..RunOptions::default() };
    let executor = common::local(DeviceChoice::Auto, 1, &store, &plan.name);
    let bar = Bar::new();
    let (go_on, show) = (|| Ok(()), |amount| bar.show(amount));
    let watch = Counting::new(Work { what: "hashing sources", ..Work::default() }, &go_on, &show);
    let mut nodes = status(&plan.graph, store.watched(&watch), &options, &executor);
    drop(bar);
    // Print in the order of the pipeline file.
    nodes.sort_by_key(|node| node.id);
    // Keeps the digests of hashed files for the next run. A failure only makes that run slower.
    let _ = store.flush();
    if args.json {
        nodes.iter().for_each(|node| render::out(&(json(&plan, node) + "\n")));
    } else {
        render::out(&if args.nodes { by_node(&plan, &nodes) } else { status_table::table(&plan, &nodes, None) });
        let took = render::duration(began.elapsed());
        let counts = status_table::counts(&nodes);
        render::err(&format!(
            "{}\n",
            paint(DIM, format!("{}: {counts}  ({took})", render::count(nodes.len(), "node")))
        ));
    }
    let broken: Vec<Diag> = nodes.into_iter().filter_map(|node| error(node.freshness)).collect();
    if broken.is_empty() { Ok(Exit::Done) } else { Err(broken) }
}

fn error(freshness: Freshness) -> Option<Diag> {
    match freshness {
        Freshness::Broken { error } => Some(error),
        _ => None,
    }
}

/// Returns a table with a row for each node, in pipeline order.
fn by_node(plan: &Plan, nodes: &[NodeStatus]) -> String {
    let row = |node: &NodeStatus| {
        let state = StatusKind::of(&node.freshness);
        let name = plan.graph.node(node.id).short();
        vec![state.painted(state.word()), name, paint(DIM, why(plan, &node.freshness))]
    };
    render::table(&nodes.iter().map(row).collect::<Vec<_>>(), &[])
}

/// A node as JSON.
#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    node: String,
    stage: &'a str,
    axes: BTreeMap<&'a str, &'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    why: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reasons: &'a [StaleReason],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

fn json(plan: &Plan, status: &NodeStatus) -> String {
    let node = plan.graph.node(status.id);
    let mut line = Line {
        schema: 1,
        node: node.to_string(),
        stage: &node.stage,
        axes: node.axes.iter().map(|(axis, value)| (axis.as_str(), value.as_str())).collect(),
        status: StatusKind::of(&status.freshness).word(),
        key: None,
        why: why(plan, &status.freshness),
        reasons: &[],
        by: Vec::new(),
        seconds: None,
        bytes: None,
    };
    match &status.freshness {
        Freshness::Fresh { stored } => {
            line.key = Some(stored.key.hex());
            (line.seconds, line.bytes) = (Some(stored.seconds), Some(stored.size()));
        }
        Freshness::Stale { key, reasons } | Freshness::Damaged { key, reasons } => {
            (line.key, line.reasons) = (Some(key.hex()), reasons);
        }
        Freshness::Blocked { by } => line.by = by.iter().map(|id| plan.graph.node(*id).to_string()).collect(),
        Freshness::Broken { .. } => {}
    }
    serde_json::to_string(&line).expect("a line is JSON")
}
