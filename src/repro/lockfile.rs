//! [`Lock`]: what a run gave, to be kept under version control beside the pipeline: `quickstart.toml` has `quickstart.lock`.
//!
//! ```text
//! {"dpt-lock":1}
//!
//! {"node":"eval[task=rte,seed=42]","key":"…","asks":{…},"files":{…},"metrics":{…},"numerics":{…},"check":"…"}
//!
//! {"node":"train[task=rte,seed=42]",…}
//! ```
//!
//! JSON lines, sorted by node. Each line stands for itself, and an empty line parts it from the next, so that changes to two
//! neighbours merge by lines. Nothing in it varies between equal runs: no times, hosts, paths or run ids. `check` is a digest
//! of the rest of its line: a line that was edited by hand, or put together by a merge, is told. Lines may stand in any order,
//! and one may stand twice (both come of merges); two lines of one node that differ are a conflict.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fs;
use crate::cache::CacheKey;
use crate::pipeline::source::{Source, place, wrong};

use super::compare::Facts;

/// The version of the file's form.
pub const VERSION: u64 = 1;

/// What the lock says of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its full name.
    pub node: String,
    /// Its cache key.
    pub key: CacheKey,
    /// What it asks for without the content of its inputs, see [`super::own`].
    pub asks: BTreeMap<String, String>,
    /// Logical digests of its files.
    pub files: BTreeMap<String, Digest>,
    /// Its figures.
    pub metrics: BTreeMap<String, f64>,
    /// What shaped its floating-point results unasked.
    pub numerics: BTreeMap<String, String>,
    /// The first 16 hex digits of the digest of all above.
    check: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "dpt-lock")]
    version: u64,
}

impl Line {
    /// Of a node.
    pub fn new(node: String, key: CacheKey, asks: BTreeMap<String, String>, facts: Facts) -> Self {
        let Facts { files, metrics, numerics } = facts;
        let mut line = Self { node, key, asks, files, metrics, numerics, check: String::new() };
        line.check = line.digest();
        line
    }

    /// What is compared of it.
    pub fn facts(&self) -> Facts {
        Facts { files: self.files.clone(), metrics: self.metrics.clone(), numerics: self.numerics.clone() }
    }

    fn digest(&self) -> String {
        let bare = Self { check: String::new(), ..self.clone() };
        Digest::of(bare.text().as_bytes()).hex()[..16].to_owned()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("a line is JSON")
    }
}

/// A lock: lines by node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lock {
    lines: BTreeMap<String, Line>,
}

/// Where the lock of the pipeline at `pipeline` lies.
pub fn path_of(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("lock")
}

impl Lock {
    /// The lock at `path`; `None` when there is none.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn read(path: &Path) -> Result<Option<Self>, Vec<Diag>> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, text).map(Some),
            Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(vec![Diag { class: Class::Usage, ..e.into() }]),
        }
    }

    /// The lock at `path`, which must be there.
    ///
    /// # Errors
    /// When there is none; every problem of the file.
    pub fn required(path: &Path) -> Result<Self, Vec<Diag>> {
        Self::read(path)?.ok_or_else(|| {
            let diag = Diag::error(Class::Usage, format!("there is no lock file `{}`", path.display()));
            vec![diag.help("`dpt lock PIPELINE` writes it, after a run")]
        })
    }

    /// The lock whose text is `text`; `path` is what messages show.
    ///
    /// # Errors
    /// Every problem of the text, in file order.
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
        // Of another version, nothing more can be said.
        if diags.iter().any(|diag| diag.label.is_none()) {
            return Err(diags);
        }
        let mut conflict = None;
        let first_is_line = (!diags.is_empty()).then_some(first).flatten();
        for (range, line) in first_is_line.into_iter().chain(lines) {
            let trimmed = line.trim();
            if marker(line, '<') {
                let diag = wrong(&source.span(range), "a merge conflict that is not resolved").label("it begins here");
                diags.push(diag.help("write the file anew: `dpt run PIPELINE`, then `dpt lock PIPELINE`"));
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
                            let diag = wrong(&at, format!("`{}` has two lines that differ", line.node));
                            let first = place(&source.span(before.clone()));
                            let diag = diag.label("the second one").note(format!("the first is at {first}"));
                            diags.push(diag.help("a merge left both: keep the right one, or write the file anew with `dpt lock PIPELINE`"));
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

    /// The text of the file: the same for the same lines.
    pub fn to_text(&self) -> String {
        let header = serde_json::to_string(&Header { version: VERSION }).expect("a header is JSON");
        let lines = self.lines.values().map(|line| format!("\n{}\n", line.text()));
        format!("{header}\n{}", lines.collect::<String>())
    }

    /// What it says of a node.
    pub fn get(&self, node: &str) -> Option<&Line> {
        self.lines.get(node)
    }

    /// All lines, by node.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &Line> {
        self.lines.values()
    }

    /// Adds a line, in the place of the node's former one.
    pub fn put(&mut self, line: Line) {
        self.lines.insert(line.node.clone(), line);
    }
}

/// Lines with their byte ranges, without line breaks.
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

/// What is wrong with the first line. One that is no header has a label: the rest may still be read.
fn header(source: &Source, first: Option<(Range<usize>, &str)>) -> Option<Diag> {
    let help = "write it anew with `dpt lock PIPELINE`";
    let Some((range, line)) = first else {
        return Some(wrong(&source.span(0..0), "the lock file is empty").label("nothing here").help(help));
    };
    match serde_json::from_str::<Header>(line) {
        Ok(Header { version: VERSION }) => None,
        Ok(Header { version }) => {
            let message = format!("this lock file has version {version}; this `dpt` reads version {VERSION}");
            Some(wrong(&source.span(range), message).help(format!("use the `dpt` that wrote it, or {help}")))
        }
        // Told where it stands.
        Err(_) if marker(line, '<') => None,
        Err(_) => {
            let message = format!("a lock file begins with `{{\"dpt-lock\":{VERSION}}}`");
            Some(wrong(&source.span(range), message).label("this is no version line").help(help))
        }
    }
}

fn parse_line(source: &Source, range: Range<usize>, text: &str) -> Result<Line, Diag> {
    let help = "write the file anew with `dpt lock PIPELINE`";
    let line: Line = serde_json::from_str(text).map_err(|error| {
        let at = (range.start + error.column().saturating_sub(1)).min(range.end);
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default().to_owned();
        wrong(&source.span(at..range.end.min(at + 1)), "this is no line of a lock file").label(words).help(help)
    })?;
    if line.check != line.digest() {
        let diag = wrong(
            &source.span(range.start..range.end.min(range.start + 1)),
            format!("the line of `{}` was changed by hand", line.node),
        );
        return Err(diag.label("its `check` does not fit what it says").help(help));
    }
    Ok(line)
}

#[cfg(test)]
#[path = "lockfile_tests.rs"]
mod tests;
