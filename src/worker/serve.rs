//! The worker's side of the protocol: says who it is, then runs one job after another until it is asked to quit or
//! its input ends. Knows no libtorch: the caller passes the function that finds the stage functions.
//!
//! Requests are read on a thread of their own, so that a `Cancel` arrives while a job runs, and so that the worker
//! learns at once that the engine is gone (its input ends). It then leaves the job where it is: whoever runs the node
//! next must not meet a second writer in its folders.
#![allow(clippy::print_stderr, reason = "the engine keeps the stderr of a worker")]

use std::any::Any;
use std::io::{BufRead, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::{Answer, Request};
use crate::base::diag::{Class, Diag};
use crate::stages::ctx::{Cancel, Ctx, Job, Progress, Update};
use crate::stages::stage::StageResult;

/// A function that runs a stage.
pub type StageFn = fn(&Ctx) -> StageResult;

/// Updates closer together than this are dropped, unless they begin or end something.
const THIN: Duration = Duration::from_millis(100);

/// What a worker is made of.
pub struct Serve<'a> {
    /// What it says first: [`Answer::Ready`].
    pub ready: Answer,
    /// Finds the function for a stage kind.
    pub runner: &'a dyn Fn(&str) -> Option<StageFn>,
    /// Called before each job: sets threads, for instance.
    pub before: &'a dyn Fn(&Job),
    /// Called when the engine is gone while a job runs. A real worker ends its process here.
    pub orphaned: fn(),
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The engine had no more work, or is gone.
    Quit,
    /// A stage panicked. It was reported; what is left in memory is not to be trusted, so another worker takes over.
    Panicked,
}

/// What the reading thread hands to the working one.
enum Work {
    Job(Box<Job>, Arc<Cancel>),
    Quit,
}

impl Serve<'_> {
    /// Serves until there is no more to do.
    pub fn serve(self, input: impl BufRead + Send + 'static, output: impl Write + Send) -> End {
        let output = Output(Mutex::new(output));
        if !output.say(&self.ready) {
            return End::Quit;
        }
        let busy = Arc::new(AtomicBool::new(false));
        let (send, work) = mpsc::channel();
        let reader = Reader { busy: busy.clone(), orphaned: self.orphaned };
        std::thread::spawn(move || reader.read(input, &send));
        while let Ok(Work::Job(job, cancel)) = work.recv() {
            (self.before)(&job);
            let result = panic::catch_unwind(AssertUnwindSafe(|| self.run(&job, &cancel, &output)));
            // Before the answer: once it is out, the engine may leave.
            busy.store(false, Ordering::SeqCst);
            let (answer, panicked) = match result {
                Ok(Ok(outcome)) => (Answer::Done { outcome }, false),
                Ok(Err(diag)) => (Answer::Failed { error: diag.into() }, false),
                Err(payload) => (Answer::Failed { error: of_panic(&job, payload.as_ref()).into() }, true),
            };
            if !output.say(&answer) {
                return End::Quit;
            }
            if panicked {
                return End::Panicked;
            }
        }
        End::Quit
    }

    fn run<W: Write + Send>(&self, job: &Job, cancel: &Cancel, output: &Output<W>) -> StageResult {
        let run = (self.runner)(&job.kind).ok_or_else(|| {
            Diag::error(Class::Bug, format!("the worker knows no stage kind `{}`", job.kind))
                .note("`dpt` and `dpt-worker` may come from different builds")
                .help("build both again: `cargo build --release`")
        })?;
        let progress = Thinned { output, last: Mutex::new(None) };
        run(&Ctx { job, progress: &progress, cancel })
    }
}

/// Reads requests on its own thread.
struct Reader {
    busy: Arc<AtomicBool>,
    orphaned: fn(),
}

impl Reader {
    fn read(self, input: impl BufRead, send: &Sender<Work>) {
        let mut running: Option<Arc<Cancel>> = None;
        for line in input.lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str(&line) {
                Ok(Request::Run { job }) => {
                    let cancel = Arc::new(Cancel::new());
                    running = Some(cancel.clone());
                    self.busy.store(true, Ordering::SeqCst);
                    if send.send(Work::Job(job, cancel)).is_err() {
                        return;
                    }
                }
                Ok(Request::Cancel) => {
                    if let Some(cancel) = &running {
                        cancel.ask();
                    }
                }
                Ok(Request::Quit) => break,
                Err(error) => {
                    eprintln!("dpt-worker: a request that cannot be read ({error}): {line}");
                    break;
                }
            }
        }
        if self.busy.load(Ordering::SeqCst) {
            if let Some(cancel) = running {
                cancel.ask();
            }
            (self.orphaned)();
        }
        // The receiver is gone only when serving has ended already.
        let _ = send.send(Work::Quit);
    }
}

/// Where answers go: one JSON object a line.
struct Output<W>(Mutex<W>);

impl<W: Write> Output<W> {
    /// Returns whether there is still someone to hear it.
    fn say(&self, answer: &Answer) -> bool {
        let mut line = serde_json::to_vec(answer).expect("answers have string keys and no maps that could fail");
        line.push(b'\n');
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(&line).and_then(|()| output.flush()).is_ok()
    }
}

/// Passes on about ten updates a second, and each that begins or ends something.
struct Thinned<'a, W> {
    output: &'a Output<W>,
    last: Mutex<Option<(Instant, String)>>,
}

impl<W: Write + Send> Progress for Thinned<'_, W> {
    fn update(&self, update: Update) {
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, what)) = &*last {
                let ends = update.total == Some(update.done);
                if *what == update.what && at.elapsed() < THIN && !ends {
                    return;
                }
            }
            *last = Some((Instant::now(), update.what.clone()));
        }
        self.output.say(&Answer::Progress { update });
    }

    fn note(&self, text: &str) {
        self.output.say(&Answer::Note { text: text.to_owned() });
    }
}

/// Returns the error for a panic in a stage: a bug of ours, unless libtorch ran out of memory.
fn of_panic(job: &Job, payload: &(dyn Any + Send)) -> Diag {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    if text.contains("out of memory") || text.contains("can't allocate memory") {
        return Diag::error(Class::Stage, format!("`{}` ran out of memory on `{}`", job.node, job.device))
            .note(first_lines(text))
            .help("set a smaller `batch_size`, or let fewer nodes run at once with `--jobs`");
    }
    Diag::error(Class::Bug, format!("`{}` panicked", job.node))
        .note(first_lines(text))
        .help("this is a bug in dpt: please report it with the lines above and the node's log")
}

/// libtorch's errors carry a C++ stack trace, which goes to the log only. An error that was unwrapped is there as
/// `Debug` writes it, with `\n` for line ends.
fn first_lines(text: &str) -> String {
    let text = text.split(r"\nException raised from").next().unwrap_or_default();
    let lines: Vec<_> = text.lines().take_while(|l| !l.starts_with("Exception raised from")).take(6).collect();
    lines.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::stages::ctx::{Outcome, Unit};

    #[test]
    fn a_stack_trace_of_libtorch_is_cut_off() {
        let error = "index out of range\nException raised from operator() at x.cpp:1\nframe #0: a";
        assert_eq!(first_lines(error), "index out of range");
        assert_eq!(first_lines(&format!("on an `Err` value: {error:?}")), "on an `Err` value: \"index out of range");
    }

    fn job(node: &str) -> Job {
        Job {
            node: node.to_owned(),
            kind: node.to_owned(),
            out: "out".into(),
            scratch: "scratch".into(),
            base: ".".into(),
            threads: 1,
            device: "cpu".into(),
            ..Job::default()
        }
    }

    fn ready() -> Answer {
        Answer::Ready {
            protocol: super::super::protocol::PROTOCOL,
            build: None,
            pid: std::process::id(),
            libtorch: "none".into(),
            devices: vec![],
            notes: vec![],
        }
    }

    fn find(kind: &str) -> Option<StageFn> {
        Some(match kind {
            "fine" => |ctx| {
                for done in 0..1000 {
                    let update = Update {
                        what: "work".into(),
                        done,
                        total: Some(1000),
                        unit: Unit::Steps,
                        detail: String::new(),
                    };
                    ctx.progress.update(update);
                }
                ctx.progress.note("a note");
                Ok(Outcome { metrics: [("x".to_owned(), 1.0)].into(), ..Outcome::default() })
            },
            "panics" => |_| panic!("at the disco"),
            "memory" => {
                |_| panic!("CUDA out of memory. Tried to allocate 2 GiB\nException raised from malloc at x.cpp:1")
            }
            "waits" => |ctx| loop {
                ctx.check_cancel()?;
                std::thread::sleep(Duration::from_millis(1));
            },
            _ => return None,
        })
    }

    fn serve(requests: &[Request]) -> (End, Vec<Answer>) {
        let text: String = requests.iter().map(|r| serde_json::to_string(r).unwrap() + "\n").collect();
        serve_input(Cursor::new(text))
    }

    fn serve_input(input: impl BufRead + Send + 'static) -> (End, Vec<Answer>) {
        let mut output = Vec::new();
        let serve = Serve { ready: ready(), runner: &find, before: &|_| (), orphaned: || () };
        let end = serve.serve(input, &mut output);
        let answers = output.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        (end, answers.map(|line| serde_json::from_slice(line).unwrap()).collect())
    }

    fn run(node: &str) -> Request {
        Request::Run { job: Box::new(job(node)) }
    }

    /// Requests whose next one is read only after a while, as from an engine that waits for the answer.
    struct Slow(Vec<Request>, Vec<u8>);
    impl Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            if self.1.is_empty() && !self.0.is_empty() {
                std::thread::sleep(Duration::from_millis(30));
                self.1 = (serde_json::to_string(&self.0.remove(0)).unwrap() + "\n").into_bytes();
            }
            let n = self.1.len().min(buf.len());
            buf[..n].copy_from_slice(&self.1[..n]);
            self.1.drain(..n);
            Ok(n)
        }
    }
    fn slow(requests: Vec<Request>) -> impl BufRead + Send {
        std::io::BufReader::new(Slow(requests, vec![]))
    }

    #[test]
    fn worker_says_ready_runs_and_thins_updates() {
        let (end, answers) = serve_input(slow(vec![run("fine"), Request::Quit]));
        assert_eq!(end, End::Quit);
        assert!(matches!(answers.first(), Some(Answer::Ready { .. })));
        assert!(matches!(answers.last(), Some(Answer::Done { outcome }) if outcome.metrics["x"] == 1.0));
        let updates = answers.iter().filter(|a| matches!(a, Answer::Progress { .. })).count();
        assert!((1..100).contains(&updates), "{updates} updates");
        assert!(answers.iter().any(|a| matches!(a, Answer::Note { text } if text == "a note")));
    }

    #[test]
    fn panic_is_reported_as_a_bug_and_ends_the_worker() {
        let (end, answers) = serve(&[run("panics"), run("fine")]);
        assert_eq!(end, End::Panicked);
        let Some(Answer::Failed { error }) = answers.last() else { panic!("{answers:?}") };
        assert_eq!(error.class, Class::Bug);
        assert!(error.notes[0].contains("at the disco"));
    }

    #[test]
    fn out_of_memory_is_not_a_bug() {
        let (_, answers) = serve(&[run("memory")]);
        let Some(Answer::Failed { error }) = answers.last() else { panic!("{answers:?}") };
        assert_eq!(error.class, Class::Stage);
        assert_eq!(error.notes, ["CUDA out of memory. Tried to allocate 2 GiB"]);
    }

    #[test]
    fn cancel_arrives_while_the_job_runs() {
        let (_, answers) = serve_input(slow(vec![run("waits"), Request::Cancel, run("fine"), Request::Quit]));
        let failed = answers.iter().find_map(|a| match a {
            Answer::Failed { error } => Some(error.class),
            _ => None,
        });
        assert_eq!(failed, Some(Class::Interrupted));
        assert!(matches!(answers.last(), Some(Answer::Done { .. })), "the next job is not cancelled: {answers:?}");
    }

    #[test]
    fn the_end_of_input_ends_a_running_job() {
        let (end, answers) = serve(&[run("waits")]);
        assert_eq!(end, End::Quit);
        assert!(matches!(answers.last(), Some(Answer::Failed { error }) if error.class == Class::Interrupted));
    }

    #[test]
    fn unknown_kind_is_reported() {
        let (_, answers) = serve(&[run("nonsense")]);
        assert!(matches!(answers.last(), Some(Answer::Failed { error }) if error.message.contains("`nonsense`")));
    }
}
