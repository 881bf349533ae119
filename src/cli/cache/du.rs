//! `dpt cache du`: the disk space that results use.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::base::diag::Diag;
use crate::cache::inventory::{Inventory, below};
use crate::cache::{Entry, Store};
use crate::cli::CommandResult;
use crate::cli::common::StoreArgs;
use crate::cli::exit::Exit;
use crate::cli::render::{self, Align, BOLD, DIM, paint};
use crate::engine::gc_roots;

use super::open::open;

/// The arguments of `dpt cache du`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Group by `stage` kind, or by `pipeline` as recorded in the journals of runs
    #[arg(long, value_name = "BY", default_value = "stage", value_parser = ["stage", "pipeline"])]
    by: String,
    /// Print one JSON object for each line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A line of the table.
#[derive(Serialize)]
struct Line {
    what: String,
    count: usize,
    bytes: u64,
}

/// Prints the table.
///
/// # Errors
/// Fails if there is no store or it cannot be read.
pub fn run(args: &Args) -> CommandResult {
    let store = open(&args.store)?;
    let (groups, rest) = measure(&store, args.by == "pipeline").map_err(|diag| vec![diag])?;
    if args.json {
        for line in groups.iter().chain(&rest) {
            render::out(&(serde_json::to_string(line).expect("a line is JSON") + "\n"));
        }
        return Ok(Exit::Done);
    }
    let row = |line: &Line| vec![line.what.clone(), line.count.to_string(), render::bytes(line.bytes)];
    let mut rows = vec![[args.by.as_str(), "entries", "size"].map(|title| paint(BOLD, title)).to_vec()];
    rows.extend(groups.iter().map(row));
    rows.push(vec![]);
    rows.push(["other", "files", "size"].map(|title| paint(BOLD, title)).to_vec());
    rows.extend(rest.iter().map(row));
    render::out(&render::table(&rows, &[Align::Left, Align::Right, Align::Right]));
    let total: u64 = groups.iter().chain(&rest).map(|line| line.bytes).sum();
    let note = "files that results share are counted once";
    render::err(&paint(DIM, format!("{} in total; {note}\n", render::bytes(total))));
    Ok(Exit::Done)
}

fn measure(store: &Store, by_pipeline: bool) -> Result<(Vec<Line>, Vec<Line>), Diag> {
    let inventory = Inventory::of(store)?;
    let groups = if by_pipeline { pipelines(store, &inventory)? } else { inventory.grouped(Entry::kind) };
    let line = |what: &str, count, bytes| Line { what: what.to_owned(), count, bytes };
    let used: BTreeSet<_> = inventory.entries.iter().flat_map(|entry| entry.objects().into_keys()).collect();
    let orphans: Vec<_> = inventory.objects.iter().filter(|(object, _)| !used.contains(object)).collect();
    let mut rest = vec![line("unused objects", orphans.len(), orphans.iter().map(|(_, o)| o.size).sum())];
    let inside = [
        ("manifests", "entries"),
        ("working directories", "work"),
        ("quarantine", "quarantine"),
        ("journals and logs", "runs"),
        ("index", "index"),
    ];
    for (what, name) in inside {
        let (files, bytes, _) = below(&store.root().join(name))?;
        rest.push(line(what, files, bytes));
    }
    if let Some(cache) = store.root().parent() {
        let (files, bytes, _) = below(&cache.join("results"))?;
        rest.push(line("copies in results/", files, bytes));
    }
    let groups = groups.into_iter().map(|(what, (count, bytes))| Line { what, count, bytes });
    Ok((groups.collect(), rest))
}

/// Assigns each entry to the first pipeline, in alphabetical order, whose runs used it.
fn pipelines(store: &Store, inventory: &Inventory) -> Result<BTreeMap<String, (usize, u64)>, Diag> {
    let mut reached: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    for run in gc_roots::runs(&store.runs())? {
        reached.entry(run.pipeline).or_default().extend(run.keys);
    }
    Ok(inventory.grouped(|entry| {
        let name = reached.iter().find(|(_, keys)| keys.contains(&entry.key)).map(|(name, _)| name.clone());
        name.unwrap_or_else(|| "(no journal)".to_owned())
    }))
}
