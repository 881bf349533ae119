//! `dpt explain`: shows the status of one node and the reasons, field by field, followed to the first cause. Runs
//! nothing and writes nothing.

mod explained;
mod json;
mod text;

use crate::base::diag::{Class, Diag};
use crate::cache::{CacheKey, Store};
use crate::cli::CommandResult;
use crate::cli::common::{self, PipelineArgs, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::patterns::few;
use crate::cli::render;
use crate::engine::explain::{CompareWith, Explainer};
use crate::engine::freshness::Freshness;
use crate::engine::graph::NodeId;
use crate::engine::history::{History, PipelineId};
use crate::engine::options::RunOptions;
use crate::pipeline::Plan;
use crate::worker::device::DeviceChoice;

use explained::Explained;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt explain pipelines/quickstart.toml 'train[rte,dpt,42]'
      show its status and what has changed since its last result
  dpt explain pipelines/quickstart.toml report --set stage.train.learning_rate=0.1
      show the effects of a change
  dpt explain pipelines/quickstart.toml 'train[rte,dpt,42]' --against last~1
      compare with the run before the last";

/// The arguments of `dpt explain`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The node to explain: `train[rte,dpt,42]`, `train[task=rte,method=dpt,seed=42]`, `report`
    #[arg(value_name = "NODE")]
    node: String,
    /// Compare with a run (its id, `last`, `last~1`) or with a stored result (`b3:4f0c91…`) [default: the node's last
    /// result]
    #[arg(long, value_name = "RUN|KEY")]
    against: Option<String>,
    /// Print every field of the recipe, even if unchanged
    #[arg(long)]
    recipe: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints the explanation.
///
/// # Errors
/// Fails if the pipeline is invalid, the name does not match exactly one node, the run does not exist, or the store
/// cannot be read.
pub fn run(args: &Args) -> CommandResult {
    let plan = args.pipeline.load()?;
    let id = one(&plan, &args.node)?;
    let store = args.store.peek(&args.pipeline.pipeline)?;
    let history = History::of(&store.runs());
    let against = against(args.against.as_deref(), &plan, &store, &history).map_err(|diag| vec![diag])?;
    let options = RunOptions { pipeline: plan.name.clone(), outside: plan.outside.clone(), ..RunOptions::default() };
    let executor = common::local(DeviceChoice::Auto, 1, &store, &plan.name);
    let (graph, executor) = (&plan.graph, &executor);
    let explainer = Explainer { graph, store: &store, options: &options, executor, history: &history };
    let node = explainer.explain(id, &against).map_err(|diag| vec![diag])?;
    let name = plan.graph.node(id).to_string();
    let of = PipelineId { name: &plan.name, file: store.file() };
    let last = history.of_pipeline(of).find_map(|run| Some((run, run.nodes.get(&name)?)));
    let maker = node.entry.as_ref().and_then(|entry| entry.made.first()).map(|made| made.run.as_str());
    let made = history.runs().find(|run| Some(run.id.as_str()) == maker);
    let made = made.and_then(|run| Some((run, run.nodes.get(&name)?)));
    let explained = Explained { plan: &plan, node: &node, against: &against, last, made, recipe: args.recipe };
    render::out(&if args.json { json::text(&explained) } else { text::text(&explained) });
    common::warn_unreadable(&history);
    match node.freshness {
        Freshness::Broken { error } if !args.json => Err(vec![error]),
        Freshness::Broken { error } => Ok(Exit::of([&error])),
        _ => Ok(Exit::Done),
    }
}

/// Returns the only node that `text` matches.
fn one(plan: &Plan, text: &str) -> Result<NodeId, Vec<Diag>> {
    match plan.select_from("node", &[text.to_owned()])?[..] {
        [id] => Ok(id),
        ref ids => {
            let names: Vec<_> = ids.iter().map(|id| plan.graph.node(*id).short()).collect();
            let diag =
                Diag::error(Class::Usage, format!("`{text}` matches {} nodes, but `explain` takes one", ids.len()));
            let help = "name one of them; `dpt status --nodes` lists all";
            Err(vec![diag.note(format!("they are {}", few(&names, 8))).help(help)])
        }
    }
}

fn against<'a>(text: Option<&str>, plan: &Plan, store: &Store, history: &'a History) -> Result<CompareWith<'a>, Diag> {
    match text {
        None => Ok(CompareWith::Last),
        Some(text) => match text.strip_prefix("b3:") {
            Some(hex) => key(hex.trim_end_matches('…'), store).map(CompareWith::Key),
            None => history.find(text, Some(PipelineId { name: &plan.name, file: store.file() })).map(CompareWith::Run),
        },
    }
}

/// Returns the key of the only entry that begins with `hex`.
fn key(hex: &str, store: &Store) -> Result<CacheKey, Diag> {
    let wrong = |what: String| Diag::error(Class::Usage, what).help("`dpt status --json` and journals have full keys");
    if hex.len() < 4 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong(format!("`b3:{hex}` is not a key: write at least four hex digits after `b3:`")));
    }
    let (folder, rest) = hex.split_at(2);
    let entries = std::fs::read_dir(store.root().join("entries").join(folder)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let found: Vec<String> = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
    let found: Vec<_> = found.into_iter().filter(|name| name.starts_with(rest)).collect();
    match &found[..] {
        [one] => serde_json::from_value(serde_json::Value::String(format!("{folder}{one}")))
            .map_err(|error| wrong(format!("`b3:{hex}` is not a key: {error}"))),
        [] => Err(wrong(format!("the store has no result with the key `b3:{hex}`"))),
        _ => Err(wrong(format!("`b3:{hex}` matches {} keys", found.len()))),
    }
}
