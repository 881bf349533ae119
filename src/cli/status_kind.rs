//! [`StatusKind`]: the word that `dpt status` prints for a node: fresh, stale, missing, blocked, damaged or unknown.

use crate::cache::StaleReason;
use crate::engine::freshness::Freshness;

use super::render::{BAD, DIM, GOOD, WARN, paint};

/// The ways to stand, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusKind {
    /// Its result is in the store.
    Fresh,
    /// There was a result, and something that counts has changed.
    Stale,
    /// There is no result, and none is known of.
    Missing,
    /// It waits for a producer that is not fresh.
    Blocked,
    /// Its result is not what was stored.
    Damaged,
    /// Something outside the store that its key depends on cannot be read.
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

    /// Of a node.
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

    /// In one word, the same for people and programs.
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

    /// With its colour.
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
