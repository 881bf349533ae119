//! [`WorkerPool`]: the `dpt-worker` processes that run torch stages. Each is started when first needed, kept warm with
//! what it has loaded, and used again; one that dies fails its node alone and is replaced by the next that is needed.
//! Knows no stage: it passes jobs in and answers out.
//!
//! A worker ends when its stdin does, so none outlives an engine that was killed. (A parent-death signal would not do:
//! it is sent when the *thread* that started the child ends.)

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fs;
use crate::base::machine;
use crate::base::process::{how, spawn};
use crate::engine::graph::Resources;
use crate::stages::ctx::{Cancel, Job, Progress};
use crate::stages::stage::StageResult;
use crate::worker::device::Wanted;
use crate::worker::protocol::{Answer, PROTOCOL, Request};

use super::local::Workers;

/// How often a wait looks whether it was cancelled.
const TICK: Duration = Duration::from_millis(25);
/// How long a new worker may take to load libtorch and CUDA from a slow disk.
const START: Duration = Duration::from_secs(300);
/// How many of the last lines on a dead worker's stderr are shown.
const TAIL: usize = 15;

/// How to run workers.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The `dpt-worker` to start. Looked for when the first one is needed, so that it may be missing until then.
    pub program: PathBuf,
    /// What `--device` says.
    pub device: Wanted,
    /// How many at once, at least 1.
    pub max_workers: usize,
    /// Where each node's log goes (what its worker prints on stderr), as `NODE.log`. `None`: it is not kept.
    pub log_dir: Option<PathBuf>,
    /// How long a cancelled job may take to end before its worker is killed.
    pub grace: Duration,
}

impl WorkerConfig {
    /// Workers without logs, and ten seconds of grace.
    pub fn new(program: PathBuf, device: Wanted, max_workers: usize) -> Self {
        Self { program, device, max_workers, log_dir: None, grace: Duration::from_secs(10) }
    }

    /// Keeps each node's log in `folder`.
    pub fn logs_in(mut self, folder: PathBuf) -> Self {
        self.log_dir = Some(folder);
        self
    }
}

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
    /// What the stage answers. Class `Environment`: no worker can be started. Class `Stage`: the worker died. Class
    /// `Interrupted`: cancelled.
    pub fn run(&self, job: &Job, progress: &dyn Progress, cancel: &Cancel) -> StageResult {
        let mut lease = self.lease(job, cancel)?;
        let (result, again) = self.work(lease.worker(), job, progress, cancel);
        if again {
            lease.give_back(Fit::of(job));
        }
        result
    }

    /// What a worker says of itself. Starts one where none is warm.
    ///
    /// # Errors
    /// Class `Environment`: no worker can be started, or `--device` asks for what is not there.
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

    /// A warm worker, best one that fits; else a new one where there is room; else waits.
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

    /// Runs the job, and says whether the worker is fit for another.
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
        // A worker that cannot be written to is dead, which the first reading tells.
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
                    // After a panic the worker ends: its memory is not to be trusted.
                    let fit = diag.class != Class::Bug;
                    if !fit && let Some(log) = log.filter(|log| log.exists()) {
                        diag = diag.note(format!("its log: `{}`", log.display()));
                    }
                    return (Err(diag), fit);
                }
                Ok(Heard::Answer(Answer::Ready { .. })) => (),
                Ok(Heard::Noise(line)) => {
                    worker.kill();
                    let diag = Diag::error(Class::Bug, format!("the worker of `{node}` said what is no answer"));
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

/// What a worker has from its last job: the device, and the model (by its key) that is loaded there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fit {
    device: String,
    model: Option<Digest>,
}

impl Fit {
    fn of(job: &Job) -> Self {
        let model = job.inputs.get("model").and_then(|inputs| inputs.first()).map(|input| input.key);
        Self { device: job.device.clone(), model }
    }
}

/// What a worker says of itself when it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// libtorch's version.
    pub libtorch: String,
    /// `cpu`, or one or more of `cuda:0`, `cuda:1`, ….
    pub devices: Vec<String>,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// A process.
#[derive(Debug)]
struct Worker {
    number: usize,
    child: Child,
    /// Dropped to tell it that there is no more.
    stdin: Option<ChildStdin>,
    answers: Receiver<Heard>,
    stderr: Arc<Stderr>,
    hello: Hello,
    fit: Fit,
}

/// A line on a worker's stdout.
enum Heard {
    Answer(Answer),
    Noise(String),
}

impl Worker {
    fn start(config: &WorkerConfig, number: usize, threads: usize, cancel: &Cancel) -> Result<Self, Diag> {
        let mut command = Command::new(&config.program);
        command.args(["--device", &config.device.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("OMP_NUM_THREADS", threads.max(1).to_string());
        // cuBLAS gives the same bits each time only with a workspace of fixed size, set before it is first used.
        if std::env::var_os("CUBLAS_WORKSPACE_CONFIG").is_none() {
            command.env("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
        }
        let mut child = spawn(&mut command).map_err(|error| cannot_start(&config.program, &error))?;
        let stdout = child.stdout.take().expect("piped");
        let (send, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                let heard = serde_json::from_str(&line).map_or(Heard::Noise(line), Heard::Answer);
                if send.send(heard).is_err() {
                    break;
                }
            }
        });
        let stderr = Stderr::follow(child.stderr.take().expect("piped"));
        let stdin = child.stdin.take();
        let (hello, fit) = (Hello::default(), Fit::default());
        let mut worker = Self { number, child, stdin, answers, stderr, hello, fit };
        worker.greet(&config.program, cancel)?;
        Ok(worker)
    }

    /// Waits for its first word.
    fn greet(&mut self, program: &Path, cancel: &Cancel) -> Result<(), Diag> {
        let late = Instant::now() + START;
        loop {
            match self.answers.recv_timeout(TICK) {
                Ok(Heard::Answer(Answer::Ready { protocol: PROTOCOL, libtorch, devices, notes })) => {
                    self.hello = Hello { libtorch, devices, notes };
                    return Ok(());
                }
                Ok(Heard::Answer(Answer::Ready { protocol, .. })) => {
                    let text = format!("`{}` is of another build than `dpt`", program.display());
                    return Err(Diag::error(Class::Environment, text)
                        .note(format!("it speaks protocol {protocol}, this `dpt` speaks {PROTOCOL}"))
                        .help("build both again: `cargo build --release`"));
                }
                Ok(Heard::Answer(Answer::Failed { error })) => return Err(error.into()),
                Ok(Heard::Answer(_) | Heard::Noise(_)) | Err(RecvTimeoutError::Disconnected) => {
                    let status = self.end();
                    return Err(not_ready(program, status, &self.stderr.tail()));
                }
                Err(RecvTimeoutError::Timeout) if cancel.asked() => return Err(interrupted("a node")),
                Err(RecvTimeoutError::Timeout) if Instant::now() < late => (),
                Err(RecvTimeoutError::Timeout) => {
                    self.kill();
                    let text = format!("`{}` was not ready after {} s", program.display(), START.as_secs());
                    return Err(Diag::error(Class::Environment, text));
                }
            }
        }
    }

    /// The device that a job gets: the one it names if this worker has it (the CPU is always there), else the
    /// worker's own. With several GPUs, workers take them in turn.
    fn device(&self, named: &str) -> String {
        let own = &self.hello.devices;
        if named == "cpu" || own.iter().any(|device| device == named) {
            return named.to_owned();
        }
        own.get(self.number % own.len().max(1)).map_or("cpu", String::as_str).to_owned()
    }

    fn say(&mut self, request: &Request) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request).map_err(std::io::Error::other)?;
        line.push(b'\n');
        self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(&line).and_then(|()| stdin.flush()))
    }

    fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// No mercy.
    fn kill(&mut self) -> Option<ExitStatus> {
        self.stdin = None;
        let _ = self.child.kill();
        self.child.wait().ok()
    }

    /// Closes its stdin, gives it a moment, kills it.
    fn end(&mut self) -> Option<ExitStatus> {
        self.stdin = None;
        let late = Instant::now() + Duration::from_secs(2);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < late => std::thread::sleep(Duration::from_millis(2)),
                _ => return self.kill(),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.say(&Request::Quit);
        self.end();
    }
}

/// What a worker prints on stderr: the last lines, and the log of the node that it runs.
#[derive(Debug, Default)]
struct Stderr {
    inner: Mutex<StderrInner>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct StderrInner {
    lines: VecDeque<String>,
    path: Option<PathBuf>,
    file: Option<File>,
    at_end: bool,
}

impl Stderr {
    /// Reads on a thread of its own.
    fn follow(stream: impl Read + Send + 'static) -> Arc<Self> {
        let own = Arc::new(Self::default());
        let theirs = own.clone();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
                theirs.inner().push(String::from_utf8_lossy(&bytes).trim_end());
                bytes.clear();
            }
            theirs.inner().at_end = true;
            theirs.ended.notify_all();
        });
        own
    }

    /// From now on lines belong to the node with this log.
    fn begin(&self, path: Option<PathBuf>) {
        let mut inner = self.inner();
        inner.lines.clear();
        inner.file = None;
        inner.path = path;
    }

    /// The last lines, once the stream has ended. (A grandchild may hold it open: not for ever.)
    fn tail(&self) -> Vec<String> {
        let wait = self.ended.wait_timeout_while(self.inner(), Duration::from_secs(1), |inner| !inner.at_end);
        wait.unwrap_or_else(PoisonError::into_inner).0.lines.iter().cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, StderrInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StderrInner {
    fn push(&mut self, line: &str) {
        if self.lines.len() == TAIL {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
        // A log is made when there is something to keep. One that cannot be written is not worth failing a node.
        if let (None, Some(path)) = (&self.file, &self.path) {
            let made = path.parent().is_none_or(|dir| fs::create_dir_all(dir).is_ok());
            self.file = made.then(|| File::options().create(true).append(true).open(path).ok()).flatten();
        }
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{line}");
        }
    }
}

/// `train[task=rte,seed=42]` → `train.task-rte.seed-42.log`.
fn log_name(node: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '-' };
    let name: String = node.trim_end_matches(']').replace(['[', ','], ".").chars().map(plain).collect();
    if name.len() <= 200 {
        return format!("{name}.log");
    }
    format!("{}-{}.log", &name[..180], &Digest::of(node.as_bytes()).hex()[..12])
}

fn interrupted(node: &str) -> Diag {
    Diag::error(Class::Interrupted, format!("`{node}` was interrupted"))
}

fn cannot_start(program: &Path, error: &std::io::Error) -> Diag {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Diag::error(
            Class::Environment,
            format!("`dpt-worker`, which runs the stages that need libtorch, is not at `{}`", program.display()),
        )
        .note("`dpt` looks beside itself, or where `DPT_WORKER` says")
        .help("build it: `cargo xtask libtorch`, then `cargo build --release`");
    }
    Diag::error(Class::Environment, format!("cannot start `{}`: {error}", program.display()))
}

/// The worker ended before it said that it is ready.
fn not_ready(program: &Path, status: Option<ExitStatus>, tail: &[String]) -> Diag {
    let diag = Diag::error(Class::Environment, format!("`{}` {} before it was ready", program.display(), how(status)));
    let library = tail.iter().any(|line| line.contains("error while loading shared libraries"));
    let diag = with_tail(diag, tail);
    if library {
        return diag.help("libtorch has gone from where the build found it: `cargo xtask libtorch` brings it back");
    }
    diag
}

/// The worker ended in the middle of a job.
fn died(node: &str, status: Option<ExitStatus>, tail: &[String], log: Option<&Path>) -> Diag {
    let diag = Diag::error(Class::Stage, format!("the worker of `{node}` {}", how(status)));
    let mut diag = with_tail(diag, tail);
    if let Some(log) = log.filter(|log| log.exists()) {
        diag = diag.note(format!("its log: `{}`", log.display()));
    }
    if status.and_then(|s| s.signal()) == Some(libc::SIGKILL) {
        return diag.help(
            "someone killed it, most often the system for lack of memory: let fewer nodes run at once with `--jobs`, \
             or set a smaller `batch_size`",
        );
    }
    diag
}

fn with_tail(diag: Diag, tail: &[String]) -> Diag {
    match tail {
        [] => diag.note("it printed nothing on stderr"),
        _ => diag.note(format!("the last it printed:\n{}", tail.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::stages::ctx::Update;

    /// A worker in shell: the job's kind says what it does. It numbers the jobs that it ran.
    const FAKE: &str = r#"#!/bin/sh
test "$2" = cuda:7 && { echo '{"say":"failed","error":{"class":"environment","message":"no such GPU","notes":[],"help":null}}'; exit 6; }
echo '{"say":"ready","protocol":1,"libtorch":"fake","devices":["cuda:3"],"notes":["a note of the start"]}'
n=0
while read -r line; do
  case "$line" in
    *'"say":"quit"'*) exit 0 ;;
    *'"say":"cancel"'*) echo '{"say":"failed","error":{"class":"interrupted","message":"told to end","notes":[],"help":null}}' ;;
    *'"kind":"wait"'*) echo '{"say":"note","text":"waiting"}' ;;
    *'"kind":"deaf"'*) echo '{"say":"note","text":"waiting"}'; while :; do sleep 1; done ;;
    *'"kind":"die"'*) echo "first words" >&2; echo "last words" >&2; exit 3 ;;
    *'"kind":"segv"'*) kill -SEGV $$ ;;
    *'"kind":"noise"'*) echo "hello" ;;
    *'"kind":"bug"'*) echo '{"say":"failed","error":{"class":"bug","message":"panicked","notes":[],"help":null}}'; exit 70 ;;
    *)
      n=$((n+1))
      case "$line" in *'"device":"cuda:3"'*) own=1 ;; *) own=0 ;; esac
      echo "job $n on stderr" >&2
      echo '{"say":"progress","update":{"what":"work","done":1,"total":2,"unit":"steps","detail":""}}'
      echo '{"say":"done","outcome":{"metrics":{"n":'$n',"pid":'$$',"threads":'$OMP_NUM_THREADS',"own":'$own'},"numerics":{},"notes":[]}}' ;;
  esac
done
"#;

    struct Fake {
        dir: tempfile::TempDir,
        pool: WorkerPool,
    }

    fn fake_with(device: Wanted, max_workers: usize) -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("worker.sh");
        fs::write_atomic(&program, FAKE.as_bytes()).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = WorkerConfig::new(program, device, max_workers).logs_in(dir.path().join("logs"));
        config.grace = Duration::from_millis(200);
        Fake { pool: WorkerPool::new(config), dir }
    }

    fn fake() -> Fake {
        fake_with(Wanted::Auto, 2)
    }

    #[derive(Default)]
    struct Seen(Mutex<(Vec<Update>, Vec<String>)>);
    impl Progress for Seen {
        fn update(&self, update: Update) {
            self.0.lock().unwrap().0.push(update);
        }
        fn note(&self, text: &str) {
            self.0.lock().unwrap().1.push(text.to_owned());
        }
    }

    fn job(kind: &str) -> Job {
        Job {
            node: format!("{kind}[task=rte,seed=1]"),
            kind: kind.to_owned(),
            axes: vec![],
            params: Default::default(),
            inputs: Default::default(),
            out: "out".into(),
            scratch: "scratch".into(),
            reuse: "reuse".into(),
            base: ".".into(),
            mirrors: Default::default(),
            sources: BTreeMap::new(),
            threads: 3,
            device: "auto".into(),
        }
    }

    fn run(fake: &Fake, kind: &str) -> StageResult {
        fake.pool.run(&job(kind), &Seen::default(), &Cancel::new())
    }

    #[test]
    fn a_worker_is_started_once_and_kept_warm() {
        let (fake, seen) = (fake(), Seen::default());
        let first = fake.pool.run(&job("touch"), &seen, &Cancel::new()).unwrap();
        let second = fake.pool.run(&job("touch"), &seen, &Cancel::new()).unwrap();
        assert_eq!(first.metrics["pid"], second.metrics["pid"]);
        assert_eq!((first.metrics["n"], second.metrics["n"]), (1.0, 2.0));
        assert_eq!(first.metrics["threads"], 3.0);
        assert_eq!(first.metrics["own"], 1.0, "`auto` is replaced by the worker's device");
        let seen = seen.0.into_inner().unwrap();
        assert_eq!(seen.0.len(), 2);
        assert_eq!(seen.1, ["a note of the start"], "told once");
    }

    #[test]
    fn stderr_becomes_the_log_of_the_node() {
        let fake = fake();
        run(&fake, "touch").unwrap();
        let dir = fake.dir.path().join("logs");
        drop(fake.pool);
        assert_eq!(fs::read_to_string(&dir.join("touch.task-rte.seed-1.log")).unwrap(), "job 1 on stderr\n");
    }

    #[test]
    fn a_dead_worker_fails_its_node_with_its_last_words_and_is_replaced() {
        let fake = fake();
        let diag = run(&fake, "die").unwrap_err();
        assert_eq!(diag.class, Class::Stage);
        assert_eq!(diag.message, "the worker of `die[task=rte,seed=1]` ended with exit status 3");
        assert_eq!(diag.notes[0], "the last it printed:\nfirst words\nlast words");
        assert!(diag.notes[1].starts_with("its log: `"), "{diag}");
        assert_eq!(run(&fake, "touch").unwrap().metrics["n"], 1.0);
    }

    #[test]
    fn a_signal_is_named() {
        let diag = run(&fake(), "segv").unwrap_err();
        assert_eq!(diag.message, "the worker of `segv[task=rte,seed=1]` was killed by signal 11 (SIGSEGV)");
    }

    #[test]
    fn a_worker_that_died_idle_is_replaced_in_silence() {
        let fake = fake();
        let pid = run(&fake, "touch").unwrap().metrics["pid"];
        // SAFETY: the process is our own child, not waited for yet.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        while fake.pool.state().idle[0].lives() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_ne!(run(&fake, "touch").unwrap().metrics["pid"], pid);
    }

    #[test]
    fn after_a_bug_the_worker_is_not_used_again() {
        let fake = fake();
        let pid = run(&fake, "touch").unwrap().metrics["pid"];
        assert_eq!(run(&fake, "bug").unwrap_err().class, Class::Bug);
        assert_ne!(run(&fake, "touch").unwrap().metrics["pid"], pid);
    }

    #[test]
    fn noise_on_stdout_is_a_bug() {
        let diag = run(&fake(), "noise").unwrap_err();
        assert_eq!((diag.class, &diag.notes[..]), (Class::Bug, &["hello".to_owned()][..]));
    }

    /// Cancels when the stage says that it waits.
    struct CancelOnNote<'a>(&'a Cancel);
    impl Progress for CancelOnNote<'_> {
        fn update(&self, _: Update) {}
        fn note(&self, text: &str) {
            if text == "waiting" {
                self.0.ask();
            }
        }
    }

    #[test]
    fn cancel_reaches_the_worker_which_stays_fit() {
        let (fake, cancel) = (fake(), Cancel::new());
        let diag = fake.pool.run(&job("wait"), &CancelOnNote(&cancel), &cancel).unwrap_err();
        assert_eq!((diag.class, diag.message.as_str()), (Class::Interrupted, "told to end"));
        assert_eq!(fake.pool.state().idle.len(), 1);
    }

    #[test]
    fn a_deaf_worker_is_killed_after_the_grace() {
        let (fake, cancel) = (fake(), Cancel::new());
        let diag = fake.pool.run(&job("deaf"), &CancelOnNote(&cancel), &cancel).unwrap_err();
        assert_eq!(diag.class, Class::Interrupted);
        assert!(fake.pool.state().idle.is_empty());
        assert_eq!(run(&fake, "touch").unwrap().metrics["n"], 1.0);
    }

    #[test]
    fn no_more_workers_than_allowed() {
        let fake = fake_with(Wanted::Cpu, 2);
        let pids: Mutex<Vec<u64>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| pids.lock().unwrap().push(run(&fake, "touch").unwrap().metrics["pid"] as u64));
            }
        });
        let mut pids = pids.into_inner().unwrap();
        assert_eq!(pids.len(), 6);
        pids.sort_unstable();
        pids.dedup();
        assert!(pids.len() <= 2, "{pids:?}");
    }

    #[test]
    fn a_missing_program_names_the_command_that_builds_it() {
        let pool = WorkerPool::new(WorkerConfig::new("no/such/dpt-worker".into(), Wanted::Auto, 1));
        let diag = pool.run(&job("touch"), &Seen::default(), &Cancel::new()).unwrap_err();
        assert_eq!(diag.class, Class::Environment);
        assert!(diag.help.unwrap().contains("cargo build --release"));
        // The place in the pool is free again.
        assert_eq!(pool.hello().unwrap_err().class, Class::Environment);
    }

    #[test]
    fn a_worker_that_refuses_the_device_passes_on_why() {
        let fake = fake_with(Wanted::Cuda(Some(7)), 1);
        let diag = run(&fake, "touch").unwrap_err();
        assert_eq!((diag.class, diag.message.as_str()), (Class::Environment, "no such GPU"));
    }

    #[test]
    fn a_program_that_is_no_worker_is_told() {
        let pool = WorkerPool::new(WorkerConfig::new("/bin/false".into(), Wanted::Auto, 1));
        let diag = pool.hello().unwrap_err();
        assert_eq!(diag.message, "`/bin/false` ended with exit status 1 before it was ready");
    }

    #[test]
    fn log_names_are_safe() {
        assert_eq!(log_name("report"), "report.log");
        assert_eq!(log_name("train[task=a/../b,lr=1e-3]"), "train.task-a-..-b.lr-1e-3.log");
        assert!(log_name(&"é".repeat(300)).len() < 255);
    }
}
