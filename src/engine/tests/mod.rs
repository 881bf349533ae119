//! Engine tests with stub stages: no libtorch, no clock; events instead of sleeps.

mod edits;
mod keys;
mod mistakes;
mod random;
mod runs;

use std::path::Path;
use std::sync::Mutex;

use crate::artifact::json;
use crate::base::diag::Diag;
use crate::base::value::{Params, Value};
use crate::cache::Store;
use crate::stages::ctx::{Cancel, Job, Outcome, Progress};
use crate::stages::stage::{Arity, Literal, Output, Param, Port, Runs, StageKind, StageResult, Type};

use super::event::{Event, Sink};
use super::executor::Executor;
use super::graph::{Accept, Graph, Node, NodeId, Resources};
use super::options::{RunOptions, RunSummary};
use super::run::run;

pub const ONE: Port = Port { role: "from", accepts: &[], files: &["out.json"], arity: Arity::One, doc: "one" };
pub const MANY: Port = Port { role: "all", accepts: &[], files: &["*.json"], arity: Arity::OptionalMany, doc: "all" };

/// Writes what it was given and what it read.
pub const TOUCH: StageKind = StageKind {
    name: "touch",
    about: "writes what it reads",
    params: &[
        Param::with_default("text", Type::Str, Literal::Str(""), "what to write"),
        Param::optional("rate", Type::Float(0.0, 1.0), "a float"),
        Param::optional("every", Type::Int(0, 9), "how often").not_in_key(),
        Param { since: 2, ..Param::with_default("late", Type::Float(0.0, 9.0), Literal::Float(2.0), "came later") },
    ],
    inputs: &[ONE, MANY],
    outputs: &[
        Output { name: "out.json", required: true, doc: "the text and what was read" },
        Output { name: "more*.txt", required: false, doc: "anything else" },
    ],
    runs: Runs::Worker,
    ..StageKind::BASE
};

/// A graph being built.
#[derive(Default)]
pub struct Plan(pub Graph);

impl Plan {
    pub fn node(&mut self, stage: &str, axes: &[(&str, &str)], params: &[(&str, Value)]) -> NodeId {
        self.of(&TOUCH, stage, axes, params)
    }

    pub fn of(
        &mut self,
        kind: &'static StageKind,
        stage: &str,
        axes: &[(&str, &str)],
        params: &[(&str, Value)],
    ) -> NodeId {
        self.0.add(Node {
            stage: stage.to_owned(),
            kind,
            axes: axes.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect(),
            params: params.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect::<Params>().into(),
            resources: Resources::default(),
            accept: Accept::Any,
            span: None,
        })
    }

    /// `from` → `to`, each through `MANY`.
    pub fn edge(&mut self, from: NodeId, to: NodeId) {
        let port = self.0.port((&MANY).into());
        self.0.connect(from, to, port);
    }

    /// Nodes `n0 → n1 → …`, each with its own text.
    pub fn chain(len: usize) -> (Graph, Vec<NodeId>) {
        let mut plan = Self::default();
        let ids: Vec<_> = (0..len).map(|i| plan.node(&format!("n{i}"), &[], &[text(&format!("t{i}"))])).collect();
        ids.windows(2).for_each(|w| plan.edge(w[0], w[1]));
        (plan.0, ids)
    }
}

pub fn text(value: &str) -> (&'static str, Value) {
    ("text", Value::Str(value.to_owned()))
}

/// The stage `touch`: writes one file with its text and the contents of its inputs in the order given.
pub fn touch(job: &Job) -> StageResult {
    let mut read = Vec::new();
    for input in job.inputs.values().flatten() {
        for path in input.files.values() {
            read.push(json::read::<serde_json::Value>(path)?);
        }
    }
    json::write(&job.out.join("out.json"), &serde_json::json!({ "text": job.params.get("text"), "read": read }))?;
    Ok(Outcome::default())
}

/// An executor that is a function.
pub struct Stub<F>(pub F);

impl<F: Fn(&Job, &dyn Progress, &Cancel) -> StageResult + Sync> Executor for Stub<F> {
    fn run(&self, job: &Job, _: &'static StageKind, progress: &dyn Progress, cancel: &Cancel) -> StageResult {
        (self.0)(job, progress, cancel)
    }
    fn gpus(&self) -> &[String] {
        &[]
    }
    fn device(&self) -> &str {
        "cpu"
    }
    fn numerics(&self, _: &Resources) -> Result<std::collections::BTreeMap<String, String>, Diag> {
        Ok([("device", "cpu"), ("threads", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    }
}

/// Keeps all events.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<Event>>);

impl Sink for Heard {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    /// One short line for each event that `line` knows.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().filter_map(line).collect()
    }
}

fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::NodeHit { node, how, .. } => format!("{how:?} {node}"),
        Event::NodeQueued { node, reasons, .. } => {
            format!("queue {node}: {}", reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        Event::NodeDone { node, .. } => format!("done {node}"),
        Event::NodeDamaged { node, what, .. } => format!("damaged {node}: {what}"),
        Event::NodeRetry { node, attempt, error, .. } => format!("retry {node} after {attempt}: {}", error.message),
        Event::NodeFailed { node, error } => format!("failed {node}: {}", error.message),
        Event::NodeSkipped { node, because } => format!("skipped {node}: {because}"),
        Event::NodeElsewhere { node, .. } => format!("elsewhere {node}"),
        Event::NodeWouldRun { node, reasons, .. } => format!("would run {node}: {}", reasons[0]),
        Event::NodeMayRun { node, by } => format!("may run {node}: {}", by.join(", ")),
        Event::NodeNote { node, text } => format!("note {node}: {text}"),
        _ => return None,
    })
}

pub fn options() -> RunOptions {
    RunOptions { pipeline: "test".into(), jobs: 2, ..RunOptions::default() }
}

/// Runs `graph` with `touch`; what happened, line by line.
pub fn touched(graph: &Graph, store: &Store, options: RunOptions) -> (RunSummary, Vec<String>) {
    ran(graph, store, options, |job, _, _| touch(job))
}

pub fn ran(
    graph: &Graph,
    store: &Store,
    options: RunOptions,
    stage: impl Fn(&Job, &dyn Progress, &Cancel) -> StageResult + Sync,
) -> (RunSummary, Vec<String>) {
    let heard = Heard::default();
    let summary = run(graph, store, options, &Stub(stage), &heard, &Cancel::new());
    (summary, heard.lines())
}

pub fn open(dir: &Path) -> Store {
    Store::open(&dir.join("cache")).unwrap()
}
