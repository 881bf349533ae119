//! L2: the report: from what the stages tell ([`records`], [`material`]) to one summary ([`summary`]), and from the
//! summary to Markdown, HTML with inline pictures, and JSON. Nothing in it depends on the clock, so that equal results
//! give equal bytes. Knows no stages, stores or tensors of libtorch.

pub mod figures;
pub mod format;
pub mod html;
pub mod markdown;
pub mod material;
pub mod pictures;
pub mod records;
pub mod stats;
pub mod summary;
#[cfg(test)]
mod tests;
