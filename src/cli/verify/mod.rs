//! `dpt verify`: checks the files in the store ([`bytes`]), or runs nodes again and compares the results ([`rerun`]).

pub mod bytes;
pub mod rerun;

use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cache::store::LAYOUT;
use crate::cli::CommandResult;
use crate::cli::check::ChangeArgs;
use crate::cli::common::{self, DeviceArgs, PipelineArgs, StoreArgs};
use crate::repro::sample::Sample;

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

/// The arguments of `dpt verify`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Check only the results of this pipeline [default: the whole store]
    #[arg(value_name = "PIPELINE")]
    pipeline: Option<PathBuf>,
    /// Nodes to check: `train[rte,dpt,42]`, `eval[task=boolq]` [default: all that the pipeline's targets need]
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Compare the store with this lock file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pipeline", "rerun"])]
    lock: Option<PathBuf>,
    /// Run nodes again in a scratch store and compare: digests on a machine of the same kind, metrics within their
    /// tolerance elsewhere
    #[arg(long, requires = "pipeline")]
    rerun: bool,
    /// Run only a sample of the nodes again: a number, or a percentage such as `5%`
    #[arg(long, value_name = "N|N%", requires = "rerun")]
    sample: Option<Sample>,
    /// Seed of the sample; the same seed draws the same nodes
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    seed: u64,
    /// How much a metric may differ from a result made on other hardware: `score=0.05`, `best_step=any`, or a number for all
    /// metrics [default: the pipeline's `[tolerance]`, else 0.02]
    #[arg(long, value_name = "METRIC=NUMBER", requires = "rerun")]
    tolerance: Vec<String>,
    /// Write the outcome, with hardware and library versions, to this file (JSON)
    #[arg(long, value_name = "FILE", requires = "rerun")]
    statement: Option<PathBuf>,
    /// Keep new results that differ in this folder
    #[arg(long, value_name = "DIR", requires = "rerun")]
    keep: Option<PathBuf>,
    /// Number of CPUs to use [default: all]
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Print JSON to stdout
    #[arg(long)]
    json: bool,
}

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

/// Returns an error for each damaged file.
fn damage(store: &Store, verified: &crate::cache::verify::Verified, pipeline: Option<&Path>) -> Vec<Diag> {
    use crate::cache::verify::Aside;
    let quarantine = common::shown(&store.root().join("quarantine"));
    let again = match pipeline {
        Some(path) => format!("`dpt run {}`", common::typed(path)),
        None => "`dpt run PIPELINE`".to_owned(),
    };
    let one = |broken: &crate::cache::verify::Broken| {
        let mut diag = Diag::error(Class::Store, broken.what.clone());
        diag.notes.extend(broken.note.clone());
        if !broken.nodes.is_empty() {
            diag = diag.note(format!("made by {}", super::progress::some(&broken.nodes)));
        }
        match &broken.aside {
            Aside::Missing => diag.help(format!("{again} makes it again")),
            Aside::Moved => diag.note(format!("moved to {quarantine}")).help(format!("{again} makes it again")),
            Aside::Stays(why) => diag.note(format!("could not be moved to quarantine: {why}")),
        }
    };
    verified.broken.iter().map(one).collect()
}
