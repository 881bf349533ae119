//! The tables of a report. To add one, add its file, its `mod` line and its row in [`TABLES`].

pub mod drift;
pub mod parameters;
pub mod provenance;
pub mod results;
pub mod runs;
pub mod starts;

use super::table::TableKind;

/// Every table, in the order in which reports show them.
pub const TABLES: &[&TableKind] =
    &[&results::KIND, &parameters::KIND, &starts::KIND, &drift::KIND, &runs::KIND, &provenance::KIND];
