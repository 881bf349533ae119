//! [`Unfit`]: a file that is not what its ending says.

use std::path::Path;

use crate::base::content::{Content, START};
use crate::base::diag::{Class, Diag};
use crate::base::fs;

/// Why a file is not what its ending says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The expected format, with its article: `a parquet table`.
    pub what: &'static str,
    /// The actual content, as a clause.
    pub why: String,
    /// Advice, if there is any.
    pub help: Option<String>,
}

/// The help for a file whose end is missing.
pub(super) const CUT_SHORT: &str = "the file is cut short: make it again, or get it again from where it comes";

impl Unfit {
    /// The file at `path` is not `what`: for the reason `why`, unless its first bytes say what it is.
    pub(super) fn new(path: &Path, what: &'static str, why: impl std::fmt::Display) -> Self {
        match Content::of(&start_of(path)) {
            Some(content) if content != Content::Format(what) => Self::by(what, content),
            _ => Self { what, why: why.to_string(), help: None },
        }
    }

    /// The file is `content`, and not `what`.
    pub(super) fn by(what: &'static str, content: Content) -> Self {
        Self { what, why: content.clause(), help: Some(content.help().to_owned()) }
    }

    /// With this help, if it has none.
    pub(super) fn or_help(mut self, help: &str) -> Self {
        self.help.get_or_insert_with(|| help.to_owned());
        self
    }

    /// As a message about the file at `path`.
    pub fn diag(self, path: &Path) -> Diag {
        let Self { what, why, help } = self;
        let diag = Diag::error(Class::Stage, format!("`{}` is not {what}: {why}", path.display()));
        match help {
            Some(help) => diag.help(help),
            None => diag,
        }
    }
}

/// The first bytes of a file; none where it cannot be read.
fn start_of(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut start = Vec::new();
    if let Ok(file) = fs::open(path) {
        // Part of it is enough: it is only used for a message.
        let _ = file.take(START as u64).read_to_end(&mut start);
    }
    start
}

/// A file that is not what its ending says.
pub(super) fn malformed(path: &Path, what: &'static str, why: impl std::fmt::Display) -> Diag {
    Unfit::new(path, what, why).diag(path)
}
