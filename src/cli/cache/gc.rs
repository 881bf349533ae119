//! `dpt cache gc`: removes what nothing reaches any more. Tells first.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cache::gc::{self, GcLimits, Leftover, Sweep};
use crate::cache::lock::InUse;
use crate::cli::Outcome;
use crate::cli::common::{StoreArgs, shown};
use crate::cli::exit::Exit;
use crate::cli::progress::time;
use crate::cli::render::{self, Align, BOLD, DIM, paint};
use crate::repro::lockfile::Lock;

use super::roots::{Roots, of_pipeline};
use super::units;

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Keep the results that the nodes of these pipelines have, and those that they had before they were edited.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    keep_pipeline: Vec<PathBuf>,
    /// Keep the results that these lock files name.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    keep_lock: Vec<PathBuf>,
    /// Keep what the last N runs made or found that changed anything.
    #[arg(long, value_name = "N")]
    keep_runs: Option<usize>,
    /// Of what nothing keeps, remove only what was made longer ago than this, such as `30d`.
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    older_than: Option<Duration>,
    /// Of what nothing keeps, remove only as much as it takes to bring the store below this size, such as `20GiB`: first what is
    /// quickest to make again for each byte.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_size: Option<u64>,
    /// Remove nothing that is younger.
    #[arg(long, value_name = "TIME", value_parser = units::time, default_value = "1h")]
    grace: Duration,
    /// Remove quarantine, and checkpoints of runs that died, when they are older.
    #[arg(long, value_name = "TIME", value_parser = units::time, default_value = "7d")]
    leftovers_older_than: Duration,
    /// Do it, without asking.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Wait until no run uses the store, rather than give up.
    #[arg(long)]
    wait: bool,
    /// List every entry that would go.
    #[arg(long, short = 'l')]
    list: bool,
    /// One JSON object: for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// How many runs are kept unless the user says otherwise.
const KEPT_RUNS: usize = 10;
/// How often a wait looks whether the store is free.
const TICK: Duration = Duration::from_millis(200);

/// Does it.
///
/// # Errors
/// A pipeline that is wrong (nothing is removed then), a store that is in use, something that cannot be removed.
pub fn run(args: &Args) -> Outcome {
    let store = super::open(&args.store)?;
    let roots = roots(args, &store)?;
    let limits = GcLimits {
        older_than: args.older_than,
        max_size: args.max_size,
        grace: args.grace,
        leftovers: args.leftovers_older_than,
    };
    let keep = |key| roots.keys.contains(&key);
    let one = |diag: Diag| vec![diag];
    let plan = gc::plan(&store, &keep, limits).map_err(one)?;
    if !args.json {
        tell(args, &plan, &roots);
    }
    let go = !plan.is_empty() && (args.yes || (!args.json && asked()));
    let done = if go {
        let alone = alone(args, &store)?;
        // A run may have ended since, and what it found stays.
        let store = super::open(&args.store)?;
        let keys = self::roots(args, &store)?.keys;
        Some(gc::sweep(&store, &plan, &|key| keys.contains(&key), limits, &alone).map_err(one)?)
    } else {
        None
    };
    if args.json {
        render::out(&(json(done.as_ref().unwrap_or(&plan), done.is_some()) + "\n"));
    } else if let Some(done) = done {
        render::err(&format!("removed: {} freed\n", render::bytes(done.bytes())));
    } else if !plan.is_empty() {
        render::err("nothing was removed; `--yes` does it\n");
    }
    Ok(Exit::Done)
}

/// What the user says, else what is safe: what every node was last found or made under, and the last runs.
fn roots(args: &Args, store: &Store) -> Result<Roots, Vec<Diag>> {
    let mut roots = Roots::default();
    for file in &args.keep_pipeline {
        let (keys, _) = of_pipeline(file, store, true)?;
        roots.add(keys, format!("what `{}` reaches", shown(file)));
    }
    for file in &args.keep_lock {
        let lock = Lock::required(file)?;
        roots.add(lock.lines().map(|line| line.key), format!("what `{}` names", shown(file)));
    }
    if let Some(n) = args.keep_runs {
        roots.add_runs(store, n).map_err(|diag| vec![diag])?;
    }
    if roots.why.is_empty() {
        let last = store.last_keys();
        let known = !last.is_empty();
        roots.add(last, "what every node was last made or found as".to_owned());
        roots.add_runs(store, KEPT_RUNS).map_err(|diag| vec![diag])?;
        if !known {
            let text = "this store does not remember what its pipelines last used: its index is gone";
            let help = "say what to keep: `--keep-pipeline FILE…`, `--keep-lock FILE…` or `--keep-runs N`";
            return Err(vec![Diag::error(Class::Usage, text).note("nothing was removed").help(help)]);
        }
    }
    Ok(roots)
}

/// Keeps all others away from the store, once nobody uses it.
fn alone(args: &Args, store: &Store) -> Result<InUse, Vec<Diag>> {
    let mut told = false;
    loop {
        if let Some(alone) = store.alone().map_err(|diag| vec![diag])? {
            return Ok(alone);
        }
        if !args.wait {
            let diag = Diag::error(Class::Environment, "a run uses the store: nothing was removed");
            return Err(vec![diag.help("`--wait` waits for its end")]);
        }
        if !std::mem::replace(&mut told, true) {
            render::err("a run uses the store: waiting for its end\n");
        }
        std::thread::sleep(TICK);
    }
}

/// Asks a person who is there.
fn asked() -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    render::err("remove this? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}

fn tell(args: &Args, plan: &Sweep, roots: &Roots) {
    let mut kinds: Vec<(&str, usize, u64, f64)> = Vec::new();
    for gone in &plan.entries {
        let at = kinds.iter().position(|(kind, ..)| *kind == gone.kind).unwrap_or_else(|| {
            kinds.push((&gone.kind, 0, 0, 0.0));
            kinds.len() - 1
        });
        let kind = &mut kinds[at];
        (kind.1, kind.2, kind.3) = (kind.1 + 1, kind.2 + gone.bytes, kind.3 + gone.seconds);
    }
    kinds.sort_by(|a, b| a.0.cmp(b.0));
    let mut rows = vec![["to go", "number", "frees", "took"].map(|title| paint(BOLD, title)).to_vec()];
    for (kind, count, bytes, seconds) in kinds {
        rows.push(vec![kind.to_owned(), count.to_string(), render::bytes(bytes), time(seconds)]);
    }
    for (what, list) in leftovers(plan) {
        if !list.is_empty() {
            let bytes = list.iter().map(|left| left.bytes).sum();
            rows.push(vec![what.to_owned(), list.len().to_string(), render::bytes(bytes)]);
        }
    }
    if plan.is_empty() {
        render::out("nothing to remove\n");
    } else {
        render::out(&render::table(&rows, &[Align::Left, Align::Right, Align::Right, Align::Right]));
    }
    if args.list {
        let row = |gone: &crate::cache::gc::GoneEntry| {
            let age = units::age(units::since(gone.at));
            vec![gone.key.to_string(), gone.node.clone(), render::bytes(gone.bytes), format!("{age} old")]
        };
        let rows: Vec<_> = plan.entries.iter().map(row).collect();
        render::out(&render::table(&rows, &[Align::Left, Align::Left, Align::Right]));
    }
    let (go, stay) = (render::bytes(plan.bytes()), render::bytes(plan.kept_bytes));
    let kept = super::entries(plan.kept);
    render::err(&format!("{go} would be freed; {kept} with {stay} stay: {}", roots.why.join("; ")));
    let also = match (args.older_than, args.max_size) {
        (None, None) => "; what is younger than the grace period",
        _ => "; what the limits leave",
    };
    render::err(&format!("{}\n", paint(DIM, also)));
    if plan.unreadable > 0 {
        let manifests = render::count(plan.unreadable, "manifest");
        render::err(&format!("{manifests} cannot be read: objects that no entry refers to stay\n"));
    }
}

fn leftovers(plan: &Sweep) -> [(&'static str, &[Leftover]); 4] {
    [
        ("objects of no entry", &plan.orphans),
        ("working folders of dead runs", &plan.work),
        ("quarantine", &plan.quarantine),
        ("files of killed writers", &plan.temporary),
    ]
}

fn json(sweep: &Sweep, removed: bool) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        removed: bool,
        bytes: u64,
        kept: usize,
        kept_bytes: u64,
        entries: Vec<(String, &'a str, u64)>,
        others: Vec<(&'static str, usize, u64)>,
        unreadable: usize,
    }
    let entries = sweep.entries.iter().map(|gone| (gone.key.hex(), gone.node.as_str(), gone.bytes)).collect();
    let sum = |list: &[Leftover]| list.iter().map(|left| left.bytes).sum();
    let others = leftovers(sweep).into_iter().map(|(what, list)| (what, list.len(), sum(list))).collect();
    let (bytes, kept, kept_bytes) = (sweep.bytes(), sweep.kept, sweep.kept_bytes);
    let line = Line { removed, bytes, kept, kept_bytes, entries, others, unreadable: sweep.unreadable };
    serde_json::to_string(&line).expect("a line is JSON")
}
