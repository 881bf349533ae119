//! The arguments of `dpt verify`.

use std::path::PathBuf;

use crate::cli::check::ChangeArgs;
use crate::cli::common::{DeviceArgs, StoreArgs};
use crate::repro::sample::Sample;

/// The arguments of `dpt verify`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Check only the results of this pipeline [default: the whole store]
    #[arg(value_name = "PIPELINE")]
    pub(super) pipeline: Option<PathBuf>,
    /// Nodes to check: `train[rte,dpt,42]`, `eval[task=boolq]` [default: all that the pipeline's targets need]
    #[arg(value_name = "NODE")]
    pub(super) nodes: Vec<String>,
    #[command(flatten)]
    pub(super) changes: ChangeArgs,
    /// Compare the store with this lock file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pipeline", "rerun"])]
    pub(super) lock: Option<PathBuf>,
    /// Run nodes again in a scratch store and compare: digests on a machine of the same kind, metrics within their
    /// tolerance elsewhere
    #[arg(long, requires = "pipeline")]
    pub(super) rerun: bool,
    /// Run only a sample of the nodes again: a number, or a percentage such as `5%`
    #[arg(long, value_name = "N|N%", requires = "rerun")]
    pub(super) sample: Option<Sample>,
    /// Seed of the sample; the same seed draws the same nodes
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    pub(super) seed: u64,
    /// How much a metric may differ from a result made on other hardware: `score=0.05`, `best_step=any`, or a number
    /// for all metrics [default: the pipeline's `[tolerance]`, else 0.02]
    #[arg(long, value_name = "METRIC=NUMBER", requires = "rerun")]
    pub(super) tolerance: Vec<String>,
    /// Write the outcome, with hardware and library versions, to this file (JSON)
    #[arg(long, value_name = "FILE", requires = "rerun")]
    pub(super) statement: Option<PathBuf>,
    /// Keep new results that differ in this folder
    #[arg(long, value_name = "DIR", requires = "rerun")]
    pub(super) keep: Option<PathBuf>,
    /// Number of CPUs to use [default: all]
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Print JSON to stdout
    #[arg(long)]
    pub(super) json: bool,
}
