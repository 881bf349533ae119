//! [`LockFile`]: the recorded outcome of a pipeline, kept under version control beside it. The lock of
//! `quickstart.toml` is `quickstart.lock`.
//!
//! ```text
//! {"dpt-lock":1}
//!
//! {"node":"eval[task=rte,seed=42]","key":"…","asks":{…},"files":{…},"metrics":{…},"numerics":{…},"check":"…"}
//!
//! {"node":"train[task=rte,seed=42]",…}
//! ```
//!
//! The file has JSON lines, sorted by node. Lines do not depend on each other and an empty line separates them, so that
//! changes to two neighbours merge. Equal runs give equal files: there are no times, hosts, paths or run ids. `check`
//! is a digest of the rest of its line, so a line that was edited by hand or mixed by a merge is an error. The reader
//! accepts lines in any order and repeated lines, since merges produce both. Two different lines for one node are an
//! error.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fs;
use crate::cache::CacheKey;
use crate::pipeline::source::{Source, place, wrong};

use super::compare::ResultFacts;

/// The version of the file format.
pub const VERSION: u64 = 1;

/// The lock's record of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockLine {
    /// Its full name.
    pub node: String,
    /// Its cache key.
    pub key: CacheKey,
    /// Its request: everything in its recipe but the content of its inputs, see [`super::request`].
    #[serde(rename = "asks")]
    pub request: BTreeMap<String, String>,
    /// Logical digests of its files.
    pub files: BTreeMap<String, Digest>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
    /// The conditions that affect its floating-point results.
    pub numerics: BTreeMap<String, String>,
    /// The first 16 hex digits of the digest of all fields above.
    check: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "dpt-lock")]
    version: u64,
}

impl LockLine {
    /// Makes the line of a node, with its `check`.
    pub fn new(node: String, key: CacheKey, request: BTreeMap<String, String>, facts: ResultFacts) -> Self {
        let ResultFacts { files, metrics, numerics } = facts;
        let mut line = Self { node, key, request, files, metrics, numerics, check: String::new() };
        line.check = line.digest();
        line
    }

    /// Returns the facts that are compared with a new result.
    pub fn facts(&self) -> ResultFacts {
        ResultFacts { files: self.files.clone(), metrics: self.metrics.clone(), numerics: self.numerics.clone() }
    }

    fn digest(&self) -> String {
        let bare = Self { check: String::new(), ..self.clone() };
        Digest::of(bare.text().as_bytes()).hex()[..16].to_owned()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("a line is JSON")
    }
}

/// A lock file: one line for each node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LockFile {
    lines: BTreeMap<String, LockLine>,
}

/// Returns the path of the lock file of a pipeline file.
pub fn path_of(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("lock")
}

impl LockFile {
    /// Reads the lock file at `path`. Returns `None` if there is no such file.
    ///
    /// # Errors
    /// Returns every problem of the file.
    pub fn read(path: &Path) -> Result<Option<Self>, Vec<Diag>> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, text).map(Some),
            Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(vec![Diag { class: Class::Usage, ..e.into() }]),
        }
    }

    /// Reads the lock file at `path`.
    ///
    /// # Errors
    /// Fails if there is no such file. Returns every problem of the file.
    pub fn required(path: &Path) -> Result<Self, Vec<Diag>> {
        Self::read(path)?.ok_or_else(|| {
            let diag = Diag::error(Class::Usage, format!("there is no lock file `{}`", path.display()));
            vec![diag.help("run the pipeline, then write it with `dpt lock PIPELINE`")]
        })
    }

    /// Parses the text of a lock file. Messages show `path`.
    ///
    /// # Errors
    /// Returns every problem of the text, in file order.
    pub fn parse(path: &Path, text: String) -> Result<Self, Vec<Diag>> {
        let source = Source::new(path, text);
        let mut diags = Vec::new();
        let mut lock = Self::default();
        let mut places: BTreeMap<String, Range<usize>> = BTreeMap::new();
        let mut lines = Lines { text: source.text(), at: 0 };
        let first = lines.by_ref().find(|(_, line)| !line.trim().is_empty());
        if let Some(diag) = header(&source, first.clone()) {
            diags.push(diag);
        }
        // A file of another version cannot be parsed any further.
        if diags.iter().any(|diag| diag.label.is_none()) {
            return Err(diags);
        }
        let mut conflict = None;
        let first_is_line = (!diags.is_empty()).then_some(first).flatten();
        for (range, line) in first_is_line.into_iter().chain(lines) {
            let trimmed = line.trim();
            if marker(line, '<') {
                let diag = wrong(&source.span(range), "unresolved merge conflict").label("begins here");
                diags.push(diag.help("rewrite the file: `dpt run PIPELINE`, then `dpt lock PIPELINE`"));
                conflict = Some(());
            } else if conflict.is_some() {
                if marker(line, '>') {
                    conflict = None;
                }
            } else if !trimmed.is_empty() {
                match parse_line(&source, range.clone(), line) {
                    Err(diag) => diags.push(diag),
                    Ok(line) => match (lock.lines.get(&line.node), places.get(&line.node)) {
                        (Some(other), Some(before)) if *other != line => {
                            let at = source.span(range);
                            let diag = wrong(&at, format!("two different lines for `{}`", line.node));
                            let first = place(&source.span(before.clone()));
                            let diag = diag.label("the second one").note(format!("the first is at {first}"));
                            let help = "a merge kept both: keep one, or rewrite the file with `dpt lock PIPELINE`";
                            diags.push(diag.help(help));
                        }
                        _ => {
                            places.insert(line.node.clone(), range);
                            lock.lines.insert(line.node.clone(), line);
                        }
                    },
                }
            }
        }
        if diags.is_empty() { Ok(lock) } else { Err(diags) }
    }

    /// Returns the text of the file. Equal lock files have equal texts.
    pub fn to_text(&self) -> String {
        let header = serde_json::to_string(&Header { version: VERSION }).expect("a header is JSON");
        let lines = self.lines.values().map(|line| format!("\n{}\n", line.text()));
        format!("{header}\n{}", lines.collect::<String>())
    }

    /// Returns the line of a node.
    pub fn get(&self, node: &str) -> Option<&LockLine> {
        self.lines.get(node)
    }

    /// Returns all lines, sorted by node.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &LockLine> {
        self.lines.values()
    }

    /// Adds a line, replacing the node's old one.
    pub fn put(&mut self, line: LockLine) {
        self.lines.insert(line.node.clone(), line);
    }
}

/// An iterator over the lines of a text, each with its byte range and without its line break.
#[derive(Clone)]
struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (Range<usize>, &'a str);
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').unwrap_or(rest.len());
        let start = self.at;
        self.at += length + 1;
        let line = rest[..length].trim_end_matches('\r');
        Some((start..start + line.len(), line))
    }
}

fn marker(line: &str, sign: char) -> bool {
    line.len() >= 7 && line.chars().take(7).all(|c| c == sign)
}

/// Returns what is wrong with the first line, or `None`. If the line is not a header, the message has a label and the
/// rest of the file can still be parsed.
fn header(source: &Source, first: Option<(Range<usize>, &str)>) -> Option<Diag> {
    let help = "rewrite it with `dpt lock PIPELINE`";
    let Some((range, line)) = first else {
        return Some(wrong(&source.span(0..0), "the lock file is empty").label("nothing here").help(help));
    };
    match serde_json::from_str::<Header>(line) {
        Ok(Header { version: VERSION }) => None,
        Ok(Header { version }) => {
            let message = format!("this lock file has version {version}; this `dpt` reads version {VERSION}");
            Some(wrong(&source.span(range), message).help(format!("use the `dpt` that wrote it, or {help}")))
        }
        // The caller reports the conflict marker.
        Err(_) if marker(line, '<') => None,
        Err(_) => {
            let message = format!("a lock file must begin with `{{\"dpt-lock\":{VERSION}}}`");
            Some(wrong(&source.span(range), message).label("not a version line").help(help))
        }
    }
}

fn parse_line(source: &Source, range: Range<usize>, text: &str) -> Result<LockLine, Diag> {
    let help = "rewrite the file with `dpt lock PIPELINE`";
    let line: LockLine = serde_json::from_str(text).map_err(|error| {
        let at = (range.start + error.column().saturating_sub(1)).min(range.end);
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default().to_owned();
        wrong(&source.span(at..range.end.min(at + 1)), "not a line of a lock file").label(words).help(help)
    })?;
    if line.check != line.digest() {
        let diag = wrong(
            &source.span(range.start..range.end.min(range.start + 1)),
            format!("the line of `{}` was edited", line.node),
        );
        return Err(diag.label("its `check` does not match its contents").help(help));
    }
    Ok(line)
}

#[cfg(test)]
#[path = "lockfile_tests.rs"]
mod tests;
