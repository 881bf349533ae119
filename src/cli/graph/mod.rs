//! `dpt graph`: draws the stages of a pipeline, their inputs and, with `--status`, their status: in the terminal, as a
//! picture, as an interactive page, or for other programs. A stage is one box, unless `--expand` draws its nodes. Runs
//! nothing.

mod boxes;
mod card;
mod fold;
mod grid;
mod json;
mod layout;
mod measure;
mod page;
mod place;
mod rails;
mod states;
mod style;
mod svg;
mod text;
mod view;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::cache::Store;
use crate::cli::check::ChangeArgs;
use crate::cli::common::{self, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::render::{self, DIM, paint};
use crate::engine::graph::{Graph, NodeId};
use crate::pipeline::Plan;

use fold::Folded;
use states::States;
pub use text::Terminal;
use text::faint;
use view::View;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt graph pipelines/quickstart.toml
  dpt graph pipelines/quickstart.toml --status -o quickstart.html
  dpt graph pipelines/superglue_full.toml -o docs/full.svg
  dpt graph pipelines/quickstart.toml --expand=train 'train[task=rte]'
  dpt graph pipelines/quickstart.toml --format dot | dot -Tpdf > graph.pdf";

/// The arguments of `dpt graph`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline file (TOML)
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,

    /// Stages or nodes to draw, with what they need: `train`, `eval[task=rte]` [default: the pipeline's targets]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// Output format [default: by the ending of FILE, else text]
    #[arg(long, short = 'f', value_enum)]
    pub format: Option<Format>,

    /// Write to a file instead of stdout; its ending sets the format: .svg .html .dot .gv .mmd .json .txt
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Draw every node, or the nodes of some stages: `--expand`, `--expand=train,eval`
    #[arg(
        long,
        value_name = "STAGE",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = "*"
    )]
    pub expand: Vec<String>,

    /// Show the status of each node: fresh, stale, missing, blocked, damaged or unknown
    #[arg(long, short = 's')]
    pub status: bool,

    /// The store, for `--status`.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Changes to the pipeline.
    #[command(flatten)]
    pub changes: ChangeArgs,
}

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines of text
    #[default]
    Text,
    /// A vector image
    Svg,
    /// One self-contained interactive page
    Html,
    /// For Graphviz
    Dot,
    /// For Markdown pages
    Mermaid,
    /// For programs
    Json,
}

/// File endings and their formats.
const ENDINGS: &[(&str, Format)] = &[
    ("svg", Format::Svg),
    ("html", Format::Html),
    ("htm", Format::Html),
    ("dot", Format::Dot),
    ("gv", Format::Dot),
    ("mmd", Format::Mermaid),
    ("mermaid", Format::Mermaid),
    ("json", Format::Json),
    ("txt", Format::Text),
];

impl Args {
    /// Returns the words of the `dpt run` command for this pipeline, with the same changes and store.
    fn command(&self) -> Vec<String> {
        let mut words = vec!["dpt".to_owned(), "run".to_owned(), self.pipeline.display().to_string()];
        let mut add = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
        self.changes.sets.iter().for_each(|set| add("--set", set));
        self.changes.mirrors.iter().for_each(|mirror| add("--mirror", mirror));
        for (name, folder) in [("--cache", &self.store.cache), ("--shared-store", &self.store.shared_store)] {
            if let Some(folder) = folder {
                add(name, &folder.display().to_string());
            }
        }
        words
    }

    fn format(&self) -> Result<Format, Vec<Diag>> {
        let Some(output) = self.output.as_ref().filter(|_| self.format.is_none()) else {
            return Ok(self.format.unwrap_or_default());
        };
        let ending = output.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let known = ENDINGS.iter().find(|(known, _)| *known == ending);
        known.map(|(_, format)| *format).ok_or_else(|| {
            let endings: Vec<_> = ENDINGS.iter().map(|(ending, _)| format!("`.{ending}`")).collect();
            let message = format!("`{}` has no known ending", output.display());
            let diag = Diag::error(Class::Usage, message).note(format!("known endings are {}", endings.join(", ")));
            vec![diag.help("write a name such as `graph.svg`, or set the format with `--format`")]
        })
    }
}

/// Prints or writes the drawing.
///
/// # Errors
/// Returns every problem of the pipeline, the targets and the options. Fails if the store cannot be read or the file
/// cannot be written.
pub fn run(args: &Args) -> Result<Exit, Vec<Diag>> {
    let format = args.format()?;
    let plan = args.changes.load(&args.pipeline)?;
    let targets = common::select(&plan, &args.targets)?;
    let nodes = needed(&plan.graph, targets.clone());
    let store = args.status.then(|| args.store.peek(&args.pipeline)).transpose()?;
    let states = store.as_ref().map(|store| States::new(&plan, targets, store));
    let folded = Folded::new(&plan, &nodes);
    let open = view::open(&folded, &args.expand)?;
    let view = View { plan: &plan, nodes: &nodes, folded, states, open };
    let terminal = if args.output.is_some() { Terminal::default() } else { text::terminal() };
    let drawing = render(&view, format, terminal, store.as_ref(), &args.command())?;
    match &args.output {
        None => render::out(&drawing),
        Some(path) => write(path, &drawing)?,
    }
    if let Some(why) = (format == Format::Svg).then(|| svg::folds(&view)).flatten() {
        let note =
            format!("{why}, so nodes are cells in the box of their stage; draw fewer by targets or `--expand=STAGE`\n");
        render::err(&paint(DIM, note).to_string());
    }
    let rest = unneeded(&plan.graph, &nodes);
    if format == Format::Text && args.output.is_none() && args.targets.is_empty() && !rest.is_empty() {
        render::out(&(faint(format!("not needed for the pipeline's targets: {}", rest.join(", "))) + "\n"));
    }
    Ok(Exit::Done)
}

/// Writes the file and prints its name.
fn write(path: &Path, drawing: &str) -> Result<(), Vec<Diag>> {
    let plain = anstream::adapter::strip_str(drawing).to_string();
    fs::write_atomic(path, plain.as_bytes()).map_err(|error| {
        let mut diag = Diag::from(error);
        diag.class = Class::Environment;
        vec![diag]
    })?;
    let size = render::bytes(plain.len() as u64);
    render::err(&format!("wrote {} {}\n", common::shown(path), paint(DIM, format!("({size})"))));
    Ok(())
}

/// Returns `targets` and all nodes that they need, in graph order.
fn needed(graph: &Graph, targets: Vec<NodeId>) -> Vec<NodeId> {
    let mut found: BTreeSet<NodeId> = BTreeSet::new();
    let mut open = targets;
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(graph.producers(id).map(|(producer, _)| producer));
        }
    }
    found.into_iter().collect()
}

/// Returns the stages without a node in `nodes`.
fn unneeded(graph: &Graph, nodes: &[NodeId]) -> Vec<String> {
    let drawn: BTreeSet<&str> = nodes.iter().map(|id| graph.node(*id).stage.as_str()).collect();
    let mut rest: Vec<String> = graph.ids().map(|id| graph.node(id).stage.clone()).collect();
    rest.dedup();
    rest.retain(|stage| !drawn.contains(stage.as_str()));
    rest
}

/// Draws `nodes` without their status. `nodes` must include all their producers. `expand` names the stages to expand,
/// `*` all of them.
///
/// # Errors
/// Fails if a stage to expand does not exist, or if there are too many stages for a picture.
pub fn draw(plan: &Plan, nodes: &[NodeId], format: Format, expand: &[String]) -> Result<String, Vec<Diag>> {
    let folded = Folded::new(plan, nodes);
    let open = view::open(&folded, expand)?;
    let view = View { plan, nodes, folded, states: None, open };
    let run = ["dpt".to_owned(), "run".to_owned(), plan.path.display().to_string()];
    render(&view, format, Terminal::default(), None, &run)
}

fn render(
    view: &View,
    format: Format,
    terminal: Terminal,
    store: Option<&Store>,
    run: &[String],
) -> Result<String, Vec<Diag>> {
    Ok(match format {
        Format::Text => text::draw(view, terminal),
        Format::Dot => boxes::dot(view),
        Format::Mermaid => boxes::mermaid(view),
        Format::Json => json::json(view),
        Format::Svg => svg::svg(view)?,
        Format::Html => page::html(view, store, run)?,
    })
}

#[cfg(test)]
mod tests;
