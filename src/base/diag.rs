//! [`Diag`]: one message to a person, with its place and what to do. Errors of every layer turn into it; only
//! `cli/render.rs` draws it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Work stops.
    Error,
    /// Work goes on.
    Warning,
}

/// The kind of the problem. It decides the exit code (`cli/exit.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A stage could not do its work: bad data, a diverged loss, a program that ended with an error. Exit code 1.
    Stage,
    /// A wrong command line or pipeline file. Exit code 2.
    Usage,
    /// The store is damaged. Exit code 5.
    Store,
    /// The machine lacks something: a device, libtorch, disk space, a right to write. Exit code 6.
    Environment,
    /// A bug of ours. Exit code 70.
    Bug,
    /// The user, or a signal, ended it. Exit code 130.
    Interrupted,
}

/// A text that a person wrote, with the name to show for it.
pub struct SourceText {
    /// The path as the user gave it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// Only the path: a whole pipeline in every printed [`Diag`] would hide what it says.
impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceText({})", self.path.display())
    }
}

/// A place in a text: a byte range.
#[derive(Clone, Debug)]
pub struct Span {
    /// The text.
    pub source: Arc<SourceText>,
    /// The bytes.
    pub range: Range<usize>,
}

impl Span {
    /// Line and column of the start, both counted from 1; columns count characters.
    pub fn line_column(&self) -> (usize, usize) {
        let text = &self.source.text;
        let mut start = self.range.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One message. `message` is a lower-case phrase without a full stop, code in backticks: what is wrong. `label` stands
/// under the marked place, `notes` add facts, `help` says what to do (only where there is a thing to do).
#[derive(Clone, Debug)]
pub struct Diag {
    /// How bad.
    pub severity: Severity,
    /// The kind. It decides the exit code.
    pub class: Class,
    /// The problem.
    pub message: String,
    /// Where.
    pub span: Option<Span>,
    /// The text under the place.
    pub label: Option<String>,
    /// Facts: expected, found, made by.
    pub notes: Vec<String>,
    /// Advice.
    pub help: Option<String>,
    /// `true` if trying again cannot help: a program that is not there, a file that is not what it must be.
    pub lasting: bool,
    /// `true` if a file outside the store changed after it was counted for the key: under a new key the same work may
    /// succeed.
    pub outdated: bool,
}

impl Diag {
    /// An error of `class`.
    pub fn error(class: Class, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            class,
            message: message.into(),
            span: None,
            label: None,
            notes: Vec::new(),
            help: None,
            lasting: false,
            outdated: false,
        }
    }

    /// A warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(Class::Stage, message) }
    }

    /// Sets the place.
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Sets the words under the place.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds a fact.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says that trying again cannot help.
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// Says that a file outside the store is no longer what the key counts.
    pub fn outdated(mut self) -> Self {
        self.outdated = true;
        self
    }

    /// Sets what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Plain text without the source line: for logs and tests. The terminal form is drawn by `cli/render.rs`.
impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(span) = &self.span {
            let (line, column) = span.line_column();
            write!(f, " ({}:{line}:{column})", span.source.path.display())?;
        }
        for note in &self.notes {
            write!(f, "\n  = note: {note}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diag {}
