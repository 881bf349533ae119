//! `dpt lock`: writes the lock file of a pipeline from the results in the store. Runs nothing.

use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::cli::CommandResult;
use crate::cli::common::{self, PipelineArgs, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::{progress, render};
use crate::engine::freshness::{Freshness, status};
use crate::engine::options::RunOptions;
use crate::repro::lock_check;
use crate::repro::lockfile::{self, LockFile};
use crate::worker::device::DeviceChoice;

/// The end of the help text.
pub const EXAMPLES: &str = "\
The lock file of pipelines/quickstart.toml is pipelines/quickstart.lock. It has a line for each node, with its key, the \
digests of its files and its metrics. Keep it under version control. `dpt run --locked` compares a run with it.

Examples:
  dpt lock pipelines/quickstart.toml
      record the results of the last run
  dpt lock pipelines/quickstart.toml 'train[task=rte]'
      rewrite only the lines of these nodes and of what they need";

/// The arguments of `dpt lock`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Nodes whose lines are rewritten, with those of what they need [default: rewrite the whole file]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Writes the lock file. The exit code is 3, and nothing is written, if a node is not up to date.
///
/// # Errors
/// Fails if the pipeline is invalid, the store cannot be read, or the lock file cannot be written. With targets, also
/// if the old lock file cannot be read.
pub fn run(args: &Args) -> CommandResult {
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
    let executor = common::local(DeviceChoice::Auto, 1, &store, &plan.name);
    let path = lockfile::path_of(&args.pipeline.pipeline);
    let before = LockFile::read(&path);
    // A file that is rewritten as a whole need not be readable.
    let mut lock = if args.targets.is_empty() { LockFile::default() } else { before.clone()?.unwrap_or_default() };
    let mut open = Vec::new();
    for node in status(&plan.graph, &store, &options, &executor) {
        match node.freshness {
            Freshness::Fresh { stored } => {
                lock.put(lock_check::line(&plan, node.id, &store, &stored).map_err(|diag| vec![diag])?);
            }
            Freshness::Broken { error } => return Err(vec![error]),
            _ => open.push(plan.graph.node(node.id).short()),
        }
    }
    let _ = store.flush();
    let shown = common::shown(&path);
    if !open.is_empty() {
        let what = render::count(open.len(), "node");
        let are = if open.len() == 1 { "is" } else { "are" };
        let diag =
            Diag::error(Class::Usage, format!("{what} of `{}` {are} not up to date; nothing was written", plan.name))
                .note(progress::some(&open))
                .help(format!("`dpt run {}` first", common::typed(&args.pipeline.pipeline)));
        render::err(&render::diag(&diag));
        return Ok(Exit::Found);
    }
    if before.is_err() {
        render::err(&format!("{shown} could not be read and is rewritten\n"));
    }
    let before = before.ok().flatten();
    if before.as_ref() == Some(&lock) && fs::read_to_string(&path).is_ok_and(|text| text == lock.to_text()) {
        render::err(&format!("{shown}: unchanged, {}\n", render::count(lock.lines().len(), "node")));
        return Ok(Exit::Done);
    }
    fs::write_atomic(&path, lock.to_text().as_bytes()).map_err(|error| vec![error.into()])?;
    render::err(&format!("{shown}: {}\n", changes(&before.unwrap_or_default(), &lock)));
    Ok(Exit::Done)
}

/// Describes the changes to a lock file: `27 nodes: 3 changed, 1 new, 2 removed`.
fn changes(before: &LockFile, after: &LockFile) -> String {
    let new = after.lines().filter(|line| before.get(&line.node).is_none()).count();
    let changed = after.lines().filter(|line| before.get(&line.node).is_some_and(|old| old != *line)).count();
    let gone = before.lines().filter(|line| after.get(&line.node).is_none()).count();
    let parts: Vec<_> = [(changed, "changed"), (new, "new"), (gone, "removed")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    let nodes = render::count(after.lines().len(), "node");
    if parts.is_empty() { format!("{nodes}, sorted") } else { format!("{nodes}: {}", parts.join(", ")) }
}
