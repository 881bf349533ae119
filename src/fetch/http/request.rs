//! [`FetchRequest`]: what is to be fetched, and the sizes and times that all parts of the client use.

use std::path::Path;
use std::time::Duration;

use url::Url;

use crate::fetch::source::Pin;

/// How much is read from the network at a time.
pub(super) const CHUNK: usize = 128 * 1024;
/// How often a wait looks whether it should end.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// A file to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// Its name in progress and messages.
    pub label: &'a str,
    /// The name of the source, for messages.
    pub source: &'a str,
    /// Where it is put.
    pub to: &'a Path,
    /// The pinned content.
    pub pin: Pin,
}

/// How many bytes the file at `path` has; 0 where there is none.
pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}
