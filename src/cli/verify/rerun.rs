//! `dpt verify --rerun`: runs nodes again without changing the store, and compares with the recorded results.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::artifact::json;
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::cache::verify::{SCRATCH, VerifyScope};
use crate::cache::{Store, Stored};
use crate::cli::CommandResult;
use crate::cli::check_lock::{tolerance, warn_unused};
use crate::cli::common::{self, cancel_on_ctrl_c};
use crate::cli::exit::Exit;
use crate::cli::render::{self, BAD, GOOD, WARN, paint};
use crate::cli::run::choose;
use crate::engine::freshness::{Freshness, status};
use crate::engine::graph::NodeId;
use crate::engine::options::RunOptions;
use crate::pipeline::Plan;
use crate::repro::attestation::{Attestation, NodeChoice};
use crate::repro::compare::Verdict;
use crate::repro::lock_check::reached;
use crate::repro::rerun::{RerunNode, RerunOptions, rerun};

use super::args::Args;
use super::bytes::{self, damage};

/// Runs nodes again and prints the comparison.
///
/// # Errors
/// Fails if a node has no result in the store, or if a result or an input is damaged.
pub fn run(args: &Args, plan: &Plan, store: &Store) -> CommandResult {
    let tolerance = tolerance(plan, &args.tolerance)?;
    let targets = common::select(plan, &args.nodes)?;
    let mut all = if args.nodes.is_empty() { reached(plan, &targets) } else { targets.clone() };
    // Keep the order of the pipeline file.
    all.sort();
    let jobs = args.jobs.map_or_else(common::cpus, usize::from);
    let executor = common::local(args.device.device, jobs, store, &plan.name);
    let options =
        RunOptions { pipeline: plan.name.clone(), targets, outside: plan.outside.clone(), ..RunOptions::default() };
    let mut results: Vec<Option<Arc<Stored>>> = vec![None; plan.graph.len()];
    let mut damaged = Vec::new();
    for node in status(&plan.graph, store, &options, &executor) {
        match node.freshness {
            Freshness::Fresh { stored } => results[node.id.index()] = Some(stored),
            Freshness::Damaged { .. } => damaged.push(node.id),
            Freshness::Broken { error } => return Err(vec![error]),
            _ => {}
        }
    }
    let of = if args.nodes.is_empty() { all.len() } else { plan.graph.len() };
    let (mut nodes, how) = choose_nodes(args, plan, all);
    // Nodes with the same key share a result, so run only one of them.
    let mut seen = HashSet::new();
    nodes.retain(|id| results[id.index()].as_ref().is_none_or(|stored| seen.insert(stored.key)));
    let cancel = cancel_on_ctrl_c()?;

    // Recorded results and inputs must not be damaged.
    let keys = needed(plan, &nodes, &results);
    let verified = bytes::verify(store, &VerifyScope::Keys(keys), cancel)?;
    if cancel.asked() {
        return Ok(Exit::Interrupted);
    }
    let broken = damage(store, &verified, args.pipeline.as_deref());
    if !broken.is_empty() {
        return Err(broken);
    }
    let open: Vec<String> =
        nodes.iter().filter(|id| results[id.index()].is_none()).map(|id| plan.graph.node(*id).short()).collect();
    if !open.is_empty() {
        return Err(vec![missing(plan, &open, &damaged)]);
    }

    let folder = scratch(store)?;
    let second = Store::open(folder.path()).map_err(|diag| vec![diag])?;
    let sink = choose(args.json);
    let how_to = RerunOptions {
        plan,
        store,
        scratch: &second,
        executor: &executor,
        jobs,
        tolerance: &tolerance,
        sink: &*sink,
        cancel,
    };
    let ran = rerun(how_to, &nodes, &results).map_err(|diag| vec![diag])?;
    // Remove the progress bars before the table.
    drop(sink);
    if cancel.asked() {
        return Ok(Exit::Interrupted);
    }
    if let Some(keep) = &args.keep {
        keep_different(&second, &ran, keep).map_err(|diag| vec![diag])?;
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let statement = Attestation::new(&plan.name, at, &NodeChoice { of, how }, &tolerance, &ran);
    if let Some(path) = &args.statement {
        let text = json::to_text(&statement).expect("a statement is JSON") + "\n";
        fs::write_atomic(path, text.as_bytes()).map_err(|error| vec![error.into()])?;
    }
    let metrics = |ran: &RerunNode| {
        let stage = &plan.graph.node(ran.id).stage;
        let names = ran.result.iter().flat_map(|compared| compared.again.metrics.keys());
        names.map(|name| (stage.clone(), name.clone())).collect::<Vec<_>>()
    };
    if args.nodes.is_empty() && args.sample.is_none() {
        warn_unused(&tolerance, &ran.iter().flat_map(metrics).collect::<Vec<_>>());
    }
    if args.json {
        for node in statement.nodes() {
            render::out(&format!("{}\n", serde_json::to_string(node).expect("a node is JSON")));
        }
    } else {
        render::out(&table(&statement));
    }
    render::out(&if args.json { String::new() } else { statement.summary() + "\n" });
    Ok(exit(&ran))
}

/// Returns the nodes to run, and how they were chosen, in words.
fn choose_nodes(args: &Args, plan: &Plan, all: Vec<NodeId>) -> (Vec<NodeId>, String) {
    let how = match (&args.sample, args.nodes.is_empty()) {
        (Some(sample), _) => format!("sample {sample}, seed {}", args.seed),
        (None, true) => "all".to_owned(),
        (None, false) => "named".to_owned(),
    };
    let nodes = match args.sample {
        Some(sample) => sample.draw(all, args.seed, |id| plan.graph.node(*id).to_string()),
        None => all,
    };
    (nodes, how)
}

/// Returns the keys of the nodes and of their inputs.
fn needed(plan: &Plan, nodes: &[NodeId], results: &[Option<Arc<Stored>>]) -> BTreeSet<crate::cache::CacheKey> {
    let read = nodes.iter().flat_map(|id| plan.graph.producers(*id)).map(|(from, _)| from);
    let ids: HashSet<NodeId> = nodes.iter().copied().chain(read).collect();
    ids.into_iter().filter_map(|id| Some(results[id.index()].as_ref()?.key)).collect()
}

fn missing(plan: &Plan, open: &[String], damaged: &[NodeId]) -> Diag {
    let run = format!("`dpt run {}`", common::typed(&plan.path));
    let names = super::super::progress::some(open);
    if damaged.is_empty() {
        return Diag::error(Class::Usage, format!("no results to compare with: {names}"))
            .note("these nodes are not up to date in the store")
            .help(format!("{run} first"));
    }
    let which: Vec<_> = damaged.iter().map(|id| plan.graph.node(*id).short()).collect();
    Diag::error(Class::Store, format!("the store is damaged: {}", super::super::progress::some(&which)))
        .note(format!("no results to compare with: {names}"))
        .help(format!(
            "`dpt verify {}` moves damaged files to quarantine, {run} makes them again",
            common::typed(&plan.path)
        ))
}

/// Makes a folder for the scratch store: inside the store, which has room for such files, or in the system's temporary
/// folder if the store is read-only.
fn scratch(store: &Store) -> Result<tempfile::TempDir, Vec<Diag>> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(SCRATCH);
    let work = store.root().join("work");
    builder
        .tempdir_in(&work)
        .or_else(|_| builder.tempdir())
        .map_err(|error| vec![Diag::from(fs::on("create", &std::env::temp_dir())(error))])
}

/// Copies new results that differ to `DIR/NODE/`.
fn keep_different(scratch: &Store, ran: &[RerunNode], keep: &Path) -> Result<(), Diag> {
    for one in ran {
        if let Ok(compared) = &one.result
            && compared.verdict != Verdict::Identical
        {
            scratch.export(&compared.stored, &keep.join(&one.node))?;
        }
    }
    Ok(())
}

/// Returns a line for each node, with its differences below. Different numerics come first, once for all nodes that
/// share them.
fn table(statement: &Attestation) -> String {
    let style = |verdict| match verdict {
        "identical" => GOOD,
        "close" => WARN,
        _ => BAD,
    };
    let others: BTreeSet<String> = statement.nodes().iter().filter_map(|node| node.other_numerics()).collect();
    let mut out: String =
        others.iter().map(|other| format!("numerics differ from the recorded ones: {other}\n")).collect();
    for node in statement.nodes() {
        let pad = " ".repeat("identical".len() - node.verdict.len());
        out += &format!("{}{pad}  {}\n", paint(style(node.verdict), node.verdict), node.name());
        let rows: Vec<_> = node.details().into_iter().map(|row| row.to_vec()).collect();
        out.extend(render::table(&rows, &[]).lines().map(|line| format!("             {line}\n")));
    }
    out
}

fn exit(ran: &[RerunNode]) -> Exit {
    let differs =
        |one: &RerunNode| matches!(&one.result, Ok(compared) if matches!(compared.verdict, Verdict::Differs(_)));
    match Exit::of(ran.iter().filter_map(|one| one.result.as_ref().err())) {
        Exit::Done if ran.iter().any(differs) => Exit::Mismatch,
        other => other,
    }
}
