//! [`StatusKind`]: the word that `dpt status` prints for a node: fresh, stale, missing, blocked, damaged or unknown.

use crate::cache::StaleReason;
use crate::engine::freshness::Freshness;

use super::render::{BAD, DIM, GOOD, WARN, paint};

/// The status of a node, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusKind {
    /// Its result is in the store.
    Fresh,
    /// Something in its recipe has changed since its last result.
    Stale,
    /// It has no result.
    Missing,
    /// It reads a node that is not fresh.
    Blocked,
    /// Its stored files were changed or lost.
    Damaged,
    /// A file that its key depends on cannot be read.
    Unknown,
}

impl StatusKind {
    /// Every kind, in the order of the table's columns.
    pub const ALL: [StatusKind; 6] = [
        StatusKind::Fresh,
        StatusKind::Stale,
        StatusKind::Missing,
        StatusKind::Blocked,
        StatusKind::Damaged,
        StatusKind::Unknown,
    ];

    /// Returns the status for a freshness.
    pub fn of(freshness: &Freshness) -> Self {
        match freshness {
            Freshness::Fresh { .. } => StatusKind::Fresh,
            Freshness::Stale { reasons, .. } => match reasons[..] {
                [StaleReason::NeverMade | StaleReason::Removed] => StatusKind::Missing,
                _ => StatusKind::Stale,
            },
            Freshness::Blocked { .. } => StatusKind::Blocked,
            Freshness::Damaged { .. } => StatusKind::Damaged,
            Freshness::Broken { .. } => StatusKind::Unknown,
        }
    }

    /// Returns the word for texts and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            StatusKind::Fresh => "fresh",
            StatusKind::Stale => "stale",
            StatusKind::Missing => "missing",
            StatusKind::Blocked => "blocked",
            StatusKind::Damaged => "damaged",
            StatusKind::Unknown => "unknown",
        }
    }

    /// Returns `text` in the colour of the status.
    pub fn painted(self, text: impl std::fmt::Display) -> String {
        let style = match self {
            StatusKind::Fresh => GOOD,
            StatusKind::Stale | StatusKind::Missing => WARN,
            StatusKind::Blocked => DIM,
            StatusKind::Damaged | StatusKind::Unknown => BAD,
        };
        paint(style, text)
    }
}
