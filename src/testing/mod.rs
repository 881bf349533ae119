//! What the tests of both crates share: a [`Recorder`] that listens to a stage, and a [`Bench`] that runs one stage
//! without engine and store. No program uses this module, so that linkers leave it out; `tests/it/linkage.rs` checks
//! that.
#![allow(clippy::disallowed_methods, reason = "tests write and read files of their own")]

mod bench;
mod recorder;

pub use bench::{Bench, MARK, input};
pub use recorder::Recorder;
