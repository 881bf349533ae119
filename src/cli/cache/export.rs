//! `dpt cache export`: results with their files in one archive, for another store.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::base::diag::{Class, Diag};
use crate::base::watch::{Counting, Work};
use crate::cache::archive;
use crate::cache::inventory::Inventory;
use crate::cli::Outcome;
use crate::cli::common::{StoreArgs, cancel_on_ctrl_c, shown};
use crate::cli::exit::Exit;
use crate::cli::progress::Bar;
use crate::cli::render;

use super::{pick, roots};

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The archive: a tar file, gzipped where the name ends in `.gz`.
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// Which entries: nodes, or how keys begin.
    #[arg(value_name = "NODE|KEY", required_unless_present_any = ["pipeline", "all"])]
    which: Vec<String>,
    /// All results that the nodes of these pipelines have.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pipeline: Vec<PathBuf>,
    /// Everything.
    #[arg(long, conflicts_with_all = ["which", "pipeline"])]
    all: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Does it.
///
/// # Errors
/// A selection that means nothing, an invalid pipeline, a damaged result, an archive that cannot be written.
pub fn run(args: &Args) -> Outcome {
    let store = super::open(&args.store)?;
    let one = |diag: Diag| vec![diag];
    let mut keys = BTreeSet::new();
    for file in &args.pipeline {
        let (reached, nodes) = roots::of_pipeline(file, &store, false)?;
        if reached.len() < nodes {
            let missing = render::count(nodes - reached.len(), "node");
            render::err(&format!("{}: {missing} without a result of its own\n", shown(file)));
        }
        keys.extend(reached);
    }
    let inventory = Inventory::of(&store).map_err(one)?;
    for text in &args.which {
        let before = keys.len();
        let meant: Vec<_> = inventory.entries.iter().filter(|entry| pick::means(text, entry)).collect();
        keys.extend(meant.iter().map(|entry| entry.key));
        if keys.len() == before && meant.is_empty() {
            let diag = Diag::error(Class::Usage, format!("no entry of the store is meant by `{text}`"));
            return Err(vec![diag.help("`dpt cache ls` lists all, with their nodes and keys")]);
        }
    }
    if args.all {
        keys.extend(inventory.entries.iter().map(|entry| entry.key));
    }
    if keys.is_empty() {
        return Err(vec![Diag::error(Class::Usage, "there is nothing to export").help("`dpt run` makes results")]);
    }
    let cancel = cancel_on_ctrl_c()?;
    let bar = Bar::new();
    let (check, show) = (|| cancel.check("dpt cache export"), |amount| bar.show(amount));
    let watch = Counting::new(Work::default(), &check, &show);
    let packed = archive::export(&store, &keys, &args.archive, &watch);
    drop(bar);
    let packed = packed.map_err(one)?;
    let (entries, files) = (super::entries(packed.entries), render::count(packed.objects, "file"));
    render::err(&format!("{}: {entries}, {files}, {}\n", shown(&args.archive), render::bytes(packed.bytes)));
    Ok(Exit::Done)
}
