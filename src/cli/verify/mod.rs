//! `dpt verify`: is the store what it says it is ([`bytes`]), and do nodes give the same again ([`rerun`])?

pub mod bytes;
pub mod rerun;

use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cache::store::LAYOUT;
use crate::cli::Outcome;
use crate::cli::check::Changes;
use crate::cli::common::{self, DeviceArgs, PipelineArgs, StoreArgs};
use crate::repro::sample::Sample;

/// For the end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt verify
      hash everything in the store; what is damaged is set aside, and told (exit code 5)
  dpt verify pipelines/quickstart.toml
      the same, of what this pipeline reaches
  dpt verify --lock pipelines/quickstart.lock
      is all of this lock in the store, with these digests? (exit code 4 where not)
  dpt verify pipelines/quickstart.toml --rerun 'train[rte,dpt,42]'
      run this node again, beside the store, and compare (exit code 4 where it gives something else)
  dpt verify pipelines/superglue_full.toml --rerun --sample 5% --seed 1 --statement verified.json
      the same of one node in twenty, with a statement for others to read";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What the pipeline file reaches [default: the whole store].
    #[arg(value_name = "PIPELINE")]
    pipeline: Option<PathBuf>,
    /// Which nodes: `train[rte,dpt,42]`, `eval[task=boolq]` [default: all that the pipeline's targets need].
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    changes: Changes,
    /// Compare what the store has with this lock file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pipeline", "rerun"])]
    lock: Option<PathBuf>,
    /// Run nodes again, into a store of their own, and compare: every digest on a machine of the same kind, metrics within their
    /// tolerance elsewhere.
    #[arg(long, requires = "pipeline")]
    rerun: bool,
    /// Run only some of the nodes again: so many, or a part, such as `5%`.
    #[arg(long, value_name = "N|N%", requires = "rerun")]
    sample: Option<Sample>,
    /// Which sample: the same number draws the same nodes.
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    seed: u64,
    /// How far a metric may be from the recorded one where the numerics differ: `score=0.05`, `best_step=any`, or a number for all
    /// [default: as the pipeline says, else 0.02].
    #[arg(long, value_name = "METRIC=NUMBER", requires = "rerun")]
    tolerance: Vec<String>,
    /// Write what was shown, with hardware and library versions, to this file (JSON).
    #[arg(long, value_name = "FILE", requires = "rerun")]
    statement: Option<PathBuf>,
    /// Keep what was made again and differs in this folder.
    #[arg(long, value_name = "DIR", requires = "rerun")]
    keep: Option<PathBuf>,
    /// How many CPUs to use [default: all].
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// JSON on stdout: for programs.
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// Damage (class `Store`), one message each; a wrong pipeline or command line.
pub fn run(args: &Args) -> Outcome {
    let beside = args.lock.as_deref().or(args.pipeline.as_deref()).unwrap_or(Path::new("."));
    let folder = args.store.folder(beside);
    if !folder.join(LAYOUT).is_dir() {
        let message = format!("there is no store at `{}`", common::shown(&folder));
        let diag = Diag::error(Class::Usage, message);
        return Err(vec![diag.help("name the store with `--cache DIR`; `dpt run` makes one")]);
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

/// What is broken as messages; empty where nothing is.
fn damage(store: &Store, verified: &crate::cache::verify::VerifyReport, pipeline: Option<&Path>) -> Vec<Diag> {
    use crate::cache::verify::SetAside;
    let quarantine = common::shown(&store.root().join("quarantine"));
    let again = match pipeline {
        Some(path) => format!("`dpt run {}`", common::typed(path)),
        None => "`dpt run PIPELINE`".to_owned(),
    };
    let one = |broken: &crate::cache::verify::BrokenPart| {
        let mut diag = Diag::error(Class::Store, broken.what.clone());
        diag.notes.extend(broken.note.clone());
        if !broken.nodes.is_empty() {
            diag = diag.note(format!("made by {}", super::progress::some(&broken.nodes)));
        }
        match &broken.aside {
            SetAside::Missing => diag.help(format!("{again} makes it again")),
            SetAside::Moved => diag.note(format!("set aside in {quarantine}")).help(format!("{again} makes it again")),
            SetAside::Stays(why) => diag.note(format!("could not be set aside: {why}")),
        }
    };
    verified.broken.iter().map(one).collect()
}
