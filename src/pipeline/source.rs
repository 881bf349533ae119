//! The texts that a plan is made from (the pipeline file, its pins, each `--set`), and the problems found in them.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::base::diag::{Class, Diag, Severity, SourceText, Span};
use crate::base::suggest::nearest;

/// A text and its name.
#[derive(Clone, Debug)]
pub struct Source(Arc<SourceText>);

impl Source {
    /// `path` is what messages show.
    pub fn new(path: &Path, text: String) -> Self {
        Self(Arc::new(SourceText { path: path.to_path_buf(), text }))
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Returns a place in it: a byte range.
    pub fn span(&self, range: Range<usize>) -> Span {
        Span { source: Arc::clone(&self.0), range }
    }
}

/// Returns the span from the start of `a` to the end of `b`, both of one text.
pub fn join(a: &Span, b: &Span) -> Span {
    Span { source: Arc::clone(&a.source), range: a.range.start..b.range.end.max(a.range.end) }
}

/// `pipelines/x.toml:3:7`, for notes that point to a second place.
pub fn place(span: &Span) -> String {
    let (line, column) = span.line_column();
    format!("{}:{line}:{column}", span.source.path.display())
}

/// Returns an error of the user's at `span`.
pub fn wrong(span: &Span, message: impl Into<String>) -> Diag {
    Diag::error(Class::Usage, message).at(span.clone())
}

/// Adds "did you mean" under the place, or else the list of what is known as help.
pub fn suggest<'a>(diag: Diag, typed: &str, what: &str, known: impl IntoIterator<Item = &'a str>) -> Diag {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(typed, known.iter().copied()) {
        Some(name) => diag.label(format!("did you mean `{name}`?")),
        None if known.is_empty() => diag.help(format!("{what}: none")),
        None => diag.help(format!("{what}: {}", list(&known))),
    }
}

/// `` `a`, `b`, `c` ``, cut after a dozen.
pub fn list<S: AsRef<str>>(names: &[S]) -> String {
    list_of(names.iter().map(AsRef::as_ref), names.len())
}

/// As [`list`], of `number` names of which only a dozen are made.
pub fn list_of(names: impl Iterator<Item = impl std::fmt::Display>, number: usize) -> String {
    const SHOWN: usize = 12;
    let mut text: Vec<_> = names.take(SHOWN).map(|n| format!("`{n}`")).collect();
    if number > SHOWN {
        text.push(format!("and {} more", number - SHOWN));
    }
    text.join(", ")
}

/// `1 node`, `2 nodes`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// How many problems are kept: one for each instance of a sweep would be a million.
const MOST_PROBLEMS: usize = 10_000;

/// All problems found, in any order.
#[derive(Debug, Default)]
pub struct Diags(Vec<Diag>);

impl Diags {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more. Beyond ten thousand, no more are kept.
    pub fn push(&mut self, diag: Diag) {
        if self.0.len() < MOST_PROBLEMS {
            self.0.push(diag);
        }
    }

    /// Keeps the value, or the problem.
    pub fn ok<T>(&mut self, result: Result<T, Diag>) -> Option<T> {
        result.map_err(|d| self.push(d)).ok()
    }

    /// Returns whether one of them is an error.
    pub fn failed(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Each once, in file order: first `main`'s, then other texts', then those without a place.
    pub fn in_order(self, main: &Source) -> Vec<Diag> {
        let place = |d: &Diag| {
            d.span.as_ref().map_or((2, 0), |s| (usize::from(!Arc::ptr_eq(&s.source, &main.0)), s.range.start))
        };
        let mut all = self.0;
        all.sort_by_key(place);
        let mut seen = HashSet::new();
        all.retain(|d| seen.insert((place(d), d.message.clone())));
        all
    }
}

/// Returns a warning about the pipeline at `span`.
pub fn warning(span: &Span, message: impl Into<String>) -> Diag {
    let mut diag = Diag::warning(message).at(span.clone());
    diag.class = Class::Usage;
    diag
}
