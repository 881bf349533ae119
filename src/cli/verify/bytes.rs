//! `dpt verify` without `--rerun`: hashes the files of the store, of a pipeline's results, or of a lock file's results.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::base::diag::{Class, Diag};
use crate::cache::verify::{self, BrokenPart, SetAside, VerifyReport, VerifyScope};
use crate::cache::{CacheKey, Store, Stored};
use crate::cli::CommandResult;
use crate::cli::common::{self, cancel_on_ctrl_c};
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::engine::context::Context;
use crate::engine::executor::Executor;
use crate::engine::graph::NodeId;
use crate::engine::prepare::NodeKey;
use crate::pipeline::Plan;
use crate::repro::compare::ResultFacts;
use crate::repro::lock_check::reached;
use crate::repro::lockfile::LockFile;
use crate::stages::ctx::Cancel;
use crate::worker::device::DeviceChoice;

use super::args::Args;

/// Hashes the files and prints the outcome.
///
/// # Errors
/// Fails if the store or the lock file cannot be read.
pub fn run(args: &Args, plan: Option<&Plan>, store: &Store) -> CommandResult {
    let lock = match &args.lock {
        None => None,
        Some(path) => Some(LockFile::required(path)?),
    };
    let (scope, waiting) = match (plan, &lock) {
        (_, Some(lock)) => (VerifyScope::Keys(lock.lines().map(|line| line.key).collect()), 0),
        (Some(plan), None) => keys(args, plan, store)?,
        (None, None) => (VerifyScope::Store, 0),
    };
    let cancel = cancel_on_ctrl_c()?;
    let began = Instant::now();
    let verified = verify(store, &scope, cancel)?;
    if cancel.asked() {
        return Ok(Exit::Interrupted);
    }
    let unlike = lock.as_ref().map_or(Ok(vec![]), |lock| unlike(store, lock)).map_err(|diag| vec![diag])?;
    if args.json {
        render::out(&(to_json(&verified, waiting, &unlike) + "\n"));
    } else {
        render::out(&(line(&verified, waiting, lock.is_some(), began.elapsed()) + "\n"));
    }
    let mut diags = damage(store, &verified, args.pipeline.as_deref());
    let damaged = !diags.is_empty();
    if !unlike.is_empty() {
        let of = lock.as_ref().map_or(0, |lock| lock.lines().len());
        let verb = if unlike.len() == 1 { "is" } else { "are" };
        let what =
            format!("{} of the lock's {} {verb} not in the store as recorded", unlike.len(), render::count(of, "node"));
        let diag = Diag::error(Class::Store, what);
        let rows: Vec<String> = unlike.iter().take(12).map(|(node, why)| format!("{node}  {why}")).collect();
        let more = unlike.len().saturating_sub(rows.len());
        let tail = if more > 0 { format!("\nand {more} more") } else { String::new() };
        diags.push(diag.note(rows.join("\n") + &tail));
    }
    if diags.is_empty() {
        return Ok(Exit::Done);
    }
    if !args.json {
        render::err(&render::diags(&diags));
    }
    Ok(if damaged { Exit::StoreDamaged } else { Exit::Mismatch })
}

fn nodes_have(n: usize) -> String {
    format!("{} {}", render::count(n, "node"), if n == 1 { "has" } else { "have" })
}

/// Hashes the files, with a progress bar on a terminal, and saves the digests in the index.
///
/// # Errors
/// Fails if the store cannot be read.
pub(super) fn verify(store: &Store, scope: &VerifyScope, cancel: &Cancel) -> Result<VerifyReport, Vec<Diag>> {
    let bar = match std::io::stderr().is_terminal() {
        false => ProgressBar::hidden(),
        true => {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.with_style(ProgressStyle::with_template("hashing {bytes}  {bytes_per_sec}").expect("a template"))
        }
    };
    let verified = verify::verify(store, scope, &|bytes| bar.inc(bytes), &|| cancel.asked());
    bar.finish_and_clear();
    // If the index cannot be written, the next verification hashes again.
    let _ = store.flush();
    verified.map_err(|diag| vec![diag])
}

/// Returns the keys of the pipeline's results, using only manifests, and the number of nodes without a key because an
/// input has no result.
fn keys(args: &Args, plan: &Plan, store: &Store) -> Result<(VerifyScope, usize), Vec<Diag>> {
    let targets = common::select(plan, &args.nodes)?;
    let executor = common::local(DeviceChoice::Auto, 1, store, &plan.name);
    let mut results: Vec<Option<Arc<Stored>>> = vec![None; plan.graph.len()];
    let mut keys = BTreeSet::new();
    let mut waiting = 0;
    for id in reached(plan, &targets) {
        if plan.graph.producers(id).any(|(from, _)| results[from.index()].is_none()) {
            waiting += 1;
            continue;
        }
        let (key, stored) = recorded(plan, id, &results, store, &executor).map_err(|diag| vec![diag])?;
        keys.insert(key);
        results[id.index()] = stored;
    }
    Ok((VerifyScope::Keys(keys), waiting))
}

fn recorded(
    plan: &Plan,
    id: NodeId,
    results: &[Option<Arc<Stored>>],
    store: &Store,
    executor: &dyn Executor,
) -> Result<(CacheKey, Option<Arc<Stored>>), Diag> {
    let (graph, pipeline, outside) = (&plan.graph, plan.name.as_str(), &plan.outside);
    let context = Context { graph, store: store.into(), pipeline, outside, accept: None, executor };
    let NodeKey { key, numerics } = context.key(id, results)?;
    let entry = store.entry(key)?;
    let made = entry.and_then(|entry| entry.made.into_iter().find(|made| numerics.accepts(&made.numerics)));
    Ok((key, made.map(|made| Arc::new(Stored::of(key, &made)))))
}

/// Returns the nodes of a lock file that are missing in the store or have other digests, with the reason.
fn unlike(store: &Store, lock: &LockFile) -> Result<Vec<(String, &'static str)>, Diag> {
    let mut unlike = Vec::new();
    for line in lock.lines() {
        let why = match store.entry(line.key)? {
            None => "is not in the store",
            Some(entry) => {
                if entry.made.iter().any(|made| ResultFacts::of(made).files == line.files) {
                    continue;
                }
                "has other digests than the lock"
            }
        };
        unlike.push((line.node.clone(), why));
    }
    Ok(unlike)
}

/// Returns the summary: `checked 27 entries, 112 objects, 3.0 MB in 12 ms: no damage`.
fn line(verified: &VerifyReport, waiting: usize, lock: bool, took: Duration) -> String {
    let VerifyReport { entries, objects, bytes, unnamed, absent, forgotten, broken } = verified;
    let size = render::bytes(*bytes);
    let entries = if *entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
    let took = render::duration(took);
    let mut line = format!("checked {entries}, {}, {size} in {took}", render::count(*objects, "object"));
    line += &match broken.len() {
        0 => ": no damage".to_owned(),
        n => format!(": {n} damaged"),
    };
    // Missing results of a lock file are listed one by one.
    if waiting + absent.len() > 0 && !lock {
        line += &format!("; {} no result yet", nodes_have(waiting + absent.len()));
    }
    if !forgotten.is_empty() {
        let (results, them) = match forgotten.len() {
            1 => ("1 result was dropped because its manifest is".to_owned(), "it"),
            n => (format!("{n} results were dropped because their manifests are"), "them"),
        };
        line += &format!("; {results} missing (`dpt run` makes {them} again)");
    }
    if *unnamed > 0 {
        line += &format!("; {}", render::count(*unnamed, "unused object"));
    }
    line
}

fn to_json(verified: &VerifyReport, waiting: usize, unlike: &[(String, &str)]) -> String {
    let broken: Vec<_> = verified
        .broken
        .iter()
        .map(|b| {
            let (aside, why) = match &b.aside {
                SetAside::Missing => ("missing", None),
                SetAside::Moved => ("moved", None),
                SetAside::Stays(why) => ("stays", Some(why)),
            };
            json!({ "what": b.what, "note": b.note, "nodes": b.nodes, "aside": aside, "why": why })
        })
        .collect();
    let unlike: Vec<_> = unlike.iter().map(|(node, why)| json!({ "node": node, "why": why })).collect();
    json!({
        "schema": 1,
        "entries": verified.entries,
        "objects": verified.objects,
        "bytes": verified.bytes,
        "unnamed": verified.unnamed,
        "forgotten": verified.forgotten.iter().map(|key| key.hex()).collect::<Vec<_>>(),
        "not_made": waiting + verified.absent.len(),
        "broken": broken,
        "unlike_lock": unlike,
    })
    .to_string()
}

/// Returns an error for each damaged file.
pub(super) fn damage(store: &Store, verified: &VerifyReport, pipeline: Option<&Path>) -> Vec<Diag> {
    let quarantine = common::shown(&store.root().join("quarantine"));
    let again = match pipeline {
        Some(path) => format!("`dpt run {}`", common::typed(path)),
        None => "`dpt run PIPELINE`".to_owned(),
    };
    let one = |broken: &BrokenPart| {
        let mut diag = Diag::error(Class::Store, broken.what.clone());
        diag.notes.extend(broken.note.clone());
        if !broken.nodes.is_empty() {
            diag = diag.note(format!("made by {}", crate::cli::progress::some(&broken.nodes)));
        }
        match &broken.aside {
            SetAside::Missing => diag.help(format!("{again} makes it again")),
            SetAside::Moved => diag.note(format!("moved to {quarantine}")).help(format!("{again} makes it again")),
            SetAside::Stays(why) => diag.note(format!("could not be moved to quarantine: {why}")),
        }
    };
    verified.broken.iter().map(one).collect()
}
