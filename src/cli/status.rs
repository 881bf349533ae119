//! `dpt status`: how the nodes of a pipeline stand. Runs nothing.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::base::diag::Diag;
use crate::cli::Outcome;
use crate::cli::common::{self, PipelineArgs, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::progress::reasons_line;
use crate::cli::render::{self, Align, BAD, BOLD, DIM, GOOD, WARN, paint};
use crate::engine::freshness::{Freshness, NodeStatus, status};
use crate::engine::run::RunOptions;
use crate::pipeline::Plan;
use crate::worker::device::Wanted;

/// For the end of the help text.
pub const EXAMPLES: &str = "\
A node is done when its result is in the store; stale when a run would make it (anew); waiting when that depends on what \
its stale inputs turn out to be.

Examples:
  dpt status pipelines/quickstart.toml
  dpt status pipelines/quickstart.toml --nodes 'train[task=rte]'";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Which nodes, and what they need [default: the pipeline's own targets].
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// A line for each node instead of each stage.
    #[arg(long, short = 'l')]
    nodes: bool,
    /// One JSON object a node: for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Does it.
///
/// # Errors
/// An invalid pipeline, a target that names nothing, a store that cannot be read.
pub fn run(args: &Args) -> Outcome {
    let began = Instant::now();
    let plan = args.pipeline.load()?;
    let targets = common::select(&plan, &args.targets)?;
    let store = args.store.open(&args.pipeline.pipeline)?;
    let options =
        RunOptions { pipeline: plan.name.clone(), targets, outside: plan.outside.clone(), ..RunOptions::default() };
    let executor = common::local(Wanted::Auto, 1, &store, &plan.name);
    let mut nodes = status(&plan.graph, &store, &options, &executor);
    // In the order of the pipeline file.
    nodes.sort_by_key(|node| node.id);
    // What was learnt of files is kept for the next look; without it that is slower and no different.
    let _ = store.flush();
    if args.json {
        nodes.iter().for_each(|node| render::out(&(json(&plan, node) + "\n")));
    } else {
        render::out(&if args.nodes { by_node(&plan, &nodes) } else { by_stage(&plan, &nodes) });
        let took = render::duration(began.elapsed());
        render::err(&format!("{}\n", paint(DIM, format!("{} in {took}", render::count(nodes.len(), "node")))));
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

/// The words for the five ways to stand, with a count each.
#[derive(Default)]
struct Counts {
    done: usize,
    stale: usize,
    waiting: usize,
    damaged: usize,
    broken: usize,
}

impl Counts {
    fn add(&mut self, freshness: &Freshness) {
        match freshness {
            Freshness::Fresh { .. } => self.done += 1,
            Freshness::Stale { .. } => self.stale += 1,
            Freshness::Blocked { .. } => self.waiting += 1,
            Freshness::Damaged { .. } => self.damaged += 1,
            Freshness::Broken { .. } => self.broken += 1,
        }
    }
}

fn word(freshness: &Freshness) -> String {
    match freshness {
        Freshness::Fresh { .. } => paint(GOOD, "done"),
        Freshness::Stale { .. } => paint(WARN, "stale"),
        Freshness::Blocked { .. } => paint(DIM, "waiting"),
        Freshness::Damaged { .. } => paint(BAD, "damaged"),
        Freshness::Broken { .. } => paint(BAD, "broken"),
    }
}

/// Why a node is as it is.
fn why(plan: &Plan, freshness: &Freshness) -> String {
    match freshness {
        Freshness::Fresh { stored } => {
            let time = Duration::try_from_secs_f64(stored.seconds).unwrap_or_default();
            format!("took {}, {}", render::duration(time), render::bytes(stored.size()))
        }
        Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. } => {
            reasons_line(reasons).unwrap_or_default()
        }
        Freshness::Blocked { by } => {
            let names: Vec<_> = by.iter().take(3).map(|id| plan.graph.node(*id).short()).collect();
            let more = by.len().saturating_sub(3);
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("for {}{tail}", names.join(", "))
        }
        Freshness::Broken { error } => error.message.clone(),
    }
}

/// A table with a row a stage, in pipeline order, and why the first of its nodes is not done.
fn by_stage(plan: &Plan, nodes: &[NodeStatus]) -> String {
    let mut stages: Vec<(&str, Counts, String)> = Vec::new();
    for node in nodes {
        let id = node.id;
        let stage = plan.graph.node(id).stage.as_str();
        let at = stages.iter().position(|(name, ..)| *name == stage).unwrap_or_else(|| {
            stages.push((stage, Counts::default(), String::new()));
            stages.len() - 1
        });
        let (_, counts, first) = &mut stages[at];
        counts.add(&node.freshness);
        if first.is_empty() && !matches!(node.freshness, Freshness::Fresh { .. } | Freshness::Blocked { .. }) {
            *first = format!("{}: {}", plan.graph.node(id).short(), why(plan, &node.freshness));
        }
    }
    let damaged = stages.iter().any(|(_, counts, _)| counts.damaged + counts.broken > 0);
    let mut head = vec!["stage", "nodes", "done", "stale", "waiting"];
    if damaged {
        head.push("damaged");
    }
    let mut rows = vec![head.into_iter().map(|title| paint(BOLD, title)).collect::<Vec<_>>()];
    for (stage, counts, first) in stages {
        let number = |n: usize, style| if n == 0 { String::new() } else { paint(style, n) };
        let all = counts.done + counts.stale + counts.waiting + counts.damaged + counts.broken;
        let mut row = vec![stage.to_owned(), all.to_string(), number(counts.done, GOOD), number(counts.stale, WARN)];
        row.push(number(counts.waiting, DIM));
        if damaged {
            row.push(number(counts.damaged + counts.broken, BAD));
        }
        row.push(paint(DIM, first));
        rows.push(row);
    }
    let mut align = vec![Align::Left];
    align.resize(if damaged { 6 } else { 5 }, Align::Right);
    align.push(Align::Left);
    render::table(&rows, &align)
}

/// A table with a row a node, in pipeline order.
fn by_node(plan: &Plan, nodes: &[NodeStatus]) -> String {
    let row = |node: &NodeStatus| {
        let name = plan.graph.node(node.id).short();
        vec![word(&node.freshness), name, paint(DIM, why(plan, &node.freshness))]
    };
    render::table(&nodes.iter().map(row).collect::<Vec<_>>(), &[])
}

/// One node for a program.
#[derive(Serialize)]
struct Line<'a> {
    node: String,
    stage: &'a str,
    axes: std::collections::BTreeMap<&'a str, &'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    why: String,
}

fn json(plan: &Plan, status: &NodeStatus) -> String {
    let node = plan.graph.node(status.id);
    let (word, key) = match &status.freshness {
        Freshness::Fresh { stored } => ("done", Some(stored.key.hex())),
        Freshness::Stale { key, .. } => ("stale", Some(key.hex())),
        Freshness::Blocked { .. } => ("waiting", None),
        Freshness::Damaged { key, .. } => ("damaged", Some(key.hex())),
        Freshness::Broken { .. } => ("broken", None),
    };
    let axes = node.axes.iter().map(|(axis, value)| (axis.as_str(), value.as_str())).collect();
    let why = why(plan, &status.freshness);
    let line = Line { node: node.to_string(), stage: &node.stage, axes, status: word, key, why };
    serde_json::to_string(&line).expect("a line is JSON")
}
