//! Runs the program in a process group of its own, keeps its output, and waits for its end. When the stage is
//! cancelled, the program ends with all that it started.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};
use crate::base::launch::{Launch, Launched, launch};
use crate::base::leftovers;
use crate::base::process::unless_busy;
use crate::stages::ctx::Cancel;

use super::secrets::Redactor;

/// How often a wait looks whether it was cancelled.
const TICK: Duration = Duration::from_millis(20);
/// How long a program that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait for the rest of the output of a program that has ended.
const LINGER: Duration = Duration::from_secs(2);
/// How often processes that the program left are checked for their end.
const REAP: Duration = Duration::from_secs(1);
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

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub end: End,
    /// `true` if certainly nothing that it started still runs.
    pub reusable: bool,
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
    /// The folder that only this program uses.
    pub root: &'a Path,
    /// Where its output goes; a program that prints nothing makes no file.
    pub log: &'a Path,
}

impl Program<'_> {
    /// Runs it to its end, and ends what it left running. Its stdout and stderr are one stream, in the order in which
    /// it writes; stdin is empty.
    ///
    /// # Errors
    /// Fails if it cannot be started, or its log not be written.
    pub fn run(&self, redactor: Redactor, cancel: &Cancel) -> Result<Ended, Diag> {
        let log = Log::new(self.log, redactor)?;
        let (reader, writer) = std::io::pipe().map_err(|e| self.cannot_start(&e))?;
        let order = Launch {
            arguments: self.arguments,
            environment: self.environment,
            folder: self.folder,
            room: self.root,
            output: writer.as_fd(),
        };
        let program = unless_busy(|| launch(&order)).map_err(|e| self.cannot_start(&e))?;
        // The program holds the pipe's writing end now. When that closes, the output has ended.
        drop(writer);
        let mut output = Output { reader: Some(reader), log, failed: None };
        let cancelled = follow(&program, &mut output, cancel);
        // Processes that it left running would go on writing.
        program.signal(Signal::KILL);
        let status = program.wait().map_err(on("wait for", Path::new(&self.arguments[0])))?;
        let reusable = leftovers::end(self.root);
        output.rest()?;
        Ok(Ended { end: if cancelled { End::Cancelled } else { End::Status(status) }, reusable })
    }

    fn cannot_start(&self, error: &std::io::Error) -> Diag {
        let name = &self.arguments[0];
        let diag = Diag::error(Class::Environment, format!("cannot start `{name}`: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound if name.contains('/') => Diag::error(
                Class::Environment,
                format!("cannot start `{name}`: the file, or the interpreter that its `#!` names, does not exist"),
            )
            .lasting(),
            std::io::ErrorKind::NotFound => {
                let path = self.environment.get("PATH").map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
                Diag::error(Class::Environment, format!("cannot start `{name}`: there is no such program"))
                    .note(format!("looked for in PATH: {path}"))
                    .help("install it, or name it by its whole path")
                    .lasting()
            }
            std::io::ErrorKind::ArgumentListTooLong => diag
                .note("the system takes no more, with all variables and what `#!` adds")
                .help("let the program read what is long from a file: `{in.ROLE.manifest}`, `{params}`, or one of `files`")
                .lasting(),
            std::io::ErrorKind::PermissionDenied => {
                diag.help("make it executable (`chmod +x`), or start it by its interpreter").lasting()
            }
            _ => diag,
        }
    }
}

/// Reads its output until it ends; ends it when cancelled. Whether it was.
fn follow(program: &Launched, output: &mut Output, cancel: &Cancel) -> bool {
    let mut kill_at = None;
    let mut reaped = Instant::now();
    loop {
        if reaped.elapsed() > REAP {
            leftovers::reap();
            reaped = Instant::now();
        }
        if output.wait(Some(program), TICK) || (program.ends().is_none() && program.has_ended()) {
            return kill_at.is_some();
        }
        if kill_at.is_none() && cancel.asked() {
            program.signal(Signal::TERM);
            kill_at = Some(Instant::now() + GRACE);
        }
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            program.signal(Signal::KILL);
        }
    }
}

/// The output of a running program, on its way into its log.
struct Output {
    /// `None`: nobody writes any more.
    reader: Option<PipeReader>,
    log: Log,
    /// Why the log could not be written. That must not stop the program in the middle of a line.
    failed: Option<Diag>,
}

impl Output {
    /// Waits for output, and takes what is there; or for the end of the program. Whether that has come.
    fn wait(&mut self, program: Option<&Launched>, at_most: Duration) -> bool {
        let ends = program.and_then(Launched::ends);
        let mut watched: Vec<_> = ends.iter().map(|end| PollFd::from_borrowed_fd(*end, PollFlags::IN)).collect();
        watched.extend(self.reader.as_ref().map(|reader| PollFd::new(reader, PollFlags::IN)));
        let limit = Timespec::try_from(at_most).expect("less than a minute");
        // Interrupted by a signal: as if nothing had happened yet.
        let _ = poll(&mut watched, Some(&limit));
        let ended = ends.is_some() && !watched[0].revents().is_empty();
        if self.reader.is_some() && watched.last().is_some_and(|pipe| !pipe.revents().is_empty()) {
            self.read();
        }
        ended
    }

    fn read(&mut self) {
        let mut chunk = [0; 16 * 1024];
        let Some(reader) = &mut self.reader else { return };
        match reader.read(&mut chunk) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => self.reader = None,
            Ok(n) => {
                if let Err(error) = self.log.push(&chunk[..n]) {
                    self.failed.get_or_insert(error);
                }
            }
        }
    }

    /// The program has ended: what it printed last, and whether all is in the log.
    fn rest(mut self) -> Result<(), Diag> {
        let end = Instant::now() + LINGER;
        while self.reader.is_some() && Instant::now() < end {
            self.wait(None, end.saturating_duration_since(Instant::now()));
        }
        let closed = self.log.finish();
        self.failed.map_or(closed, Err)
    }
}

/// The log: its beginning in the file, its end in memory until the last line is known.
struct Log {
    path: std::path::PathBuf,
    file: Option<File>,
    redactor: Redactor,
    written: usize,
    end: VecDeque<u8>,
    left_out: u64,
}

impl Log {
    fn new(path: &Path, redactor: Redactor) -> Result<Self, Diag> {
        fs::remove_file(path)?;
        Ok(Self { path: path.to_owned(), file: None, redactor, written: 0, end: VecDeque::new(), left_out: 0 })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Diag> {
        let clean = self.redactor.push(bytes);
        self.keep(&clean)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Diag> {
        let left = KEPT.saturating_sub(self.written).min(bytes.len());
        self.write(&bytes[..left])?;
        self.written += left;
        self.end.extend(&bytes[left..]);
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
            self.write(told.as_bytes())?;
        }
        let end = std::mem::take(&mut self.end);
        let (a, b) = end.as_slices();
        self.write(a)?;
        self.write(b)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Diag> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(File::create(&self.path).map_err(on("write", &self.path))?);
        }
        let mut file = self.file.as_ref().expect("made above");
        Ok(file.write_all(bytes).map_err(on("write", &self.path))?)
    }
}
