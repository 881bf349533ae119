//! The journal: the events of a run, one JSON object a line, each with the wall time, in `runs/RUN.jsonl` of the store.
//! A run that changed nothing leaves none. Progress is left out. An error of the journal ends no run. No run writes to
//! the journal of another, even if both have one id.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::diag::{Class, Diag};
use crate::base::fault;
use crate::base::fs::{self, on};

use super::event::{Event, Sink};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub struct JournalLine {
    /// Seconds since 1970.
    pub at: f64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// Writes the events of a run.
#[derive(Debug)]
pub struct Journal {
    /// Its path, unless another run's journal has that name.
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// No event so far is worth a file.
    HeldSlots(Vec<(f64, Event)>),
    Open(BufWriter<File>, PathBuf),
    /// Could not be written, for this reason.
    Lost(String),
}

impl Journal {
    /// The journal of `run`, in folder `runs`. Nothing is written yet.
    pub fn new(runs: &Path, run: &str) -> Self {
        Self { path: runs.join(format!("{run}.jsonl")), state: Mutex::new(State::HeldSlots(Vec::new())) }
    }

    /// Returns `true` if an event of this kind does not open the file.
    pub fn quiet(event: &Event) -> bool {
        use Event::{NodeHit, NodesHit, RunEnded, RunStarted};
        matches!(event, RunStarted { .. } | NodeHit { .. } | NodesHit { .. } | RunEnded { .. })
    }

    /// Returns `true` if the file is open, or could not be.
    pub fn is_open(&self) -> bool {
        !matches!(*self.state(), State::HeldSlots(_))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Closes the journal. Returns an error message if it could not be written.
    pub fn close(self) -> Option<String> {
        let mut state = self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let State::Open(file, path) = &mut state
            && let Err(e) = file.flush()
        {
            return Some(on("write", path)(e).to_string());
        }
        match state {
            State::Lost(why) => Some(why),
            _ => None,
        }
    }
}

impl Sink for Journal {
    fn event(&self, event: &Event) {
        if event.is_progress() {
            return;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let mut state = self.state();
        let quiet = Self::quiet(event);
        let mut text = Vec::new();
        if let State::HeldSlots(held) = &mut *state {
            if quiet {
                held.push((at, event.clone()));
                return;
            }
            held.iter().for_each(|(at, event)| write_line(*at, event, &mut text));
            *state = match fault::point("journal.create").and_then(|()| create(&self.path)) {
                Ok((file, path)) => State::Open(BufWriter::new(file), path),
                Err(e) => State::Lost(on("write", &self.path)(e).to_string()),
            };
        }
        write_line(at, event, &mut text);
        if let State::Open(file, path) = &mut *state
            && let Err(e) = fault::point("journal.write")
                .and_then(|()| file.write_all(&text))
                .and_then(|()| if quiet { Ok(()) } else { file.flush() })
        {
            *state = State::Lost(on("write", path)(e).to_string());
        }
    }
}

/// Makes a file that was not there before: at `path`, or where another has this name, under the next number.
fn create(path: &Path) -> std::io::Result<(File, PathBuf)> {
    let mut tried = path.to_owned();
    for number in 2.. {
        match File::create_new(&tried) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => {}
            made => return made.map(|file| (file, tried)),
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        tried.set_file_name(format!("{stem}-{number}.jsonl"));
    }
    unreachable!("the last number ends the loop")
}

#[derive(Serialize)]
struct LineRef<'a> {
    at: f64,
    #[serde(flatten)]
    event: &'a Event,
}

fn write_line(at: f64, event: &Event, text: &mut Vec<u8>) {
    serde_json::to_writer(&mut *text, &LineRef { at, event }).expect("an event is JSON");
    text.push(b'\n');
}

/// Reads a journal. The last line of a run that was killed may be cut short: it is left out.
///
/// # Errors
/// When the file cannot be read, or a line but the last is not an event.
pub fn read(path: &Path) -> Result<Vec<JournalLine>, Diag> {
    let text = fs::read_to_string(path)?;
    let mut lines = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(_) if !line.ends_with('\n') => break,
            Err(e) => {
                return Err(Diag::error(
                    Class::Store,
                    format!("`{}` line {} is not an event: {e}", path.display(), i + 1),
                ));
            }
        }
    }
    Ok(lines)
}

/// A new run's id: the time in UTC, and a number: the microseconds of the second, so that ids sort as their runs began,
/// then nine digits that the system drew: `20261123-140910-271828902736154`. The number of the process would not do: in
/// containers and on several machines many have the same.
pub fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (time, micros) = (utc(now.as_secs()).strftime("%Y%m%d-%H%M%S"), now.subsec_micros());
    // Its keys come from the system's source of random numbers.
    let drawn = RandomState::new().build_hasher().finish() % 1_000_000_000;
    format!("{time}-{micros:06}{drawn:09}")
}

/// A time in seconds since 1970 for a person: `2026-11-23 14:09 UTC`.
pub fn date(at: f64) -> String {
    utc(at.max(0.0) as u64).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The time so many seconds after the beginning of 1970; no later than the last of the year 9999.
fn utc(seconds: u64) -> Timestamp {
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(date(0.0), "1970-01-01 00:00 UTC");
        assert_eq!(date(11_016.0 * 86_400.0), "2000-02-29 00:00 UTC");
        assert_eq!(date(-1.0), "1970-01-01 00:00 UTC");
        assert_eq!(date(f64::INFINITY), "9999-12-30 22:00 UTC");
        assert_eq!(date(20_780.0 * 86_400.0 + 3661.5), "2026-11-23 01:01 UTC");
    }

    #[test]
    fn journal_reads_back_without_a_cut_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let note = |text: &str| Event::RunNote { text: text.into() };
        let journal = Journal::new(dir.path(), "r");
        journal.event(&Event::RunStarted {
            schema: 1,
            run: "r".into(),
            pipeline: "p".into(),
            file: None,
            nodes: 2,
            dry_run: false,
        });
        assert!(!dir.path().join("r.jsonl").exists());
        journal.event(&note("one"));
        journal.event(&note("two"));
        assert_eq!(journal.close(), None);
        let path = dir.path().join("r.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let debug = |lines: &[JournalLine]| lines.iter().map(|l| format!("{:?}", l.event)).collect::<Vec<_>>();
        let lines = read(&path).unwrap();
        assert_eq!(debug(&lines)[1..], [r#"RunNote { text: "one" }"#, r#"RunNote { text: "two" }"#]);
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        std::fs::write(&path, format!("oops\n{text}")).unwrap();
        assert!(read(&path).unwrap_err().message.contains("line 1 is not an event"));
    }

    #[test]
    fn runs_with_one_id_write_separate_journals() {
        let dir = tempfile::tempdir().unwrap();
        let note = |text: &str| Event::RunNote { text: text.into() };
        let journals = [(); 3].map(|()| Journal::new(dir.path(), "r"));
        for round in 0..2 {
            for (n, journal) in journals.iter().enumerate() {
                journal.event(&note(&format!("{n}.{round}")));
            }
        }
        journals.into_iter().for_each(|journal| assert_eq!(journal.close(), None));
        for (n, name) in ["r", "r-2", "r-3"].iter().enumerate() {
            let lines = read(&dir.path().join(format!("{name}.jsonl"))).unwrap();
            let texts: Vec<_> = lines.iter().map(|line| format!("{:?}", line.event)).collect();
            assert_eq!(texts, [format!("{:?}", note(&format!("{n}.0"))), format!("{:?}", note(&format!("{n}.1")))]);
        }
    }

    #[test]
    fn run_ids_differ_and_sort_by_time() {
        let ids: std::collections::HashSet<String> = (0..100).map(|_| run_id()).collect();
        assert_eq!(ids.len(), 100);
        let in_order = (0..20).map(|_| {
            std::thread::sleep(std::time::Duration::from_micros(50));
            run_id()
        });
        assert!(in_order.is_sorted());
    }

    #[test]
    fn unwritable_journal_returns_its_error_at_the_end() {
        let journal = Journal::new(Path::new("/no/such/folder"), "r");
        journal.event(&Event::RunNote { text: "x".into() });
        assert!(journal.close().unwrap().contains("cannot write `/no/such/folder/r.jsonl`"));
    }
}
