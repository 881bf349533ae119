//! [`FsError`]: an I/O error that names its path.

use std::io;
use std::path::{Path, PathBuf};

/// An action on a path that failed, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`: {}", path.display(), plain(source))]
pub struct FsError {
    /// `read`, `write`, `create`, …
    pub action: &'static str,
    /// The path.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

/// The system's message without the "(os error 2)" tail.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    if text == "stream did not contain valid UTF-8" {
        return "it is no text in UTF-8".to_owned();
    }
    match text.find(" (os error") {
        Some(i) => text[..i].to_lowercase(),
        None => text,
    }
}

/// Adds the path to an I/O error: `fs::x(p).map_err(on("read", p))`.
pub fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FsError {
    let path = path.to_path_buf();
    move |source| FsError { action, path, source }
}
