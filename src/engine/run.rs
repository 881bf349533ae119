//! The loop that brings a graph up to date.
//!
//! # Approach
//!
//! Each wanted node walks through the states of [`NodeState`]. The loop owns all state and looks at nothing but the
//! queues of [`States`]:
//!
//! 1. A node is *ready* when all its producers have results. The loop makes its key and looks the key up. A hit makes
//!    the node fresh, which may make its consumers ready. A miss makes it *queued*.
//! 2. Queued nodes start when slots are free, those with the longest way to the end of the graph first. Starting takes
//!    the key's lock. If another process holds it, the node waits *elsewhere* and is looked up again later.
//! 3. A *running* node has a thread, which runs the stage, hashes and stores what it made, and sends one message at its
//!    end. The loop then makes the node *made*, queues it for another try, or fails it and skips all that need it.
//!
//! The loop ends when no node is ready, queued, elsewhere or running. `docs/engine.md` has pictures of the states, the
//! slots and the locks.
//!
//! This file has the plain path first. A run with nothing to do takes the fast path (`fast_path.rs`) before the
//! loop, which leaves few nodes or none for it.
//!
//! Stages do not run *on* the rayon pool: a stage that waits there for its own parallel parts could be given another
//! whole stage to run below it on the same stack. Their parts, and all hashing, do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::base::watch::{Amount, Counting, Work};
use crate::cache::{CacheKey, Claim, Lookup, Store, Stored};
use crate::stages::ctx::Cancel;

use super::context::{Context, RunContext};
use super::deadline::{self, Deadlines};
use super::event::{self, Event, HitKind, RunTotals, Sink};
use super::executor::{Executor, HeldSlots, Slots};
use super::fast_path::FreshResults;
use super::freshness::not_selected;
use super::graph::{Graph, NodeId};
use super::journal::{Journal, run_id};
use super::node_thread::{Finished, work};
use super::options::{RunOptions, RunSummary};
use super::prepare::PreparedNode;
use super::retry;
use super::state::{NodeState, States, WantedNodes};
use super::tee::Tee;
use super::thread_pool::ThreadPool;

/// How often the loop looks at what sends no message: Ctrl-C, deadlines, and locks of other processes.
const TICK: Duration = Duration::from_millis(50);
/// How often the index is written during a long run.
const FLUSH: Duration = Duration::from_secs(10);
/// The progress of the loop's own reading.
const HASHING: Work = Work { what: "hashing sources", files: None, bytes: None };

/// Brings `graph` up to date. Returns when all wanted nodes are done, failed or skipped. When `cancel` is set, running
/// nodes are asked to end, and waited for.
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
    let deadlines = Deadlines::default();
    let check = || {
        deadlines.ask_those_over();
        cancel.check("the run")
    };
    let tell = |amount: Amount| tee.event(&Event::RunProgress { update: amount.into() });
    let watch = Counting::new(HASHING, &check, &tell);
    let context = Context::new(graph, store.watched(&watch), &options, executor);
    let context = RunContext { context, options: &options, sink: &tee, run: &run, deadlines: &deadlines };
    let wanted = WantedNodes::new(graph, &options.targets);
    // While this is held, no gc removes anything.
    let in_use = if options.dry_run { Ok(None) } else { store.in_use().map(Some) };
    tee.event(&Event::RunStarted {
        schema: event::SCHEMA,
        run: run.clone(),
        pipeline: options.pipeline.clone(),
        file: store.file().map(str::to_owned),
        nodes: wanted.order().len(),
        dry_run: options.dry_run,
    });
    if let Err(error) = &in_use {
        let why = &error.message;
        let text = format!("could not lock the store, so a concurrent `dpt cache gc` may remove results: {why}");
        tee.event(&Event::RunNote { text });
    }
    let mut summary = match options.dry_run {
        true => {
            let found = context.dry_run(cancel);
            let (totals, failed, results) = (found.totals, found.failed, found.results);
            RunSummary { run: run.clone(), totals, failed, skipped: Vec::new(), results }
        }
        false => Runner::run(context, &wanted, cancel),
    };
    if let Err(error) = store.flush_in_order(&options.pipeline, graph.ids().map(|id| graph.node(id))) {
        let text = format!("could not write the index, so the next run starts more slowly: {}", error.message);
        tee.event(&Event::RunNote { text });
    }
    summary.totals.seconds = started.elapsed().as_secs_f64();
    tee.event(&Event::RunEnded { summary: summary.totals.clone() });
    if let Some(why) = journal.close() {
        sink.event(&Event::RunNote { text: format!("could not write the journal of this run: {why}") });
    }
    summary
}

/// The message of a node's thread at its end.
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
    /// `true` if the user was told that it still runs after its deadline.
    told_late: bool,
}

/// The keys of the nodes that must run, and for each key the node that will make it. Only keys are kept: the recipes of
/// thousands of queued nodes would take more memory than anything else, so they are made again when the nodes start.
#[derive(Default)]
struct Pending {
    keys: HashMap<NodeId, CacheKey>,
    makers: HashMap<CacheKey, NodeId>,
}

impl Pending {
    /// The node of this run that will make the result of `key`.
    fn maker(&self, key: CacheKey) -> Option<NodeId> {
        self.makers.get(&key).copied()
    }

    /// Removes a node, and frees its key if it was the maker.
    fn remove(&mut self, id: NodeId) {
        if let Some(key) = self.keys.remove(&id)
            && self.makers.get(&key) == Some(&id)
        {
            self.makers.remove(&key);
        }
    }
}

/// The state of a run.
struct Runner<'a> {
    context: RunContext<'a>,
    states: States<'a>,
    slots: Slots,
    results: Vec<Option<Arc<Stored>>>,
    pending: Pending,
    running: HashMap<NodeId, Running>,
    threads: ThreadPool<'a>,
    sender: mpsc::Sender<Ended>,
    force: HashSet<NodeId>,
    /// Nodes that may run; if empty, all may.
    only: HashSet<NodeId>,
    /// Nodes that this run made, and their keys.
    made: HashSet<NodeId>,
    made_keys: HashSet<CacheKey>,
    /// The number of tries begun, by node.
    attempts: Vec<u32>,
    /// When nodes that failed are tried again.
    again_at: HashMap<NodeId, Instant>,
    /// How often nodes got another key because a file of theirs changed after it was counted.
    rekeyed: HashMap<NodeId, u32>,
    /// Nodes of which the user was told that another process makes their result.
    told_elsewhere: HashSet<NodeId>,
    failed: Vec<(NodeId, Diag)>,
    skipped: Vec<NodeId>,
    totals: RunTotals,
    /// Why no more nodes start.
    stop: Option<String>,
}

impl<'a> Runner<'a> {
    /// Runs the wanted nodes: first the fast path, then the loop for what it leaves.
    fn run(context: RunContext<'a>, wanted: &WantedNodes, cancel: &Cancel) -> RunSummary {
        let (graph, options) = (context.graph, context.options);
        let fresh = FreshResults::new(context.context, wanted, &options.force);
        let (sender, messages) = mpsc::channel();
        let mut runner = Runner {
            context,
            states: States::new(graph, wanted, |id| fresh.result(id).is_some()),
            slots: Slots::new(options.jobs, context.executor.gpus()),
            results: vec![None; graph.len()],
            pending: Pending::default(),
            running: HashMap::new(),
            threads: ThreadPool::default(),
            sender,
            force: options.force.iter().copied().collect(),
            only: options.only.iter().copied().collect(),
            made: HashSet::new(),
            made_keys: HashSet::new(),
            attempts: vec![0; graph.len()],
            again_at: HashMap::new(),
            rekeyed: HashMap::new(),
            told_elsewhere: HashSet::new(),
            failed: Vec::new(),
            skipped: Vec::new(),
            totals: RunTotals { nodes: wanted.order().len(), ..RunTotals::default() },
            stop: None,
        };
        runner.take_fresh(wanted, &fresh);
        drop(fresh);
        std::thread::scope(|scope| runner.run_loop(scope, &messages, cancel));
        context.store.clear_away();
        let Self { totals, failed, skipped, results, .. } = runner;
        RunSummary { run: context.run.to_owned(), totals, failed, skipped, results }
    }

    /// The loop. Returns when no node can go on.
    fn run_loop<'s>(&mut self, scope: &'s Scope<'s, 'a>, messages: &mpsc::Receiver<Ended>, cancel: &Cancel)
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
            // Starting may have made nodes ready. They are looked up before the loop waits.
            if self.states.next_ready().is_some() && self.stop.is_none() {
                continue;
            }
            if let Ok(ended) = messages.recv_timeout(TICK) {
                self.ended(ended);
                messages.try_iter().for_each(|ended| self.ended(ended));
            }
            self.check_deadlines();
            self.check_elsewhere();
            if flushed.elapsed() > FLUSH {
                // If this fails, the end of the run tries again and reports it.
                let _ = self.context.store.flush();
                flushed = Instant::now();
            }
        }
        self.threads = ThreadPool::default();
        self.skip_rest();
    }

    fn emit(&self, event: &Event) {
        self.context.sink.event(event);
    }

    // Ready nodes

    /// Looks up a ready node. Afterwards it is fresh, queued, elsewhere, or failed; or ready again, a few times at
    /// most, if a file changed in between.
    ///
    /// A node that runs has its key made four times in all. Most nodes are hits, so this begins with the key alone. A
    /// miss makes the recipe too, because the reasons compare it with the last one, and drops it again to save memory
    /// (see [`Pending`]). [`Self::start`] makes it once more, because a file may have been edited while the node waited
    /// for a slot: a result must not be stored under the key of other bytes. Storing computes the key from the recipe
    /// as an assertion.
    fn look_up(&mut self, id: NodeId) {
        let looked_up = self.context.key(id, &self.results).and_then(|node| {
            let found = self.context.lookup(node.key, &node.numerics)?;
            Ok((found, node.key))
        });
        let (found, key) = match looked_up {
            Ok(found) => found,
            Err(error) if error.outdated => return self.rekey(id, error),
            Err(error) => return self.fail_to_read(id, error),
        };
        if let Some(kind) = self.hit_kind(id, key)
            && let Lookup::Hit(stored) = found
        {
            return self.hit(id, stored, kind);
        }
        let prepared = match self.context.prepare(id, &self.results) {
            Ok(prepared) if prepared.key == key => prepared,
            Ok(_) => return self.rekey(id, retry::changing(&self.context.name(id))),
            Err(error) => return self.fail_to_read(id, error),
        };
        if let Err(error) = self.queue(id, &prepared, &found) {
            self.fail(id, error);
        }
    }

    /// What kind of hit a result under `key` is; `None` if the node is forced to run.
    fn hit_kind(&self, id: NodeId, key: CacheKey) -> Option<HitKind> {
        if self.made_keys.contains(&key) {
            return Some(HitKind::Shared);
        }
        let producer_ran = || self.context.graph.producers(id).any(|(from, _)| self.made.contains(&from));
        (!self.force.contains(&id)).then(|| if producer_ran() { HitKind::CutOff } else { HitKind::Fresh })
    }

    /// Queues a node that must run, unless another node of this run makes the same result: then it waits for that one.
    fn queue(&mut self, id: NodeId, prepared: &PreparedNode, found: &Lookup) -> Result<(), Diag> {
        let (node, key) = (self.context.name(id), prepared.key);
        let may_run = self.only.is_empty() || self.only.contains(&id);
        if may_run && let Some(other) = self.pending.maker(key) {
            self.states.set(id, NodeState::Elsewhere);
            self.pending.keys.insert(id, key);
            self.emit(&Event::NodeElsewhere { node, holder: self.context.name(other) });
            return Ok(());
        }
        let reasons = self.context.reasons(id, prepared, found)?;
        if !may_run {
            return Err(not_selected(&node, &reasons));
        }
        self.states.set(id, NodeState::Queued);
        self.emit(&Event::NodeQueued { node, key, reasons });
        self.pending.makers.insert(key, id);
        self.pending.keys.insert(id, key);
        Ok(())
    }

    /// Something that the key needs cannot be read. The node fails; if the user interrupted the reading, the run stops.
    fn fail_to_read(&mut self, id: NodeId, error: Diag) {
        if error.class != Class::Interrupted {
            return self.fail(id, error);
        }
        self.states.set(id, NodeState::Ready);
        self.interrupt();
    }

    /// A file outside the store changed after it was counted. The node becomes ready again, a few times at most.
    fn rekey(&mut self, id: NodeId, error: Diag) {
        let times = self.rekeyed.entry(id).or_default();
        *times += 1;
        if *times > retry::KEYED_AGAIN {
            return self.fail(id, retry::given_up(error));
        }
        self.pending.remove(id);
        if self.states.get(id) != NodeState::Ready {
            self.states.set(id, NodeState::Ready);
        }
    }

    /// A node has a result that it did not have to make.
    fn hit(&mut self, id: NodeId, stored: Arc<Stored>, kind: HitKind) {
        self.count_hit(id, &stored, kind, false);
        self.results[id.index()] = Some(stored);
        self.pending.remove(id);
        self.states.set(id, NodeState::Fresh);
    }

    /// Counts and reports a hit. `remembered`: the index remembers this key as the node's last.
    fn count_hit(&mut self, id: NodeId, stored: &Stored, kind: HitKind, remembered: bool) {
        match kind {
            HitKind::Fresh => self.totals.fresh += 1,
            HitKind::CutOff => self.totals.cut_off += 1,
            HitKind::Shared => self.totals.shared += 1,
        }
        self.totals.seconds_saved += stored.seconds;
        self.totals.bytes_saved += stored.size();
        if !remembered {
            self.context.store.remember(self.context.pipeline, self.context.graph.node(id), stored.key);
        }
        self.context.sink.hit(id, kind, stored);
    }

    // Queued nodes

    /// Starts queued nodes while slots are free.
    fn start_queued<'s>(&mut self, scope: &'s Scope<'s, 'a>)
    where
        'a: 's,
    {
        while self.stop.is_none() {
            let may = |id: &NodeId| self.again_at.get(id).is_none_or(|at| *at <= Instant::now());
            let begun = self.slots.fill(self.context.graph, self.states.in_queue().filter(may));
            if begun.is_empty() {
                return;
            }
            // A node that need not run after all gives its slots back, and the next turn fills them.
            for (id, held) in begun {
                if let Some(held) = self.start(id, held, scope) {
                    self.slots.give(held);
                }
            }
        }
    }

    /// Starts a queued node. If it does not run, returns its slots.
    fn start<'s>(&mut self, id: NodeId, held: HeldSlots, scope: &'s Scope<'s, 'a>) -> Option<HeldSlots>
    where
        'a: 's,
    {
        let context = self.context;
        let key = self.pending.keys[&id];
        let prepared = match context.prepare(id, &self.results) {
            Ok(prepared) if prepared.key == key => prepared,
            // A file was edited while the node waited. Its lookup reports an error, if there is one.
            _ => {
                self.rekey(id, retry::changing(&context.name(id)));
                return Some(held);
            }
        };
        let claim = context.store.claim(key, &|made| prepared.numerics.accepts(made), self.force.contains(&id));
        let miss = match claim {
            Ok(Claim::Miss(miss)) => miss,
            Ok(Claim::Hit(stored)) => {
                self.hit(id, stored, HitKind::Shared);
                return Some(held);
            }
            Ok(Claim::Busy(holder)) => {
                self.states.set(id, NodeState::Elsewhere);
                if self.told_elsewhere.insert(id) {
                    self.emit(&Event::NodeElsewhere { node: context.name(id), holder: holder.0 });
                }
                return Some(held);
            }
            Err(error) => {
                self.fail_to_read(id, error);
                return Some(held);
            }
        };
        let job = match context.job(id, &self.results, &prepared.sources, &miss, &held) {
            Ok(job) => job,
            Err(error) => {
                self.fail(id, error);
                return Some(held);
            }
        };
        for part in miss.damage() {
            let (what, note) = (part.what.clone(), part.note.clone());
            self.emit(&Event::NodeDamaged { node: context.name(id), what, note });
        }
        self.attempts[id.index()] += 1;
        let attempt = self.attempts[id.index()];
        self.states.set(id, NodeState::Running);
        self.emit(&Event::NodeStarted { node: context.name(id), key, attempt, device: job.device.clone() });
        let cancel = Arc::new(Cancel::new());
        let timeout = context.graph.node(id).resources.timeout;
        let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        if let Some(deadline) = deadline {
            context.deadlines.add(id, deadline, cancel.clone());
        }
        self.running.insert(id, Running { held, cancel: cancel.clone(), deadline, timed_out: false, told_late: false });
        let (recipe, sender) = (prepared.recipe, self.sender.clone());
        let task = move || {
            let result = work(context, id, &job, *miss, &recipe, &cancel);
            // The loop receives for as long as anything runs.
            let _ = sender.send(Ended { id, result });
        };
        self.threads.give(Box::new(task), self.running.len(), scope);
        None
    }

    // Running nodes

    /// Handles the message of a node's thread.
    fn ended(&mut self, Ended { id, result }: Ended) {
        let running = self.running.remove(&id).expect("it ran");
        self.context.deadlines.remove(id);
        self.slots.give(running.held);
        // The deadline may have passed while the loop hashed sources.
        let over = running.timed_out || running.deadline.is_some_and(|deadline| deadline <= Instant::now());
        match result {
            Ok(finished) => self.done(id, finished),
            Err(error) => {
                let error = match over && !self.totals.interrupted {
                    true => deadline::ran_over(self.context.graph.node(id), error),
                    false => error,
                };
                self.failed_try(id, error);
            }
        }
    }

    /// A node was made.
    fn done(&mut self, id: NodeId, Finished { stored, metrics }: Finished) {
        let node = self.context.name(id);
        let (key, seconds, bytes) = (stored.key, stored.seconds, stored.size());
        self.totals.made += 1;
        self.totals.seconds_made += seconds;
        self.totals.bytes_made += bytes;
        self.context.store.remember(self.context.pipeline, &node, key);
        self.emit(&Event::NodeDone { node, key, seconds, bytes, metrics });
        self.results[id.index()] = Some(stored);
        self.made.insert(id);
        self.made_keys.insert(key);
        self.pending.remove(id);
        self.states.set(id, NodeState::Made);
    }

    /// A try failed. The node is tried again if that may help and tries are left.
    fn failed_try(&mut self, id: NodeId, error: Diag) {
        let attempt = self.attempts[id.index()];
        let resources = &self.context.graph.node(id).resources;
        if error.outdated && !self.totals.interrupted {
            if self.rekeyed.get(&id).is_none_or(|times| *times < retry::KEYED_AGAIN) {
                let (node, error) = (self.context.name(id), error.clone().into());
                self.emit(&Event::NodeRetry { node, attempt, error, after: 0.0 });
            }
            // The node gets another key, and this was no try of that.
            self.attempts[id.index()] -= 1;
            self.rekey(id, error);
        } else if retry::helps(&error) && attempt <= resources.retries && !self.totals.interrupted {
            let pause = retry::pause(resources.backoff, attempt);
            let (node, after) = (self.context.name(id), pause.as_secs_f64());
            self.emit(&Event::NodeRetry { node, attempt, error: error.into(), after });
            self.again_at.insert(id, Instant::now() + pause);
            self.states.set(id, NodeState::Queued);
        } else if error.class == Class::Interrupted && self.totals.interrupted {
            self.skip(id, "the run was interrupted".to_owned());
        } else {
            self.fail(id, error);
        }
    }

    /// A node failed for good. All nodes that need it are skipped.
    fn fail(&mut self, id: NodeId, error: Diag) {
        let node = self.context.name(id);
        self.totals.failed += 1;
        self.emit(&Event::NodeFailed { node: node.clone(), error: error.clone().into() });
        self.failed.push((id, error));
        self.pending.remove(id);
        self.states.set(id, NodeState::Failed);
        let mut open: Vec<NodeId> = self.states.consumers(id).collect();
        while let Some(below) = open.pop() {
            if self.states.get(below) == NodeState::Waiting {
                self.skip(below, node.clone());
                open.extend(self.states.consumers(below));
            }
        }
        if !self.context.options.keep_going && self.stop.is_none() {
            self.stop = Some(format!("`{node}` failed"));
        }
    }

    fn skip(&mut self, id: NodeId, because: String) {
        self.totals.skipped += 1;
        self.skipped.push(id);
        self.emit(&Event::NodeSkipped { node: self.context.name(id), because });
        self.pending.remove(id);
        self.states.set(id, NodeState::Skipped);
    }

    /// The run stopped early: all nodes that are left are skipped.
    fn skip_rest(&mut self) {
        let because = self.stop.clone().unwrap_or_default();
        for id in self.states.unsettled() {
            self.skip(id, because.clone());
        }
    }

    // What sends no message

    /// The user interrupted the run: no more nodes start, and running ones are asked to end.
    fn interrupt(&mut self) {
        self.totals.interrupted = true;
        self.stop = Some("the run was interrupted".to_owned());
        self.running.values().for_each(|running| running.cancel.ask());
    }

    /// Looks again at nodes whose result is made elsewhere. If a node of this run makes it, they wait for that. If
    /// another process does, they are queued: starting tries the lock again.
    fn check_elsewhere(&mut self) {
        for id in self.states.elsewhere() {
            match self.pending.maker(self.pending.keys[&id]) {
                Some(maker) if maker != id => {}
                Some(_) => self.states.set(id, NodeState::Queued),
                None => {
                    self.pending.keys.remove(&id);
                    self.states.set(id, NodeState::Ready);
                }
            }
        }
    }

    /// Asks nodes past their deadline to end, and reports those that go on.
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
            let text = deadline::late(self.context.graph.node(id));
            self.emit(&Event::NodeNote { node: self.context.name(id), text });
        }
    }

    // The fast path

    /// Takes the results that the fast path confirmed, all at once. No state is kept for these nodes.
    fn take_fresh(&mut self, wanted: &WantedNodes, fresh: &FreshResults) {
        for id in wanted.order().iter().copied() {
            if let Some(stored) = fresh.result(id) {
                self.count_hit(id, stored, HitKind::Fresh, fresh.is_remembered(id));
                self.results[id.index()] = Some(stored.clone());
            }
        }
    }
}
