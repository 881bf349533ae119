//! The part of `dpt` that needs libtorch: the backbone ([`model`]), prompt methods ([`prompt`]), training ([`learn`])
//! and the work of the stages that use them ([`stages`]). It is a separate crate so that the engine cannot link
//! libtorch, which would cost every command a quarter of a second before `main`. Only `dpt-worker` and tests use it.
//!
//! The layers below come from `dpt` and have the same paths here as there.

#![cfg_attr(
    test,
    allow(
        clippy::print_stdout,
        clippy::print_stderr,
        clippy::disallowed_methods,
        reason = "tests write and read files of their own"
    )
)]

pub use dpt::{adapter, artifact, base, data, metrics, report, svd};

pub mod cuda;
pub mod learn;
pub mod model;
pub mod prompt;
pub mod stages;
