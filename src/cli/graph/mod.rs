//! `dpt graph`: what a pipeline is made of and who reads whom: drawn in the terminal, or as DOT, Mermaid or JSON. Stages
//! are drawn once with the number of their instances, unless `--expand` asks for all of these.

mod boxes;
mod fold;
mod rails;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use crate::base::diag::Diag;
use crate::cli::check::Changes;
use crate::cli::exit::Exit;
use crate::cli::render::{self, BOLD, DIM, paint};
use crate::engine::graph::{Graph, NodeId};
use crate::pipeline::Plan;

use boxes::{boxes, dot, lines, mermaid};
use fold::Folded;

/// Draw the pipeline: its stages, how many instances each has, and who reads whom.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline file (TOML)
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,

    /// Draw these and what they need, instead of the pipeline's own targets: `train`, `eval[task=rte]`
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// How to draw it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Draw every instance, not every stage
    #[arg(long)]
    pub expand: bool,

    /// What to change in it first
    #[command(flatten)]
    pub changes: Changes,
}

/// How to draw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines and letters
    #[default]
    Text,
    /// For Graphviz
    Dot,
    /// For Markdown pages
    Mermaid,
    /// For programs
    Json,
}

/// Prints the drawing.
///
/// # Errors
/// Every problem of the pipeline, or of the targets.
pub fn run(args: &Args) -> Result<Exit, Vec<Diag>> {
    let plan = args.changes.load(&args.pipeline)?;
    let targets = match args.targets.is_empty() {
        true => plan.targets.clone(),
        false => plan.select(&args.targets)?,
    };
    let nodes = needed(&plan.graph, targets);
    anstream::print!("{}", draw(&plan, &nodes, args.format, args.expand));
    let rest = unneeded(&plan.graph, &nodes);
    if args.format == Format::Text && args.targets.is_empty() && !rest.is_empty() {
        anstream::println!("{}", faint(format!("not needed for the pipeline's targets: {}", rest.join(", "))));
    }
    Ok(Exit::Done)
}

/// `targets` and all that they read, in graph order.
fn needed(graph: &Graph, targets: Vec<NodeId>) -> Vec<NodeId> {
    let mut found: BTreeSet<NodeId> = BTreeSet::new();
    let mut open = targets;
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(graph.producers(id).into_iter().map(|(producer, _)| producer));
        }
    }
    found.into_iter().collect()
}

/// The stages that have instances, but none in `nodes`.
fn unneeded(graph: &Graph, nodes: &[NodeId]) -> Vec<String> {
    let drawn: BTreeSet<&str> = nodes.iter().map(|id| graph.node(*id).stage.as_str()).collect();
    let mut rest: Vec<String> = graph.ids().map(|id| graph.node(id).stage.clone()).collect();
    rest.dedup();
    rest.retain(|stage| !drawn.contains(stage.as_str()));
    rest
}

/// The drawing of `nodes`, which hold what they read.
pub fn draw(plan: &Plan, nodes: &[NodeId], format: Format, expand: bool) -> String {
    let folded = Folded::new(plan, nodes);
    match (format, expand) {
        (Format::Text, false) => folded.text(),
        (Format::Text, true) => list(plan, nodes),
        (Format::Dot, false) => dot(&plan.name, &folded.boxes(), &folded.lines()),
        (Format::Dot, true) => dot(&plan.name, &boxes(plan, nodes), &lines(plan, nodes)),
        (Format::Mermaid, false) => mermaid(&folded.boxes(), &folded.lines()),
        (Format::Mermaid, true) => mermaid(&boxes(plan, nodes), &lines(plan, nodes)),
        (Format::Json, expand) => folded.json(plan, nodes, expand),
    }
}

/// Every instance below its stage, with what it reads.
fn list(plan: &Plan, nodes: &[NodeId]) -> String {
    let mut text = String::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut stage = None;
    for id in nodes {
        let node = plan.graph.node(*id);
        if stage != Some(&node.stage) {
            text.push_str(&render::table(&rows, &[]));
            rows.clear();
            let gap = if stage.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}{}", paint(BOLD, &node.stage));
            stage = Some(&node.stage);
        }
        let mut reads: Vec<(&str, Vec<String>)> = Vec::new();
        for (producer, port) in plan.graph.producers(*id) {
            let name = plan.graph.node(producer).short();
            match reads.last_mut() {
                Some((role, names)) if *role == port.role => names.push(name),
                _ => reads.push((port.role, vec![name])),
            }
        }
        let read = |(role, names): &(&str, Vec<String>)| match names.len() {
            0..=2 => format!("{role} = {}", names.join(", ")),
            n => format!("{role} = {}, … {} ({n})", names[0], names[n - 1]),
        };
        let reads: Vec<_> = reads.iter().map(read).collect();
        rows.push(vec![format!("  {}", node.short()), faint(reads.join("  "))]);
    }
    text.push_str(&render::table(&rows, &[]));
    text
}

/// What stands beside the matter; nothing at all where there is nothing, so that no line ends in blanks.
fn faint(text: String) -> String {
    if text.is_empty() { text } else { paint(DIM, text) }
}

#[cfg(test)]
mod tests;
