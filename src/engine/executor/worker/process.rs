//! [`Worker`]: one `dpt-worker` process: how it is started, spoken to and ended.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::base::process::spawn;
use crate::stages::ctx::Cancel;
use crate::worker::protocol::{Answer, PROTOCOL, Request};

use super::config::{Fit, TICK, WorkerConfig};
use super::failure::{cannot_start, interrupted, not_itself, not_ready};
use super::stderr::Stderr;

/// How long a new worker may take to load libtorch and CUDA from a slow disk.
const START: Duration = Duration::from_secs(300);

/// What a worker says of itself when it is ready. Its build is that of this program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The version of the libtorch that it runs with.
    pub libtorch: String,
    /// `cpu`, or one or more of `cuda:0`, `cuda:1`, ….
    pub devices: Vec<String>,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// A process.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: usize,
    child: Child,
    /// Dropped to tell the worker that there are no more jobs.
    stdin: Option<ChildStdin>,
    pub(super) answers: Receiver<Heard>,
    pub(super) stderr: Arc<Stderr>,
    pub(super) hello: Hello,
    pub(super) fit: Fit,
}

/// A line on a worker's stdout.
pub(super) enum Heard {
    Answer(Answer),
    Noise(String),
}

impl Worker {
    pub(super) fn start(config: &WorkerConfig, number: usize, threads: usize, cancel: &Cancel) -> Result<Self, Diag> {
        let mut command = Command::new(&config.program);
        command.args(["--device", &config.device.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("OMP_NUM_THREADS", threads.max(1).to_string());
        // cuBLAS gives the same bits each time only with a workspace of fixed size, set before it is first used.
        if crate::base::env::var_os("CUBLAS_WORKSPACE_CONFIG").is_none() {
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
        worker.greet(config, cancel)?;
        Ok(worker)
    }

    /// Waits for its first line.
    fn greet(&mut self, config: &WorkerConfig, cancel: &Cancel) -> Result<(), Diag> {
        let program = config.program.as_path();
        let late = Instant::now() + START;
        loop {
            match self.answers.recv_timeout(TICK) {
                Ok(Heard::Answer(Answer::Ready { protocol, build, pid, libtorch, devices, notes })) => {
                    let own = (config.build)();
                    if protocol != PROTOCOL || build.as_ref() != Some(&own) {
                        return Err(own.refusal(&program.display().to_string(), build.as_ref()));
                    }
                    if pid != self.child.id() {
                        return Err(not_itself(program, self.child.id(), pid));
                    }
                    self.hello = Hello { libtorch, devices, notes };
                    return Ok(());
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

    /// The device of a job: the one that it names if this worker has it (all have the CPU), else the worker's own. With
    /// several GPUs, workers take them in turn.
    pub(super) fn device(&self, named: &str) -> String {
        let own = &self.hello.devices;
        if named == "cpu" || own.iter().any(|device| device == named) {
            return named.to_owned();
        }
        own.get(self.number % own.len().max(1)).map_or("cpu", String::as_str).to_owned()
    }

    pub(super) fn say(&mut self, request: &Request) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request).map_err(std::io::Error::other)?;
        line.push(b'\n');
        self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(&line).and_then(|()| stdin.flush()))
    }

    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it.
    pub(super) fn kill(&mut self) -> Option<ExitStatus> {
        self.stdin = None;
        let _ = self.child.kill();
        self.child.wait().ok()
    }

    /// Closes its stdin, waits two seconds, and kills it.
    pub(super) fn end(&mut self) -> Option<ExitStatus> {
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
