//! `dpt cache gc`: removes results that are no longer used. Lists them before it removes any.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cache::gc::{self, GcLimits, Leftover, Sweep};
use crate::cache::lock::InUse;
use crate::cli::CommandResult;
use crate::cli::common::{StoreArgs, shown};
use crate::cli::exit::Exit;
use crate::cli::render::{self, Align, BOLD, DIM, paint};
use crate::repro::lockfile::LockFile;

use super::open::{entry_count, open};
use super::roots::{GcRoots, of_pipeline};
use super::units;

/// The arguments of `dpt cache gc`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Keep the current results of these pipelines, and the last ones from before they were edited
    #[arg(long, value_name = "FILE", num_args = 1..)]
    keep_pipeline: Vec<PathBuf>,
    /// Keep the results in these lock files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    keep_lock: Vec<PathBuf>,
    /// Keep the results that the last N runs made or used; runs that changed nothing do not count
    #[arg(long, value_name = "N")]
    keep_runs: Option<usize>,
    /// Remove only results that are older than this, such as `30d`
    #[arg(long, value_name = "TIME", value_parser = units::time)]
    older_than: Option<Duration>,
    /// Remove only enough to bring the store below this size, such as `20GiB`; first results that are cheap to make
    /// again for their size
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_size: Option<u64>,
    /// Remove nothing that is younger than this
    #[arg(long, value_name = "TIME", value_parser = units::time, default_value = "1h")]
    grace: Duration,
    /// Remove quarantined files, and checkpoints of killed runs, that are older than this
    #[arg(long, value_name = "TIME", value_parser = units::time, default_value = "7d")]
    leftovers_older_than: Duration,
    /// Remove without asking
    #[arg(long, short = 'y')]
    yes: bool,
    /// Wait until no run uses the store instead of failing
    #[arg(long)]
    wait: bool,
    /// List every result that would be removed
    #[arg(long, short = 'l')]
    list: bool,
    /// Print one JSON object; removes nothing without `--yes`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// The number of runs whose results are kept by default.
const KEPT_RUNS: usize = 10;
/// How often `--wait` checks if the store is free.
const TICK: Duration = Duration::from_millis(200);

/// Lists what can be removed, and removes it if the user agrees.
///
/// # Errors
/// Fails if a pipeline is invalid (nothing is removed then), the store is in use, or a file cannot be removed.
pub fn run(args: &Args) -> CommandResult {
    let store = open(&args.store)?;
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
        report(args, &plan, &roots);
    }
    let go = !plan.is_empty() && (args.yes || (!args.json && confirmed()));
    let done = if go {
        let exclusive = lock_exclusively(args, &store)?;
        // A run may have ended meanwhile; the results that it used are kept.
        let store = open(&args.store)?;
        let keys = self::roots(args, &store)?.keys;
        Some(gc::sweep(&store, &plan, &|key| keys.contains(&key), limits, &exclusive).map_err(one)?)
    } else {
        None
    };
    if args.json {
        render::out(&(json(done.as_ref().unwrap_or(&plan), done.is_some()) + "\n"));
    } else if let Some(done) = done {
        render::err(&format!("freed {}\n", render::bytes(done.bytes())));
    } else if !plan.is_empty() {
        render::err("nothing was removed; `--yes` removes it\n");
    }
    Ok(Exit::Done)
}

/// Returns the keys to keep: those that the user names, else the last result of every node and the results of the last
/// runs.
fn roots(args: &Args, store: &Store) -> Result<GcRoots, Vec<Diag>> {
    let mut roots = GcRoots::default();
    for file in &args.keep_pipeline {
        let (keys, _) = of_pipeline(file, store, true)?;
        roots.add(keys, format!("results of `{}`", shown(file)));
    }
    for file in &args.keep_lock {
        let lock = LockFile::required(file)?;
        roots.add(lock.lines().map(|line| line.key), format!("results in `{}`", shown(file)));
    }
    if let Some(n) = args.keep_runs {
        roots.add_runs(store, n).map_err(|diag| vec![diag])?;
    }
    if roots.why.is_empty() {
        let last = store.last_keys();
        let known = !last.is_empty();
        roots.add(last, "the last result of every node".to_owned());
        roots.add_runs(store, KEPT_RUNS).map_err(|diag| vec![diag])?;
        if !known {
            let text = "cannot tell which results are in use: the store's index is missing";
            let help = "name what to keep: `--keep-pipeline FILE…`, `--keep-lock FILE…` or `--keep-runs N`";
            return Err(vec![Diag::error(Class::Usage, text).note("nothing was removed").help(help)]);
        }
    }
    Ok(roots)
}

/// Locks the store exclusively. Fails if a run uses it, or waits for the run with `--wait`.
fn lock_exclusively(args: &Args, store: &Store) -> Result<InUse, Vec<Diag>> {
    let mut waiting = false;
    loop {
        if let Some(exclusive) = store.alone().map_err(|diag| vec![diag])? {
            return Ok(exclusive);
        }
        if !args.wait {
            let diag = Diag::error(Class::Environment, "a run uses the store; nothing was removed");
            return Err(vec![diag.help("`--wait` waits until the run has ended")]);
        }
        if !std::mem::replace(&mut waiting, true) {
            render::err("a run uses the store; waiting until it ends\n");
        }
        std::thread::sleep(TICK);
    }
}

/// Asks the user at the terminal. Returns `false` if there is none.
fn confirmed() -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    render::err("remove these? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}

/// Prints what would be removed and what is kept.
fn report(args: &Args, plan: &Sweep, roots: &GcRoots) {
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
    let mut rows = vec![["to remove", "count", "frees", "took"].map(|title| paint(BOLD, title)).to_vec()];
    for (kind, count, bytes, seconds) in kinds {
        rows.push(vec![kind.to_owned(), count.to_string(), render::bytes(bytes), render::seconds(seconds)]);
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
    let kept = entry_count(plan.kept);
    render::err(&format!("would free {go} and keep {kept} with {stay}: {}", roots.why.join("; ")));
    let also = match (args.older_than, args.max_size) {
        (None, None) => "; anything younger than `--grace`",
        _ => "; anything within the limits",
    };
    render::err(&format!("{}\n", paint(DIM, also)));
    if plan.unreadable > 0 {
        let manifests = render::count(plan.unreadable, "manifest");
        render::err(&format!("{manifests} cannot be read, so unused objects are kept\n"));
    }
}

fn leftovers(plan: &Sweep) -> [(&'static str, &[Leftover]); 4] {
    [
        ("unused objects", &plan.orphans),
        ("working directories of dead runs", &plan.work),
        ("quarantine", &plan.quarantine),
        ("unfinished files", &plan.temporary),
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
