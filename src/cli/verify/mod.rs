//! `dpt verify`: checks the files in the store ([`bytes`]), or runs nodes again and compares the results ([`rerun`]).

mod args;
pub mod bytes;
pub mod rerun;

use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::cache::store::LAYOUT;
use crate::cli::CommandResult;
use crate::cli::common::{self, PipelineArgs};

pub use args::Args;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt verify
      hash all files in the store; move damaged ones to quarantine (exit code 5)
  dpt verify pipelines/quickstart.toml
      check only the results of this pipeline
  dpt verify --lock pipelines/quickstart.lock
      check that the store has all results of the lock file, with its digests (exit code 4 if not)
  dpt verify pipelines/quickstart.toml --rerun 'train[rte,dpt,42]'
      run this node again, without changing the store, and compare (exit code 4 if it differs)
  dpt verify pipelines/superglue_full.toml --rerun --sample 5% --seed 1 --statement verified.json
      run one node in twenty again, and write an attestation";

/// Checks the store or runs nodes again.
///
/// # Errors
/// Returns an error of class `Store` for each damaged file. Fails if the pipeline or the command line is invalid.
pub fn run(args: &Args) -> CommandResult {
    let beside = args.lock.as_deref().or(args.pipeline.as_deref()).unwrap_or(Path::new("."));
    let folder = args.store.folder(beside);
    if !folder.join(LAYOUT).is_dir() {
        let message = format!("there is no store at `{}`", common::shown(&folder));
        let diag = Diag::error(Class::Usage, message);
        return Err(vec![diag.help("name the store with `--cache DIR`; `dpt run` creates one")]);
    }
    let store = args.store.open(beside)?;
    let _in_use = store.in_use().map_err(|diag| vec![diag])?;
    let plan = match &args.pipeline {
        Some(path) => {
            let pipeline = PipelineArgs { pipeline: path.clone(), changes: args.changes.clone() };
            Some(pipeline.load()?)
        }
        None => None,
    };
    match (&plan, args.rerun) {
        (Some(plan), true) => rerun::run(args, plan, &store),
        _ => bytes::run(args, plan.as_ref(), &store),
    }
}
