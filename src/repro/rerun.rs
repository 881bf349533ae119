//! [`rerun`]: runs nodes again from the inputs in the store, writes their results to a scratch store, and compares them
//! with the recorded ones. The real store is only read. Every node reads recorded inputs, never another node's new
//! result, so nodes need no order and each one is judged on its own.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::base::watch::{Amount, Counting};
use crate::cache::{Claim, CommitInfo, MadeResult, Miss, Store, Stored, Watched};
use crate::engine::context::Context;
use crate::engine::deadline;
use crate::engine::event::{self, Event, RunTotals, Sink};
use crate::engine::executor::{Executor, HeldSlots, Slots};
use crate::engine::graph::NodeId;
use crate::engine::job::{check_outputs, made};
use crate::engine::prepare::PreparedNode;
use crate::engine::retry;
use crate::pipeline::Plan;
use crate::pipeline::tolerance::Tolerance;
use crate::stages::ctx::{Cancel, Job, Progress, Update};

use super::compare::{Difference, ResultFacts, Verdict, compare};
use super::file_diff::{FileDiff, file_diff};
use super::lock_check;

const TICK: Duration = Duration::from_millis(50);

/// What to rerun with.
#[derive(Clone, Copy)]
pub struct RerunOptions<'a> {
    /// The pipeline.
    pub plan: &'a Plan,
    /// The store with the inputs and the recorded results.
    pub store: &'a Store,
    /// The store for the new results.
    pub scratch: &'a Store,
    /// The executor that runs the nodes.
    pub executor: &'a dyn Executor,
    /// The number of CPU slots.
    pub jobs: usize,
    /// How much metrics may differ under other numerics.
    pub tolerance: &'a Tolerance,
    /// The sink of the events.
    pub sink: &'a dyn Sink,
    /// Set when the user interrupts.
    pub cancel: &'a Cancel,
}

impl<'a> RerunOptions<'a> {
    /// The context of keys and jobs, with a store from which inputs are read.
    fn context(&self, store: Watched<'a>) -> Context<'a> {
        let Self { plan, executor, .. } = *self;
        let (graph, pipeline, outside) = (&plan.graph, plan.name.as_str(), &plan.outside);
        Context { graph, store, pipeline, outside, accept: None, executor }
    }
}

/// A node that ran again.
#[derive(Debug)]
pub struct RerunNode {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub node: String,
    /// The comparison, or why the node failed.
    pub result: Result<ComparedResult, Diag>,
}

/// A new result compared with the recorded one.
#[derive(Debug)]
pub struct ComparedResult {
    /// The recorded result; the one with equal numerics, if the store has it.
    pub recorded: MadeResult,
    /// The new result, in the scratch store.
    pub stored: Arc<Stored>,
    /// The record of the new result.
    pub again: MadeResult,
    /// The numerics are equal, so every bit must be equal.
    pub strict: bool,
    /// The outcome.
    pub verdict: Verdict,
    /// How the files that differ do so, by name.
    pub gaps: Vec<(String, FileDiff)>,
}

/// A node that waits for a slot.
struct Open {
    id: NodeId,
    prepared: Arc<PreparedNode>,
    /// The number of the next attempt, counted from 1.
    attempt: u32,
    /// The earliest time to start.
    at: Instant,
}

/// A node that runs.
struct Running {
    open: Open,
    held: HeldSlots,
    cancel: Arc<Cancel>,
    deadline: Option<Instant>,
    timed_out: bool,
}

struct Ended {
    id: NodeId,
    result: Result<ComparedResult, Diag>,
}

/// Runs `nodes` again and returns the outcomes in the order of `nodes`. No two nodes may have the same key. `results`
/// has the results of the nodes and of their inputs, by [`NodeId::index`]. Timeouts and retries are those of a run. If
/// the user interrupts, nodes that have not started are left out.
///
/// # Errors
/// Fails if the store cannot be read.
pub fn rerun(how: RerunOptions, nodes: &[NodeId], results: &[Option<Arc<Stored>>]) -> Result<Vec<RerunNode>, Diag> {
    let RerunOptions { plan, store, executor, sink, .. } = how;
    let began = Instant::now();
    let mut open = Vec::new();
    let (check, tell) = (|| how.cancel.check("verify"), |_| ());
    let watch = Counting::new(Default::default(), &check, &tell);
    for id in nodes {
        let prepared = Arc::new(how.context(store.watched(&watch)).prepare(*id, results)?);
        open.push(Open { id: *id, prepared, attempt: 1, at: began });
    }
    sink.event(&Event::RunStarted {
        schema: event::SCHEMA,
        run: String::new(),
        pipeline: plan.name.clone(),
        file: store.file().map(str::to_owned),
        nodes: nodes.len(),
        dry_run: false,
    });
    let (sender, ended) = mpsc::channel::<Ended>();
    let slots = Slots::new(how.jobs, executor.gpus());
    let mut runner = Runner { how, results, open, slots, running: HashMap::new(), ran: Vec::new(), sender };
    std::thread::scope(|scope| runner.turn(scope, &ended));
    let mut ran = runner.ran;
    let totals = RunTotals {
        nodes: nodes.len(),
        made: ran.len(),
        seconds: began.elapsed().as_secs_f64(),
        ..RunTotals::default()
    };
    sink.event(&Event::RunEnded { summary: totals });
    ran.sort_by_key(|one| nodes.iter().position(|id| *id == one.id));
    Ok(ran)
}

/// The loop of a rerun. It is like that of a run, but needs no order.
struct Runner<'a> {
    how: RerunOptions<'a>,
    results: &'a [Option<Arc<Stored>>],
    open: Vec<Open>,
    slots: Slots,
    running: HashMap<NodeId, Running>,
    ran: Vec<RerunNode>,
    sender: mpsc::Sender<Ended>,
}

impl<'a> Runner<'a> {
    fn turn<'s>(&mut self, scope: &'s Scope<'s, 'a>, ended: &mpsc::Receiver<Ended>)
    where
        'a: 's,
    {
        loop {
            while !self.how.cancel.asked()
                && let Some((at, held)) = self.next()
            {
                let open = self.open.remove(at);
                self.start(open, held, scope);
            }
            if self.running.is_empty() && (self.how.cancel.asked() || self.open.is_empty()) {
                break;
            }
            if let Ok(Ended { id, result }) = ended.recv_timeout(TICK) {
                self.ended(id, result);
            }
            self.ask_to_end();
        }
    }

    /// Returns the first waiting node whose slots are free, with the slots.
    fn next(&mut self) -> Option<(usize, HeldSlots)> {
        let now = Instant::now();
        let graph = &self.how.plan.graph;
        let mut waiting = self.open.iter().enumerate().filter(|(_, open)| open.at <= now);
        waiting.find_map(|(at, open)| Some((at, self.slots.take_for(graph.node(open.id))?)))
    }

    fn start<'s>(&mut self, open: Open, held: HeldSlots, scope: &'s Scope<'s, 'a>)
    where
        'a: 's,
    {
        let (how, results, sender, id) = (self.how, self.results, self.sender.clone(), open.id);
        let node = how.plan.graph.node(id);
        let cancel = Arc::new(Cancel::new());
        let place = Place {
            held: HeldSlots { cpus: held.cpus, gpus: held.gpus.clone() },
            attempt: open.attempt,
            cancel: cancel.clone(),
        };
        let prepared = open.prepared.clone();
        let deadline = node.resources.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        self.running.insert(id, Running { open, held, cancel, deadline, timed_out: false });
        scope.spawn(move || {
            let tried = AssertUnwindSafe(|| run_node(how, id, &prepared, results, &place));
            let result = catch_unwind(tried).unwrap_or_else(|_| {
                Err(Diag::error(Class::Bug, format!("`{node}` panicked in the rerun; the panic message is above")))
            });
            // The receiver exists as long as any node runs.
            let _ = sender.send(Ended { id, result });
        });
    }

    /// Handles the end of a node's thread: records the outcome, or queues a retry.
    fn ended(&mut self, id: NodeId, result: Result<ComparedResult, Diag>) {
        let Running { open, held, timed_out, .. } = self.running.remove(&id).expect("it ran");
        self.slots.give(held);
        let node = self.how.plan.graph.node(id);
        let result = result.map_err(|error| if timed_out { deadline::ran_over(node, error) } else { error });
        if let Err(error) = &result {
            let (name, error_told) = (node.to_string(), error.clone().into());
            if retry::helps(error) && open.attempt <= node.resources.retries && !self.how.cancel.asked() {
                let pause = retry::pause(node.resources.backoff, open.attempt);
                let after = pause.as_secs_f64();
                let told = Event::NodeRetry { node: name, attempt: open.attempt, error: error_told, after };
                self.how.sink.event(&told);
                self.open.push(Open { attempt: open.attempt + 1, at: Instant::now() + pause, ..open });
                return;
            }
            self.how.sink.event(&Event::NodeFailed { node: name, error: error_told });
        }
        self.ran.push(RerunNode { id, node: node.to_string(), result });
    }

    /// Cancels nodes that exceed their timeout, and all nodes if the user interrupts.
    fn ask_to_end(&mut self) {
        let (now, all) = (Instant::now(), self.how.cancel.asked());
        for running in self.running.values_mut() {
            running.timed_out |= !all && running.deadline.is_some_and(|deadline| deadline <= now);
            if all || running.timed_out {
                running.cancel.ask();
            }
        }
    }
}

/// The slots, device and attempt with which a node runs.
struct Place {
    held: HeldSlots,
    attempt: u32,
    cancel: Arc<Cancel>,
}

/// Claims one node in the scratch store, runs it and compares its result.
fn run_node(
    how: RerunOptions,
    id: NodeId,
    prepared: &PreparedNode,
    results: &[Option<Arc<Stored>>],
    place: &Place,
) -> Result<ComparedResult, Diag> {
    let RerunOptions { plan, store, scratch, .. } = how;
    let graph = &plan.graph;
    let node = &graph.node(id).to_string();
    let miss = match scratch.claim(prepared.key, &|_| true, true)? {
        Claim::Miss(miss) => miss,
        Claim::Busy(_) | Claim::Hit(_) => {
            return Err(Diag::error(Class::Bug, format!("`{node}` was started twice in one rerun")));
        }
    };
    let job = how.context(store.into()).job(id, results, &prepared.sources, &miss, &place.held)?;
    let stored = make(how, id, &job, *miss, prepared, place)?;
    let again = lock_check::made(scratch, &stored)?;
    let recorded =
        recorded(store, results[id.index()].as_deref().expect("the caller passes results of all nodes"), &again)?;
    let strict = again.numerics == recorded.numerics;
    let verdict =
        compare(&ResultFacts::of(&recorded), &ResultFacts::of(&again), strict, &graph.node(id).stage, how.tolerance);
    let differing = match &verdict {
        Verdict::Identical => &[][..],
        Verdict::Close(list) | Verdict::Differs(list) => list,
    };
    let gaps = differing
        .iter()
        .filter_map(|difference| match difference {
            Difference::File { name, recorded: Some(_), found: Some(_) } => {
                let there = |store: &Store, made: &MadeResult| store.object(&made.files[name].bytes);
                Some((name.clone(), file_diff(name, &there(store, &recorded), &there(scratch, &again))))
            }
            _ => None,
        })
        .collect();
    Ok(ComparedResult { recorded, stored, again, strict, verdict, gaps })
}

/// Returns the record to compare with: the one under equal numerics if there is one, else the one that consumers read.
fn recorded(store: &Store, stored: &Stored, again: &MadeResult) -> Result<MadeResult, Diag> {
    let entry = store.entry(stored.key)?;
    let same = entry.and_then(|entry| entry.made.into_iter().find(|made| made.numerics == again.numerics));
    same.map_or_else(|| lock_check::made(store, stored), Ok)
}

fn make(
    how: RerunOptions,
    id: NodeId,
    job: &Job,
    miss: Miss,
    prepared: &PreparedNode,
    place: &Place,
) -> Result<Arc<Stored>, Diag> {
    let (key, kind) = (prepared.key, how.plan.graph.node(id).kind);
    let node = job.node.as_str();
    let started = Instant::now();
    let (device, attempt) = (job.device.clone(), place.attempt);
    how.sink.event(&Event::NodeStarted { node: node.to_owned(), key, attempt, device });
    let told = RerunProgress { sink: how.sink, node };
    let outcome = how.executor.run(job, kind, &told, &place.cancel)?;
    let seconds = started.elapsed().as_secs_f64();
    check_outputs(kind, &made(&miss, &outcome)?)?;
    let metrics = outcome.metrics.clone();
    let work = CommitInfo {
        node: node.to_owned(),
        run: String::new(),
        seconds,
        metrics: outcome.metrics,
        numerics: outcome.numerics,
        notes: outcome.notes,
        // A rerun trusts no digest that a stage reports: all files are hashed.
        hashed: BTreeMap::new(),
        given: outcome.given,
        foreign: kind.brings_foreign_files(),
    };
    let (check, tell) = (|| place.cancel.check(node), |amount: Amount| told.update(amount.into()));
    let watch = Counting::new(Default::default(), &check, &tell);
    let stored = miss.commit_watched(&prepared.recipe, work, &|note| told.note(note), &watch)?;
    how.sink.event(&Event::NodeDone { node: node.to_owned(), key, seconds, bytes: stored.size(), metrics });
    Ok(stored)
}

/// Forwards the progress of a running stage as events.
struct RerunProgress<'a> {
    sink: &'a dyn Sink,
    node: &'a str,
}

impl Progress for RerunProgress<'_> {
    fn update(&self, update: Update) {
        self.sink.event(&Event::NodeProgress { node: self.node.to_owned(), update });
    }

    fn note(&self, text: &str) {
        self.sink.event(&Event::NodeNote { node: self.node.to_owned(), text: text.to_owned() });
    }
}
