//! The loop: ready → lookup → queued → running → done. One thread owns all state; each running node has a thread of its
//! own (a later one takes it over, see [`hands`](super::thread_pool)), on which its stage runs and its result is hashed and stored.
//!
//! Stages do not run *on* the rayon pool: a stage that waits there for its own parallel parts could be given another
//! whole stage to run below it on the same stack. Their parts, and all hashing, do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::base::watch::{Amount, Counting, Work};
use crate::cache::{CacheKey, Claim, Lookup, StaleReason, Store, Stored, Watched};
use crate::stages::ctx::Cancel;
use crate::stages::stage::{Outside, StageKind};

use super::deadline::{self, Deadlines};
use super::event::{self, Event, HitKind, RunTotals, Sink};
use super::executor::{Executor, HeldSlots, Slots};
use super::fast_path::FreshResults;
use super::graph::{Accept, Graph, NodeId};
use super::job::job;
use super::journal::{Journal, run_id};
use super::node_thread::{Finished, work};
use super::prepare::{prepare, prepare_key, producers};
use super::retry;
use super::state::{NodeState, States, WantedNodes};
use super::tee::Tee;
use super::thread_pool::ThreadPool;

/// How often the loop looks at what sends no message: the user's wish to end, deadlines, locks of other processes.
const TICK: Duration = Duration::from_millis(50);
/// What is told of the loop's own reading.
const HASHING: Work = Work { what: "hashing sources", files: None, bytes: None };
/// How often the index is written during a long run.
const FLUSH: Duration = Duration::from_secs(10);

/// What is asked of a run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The pipeline's name: for events, and to remember what each of its nodes was last made from.
    pub pipeline: String,
    /// CPU slots; at least one.
    pub jobs: usize,
    /// These and what they need; empty: all.
    pub targets: Vec<NodeId>,
    /// These alone may run, and take what they need from the store; empty: all may.
    pub only: Vec<NodeId>,
    /// Whether, after a failure, nodes that do not need the failed one still run.
    pub keep_going: bool,
    /// These run whatever the store has.
    pub force: Vec<NodeId>,
    /// Where paths start, and mirrors.
    pub outside: Outside,
    /// Which numerics count, in the place of what the nodes say.
    pub accept: Option<Accept>,
    /// Tell what would run, and run nothing.
    pub dry_run: bool,
}

/// What became of a run.
#[derive(Debug)]
pub struct RunSummary {
    /// Its id.
    pub run: String,
    /// Counts and times.
    pub totals: RunTotals,
    /// The nodes that failed, and why, in the order in which they did.
    pub failed: Vec<(NodeId, Diag)>,
    /// The nodes that did not get their turn.
    pub skipped: Vec<NodeId>,
    /// The result of each node, by [`NodeId::index`].
    pub results: Vec<Option<Arc<Stored>>>,
}

/// Brings `graph` up to date. Ends when all wanted nodes are done, failed or skipped; nodes that run when `cancel` is
/// asked are asked to end, and waited for.
pub fn run(
    graph: &Graph,
    store: &Store,
    options: RunOptions,
    executor: &dyn Executor,
    sink: &dyn Sink,
    cancel: &Cancel,
) -> RunSummary {
    let run = run_id();
    let started = Instant::now();
    let journal = Journal::new(&store.runs(), &run);
    let tee = Tee::new(graph, sink, (!options.dry_run).then_some(&journal));
    let (sender, messages) = mpsc::channel();
    let deadlines = Deadlines::default();
    let check = || {
        deadlines.ask_those_over();
        cancel.check("the run")
    };
    let tell = |amount: Amount| tee.event(&Event::RunProgress { update: amount.into() });
    let watch = Counting::new(HASHING, &check, &tell);
    let wanted = WantedNodes::new(graph, &options.targets);
    let mut runner = Runner {
        totals: RunTotals { nodes: wanted.order().len(), ..RunTotals::default() },
        slots: Slots::new(options.jobs, executor.gpus()),
        force: options.force.iter().copied().collect(),
        only: options.only.iter().copied().collect(),
        results: vec![None; graph.len()],
        attempts: vec![0; graph.len()],
        keyed_again: HashMap::new(),
        again_at: HashMap::new(),
        made: HashSet::new(),
        made_keys: HashSet::new(),
        told_elsewhere: HashSet::new(),
        keys: HashMap::new(),
        making: HashMap::new(),
        running: HashMap::new(),
        failed: Vec::new(),
        skipped: Vec::new(),
        stop: None,
        hands: ThreadPool::default(),
        shared: Shared {
            graph,
            store: store.watched(&watch),
            executor,
            sink: &tee,
            options: &options,
            run: &run,
            deadlines: &deadlines,
        },
        states: States::new(graph, &WantedNodes::none(graph), |_| false),
        sender,
    };
    // While this runs, nobody clears the store up.
    let in_use = if options.dry_run { Ok(None) } else { store.in_use().map(Some) };
    tee.event(&Event::RunStarted {
        schema: event::SCHEMA,
        run: run.clone(),
        pipeline: options.pipeline.clone(),
        file: store.file().map(str::to_owned),
        nodes: runner.totals.nodes,
        dry_run: options.dry_run,
    });
    if let Err(error) = &in_use {
        tee.event(&Event::RunNote { text: format!("nothing keeps `dpt cache gc` away: {}", error.message) });
    }
    if options.dry_run {
        runner.dry_run(cancel);
    } else {
        let foreseen = FreshResults::new(graph, &wanted, store.watched(&watch), &options, executor);
        runner.take_fresh(&wanted, &foreseen);
        runner.states = States::new(graph, &wanted, |id| foreseen.result(id).is_some());
        std::thread::scope(|scope| runner.turn(scope, &messages, cancel));
        store.clear_away();
    }
    if let Err(error) = store.flush_in_order(&options.pipeline, graph.ids().map(|id| graph.node(id))) {
        tee.event(&Event::RunNote { text: format!("the next run will be slower to start: {}", error.message) });
    }
    runner.totals.seconds = started.elapsed().as_secs_f64();
    tee.event(&Event::RunEnded { summary: runner.totals.clone() });
    let summary = runner.summary();
    if let Some(why) = journal.close() {
        sink.event(&Event::RunNote { text: format!("this run left no journal: {why}") });
    }
    summary
}

/// What the loop and the threads of running nodes share.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub graph: &'a Graph,
    pub store: Watched<'a>,
    pub executor: &'a dyn Executor,
    pub sink: &'a Tee<'a>,
    pub options: &'a RunOptions,
    pub run: &'a str,
    deadlines: &'a Deadlines,
}

impl<'a> Shared<'a> {
    pub fn name(&self, id: NodeId) -> String {
        self.graph.node(id).to_string()
    }

    pub fn kind(&self, id: NodeId) -> &'static StageKind {
        self.graph.node(id).kind
    }
}

/// A node's thread has come to its end.
struct Ended {
    id: NodeId,
    result: Result<Finished, Diag>,
}

/// What a running node holds.
struct Running {
    held: HeldSlots,
    cancel: Arc<Cancel>,
    deadline: Option<Instant>,
    timed_out: bool,
    /// Whether it was told that it still runs.
    told_late: bool,
}

pub(super) struct Runner<'a> {
    pub(super) shared: Shared<'a>,
    states: States<'a>,
    slots: Slots,
    pub(super) results: Vec<Option<Arc<Stored>>>,
    /// Tries begun, by node.
    attempts: Vec<u32>,
    /// How often nodes were keyed again because a file of theirs changed after it was counted.
    keyed_again: HashMap<NodeId, u32>,
    /// When nodes that failed are tried again.
    again_at: HashMap<NodeId, Instant>,
    force: HashSet<NodeId>,
    /// Nodes that may run; empty: all.
    only: HashSet<NodeId>,
    /// Nodes that this run made, and their keys.
    made: HashSet<NodeId>,
    made_keys: HashSet<CacheKey>,
    /// Nodes of which it was told that another process makes their result.
    told_elsewhere: HashSet<NodeId>,
    /// Keys of the nodes that must run, until they have. Their recipes are made again when they start: those of all that wait
    /// for a slot would take more memory than anything else.
    keys: HashMap<NodeId, CacheKey>,
    /// Which node of this run is to make which key.
    making: HashMap<CacheKey, NodeId>,
    running: HashMap<NodeId, Running>,
    pub(super) failed: Vec<(NodeId, Diag)>,
    skipped: Vec<NodeId>,
    /// Why nothing more is begun.
    stop: Option<String>,
    pub(super) totals: RunTotals,
    sender: mpsc::Sender<Ended>,
    hands: ThreadPool<'a>,
}

impl<'a> Runner<'a> {
    /// What became of the run.
    fn summary(self) -> RunSummary {
        let Self { shared, totals, failed, skipped, results, .. } = self;
        RunSummary { run: shared.run.to_owned(), totals, failed, skipped, results }
    }

    /// Turns until no node can go on.
    fn turn<'s>(&mut self, scope: &'s Scope<'s, 'a>, messages: &mpsc::Receiver<Ended>, cancel: &Cancel)
    where
        'a: 's,
    {
        let mut flushed = Instant::now();
        loop {
            if cancel.asked() && !self.totals.interrupted {
                self.interrupt();
            }
            while self.stop.is_none()
                && let Some(id) = self.states.next_ready()
            {
                self.look_up(id);
            }
            self.start_queued(scope);
            if self.states.running() == 0 && (self.stop.is_some() || !self.states.any_open()) {
                break;
            }
            // What became ready without a message is looked at without a wait.
            if self.states.next_ready().is_some() && self.stop.is_none() {
                continue;
            }
            if let Ok(ended) = messages.recv_timeout(TICK) {
                self.ended(ended);
                messages.try_iter().for_each(|ended| self.ended(ended));
            }
            self.check_deadlines();
            self.ask_again();
            if flushed.elapsed() > FLUSH {
                // Tried again at the end, and told there.
                let _ = self.shared.store.flush();
                flushed = Instant::now();
            }
        }
        self.hands = ThreadPool::default();
        self.skip_rest();
    }

    /// The user wants the run to end.
    pub(super) fn interrupt(&mut self) {
        self.totals.interrupted = true;
        self.stop = Some("the run was interrupted".to_owned());
        self.running.values().for_each(|r| r.cancel.ask());
    }

    pub(super) fn tell(&self, event: &Event) {
        self.shared.sink.event(event);
    }

    /// A ready node: a hit, or queued.
    fn look_up(&mut self, id: NodeId) {
        let Shared { graph, store, executor, options, .. } = self.shared;
        let looked = prepare_key(graph, id, &self.results, store, &options.outside, options.accept, executor)
            .and_then(|keyed| Ok((keyed.look(store)?, keyed.key)));
        let (found, key) = match looked {
            Ok(looked) => looked,
            Err(error) if error.outdated => return self.key_again(id, error),
            Err(error) => return self.fail_to_look(id, error),
        };
        let shared = self.made_keys.contains(&key);
        if (shared || !self.force.contains(&id))
            && let Lookup::Hit(stored) = found
        {
            let producer_ran = || graph.producers(id).any(|(from, _)| self.made.contains(&from));
            let how = match shared {
                true => HitKind::Shared,
                false if producer_ran() => HitKind::CutOff,
                false => HitKind::Fresh,
            };
            return self.hit(id, stored, how);
        }
        let prepared = prepare(graph, id, &self.results, store, &options.outside, options.accept, executor);
        let prepared = match prepared {
            Ok(prepared) if prepared.key == key => prepared,
            // A file of the working tree was changed just now.
            Ok(_) => return self.key_again(id, retry::changing(&self.shared.name(id))),
            Err(error) => return self.fail_to_look(id, error),
        };
        if !self.may_run(id) {
            let reasons = prepared.reasons(&store, &options.pipeline, &self.shared.name(id), &found);
            return match reasons {
                Ok(reasons) => self.fail(id, not_selected(&self.shared.name(id), &reasons)),
                Err(error) => self.fail(id, error),
            };
        }
        if let Some(other) = self.making.get(&key).copied() {
            self.states.set(id, NodeState::Elsewhere);
            self.keys.insert(id, key);
            return self.tell(&Event::NodeElsewhere { node: self.shared.name(id), holder: self.shared.name(other) });
        }
        let node = self.shared.name(id);
        let reasons = match prepared.reasons(&store, &options.pipeline, &node, &found) {
            Ok(reasons) => reasons,
            Err(error) => return self.fail(id, error),
        };
        self.states.set(id, NodeState::Queued);
        self.tell(&Event::NodeQueued { node, key, reasons });
        self.making.insert(key, id);
        self.keys.insert(id, key);
    }

    /// A node's key or result cannot be told: it fails, or gets no turn where the user ended the reading.
    fn fail_to_look(&mut self, id: NodeId, error: Diag) {
        if error.class != Class::Interrupted {
            return self.fail(id, error);
        }
        self.states.set(id, NodeState::Ready);
        self.interrupt();
    }

    pub(super) fn may_run(&self, id: NodeId) -> bool {
        self.only.is_empty() || self.only.contains(&id)
    }

    /// Takes the results that are certainly there, all at once: no state of a node needs to be kept for them.
    fn take_fresh(&mut self, wanted: &WantedNodes, foreseen: &FreshResults) {
        for id in wanted.order().iter().copied() {
            if let Some(stored) = foreseen.result(id) {
                self.count(id, stored, HitKind::Fresh, foreseen.remembered(id));
                self.results[id.index()] = Some(stored.clone());
            }
        }
    }

    /// A node has a result that it did not have to make.
    fn hit(&mut self, id: NodeId, stored: Arc<Stored>, how: HitKind) {
        self.count(id, &stored, how, false);
        self.results[id.index()] = Some(stored);
        self.forget(id);
        self.states.set(id, NodeState::Fresh);
    }

    /// Counts and tells such a node.
    fn count(&mut self, id: NodeId, stored: &Stored, how: HitKind, remembered: bool) {
        match how {
            HitKind::Fresh => self.totals.fresh += 1,
            HitKind::CutOff => self.totals.cut_off += 1,
            HitKind::Shared => self.totals.shared += 1,
        }
        self.totals.seconds_saved += stored.seconds;
        self.totals.bytes_saved += stored.size();
        if !remembered {
            let node = self.shared.graph.node(id);
            self.shared.store.remember(&self.shared.options.pipeline, node, stored.key);
        }
        self.shared.sink.hit(id, how, stored);
    }

    /// Starts queued nodes as slots allow.
    fn start_queued<'s>(&mut self, scope: &'s Scope<'s, 'a>)
    where
        'a: 's,
    {
        while self.stop.is_none() {
            let may = |id: &NodeId| self.again_at.get(id).is_none_or(|at| *at <= Instant::now());
            let begun = self.slots.fill(self.shared.graph, self.states.in_queue().filter(may));
            if begun.is_empty() {
                return;
            }
            // One that need not run after all gives its slots back, to those behind it.
            begun.into_iter().for_each(|(id, held)| self.start(id, held, scope));
        }
    }

    fn start<'s>(&mut self, id: NodeId, held: HeldSlots, scope: &'s Scope<'s, 'a>)
    where
        'a: 's,
    {
        let Shared { graph, store, executor, options, .. } = self.shared;
        let key = self.keys[&id];
        let prepared = prepare(graph, id, &self.results, store, &options.outside, options.accept, executor);
        let prepared = match prepared {
            Ok(prepared) if prepared.key == key => prepared,
            // It may have waited long, and a script been changed meanwhile: then it has another key. Or none: that is told
            // when it is looked up.
            _ => {
                self.slots.give(held);
                return self.key_again(id, retry::changing(&self.shared.name(id)));
            }
        };
        let force = self.force.contains(&id);
        let miss = match store.claim(key, &|n| prepared.wants(n), force) {
            Ok(Claim::Miss(miss)) => miss,
            Ok(Claim::Hit(stored)) => {
                self.slots.give(held);
                return self.hit(id, stored, HitKind::Shared);
            }
            Ok(Claim::Busy(holder)) => {
                self.slots.give(held);
                self.states.set(id, NodeState::Elsewhere);
                if self.told_elsewhere.insert(id) {
                    self.tell(&Event::NodeElsewhere { node: self.shared.name(id), holder: holder.0 });
                }
                return;
            }
            Err(error) => {
                self.slots.give(held);
                return self.fail_to_look(id, error);
            }
        };
        let node = graph.node(id);
        let device = held.device(node.kind, executor).to_owned();
        let producers = producers(graph, id, &self.results);
        let counted = &prepared.sources;
        let job = match job(node, &producers, counted, &store, &options.outside, &miss, &held, &device) {
            Ok(job) => job,
            Err(error) => {
                self.slots.give(held);
                return self.fail(id, error);
            }
        };
        for part in miss.damage() {
            let (what, note) = (part.what.clone(), part.note.clone());
            self.tell(&Event::NodeDamaged { node: self.shared.name(id), what, note });
        }
        self.attempts[id.index()] += 1;
        let attempt = self.attempts[id.index()];
        let (name, recipe) = (self.shared.name(id), prepared.recipe);
        self.states.set(id, NodeState::Running);
        self.tell(&Event::NodeStarted { node: name, key, attempt, device });
        let cancel = Arc::new(Cancel::new());
        let deadline = node.resources.timeout.map(|s| Instant::now() + Duration::from_secs(s));
        if let Some(deadline) = deadline {
            self.shared.deadlines.add(id, deadline, cancel.clone());
        }
        self.running.insert(id, Running { held, cancel: cancel.clone(), deadline, timed_out: false, told_late: false });
        let (shared, sender) = (self.shared, self.sender.clone());
        let node = move || {
            let result = work(shared, id, &job, *miss, &recipe, &cancel);
            // The loop waits for as long as anything runs.
            let _ = sender.send(Ended { id, result });
        };
        self.hands.give(Box::new(node), self.running.len(), scope);
    }

    /// A file outside the store changed after it was counted: the node is keyed again, a few times only.
    fn key_again(&mut self, id: NodeId, error: Diag) {
        let times = self.keyed_again.entry(id).or_default();
        *times += 1;
        if *times > retry::KEYED_AGAIN {
            return self.fail(id, retry::given_up(error));
        }
        self.forget(id);
        if self.states.get(id) != NodeState::Ready {
            self.states.set(id, NodeState::Ready);
        }
    }

    /// A node's thread came to its end.
    fn ended(&mut self, Ended { id, result }: Ended) {
        let running = self.running.remove(&id).expect("it ran");
        self.shared.deadlines.remove(id);
        self.slots.give(running.held);
        // The deadline may have passed while this loop hashed sources.
        let over = running.timed_out || running.deadline.is_some_and(|deadline| deadline <= Instant::now());
        match result {
            Ok(finished) => self.done(id, finished),
            Err(error) => {
                let error = match over && !self.totals.interrupted {
                    true => deadline::ran_over(self.shared.graph.node(id), error),
                    false => error,
                };
                self.failed_try(id, error);
            }
        }
    }

    fn done(&mut self, id: NodeId, Finished { stored, metrics }: Finished) {
        let node = self.shared.name(id);
        self.totals.made += 1;
        self.totals.seconds_made += stored.seconds;
        self.totals.bytes_made += stored.size();
        self.shared.store.remember(&self.shared.options.pipeline, &node, stored.key);
        let (key, seconds, bytes) = (stored.key, stored.seconds, stored.size());
        self.tell(&Event::NodeDone { node, key, seconds, bytes, metrics });
        self.results[id.index()] = Some(stored);
        self.made.insert(id);
        self.made_keys.insert(key);
        self.forget(id);
        self.states.set(id, NodeState::Made);
    }

    /// Tries again, if the failure is of a kind that may pass and tries are left.
    fn failed_try(&mut self, id: NodeId, error: Diag) {
        let attempt = self.attempts[id.index()];
        let resources = &self.shared.graph.node(id).resources;
        if error.outdated && !self.totals.interrupted {
            if self.keyed_again.get(&id).is_none_or(|times| *times < retry::KEYED_AGAIN) {
                let (node, error) = (self.shared.name(id), error.clone().into());
                self.tell(&Event::NodeRetry { node, attempt, error, after: 0.0 });
            }
            // It is no try of what its new key stands for.
            self.attempts[id.index()] -= 1;
            self.key_again(id, error);
        } else if retry::helps(&error) && attempt <= resources.retries && !self.totals.interrupted {
            let pause = retry::pause(resources.backoff, attempt);
            let (node, after) = (self.shared.name(id), pause.as_secs_f64());
            self.tell(&Event::NodeRetry { node, attempt, error: error.into(), after });
            self.again_at.insert(id, Instant::now() + pause);
            self.states.set(id, NodeState::Queued);
        } else if error.class == Class::Interrupted && self.totals.interrupted {
            self.skip(id, "the run was interrupted".to_owned());
        } else {
            self.fail(id, error);
        }
    }

    /// A node failed for good: what needs it is skipped.
    fn fail(&mut self, id: NodeId, error: Diag) {
        let node = self.shared.name(id);
        self.totals.failed += 1;
        self.tell(&Event::NodeFailed { node: node.clone(), error: error.clone().into() });
        self.failed.push((id, error));
        self.forget(id);
        self.states.set(id, NodeState::Failed);
        let mut open: Vec<NodeId> = self.states.consumers(id).collect();
        while let Some(below) = open.pop() {
            if self.states.get(below) == NodeState::Waiting {
                self.skip(below, node.clone());
                open.extend(self.states.consumers(below));
            }
        }
        if !self.shared.options.keep_going && self.stop.is_none() {
            self.stop = Some(format!("`{node}` failed"));
        }
    }

    fn skip(&mut self, id: NodeId, because: String) {
        self.totals.skipped += 1;
        self.skipped.push(id);
        self.tell(&Event::NodeSkipped { node: self.shared.name(id), because });
        self.forget(id);
        self.states.set(id, NodeState::Skipped);
    }

    /// What was kept to make the node is needed no more.
    fn forget(&mut self, id: NodeId) {
        if let Some(key) = self.keys.remove(&id)
            && self.making.get(&key) == Some(&id)
        {
            self.making.remove(&key);
        }
    }

    /// Nodes whose result someone else was making are looked at again.
    fn ask_again(&mut self) {
        for id in self.states.elsewhere() {
            match self.making.get(&self.keys[&id]) {
                Some(maker) if *maker != id => {}
                Some(_) => self.states.set(id, NodeState::Queued),
                None => {
                    self.keys.remove(&id);
                    self.states.set(id, NodeState::Ready);
                }
            }
        }
    }

    fn check_deadlines(&mut self) {
        let now = Instant::now();
        let mut late = Vec::new();
        for (id, running) in &mut self.running {
            if !running.timed_out && running.deadline.is_some_and(|deadline| deadline <= now) {
                running.timed_out = true;
                running.cancel.ask();
            }
            if !running.told_late && running.deadline.is_some_and(|deadline| deadline + deadline::PATIENCE <= now) {
                running.told_late = true;
                late.push(*id);
            }
        }
        for id in late {
            let text = deadline::late(self.shared.graph.node(id));
            self.tell(&Event::NodeNote { node: self.shared.name(id), text });
        }
    }

    /// The run stopped early: what is left did not get its turn.
    fn skip_rest(&mut self) {
        let because = self.stop.clone().unwrap_or_default();
        for id in self.states.unsettled() {
            self.skip(id, because.clone());
        }
    }
}

/// A node that may not run is needed, and the store has no result for it.
pub fn not_selected(node: &str, reasons: &[StaleReason]) -> Diag {
    let why: Vec<_> = reasons.iter().take(3).map(ToString::to_string).collect();
    Diag::error(Class::Usage, format!("`{node}` is needed, is not among the nodes to run, and is not up to date"))
        .note(why.join("; "))
        .help("select it too, or run it first")
}
