//! [`Stderr`]: reads what a worker prints on stderr.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::digest::Digest;
use crate::base::fs;

/// How many of the last lines on a dead worker's stderr are shown.
const TAIL: usize = 15;

/// The last lines that a worker printed on stderr, and the log of the node that it runs.
#[derive(Debug, Default)]
pub(super) struct Stderr {
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
    /// Starts a thread that reads `stream`.
    pub(super) fn follow(stream: impl Read + Send + 'static) -> Arc<Self> {
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

    /// From now on, lines belong to the node with this log.
    pub(super) fn begin(&self, path: Option<PathBuf>) {
        let mut inner = self.inner();
        inner.lines.clear();
        inner.file = None;
        inner.path = path;
    }

    /// The last lines, once the stream has ended. Waits a second at most: a grandchild may hold it open.
    pub(super) fn tail(&self) -> Vec<String> {
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
        // A log is created with its first line. If it cannot be written, the node does not fail for that.
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
pub(super) fn log_name(node: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '-' };
    let name: String = node.trim_end_matches(']').replace(['[', ','], ".").chars().map(plain).collect();
    if name.len() <= 200 {
        return format!("{name}.log");
    }
    format!("{}-{}.log", &name[..180], &Digest::of(node.as_bytes()).hex()[..12])
}
