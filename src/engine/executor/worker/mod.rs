//! [`WorkerPool`]: the `dpt-worker` processes that run torch stages. Each is started when it is first needed, and kept
//! with what it has loaded for the next job. A worker that dies fails only its own node, and the next job starts
//! another. Knows no stage: it passes jobs in and answers out.
//!
//! A worker ends when its stdin does, so none outlives an engine that was killed. (A parent-death signal does not work
//! here: it is sent when the *thread* that started the child ends.)

mod config;
mod failure;
mod process;
mod stderr;

use std::collections::BTreeMap;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::base::diag::{Class, Diag};
use crate::base::machine;
use crate::engine::graph::Resources;
use crate::stages::ctx::{Cancel, Job, Progress};
use crate::stages::stage::StageResult;
use crate::worker::protocol::{Answer, Request};

use super::local::Workers;
pub use config::WorkerConfig;
use config::{Fit, TICK};
use failure::{died, interrupted};
pub use process::Hello;
use process::{Heard, Worker};
use stderr::log_name;

/// The pool. Its methods are called from as many threads as there are nodes to run.
#[derive(Debug)]
pub struct WorkerPool {
    config: WorkerConfig,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Warm workers, the last used last.
    idle: Vec<Worker>,
    /// Which numbers are taken by workers, idle or not.
    taken: Vec<bool>,
}

impl Workers for WorkerPool {
    fn run(&self, job: &Job, progress: &dyn Progress, cancel: &Cancel) -> StageResult {
        WorkerPool::run(self, job, progress, cancel)
    }

    fn numerics(&self, resources: &Resources) -> Result<BTreeMap<String, String>, Diag> {
        let hello = self.hello()?;
        let gpu = hello.devices.iter().any(|device| device.starts_with("cuda")) && resources.gpu > 0;
        let threads = resources.cpu.clamp(1, self.config.max_workers.max(1));
        Ok(machine::numerics(gpu, &hello.libtorch, threads))
    }
}

impl WorkerPool {
    /// A pool without workers.
    pub fn new(config: WorkerConfig) -> Self {
        let state = State { idle: Vec::new(), taken: vec![false; config.max_workers.max(1)] };
        Self { config, state: Mutex::new(state), freed: Condvar::new() }
    }

    /// Runs `job` in a worker, waiting for one where all are taken. A `device` of `auto` in the job is replaced by the
    /// worker's own.
    ///
    /// # Errors
    /// Fails with the error of the stage; with class `Environment` if no worker can be started, `Stage` if the worker
    /// died, and `Interrupted` if the job was cancelled.
    pub fn run(&self, job: &Job, progress: &dyn Progress, cancel: &Cancel) -> StageResult {
        let mut lease = self.lease(job, cancel)?;
        let (result, again) = self.work(lease.worker(), job, progress, cancel);
        if again {
            lease.give_back(Fit::of(job));
        }
        result
    }

    /// Returns what a worker says of itself. Starts one if none is warm.
    ///
    /// # Errors
    /// Fails with class `Environment` if no worker can be started, or if there is no such `--device`.
    pub fn hello(&self) -> Result<Hello, Diag> {
        let mut lease = self.take(1, &Fit::default(), &Cancel::new())?;
        let hello = lease.worker().hello.clone();
        let fit = lease.worker().fit.clone();
        lease.give_back(fit);
        Ok(hello)
    }

    fn lease(&self, job: &Job, cancel: &Cancel) -> Result<Lease<'_>, Diag> {
        self.take(job.threads, &Fit::of(job), cancel).map_err(|diag| match diag.class {
            Class::Interrupted => interrupted(&job.node),
            _ => diag,
        })
    }

    /// Takes a warm worker, if possible one that fits; else starts one if there is room; else waits.
    fn take(&self, threads: usize, fit: &Fit, cancel: &Cancel) -> Result<Lease<'_>, Diag> {
        let mut state = self.state();
        let number = loop {
            if cancel.asked() {
                return Err(interrupted("a node"));
            }
            while let Some(last) = state.idle.len().checked_sub(1) {
                let same_device = || state.idle.iter().rposition(|w| w.fit.device == fit.device);
                let at = state.idle.iter().rposition(|w| w.fit == *fit).or_else(same_device).unwrap_or(last);
                let mut worker = state.idle.remove(at);
                if worker.lives() {
                    return Ok(Lease { pool: self, number: worker.number, worker: Some(worker) });
                }
                state.taken[worker.number] = false;
            }
            if let Some(number) = state.taken.iter().position(|taken| !taken) {
                break number;
            }
            state = self.freed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.taken[number] = true;
        drop(state);
        let mut lease = Lease { pool: self, number, worker: None };
        lease.worker = Some(Worker::start(&self.config, number, threads, cancel)?);
        Ok(lease)
    }

    /// Runs the job. Returns its result, and `true` if the worker can take another.
    fn work(&self, worker: &mut Worker, job: &Job, progress: &dyn Progress, cancel: &Cancel) -> (StageResult, bool) {
        let log = self.config.log_dir.as_ref().map(|dir| dir.join(log_name(&job.node)));
        worker.stderr.begin(log.clone());
        let mut job = job.clone();
        job.device = worker.device(&job.device);
        for note in std::mem::take(&mut worker.hello.notes) {
            progress.note(&note);
        }
        let node = job.node.clone();
        let mut kill_at = None;
        // A worker that cannot be written to is dead, and the first read says so.
        let _ = worker.say(&Request::Run { job: Box::new(job) });
        loop {
            if kill_at.is_none() && cancel.asked() {
                let _ = worker.say(&Request::Cancel);
                kill_at = Some(Instant::now() + self.config.grace);
            }
            if kill_at.is_some_and(|at| Instant::now() >= at) {
                worker.kill();
                return (Err(interrupted(&node)), false);
            }
            match worker.answers.recv_timeout(TICK) {
                Ok(Heard::Answer(Answer::Progress { update })) => progress.update(update),
                Ok(Heard::Answer(Answer::Note { text })) => progress.note(&text),
                Ok(Heard::Answer(Answer::Done { outcome })) => return (Ok(outcome), true),
                Ok(Heard::Answer(Answer::Failed { error })) => {
                    let mut diag = Diag::from(error);
                    // After a panic the worker ends, because its memory cannot be trusted.
                    let fit = diag.class != Class::Bug;
                    if !fit && let Some(log) = log.filter(|log| log.exists()) {
                        diag = diag.note(format!("its log: `{}`", log.display()));
                    }
                    return (Err(diag), fit);
                }
                Ok(Heard::Answer(Answer::Ready { .. })) => (),
                Ok(Heard::Noise(line)) => {
                    worker.kill();
                    let diag = Diag::error(
                        Class::Bug,
                        format!("the worker running `{node}` sent a line that is not part of the protocol"),
                    );
                    return (Err(diag.note(line)), false);
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = worker.end();
                    let diag = if cancel.asked() {
                        interrupted(&node)
                    } else {
                        died(&node, status, &worker.stderr.tail(), log.as_deref())
                    };
                    return (Err(diag), false);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker in use. Dropped without `give_back`, it is ended.
struct Lease<'a> {
    pool: &'a WorkerPool,
    number: usize,
    worker: Option<Worker>,
}

impl Lease<'_> {
    fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("there from `take` until `give_back`")
    }

    fn give_back(mut self, fit: Fit) {
        let mut worker = self.worker.take().expect("there from `take` until `give_back`");
        worker.fit = fit;
        self.pool.state().idle.push(worker);
        self.pool.freed.notify_one();
        std::mem::forget(self);
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        drop(self.worker.take());
        self.pool.state().taken[self.number] = false;
        self.pool.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
