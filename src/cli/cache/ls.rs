//! `dpt cache ls`: lists the results in the store.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::cache::Entry;
use crate::cache::inventory::Inventory;
use crate::cli::CommandResult;
use crate::cli::common::StoreArgs;
use crate::cli::exit::Exit;
use crate::cli::progress::figure;
use crate::cli::render::{self, Align, BOLD, DIM, paint};

use super::open::{entry_count, open};
use super::{pick, units};

/// The arguments of `dpt cache ls`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Results to list: a node such as `train`, `train[rte,dpt,42]` or `train[task=rte]`, or the first digits of a key
    /// [default: all]
    #[arg(value_name = "NODE|KEY")]
    which: Vec<String>,
    /// Only results of this stage kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only results that are older than this, such as `30d`
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    older_than: Option<Duration>,
    /// Only results that are larger than this, such as `10MB`
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    larger_than: Option<u64>,
    /// Sort by `age` (newest last), `size`, `time` (how long it took) or `node`
    #[arg(long, value_name = "BY", default_value = "age", value_parser = ["age", "size", "time", "node"])]
    sort: String,
    /// Print one JSON object for each result
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A result as JSON.
#[derive(Serialize)]
struct Line<'a> {
    key: String,
    node: &'a str,
    kind: String,
    bytes: u64,
    files: usize,
    made_at: u64,
    seconds: f64,
    run: &'a str,
    metrics: &'a BTreeMap<String, f64>,
}

fn size(entry: &Entry) -> u64 {
    entry.objects().values().sum()
}

/// Prints the list. The exit code is 0 even if the list is empty.
///
/// # Errors
/// Fails if there is no store or it cannot be read.
pub fn run(args: &Args) -> CommandResult {
    let store = open(&args.store)?;
    let inventory = Inventory::of(&store).map_err(|diag| vec![diag])?;
    let mut entries: Vec<&Entry> = inventory.entries.iter().filter(|entry| wanted(args, entry)).collect();
    match args.sort.as_str() {
        "size" => entries.sort_by_key(|entry| size(entry)),
        "time" => entries.sort_by(|a, b| a.seconds().total_cmp(&b.seconds())),
        "node" => entries.sort_by(|a, b| a.made[0].node.cmp(&b.made[0].node)),
        // The inventory is sorted by age.
        _ => {}
    }
    if args.json {
        entries.iter().for_each(|entry| render::out(&(json(entry) + "\n")));
    } else {
        render::out(&table(&entries));
        let total = render::bytes(entries.iter().map(|entry| size(entry)).sum());
        render::err(&paint(DIM, format!("{}, {total}\n", entry_count(entries.len()))));
    }
    for (path, why) in &inventory.unreadable {
        render::err(&format!("{}: {why}\n", crate::cli::common::shown(path)));
    }
    Ok(Exit::Done)
}

fn wanted(args: &Args, entry: &Entry) -> bool {
    (args.which.is_empty() || args.which.iter().any(|text| pick::means(text, entry)))
        && args.kind.as_ref().is_none_or(|kind| entry.kind() == *kind)
        && args.older_than.is_none_or(|age| units::since(entry.at()) > age)
        && args.larger_than.is_none_or(|bytes| size(entry) > bytes)
}

fn json(entry: &Entry) -> String {
    let made = entry.made.last().expect("an entry has a record");
    let line = Line {
        key: entry.key.hex(),
        node: &made.node,
        kind: entry.kind(),
        bytes: size(entry),
        files: made.files.len(),
        made_at: entry.at(),
        seconds: made.seconds,
        run: &made.run,
        metrics: &made.metrics,
    };
    serde_json::to_string(&line).expect("a line is JSON")
}

fn table(entries: &[&Entry]) -> String {
    let head = ["key", "node", "size", "age", "took", "metrics"];
    let mut rows = vec![head.map(|title| paint(BOLD, title)).to_vec()];
    for entry in entries {
        let made = entry.made.last().expect("an entry has a record");
        let figures: Vec<_> =
            made.metrics.iter().take(3).map(|(name, value)| format!("{name} {}", figure(*value))).collect();
        rows.push(vec![
            entry.key.to_string(),
            made.node.clone(),
            render::bytes(size(entry)),
            units::age(units::since(entry.at())),
            render::seconds(made.seconds),
            paint(DIM, figures.join("  ")),
        ]);
    }
    if rows.len() == 1 {
        return String::new();
    }
    render::table(&rows, &[Align::Left, Align::Left, Align::Right, Align::Right, Align::Right])
}
