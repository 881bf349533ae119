//! `dpt cache export`: writes results with their files to an archive, for another store.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::base::diag::{Class, Diag};
use crate::base::watch::{Counting, Work};
use crate::cache::archive;
use crate::cache::inventory::Inventory;
use crate::cli::CommandResult;
use crate::cli::common::{StoreArgs, cancel_on_ctrl_c, shown};
use crate::cli::exit::Exit;
use crate::cli::progress::Bar;
use crate::cli::render;

use super::open::{entry_count, open};
use super::{pick, roots};

/// The arguments of `dpt cache export`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The archive to write: a tar file, compressed with gzip if the name ends in `.gz`
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// Results to export: nodes, or the first digits of keys
    #[arg(value_name = "NODE|KEY", required_unless_present_any = ["pipeline", "all"])]
    which: Vec<String>,
    /// Export the current results of these pipelines
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pipeline: Vec<PathBuf>,
    /// Export every result in the store
    #[arg(long, conflicts_with_all = ["which", "pipeline"])]
    all: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Writes the archive.
///
/// # Errors
/// Fails if nothing is selected, a pipeline is invalid, a result is damaged, or the archive cannot be written.
pub fn run(args: &Args) -> CommandResult {
    let store = open(&args.store)?;
    let one = |diag: Diag| vec![diag];
    let mut keys = BTreeSet::new();
    for file in &args.pipeline {
        let (reached, nodes) = roots::of_pipeline(file, &store, false)?;
        if reached.len() < nodes {
            let missing = render::count(nodes - reached.len(), "node");
            render::err(&format!("{}: {missing} without a result\n", shown(file)));
        }
        keys.extend(reached);
    }
    let inventory = Inventory::of(&store).map_err(one)?;
    for text in &args.which {
        let before = keys.len();
        let meant: Vec<_> = inventory.entries.iter().filter(|entry| pick::means(text, entry)).collect();
        keys.extend(meant.iter().map(|entry| entry.key));
        if keys.len() == before && meant.is_empty() {
            let diag = Diag::error(Class::Usage, format!("no stored result matches `{text}`"));
            return Err(vec![diag.help("`dpt cache ls` lists all results with their nodes and keys")]);
        }
    }
    if args.all {
        keys.extend(inventory.entries.iter().map(|entry| entry.key));
    }
    if keys.is_empty() {
        return Err(vec![Diag::error(Class::Usage, "there is nothing to export").help("make results with `dpt run`")]);
    }
    let cancel = cancel_on_ctrl_c()?;
    let bar = Bar::new();
    let (check, show) = (|| cancel.check("dpt cache export"), |amount| bar.show(amount));
    let watch = Counting::new(Work::default(), &check, &show);
    let packed = archive::export(&store, &keys, &args.archive, &watch);
    drop(bar);
    let packed = packed.map_err(one)?;
    let (entries, files) = (entry_count(packed.entries), render::count(packed.objects, "file"));
    render::err(&format!("{}: {entries}, {files}, {}\n", shown(&args.archive), render::bytes(packed.bytes)));
    Ok(Exit::Done)
}
