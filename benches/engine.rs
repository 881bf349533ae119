//! `cargo bench --bench engine [-- NODES]`: what the engine itself costs: a first run of trivial nodes, a run without
//! work, a status, a run after one change. Chains of six nodes, each node one small file. Asserts nothing.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark prints its figures"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use dpt::base::diag::Diag;
use dpt::base::value::Value;
use dpt::cache::Store;
use dpt::engine::event::{Event, Sink};
use dpt::engine::graph::{Accept, Graph, Node, Resources};
use dpt::engine::{Executor, RunOptions, run, status};
use dpt::stages::ctx::{Cancel, Job, Outcome, Progress};
use dpt::stages::stage::{Arity, Output, Param, Port, Runs, StageKind, StageResult, Type};

const FROM: Port = Port { role: "from", accepts: &[], files: &["*"], arity: Arity::Optional, doc: "" };
const TRIVIAL: StageKind = StageKind {
    name: "trivial",
    about: "",
    params: &[Param::required("n", Type::Int(0, i64::MAX), "")],
    inputs: &[FROM],
    outputs: &[Output { name: "out.txt", required: true, doc: "" }],
    runs: Runs::Worker,
    ..StageKind::BASE
};

fn graph(nodes: usize, changed: Option<usize>) -> Graph {
    let mut graph = Graph::new();
    let mut before = None;
    for i in 0..nodes {
        let n = i as i64 + if changed == Some(i) { nodes as i64 } else { 0 };
        let id = graph.add(Node {
            stage: format!("s{}", i % 6),
            kind: &TRIVIAL,
            axes: vec![("chain".into(), (i / 6).to_string())],
            params: Arc::new([("n".to_owned(), Value::Int(n))].into()),
            resources: Resources::default(),
            accept: Accept::Any,
            span: None,
        });
        if let (Some(before), true) = (before, i % 6 != 0) {
            let port = graph.port((&FROM).into());
            graph.connect(before, id, port);
        }
        before = Some(id);
    }
    graph
}

struct Trivial;

impl Executor for Trivial {
    fn run(&self, job: &Job, _: &'static StageKind, _: &dyn Progress, _: &Cancel) -> StageResult {
        std::fs::write(job.out.join("out.txt"), job.params["n"].to_string()).expect("room for a small file");
        Ok(Outcome::default())
    }
    fn gpus(&self) -> &[String] {
        &[]
    }
    fn device(&self) -> &str {
        "cpu"
    }
    fn numerics(&self, _: &Resources) -> Result<BTreeMap<String, String>, Diag> {
        Ok(BTreeMap::new())
    }
}

struct Silent;

impl Sink for Silent {
    fn event(&self, _: &Event) {}
}

/// How long the main thread has run: steadier than the clock on a busy machine. 0 if the system does not say.
fn main_thread_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

/// The most memory that this process ever had, in MB. 0 if the system does not say.
fn peak_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn main() {
    let nodes: usize = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(1_000);
    let dir = tempfile::tempdir_in(".").expect("a temporary folder");
    let options = || RunOptions { pipeline: "bench".into(), jobs: 2, ..RunOptions::default() };
    let time = |what: &str, changed: Option<usize>, looks: bool| {
        let (started, cpu) = (Instant::now(), main_thread_ms());
        let graph = graph(nodes, changed);
        let store = Store::open(dir.path()).expect("a store");
        let ran = match looks {
            true => status(&graph, &store, &options(), &Trivial).len(),
            false => run(&graph, &store, options(), &Trivial, &Silent, &Cancel::new()).totals.made,
        };
        let (wall, cpu) = (started.elapsed().as_secs_f64() * 1e3, main_thread_ms() - cpu);
        println!("{what:<16} {wall:>9.1} ms, {cpu:>8.1} ms of the main thread, {ran} nodes");
    };
    time("first run", None, false);
    time("no work", None, false);
    time("no work again", None, false);
    time("status", None, true);
    time("one change", Some(nodes / 2), false);
    println!("at most {:.0} MB", peak_mb());
}
