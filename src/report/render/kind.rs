//! [`Renderer`]: a row of the registry of formats.

use crate::base::diag::{Class, Diag};
use crate::report::contents::Report;
use crate::report::table::Medium;

/// A row of [`super::RENDERERS`].
#[derive(Clone, Copy, Debug)]
pub struct Renderer {
    /// As written in `formats`.
    pub name: &'static str,
    /// Its medium, which decides which columns and remarks it shows.
    pub medium: Medium,
    /// The files that it writes.
    pub files: &'static [RendererFile],
    /// Renders a report.
    pub render: fn(&Report) -> Result<Vec<RenderedFile>, Diag>,
}

/// A file, or a set of files, that a renderer writes.
#[derive(Clone, Copy, Debug)]
pub struct RendererFile {
    /// A relative path; may have one `*`.
    pub name: &'static str,
    /// One line for help texts.
    pub about: &'static str,
}

/// A file of a report.
#[derive(Clone, Debug)]
pub struct RenderedFile {
    /// A relative path.
    pub name: String,
    /// The text in it.
    pub text: String,
}

impl RenderedFile {
    /// A file with this text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// Returns the error of a renderer that does not fit what it renders.
pub fn bug(renderer: &str, reason: impl std::fmt::Display) -> Diag {
    Diag::error(Class::Bug, format!("could not render the report as {renderer}: {reason}"))
}
