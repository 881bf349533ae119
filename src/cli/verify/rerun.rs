//! `dpt verify --rerun`: runs nodes again beside the store, and says whether they give what was recorded.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::artifact::json;
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::cache::verify::{SCRATCH, VerifyScope};
use crate::cache::{Store, Stored};
use crate::cli::Outcome;
use crate::cli::common::{self, cancel_on_ctrl_c};
use crate::cli::exit::Exit;
use crate::cli::locked::{tolerance, warn_unused};
use crate::cli::render::{self, BAD, GOOD, WARN, paint};
use crate::cli::run::choose;
use crate::engine::freshness::{Freshness, status};
use crate::engine::graph::NodeId;
use crate::engine::options::RunOptions;
use crate::pipeline::Plan;
use crate::repro::compare::Verdict;
use crate::repro::locked::reached;
use crate::repro::rerun::{Ran, Rerun, rerun};
use crate::repro::statement::{Chosen, Statement};

use super::{Args, bytes, damage};

/// Does it.
///
/// # Errors
/// Nodes that are not in the store, or whose inputs are damaged.
pub fn run(args: &Args, plan: &Plan, store: &Store) -> Outcome {
    let tolerance = tolerance(plan, &args.tolerance)?;
    let targets = common::select(plan, &args.nodes)?;
    let mut all = if args.nodes.is_empty() { reached(plan, &targets) } else { targets.clone() };
    // As the pipeline file has them.
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
    // Two nodes with one key are one result.
    let mut seen = HashSet::new();
    nodes.retain(|id| results[id.index()].as_ref().is_none_or(|stored| seen.insert(stored.key)));
    let cancel = cancel_on_ctrl_c()?;

    // What is compared with, and what is read, must itself be right.
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
    let how_to =
        Rerun { plan, store, scratch: &second, executor: &executor, jobs, tolerance: &tolerance, sink: &*sink, cancel };
    let ran = rerun(how_to, &nodes, &results).map_err(|diag| vec![diag])?;
    // Bars are taken off the screen before the table.
    drop(sink);
    if cancel.asked() {
        return Ok(Exit::Interrupted);
    }
    if let Some(keep) = &args.keep {
        keep_different(&second, &ran, keep).map_err(|diag| vec![diag])?;
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let statement = Statement::new(&plan.name, at, &Chosen { of, how }, &tolerance, &ran);
    if let Some(path) = &args.statement {
        let text = json::to_text(&statement).expect("a statement is JSON") + "\n";
        fs::write_atomic(path, text.as_bytes()).map_err(|error| vec![error.into()])?;
    }
    let metrics = |ran: &Ran| {
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
    render::out(&if args.json { String::new() } else { statement.words() + "\n" });
    Ok(exit(&ran))
}

/// Which nodes run, and in words how they were chosen.
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

/// The keys of the nodes and of what they read.
fn needed(plan: &Plan, nodes: &[NodeId], results: &[Option<Arc<Stored>>]) -> BTreeSet<crate::cache::CacheKey> {
    let read = nodes.iter().flat_map(|id| plan.graph.producers(*id)).map(|(from, _)| from);
    let ids: HashSet<NodeId> = nodes.iter().copied().chain(read).collect();
    ids.into_iter().filter_map(|id| Some(results[id.index()].as_ref()?.key)).collect()
}

fn missing(plan: &Plan, open: &[String], damaged: &[NodeId]) -> Diag {
    let run = format!("`dpt run {}`", common::typed(&plan.path));
    let names = super::super::progress::some(open);
    if damaged.is_empty() {
        return Diag::error(Class::Usage, format!("nothing is recorded to compare with: {names}"))
            .note("not up to date in this store")
            .help(format!("{run} first"));
    }
    let which: Vec<_> = damaged.iter().map(|id| plan.graph.node(*id).short()).collect();
    Diag::error(Class::Store, format!("the store is damaged: {}", super::super::progress::some(&which)))
        .note(format!("so there is nothing to compare with: {names}"))
        .help(format!("`dpt verify {}` sets the damage aside, {run} makes it again", common::typed(&plan.path)))
}

/// A folder for what is made again: in the store, where there is room for such files; where that cannot be written, elsewhere.
fn scratch(store: &Store) -> Result<tempfile::TempDir, Vec<Diag>> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(SCRATCH);
    let work = store.root().join("work");
    builder
        .tempdir_in(&work)
        .or_else(|_| builder.tempdir())
        .map_err(|error| vec![Diag::from(fs::on("create", &std::env::temp_dir())(error))])
}

/// Copies what was made again and differs to `DIR/NODE/`.
fn keep_different(scratch: &Store, ran: &[Ran], keep: &Path) -> Result<(), Diag> {
    for one in ran {
        if let Ok(compared) = &one.result
            && compared.verdict != Verdict::Identical
        {
            scratch.export(&compared.stored, &keep.join(&one.node))?;
        }
    }
    Ok(())
}

/// A line for each node, and below it what differs. Under which other numerics comes first, once for all that share them.
fn table(statement: &Statement) -> String {
    let style = |verdict| match verdict {
        "identical" => GOOD,
        "close" => WARN,
        _ => BAD,
    };
    let others: BTreeSet<String> = statement.nodes().iter().filter_map(|node| node.other_numerics()).collect();
    let mut out: String =
        others.iter().map(|other| format!("made with other numerics than recorded: {other}\n")).collect();
    for node in statement.nodes() {
        let pad = " ".repeat("identical".len() - node.verdict.len());
        out += &format!("{}{pad}  {}\n", paint(style(node.verdict), node.verdict), node.name());
        let rows: Vec<_> = node.details().into_iter().map(|row| row.to_vec()).collect();
        out.extend(render::table(&rows, &[]).lines().map(|line| format!("             {line}\n")));
    }
    out
}

fn exit(ran: &[Ran]) -> Exit {
    let differs = |one: &Ran| matches!(&one.result, Ok(compared) if matches!(compared.verdict, Verdict::Differs(_)));
    match Exit::of(ran.iter().filter_map(|one| one.result.as_ref().err())) {
        Exit::Done if ran.iter().any(differs) => Exit::Mismatch,
        other => other,
    }
}
