//! The pictures of a report. To add one, add its file, its `mod` line and its row in [`CHARTS`].

mod by_variant;
pub mod spectra;
pub mod starts;
pub mod training;

use super::picture::ChartKind;

/// Every picture, in the order in which pages show them.
pub const CHARTS: &[&ChartKind] = &[&training::KIND, &starts::KIND, &spectra::KIND];
