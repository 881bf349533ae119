//! The program's process: a group of its own, its output kept, its end waited for, and ended with all that it started
//! when the stage is cancelled.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::base::diag::{Class, Diag};
use crate::base::fs::on;
use crate::base::process::spawn;
use crate::stages::ctx::Cancel;

use super::secrets::Redactor;

/// How often a wait looks whether it was cancelled.
const TICK: Duration = Duration::from_millis(20);
/// How long a program that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait for the rest of the output of a program that has ended.
const LINGER: Duration = Duration::from_secs(2);
/// How many bytes of the beginning and of the end of a log are kept.
const KEPT: usize = 4 << 20;

/// How it ended.
#[derive(Debug)]
pub enum End {
    /// By itself.
    Status(ExitStatus),
    /// Because the stage was cancelled.
    Cancelled,
}

/// What to start.
#[derive(Debug)]
pub struct Program<'a> {
    /// The program and its arguments; not empty.
    pub arguments: &'a [String],
    /// All of its environment.
    pub environment: &'a BTreeMap<String, OsString>,
    /// Its working folder.
    pub folder: &'a Path,
    /// Where its output goes.
    pub log: &'a Path,
}

impl Program<'_> {
    /// Runs it to its end. Its stdout and stderr are one stream, in the order in which it writes; stdin is empty.
    ///
    /// # Errors
    /// When it cannot be started, or its log not be written.
    pub fn run(&self, redactor: Redactor, cancel: &Cancel) -> Result<End, Diag> {
        let log = Log::new(self.log, redactor)?;
        let (reader, writer) = std::io::pipe().map_err(|e| self.cannot_start(&e))?;
        let mut command = Command::new(&self.arguments[0]);
        command.args(&self.arguments[1..]).current_dir(self.folder);
        command.env_clear().envs(self.environment);
        command.stdin(Stdio::null());
        command.stdout(writer.try_clone().map_err(|e| self.cannot_start(&e))?).stderr(writer);
        command.process_group(0);
        end_with_us(&mut command);
        let started = spawn(&mut command);
        // It holds the pipe's writing end, whose closing tells that the output has ended.
        drop(command);
        let mut child = started.map_err(|e| self.cannot_start(&e))?;
        let ended = follow(reader, log);
        let cancelled = wait(&child, &ended, cancel);
        // What it left running would go on writing. It is not waited for yet, so its group cannot be another's.
        signal_group(&child, libc::SIGKILL);
        let status = child.wait().map_err(on("wait for", Path::new(&self.arguments[0])))?;
        if let Ok(Err(error)) = ended.recv_timeout(LINGER) {
            return Err(error);
        }
        Ok(if cancelled { End::Cancelled } else { End::Status(status) })
    }

    fn cannot_start(&self, error: &std::io::Error) -> Diag {
        let name = &self.arguments[0];
        let diag = Diag::error(Class::Environment, format!("cannot start `{name}`: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound if name.contains('/') => Diag::error(
                Class::Environment,
                format!("cannot start `{name}`: it, or what its `#!` names, is not there"),
            )
            .lasting(),
            std::io::ErrorKind::NotFound => {
                let path = self.environment.get("PATH").map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
                Diag::error(Class::Environment, format!("cannot start `{name}`: there is no such program"))
                    .note(format!("looked for in PATH: {path}"))
                    .help("install it, or name it by its whole path")
                    .lasting()
            }
            std::io::ErrorKind::PermissionDenied => {
                diag.help("make it executable (`chmod +x`), or start it by its interpreter").lasting()
            }
            _ => diag,
        }
    }
}

/// A program does not outlive a `dpt` that is killed: the thread that starts it is the one that waits for it.
#[cfg(target_os = "linux")]
fn end_with_us(command: &mut Command) {
    let us = std::process::id();
    let ask = move || {
        // SAFETY: both are system calls without memory of ours, allowed between fork and exec.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // Killed before it was asked for: nobody waits any more.
            if libc::getppid() != us as libc::pid_t {
                libc::_exit(1);
            }
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_: &mut Command) {}

/// Waits for the end of the program; ends it when cancelled. Whether it was.
fn wait(child: &Child, ended: &Receiver<Result<(), Diag>>, cancel: &Cancel) -> bool {
    let mut kill_at = None;
    let mut pause = Duration::from_millis(1);
    // Its output ends a moment before itself: most waits end with that. What it was is asked for again at the end.
    let mut open = true;
    while !has_ended(child) {
        if kill_at.is_none() && cancel.asked() {
            signal_group(child, libc::SIGTERM);
            kill_at = Some(Instant::now() + GRACE);
        }
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            signal_group(child, libc::SIGKILL);
        }
        if open {
            open = matches!(ended.recv_timeout(TICK), Err(RecvTimeoutError::Timeout));
        } else {
            std::thread::sleep(pause);
            pause = (pause * 2).min(TICK);
        }
    }
    kill_at.is_some()
}

/// Whether the program has ended; it stays to be waited for.
fn has_ended(child: &Child) -> bool {
    // SAFETY: `info` is plain data that the call fills in; the process is our child.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let answer = libc::waitid(libc::P_PID, child.id() as libc::id_t, &mut info, flags);
        answer != 0 || info.si_pid() != 0
    }
}

fn signal_group(child: &Child, signal: i32) {
    // SAFETY: a system call without memory of ours. A group that has gone is no matter.
    unsafe { libc::killpg(child.id() as libc::pid_t, signal) };
}

/// Reads the output on a thread of its own, and tells when it has ended.
fn follow(mut reader: PipeReader, mut log: Log) -> Receiver<Result<(), Diag>> {
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        let mut failed = None;
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => break,
                // A log that cannot be written must not stop the program in the middle of a line.
                Ok(n) => failed = failed.or(log.push(&chunk[..n]).err()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let closed = log.finish();
        let end = failed.map_or(closed, Err);
        // Said twice: once for the wait, once for who asks at the end.
        let again = end.clone();
        let _ = send.send(end);
        let _ = send.send(again);
    });
    ended
}

/// The log: its beginning in the file, its end in memory until the last line is known.
struct Log {
    path: std::path::PathBuf,
    file: File,
    redactor: Redactor,
    written: usize,
    end: VecDeque<u8>,
    left_out: u64,
}

impl Log {
    fn new(path: &Path, redactor: Redactor) -> Result<Self, Diag> {
        let file = File::create(path).map_err(on("write", path))?;
        Ok(Self { path: path.to_owned(), file, redactor, written: 0, end: VecDeque::new(), left_out: 0 })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Diag> {
        let clean = self.redactor.push(bytes);
        self.keep(&clean)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Diag> {
        let room = KEPT.saturating_sub(self.written).min(bytes.len());
        self.file.write_all(&bytes[..room]).map_err(on("write", &self.path))?;
        self.written += room;
        self.end.extend(&bytes[room..]);
        let over = self.end.len().saturating_sub(KEPT);
        self.left_out += over as u64;
        self.end.drain(..over);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Diag> {
        let rest = self.redactor.finish();
        self.keep(&rest)?;
        if self.left_out > 0 {
            let told = format!("\n[dpt: {} bytes are left out here]\n", self.left_out);
            self.file.write_all(told.as_bytes()).map_err(on("write", &self.path))?;
        }
        let (a, b) = self.end.as_slices();
        self.file.write_all(a).and_then(|()| self.file.write_all(b)).map_err(on("write", &self.path))?;
        Ok(())
    }
}
