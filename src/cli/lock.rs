//! `dpt lock`: records what a pipeline's nodes gave, beside the pipeline. Runs nothing.

use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::cli::Outcome;
use crate::cli::common::{self, PipelineArgs, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::{progress, render};
use crate::engine::freshness::{Freshness, status};
use crate::engine::options::RunOptions;
use crate::repro::locked;
use crate::repro::lockfile::{self, Lock};
use crate::worker::device::Wanted;

/// For the end of the help text.
pub const EXAMPLES: &str = "\
The lock of pipelines/quickstart.toml is pipelines/quickstart.lock: a line for each node, with its key, the digests of its \
files and its metrics. Keep it under version control. `dpt run --locked` holds a run against it.

Examples:
  dpt lock pipelines/quickstart.toml
      after a run: write what it gave
  dpt lock pipelines/quickstart.toml 'train[task=rte]'
      write the lines of some nodes and what they need, and leave the others";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Nodes whose lines are written, with those of what they need [default: the whole file is written anew].
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Does it. Exit code 3 when a node has not been made: there is nothing to record.
///
/// # Errors
/// A wrong pipeline, a store that cannot be read, a lock that cannot be written or, with targets, not read.
pub fn run(args: &Args) -> Outcome {
    let plan = args.pipeline.load()?;
    let targets = common::select(&plan, &args.targets)?;
    let store = args.store.open(&args.pipeline.pipeline)?;
    // A store that cannot be locked can still be read.
    let _in_use = store.in_use();
    let options = RunOptions {
        pipeline: plan.name.clone(),
        targets: targets.clone(),
        outside: plan.outside.clone(),
        ..RunOptions::default()
    };
    let executor = common::local(Wanted::Auto, 1, &store, &plan.name);
    let path = lockfile::path_of(&args.pipeline.pipeline);
    let before = Lock::read(&path);
    // What is written anew need not be readable.
    let mut lock = if args.targets.is_empty() { Lock::default() } else { before.clone()?.unwrap_or_default() };
    let mut open = Vec::new();
    for node in status(&plan.graph, &store, &options, &executor) {
        match node.freshness {
            Freshness::Fresh { stored } => {
                lock.put(locked::line(&plan, node.id, &store, &stored).map_err(|diag| vec![diag])?);
            }
            Freshness::Broken { error } => return Err(vec![error]),
            _ => open.push(plan.graph.node(node.id).short()),
        }
    }
    let _ = store.flush();
    let shown = common::shown(&path);
    if !open.is_empty() {
        let what = render::count(open.len(), "node");
        let diag = Diag::error(Class::Usage, format!("nothing is recorded: {what} of `{}` not up to date", plan.name))
            .note(progress::some(&open))
            .help(format!("`dpt run {}` first", common::typed(&args.pipeline.pipeline)));
        render::err(&render::diag(&diag));
        return Ok(Exit::Found);
    }
    if before.is_err() {
        render::err(&format!("{shown} could not be read, and is written anew\n"));
    }
    let before = before.ok().flatten();
    if before.as_ref() == Some(&lock) && fs::read_to_string(&path).is_ok_and(|text| text == lock.to_text()) {
        render::err(&format!("{shown}: all {} as recorded\n", render::count(lock.lines().len(), "node")));
        return Ok(Exit::Done);
    }
    fs::write_atomic(&path, lock.to_text().as_bytes()).map_err(|error| vec![error.into()])?;
    render::err(&format!("{shown}: {}\n", changes(&before.unwrap_or_default(), &lock)));
    Ok(Exit::Done)
}

/// `27 nodes: 3 changed, 1 new, 2 gone`.
fn changes(before: &Lock, after: &Lock) -> String {
    let new = after.lines().filter(|line| before.get(&line.node).is_none()).count();
    let changed = after.lines().filter(|line| before.get(&line.node).is_some_and(|old| old != *line)).count();
    let gone = before.lines().filter(|line| after.get(&line.node).is_none()).count();
    let parts: Vec<_> = [(changed, "changed"), (new, "new"), (gone, "gone")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    let nodes = render::count(after.lines().len(), "node");
    if parts.is_empty() { format!("{nodes}, in order again") } else { format!("{nodes}: {}", parts.join(", ")) }
}
