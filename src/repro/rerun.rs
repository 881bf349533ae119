//! [`rerun`]: runs nodes again, each from the inputs that the store has for it, writes what they make into a store of its own,
//! and compares. The real store is only read. Nodes do not wait for each other: what one makes is no input of another, so each
//! is judged by itself.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::cache::{Claim, Made, Miss, Store, Stored, Work};
use crate::engine::event::{self, Event, Sink, Totals};
use crate::engine::executor::{Executor, Held, Slots};
use crate::engine::graph::NodeId;
use crate::engine::job::{check_outputs, job, made};
use crate::engine::prepare::{Prepared, prepare, producers};
use crate::pipeline::Plan;
use crate::pipeline::tolerance::Tolerance;
use crate::stages::ctx::{Cancel, Job, Progress, Update};
use crate::stages::stage::Runs;

use super::compare::{Difference, Facts, Verdict, compare};
use super::gap::{Gap, gap};
use super::locked;

const TICK: Duration = Duration::from_millis(50);

/// What a rerun needs.
#[derive(Clone, Copy)]
pub struct Rerun<'a> {
    /// The pipeline.
    pub plan: &'a Plan,
    /// Where inputs and what was recorded are.
    pub store: &'a Store,
    /// Where what is made goes.
    pub scratch: &'a Store,
    /// Where nodes run.
    pub executor: &'a dyn Executor,
    /// CPU slots.
    pub jobs: usize,
    /// How far metrics may be off under other numerics.
    pub tolerance: &'a Tolerance,
    /// Who hears of it.
    pub sink: &'a dyn Sink,
    /// The user's wish to end.
    pub cancel: &'a Cancel,
}

/// A node that ran again.
#[derive(Debug)]
pub struct Ran {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub node: String,
    /// What came of it, or why nothing did.
    pub result: Result<Compared, Diag>,
}

/// A result beside the recorded one.
#[derive(Debug)]
pub struct Compared {
    /// What was recorded: under equal numerics, where the store has that.
    pub recorded: Made,
    /// The result, in the scratch store.
    pub stored: Arc<Stored>,
    /// What was made.
    pub again: Made,
    /// Whether the numerics were equal, so that every bit counts.
    pub strict: bool,
    /// How they stand to each other.
    pub verdict: Verdict,
    /// How far the files that differ are apart, by name.
    pub gaps: Vec<(String, Gap)>,
}

struct Ended {
    ran: Ran,
    held: Held,
}

/// Runs `nodes` again, no two of which have one key, and whose results and inputs are in `results` by [`NodeId::index`]. In the order of `nodes`; those that did
/// not get their turn before the user ended it are left out.
///
/// # Errors
/// When the store cannot be read.
pub fn rerun(how: Rerun, nodes: &[NodeId], results: &[Option<Arc<Stored>>]) -> Result<Vec<Ran>, Diag> {
    let Rerun { plan, store, executor, sink, .. } = how;
    let began = Instant::now();
    let mut open = Vec::new();
    for id in nodes {
        let prepared = prepare(&plan.graph, *id, results, store, &plan.outside, None, executor)?;
        open.push((*id, prepared));
    }
    sink.event(&Event::RunStarted {
        schema: event::SCHEMA,
        run: String::new(),
        pipeline: plan.name.clone(),
        nodes: nodes.len(),
        dry_run: false,
    });
    let mut ran: Vec<Ran> = Vec::new();
    std::thread::scope(|scope| {
        let (sender, ended) = mpsc::channel::<Ended>();
        let mut slots = Slots::new(how.jobs, executor.gpus());
        let mut running = 0;
        loop {
            while !how.cancel.asked()
                && let Some((at, held)) = next(plan, &open, &mut slots)
            {
                let (id, prepared) = open.remove(at);
                running += 1;
                start(how, scope, Start { id, prepared, held }, results, sender.clone());
            }
            if running == 0 {
                break;
            }
            if let Ok(Ended { ran: one, held }) = ended.recv_timeout(TICK) {
                slots.give(held);
                running -= 1;
                ran.push(one);
            }
        }
    });
    let totals =
        Totals { nodes: nodes.len(), made: ran.len(), seconds: began.elapsed().as_secs_f64(), ..Totals::default() };
    sink.event(&Event::RunEnded { summary: totals });
    ran.sort_by_key(|one| nodes.iter().position(|id| *id == one.id));
    Ok(ran)
}

/// The first node for which there is room.
fn next(plan: &Plan, open: &[(NodeId, Prepared)], slots: &mut Slots) -> Option<(usize, Held)> {
    open.iter().enumerate().find_map(|(at, (id, _))| {
        let node = plan.graph.node(*id);
        let gpu = if matches!(node.kind.runs, Runs::Worker) { node.resources.gpu } else { 0 };
        slots.take(node.resources.cpu, gpu).map(|held| (at, held))
    })
}

struct Start {
    id: NodeId,
    prepared: Prepared,
    held: Held,
}

fn start<'s, 'a: 's>(
    how: Rerun<'a>,
    scope: &'s Scope<'s, 'a>,
    Start { id, prepared, held }: Start,
    results: &'a [Option<Arc<Stored>>],
    sender: mpsc::Sender<Ended>,
) {
    scope.spawn(move || {
        let node = how.plan.graph.node(id).to_string();
        let tried = AssertUnwindSafe(|| one(how, id, &node, &prepared, results, &held));
        let result = catch_unwind(tried).unwrap_or_else(|_| {
            Err(Diag::error(Class::Bug, format!("`{node}` panicked when it ran again; what it said is above")))
        });
        if let Err(error) = &result {
            how.sink.event(&Event::NodeFailed { node: node.clone(), error: error.clone().into() });
        }
        // The loop waits for as long as anything runs.
        let _ = sender.send(Ended { ran: Ran { id, node, result }, held });
    });
}

/// One node: claimed in the scratch store, run, compared.
fn one(
    how: Rerun,
    id: NodeId,
    node: &str,
    prepared: &Prepared,
    results: &[Option<Arc<Stored>>],
    held: &Held,
) -> Result<Compared, Diag> {
    let Rerun { plan, store, scratch, executor, .. } = how;
    let graph = &plan.graph;
    let miss = match scratch.claim(prepared.key, &|_| true, true)? {
        Claim::Miss(miss) => miss,
        Claim::Busy(_) | Claim::Hit(_) => {
            return Err(Diag::error(Class::Bug, format!("`{node}` is run again twice at once")));
        }
    };
    let kind = graph.node(id).kind;
    let device = match kind.runs {
        Runs::Here(_) => "cpu",
        Runs::Worker => held.gpus.first().map_or(executor.device(), String::as_str),
    };
    let producers = producers(graph, id, results);
    let job = job(graph.node(id), &producers, store, &plan.outside, &miss, held, device)?;
    let stored = make(how, node, &job, *miss, prepared, kind)?;
    let again = locked::made(scratch, &stored)?;
    let recorded = recorded(store, results[id.index()].as_deref().expect("the caller has looked"), &again)?;
    let strict = again.numerics == recorded.numerics;
    let verdict = compare(&Facts::of(&recorded), &Facts::of(&again), strict, &graph.node(id).stage, how.tolerance);
    let differing = match &verdict {
        Verdict::Identical => &[][..],
        Verdict::Close(list) | Verdict::Differs(list) => list,
    };
    let gaps = differing
        .iter()
        .filter_map(|difference| match difference {
            Difference::File { name, recorded: Some(_), found: Some(_) } => {
                let there = |store: &Store, made: &Made| store.object(&made.files[name].bytes);
                Some((name.clone(), gap(name, &there(store, &recorded), &there(scratch, &again))))
            }
            _ => None,
        })
        .collect();
    Ok(Compared { recorded, stored, again, strict, verdict, gaps })
}

/// The making to compare with: one under the same numerics, else the one that consumers get.
fn recorded(store: &Store, stored: &Stored, again: &Made) -> Result<Made, Diag> {
    let entry = store.entry(stored.key)?;
    let same = entry.and_then(|entry| entry.made.into_iter().find(|made| made.numerics == again.numerics));
    same.map_or_else(|| locked::made(store, stored), Ok)
}

fn make(
    how: Rerun,
    node: &str,
    job: &Job,
    miss: Miss,
    prepared: &Prepared,
    kind: &'static crate::stages::stage::StageKind,
) -> Result<Arc<Stored>, Diag> {
    let key = prepared.key;
    let started = Instant::now();
    let device = job.device.clone();
    how.sink.event(&Event::NodeStarted { node: node.to_owned(), key, attempt: 1, device });
    let told = Told { sink: how.sink, node };
    let outcome = how.executor.run(job, kind, &told, how.cancel)?;
    let seconds = started.elapsed().as_secs_f64();
    check_outputs(kind, &made(&miss, &outcome)?)?;
    let metrics = outcome.metrics.clone();
    let work = Work {
        node: node.to_owned(),
        run: String::new(),
        seconds,
        metrics: outcome.metrics,
        numerics: outcome.numerics,
        notes: outcome.notes,
        // Here nothing is taken at anybody's word.
        hashed: BTreeMap::new(),
        given: outcome.given,
    };
    let stored = miss.commit(&prepared.recipe, work)?;
    how.sink.event(&Event::NodeDone { node: node.to_owned(), key, seconds, bytes: stored.size(), metrics });
    Ok(stored)
}

/// Passes on what a running stage says.
struct Told<'a> {
    sink: &'a dyn Sink,
    node: &'a str,
}

impl Progress for Told<'_> {
    fn update(&self, update: Update) {
        self.sink.event(&Event::NodeProgress { node: self.node.to_owned(), update });
    }

    fn note(&self, text: &str) {
        self.sink.event(&Event::NodeNote { node: self.node.to_owned(), text: text.to_owned() });
    }
}
