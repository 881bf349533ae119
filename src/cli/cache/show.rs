//! `dpt cache show`: shows one result in full.

use std::collections::BTreeMap;

use crate::base::diag::{Class, Diag};
use crate::cache::inventory::Inventory;
use crate::cache::{Entry, MadeResult, Store};
use crate::cli::CommandResult;
use crate::cli::common::StoreArgs;
use crate::cli::exit::Exit;
use crate::cli::progress::figure;
use crate::cli::render::{self, Align, BAD, BOLD, DIM, paint};

use super::open::open;
use super::{pick, units};

/// The arguments of `dpt cache show`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A node such as `train[rte,dpt,42]`, or the first digits of a key; shows the latest result of the node
    #[arg(value_name = "NODE|KEY")]
    which: String,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints the result.
///
/// # Errors
/// Fails if no result matches, or results of several nodes do.
pub fn run(args: &Args) -> CommandResult {
    let store = open(&args.store)?;
    let inventory = Inventory::of(&store).map_err(|diag| vec![diag])?;
    let meant: Vec<&Entry> = inventory.entries.iter().filter(|entry| pick::means(&args.which, entry)).collect();
    let Some(entry) = meant.last().copied() else {
        let text = format!("no stored result matches `{}`", args.which);
        let help = "`dpt cache ls` lists all results with their nodes and keys";
        return Err(vec![Diag::error(Class::Usage, text).help(help)]);
    };
    let node = |entry: &Entry| entry.made.last().map(|made| made.node.clone()).unwrap_or_default();
    let others: Vec<&&Entry> = meant.iter().filter(|other| other.key != entry.key).collect();
    if others.iter().any(|other| node(other) != node(entry) || pick::is_key(&args.which, other)) {
        let mut diag = Diag::error(Class::Usage, format!("`{}` matches {} results", args.which, meant.len()));
        for entry in meant.iter().rev().take(10) {
            diag = diag.note(format!("{}  {}", entry.key, node(entry)));
        }
        return Err(vec![diag.help("name a single one, for example by its key")]);
    }
    if args.json {
        let text = serde_json::to_string(entry).expect("an entry is JSON");
        render::out(&(text + "\n"));
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for made in &entry.made {
        text.push_str(&making(&store, entry, made));
    }
    text.push_str(&heading("recipe"));
    text.extend(entry.recipe.to_string().lines().map(|line| format!("  {line}\n")));
    if !others.is_empty() {
        text.push_str(&heading("earlier results of this node"));
        for other in others.iter().rev() {
            text.push_str(&format!("  {}  {} ago\n", other.key, units::age(units::since(other.at()))));
        }
    }
    render::out(&text);
    Ok(Exit::Done)
}

fn heading(title: &str) -> String {
    format!("{}\n", paint(BOLD, title))
}

fn making(store: &Store, entry: &Entry, made: &MadeResult) -> String {
    let mut text = heading(&made.node);
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<9} {value}\n"));
    line("key", entry.key.hex());
    line("kind", entry.kind());
    line("made", format!("{} ago by run {}", units::age(units::since(made.at)), made.run));
    line("took", render::seconds(made.seconds));
    if !made.numerics.is_empty() {
        line("numerics", pairs(&made.numerics));
    }
    made.notes.iter().for_each(|note| line("note", note.clone()));
    if !made.metrics.is_empty() {
        text.push_str(&heading("metrics"));
        let rows: Vec<_> = made.metrics.iter().map(|(name, value)| vec![format!("  {name}"), figure(*value)]).collect();
        text.push_str(&render::table(&rows, &[]));
    }
    text.push_str(&heading("files"));
    let rows = made.files.iter().map(|(name, file)| {
        let path = store.object(&file.bytes);
        let there = std::fs::metadata(&path).is_ok_and(|meta| meta.len() == file.size);
        let place = if there { paint(DIM, crate::cli::common::shown(&path)) } else { paint(BAD, "missing") };
        let logical = if file.logical == file.bytes { String::new() } else { format!("content {}", file.logical) };
        let bit = if file.executable { "executable".to_owned() } else { String::new() };
        let more: Vec<_> = [logical, bit].into_iter().filter(|text| !text.is_empty()).collect();
        vec![format!("  {name}"), render::bytes(file.size), file.bytes.to_string(), more.join(", "), place]
    });
    text.push_str(&render::table(&rows.collect::<Vec<_>>(), &[Align::Left, Align::Right]));
    text
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}
