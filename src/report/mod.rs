//! L2: the report: from the results of the stages ([`inputs`], [`records`]) to one [`summary`], from the summary to
//! [`tables`] and [`charts`], and from those to files in several formats ([`render`]). Nothing in it depends on the
//! clock, so that equal results give equal bytes. Knows no stages, no store and no tensors of libtorch.

pub mod charts;
pub mod contents;
pub mod format;
pub mod inputs;
pub mod line_chart;
pub mod picture;
pub mod records;
pub mod render;
pub mod section;
pub mod stats;
pub mod summary;
pub mod table;
pub mod tables;
#[cfg(test)]
pub(crate) mod tests;
