//! `dpt`: a declarative pipeline tool for decomposed prompt tuning.
//!
//! Data goes one way: TOML text → [`pipeline`] → [`engine::graph::Graph`] → recipe and key ([`cache`]) → execution
//! ([`engine`]) → artifacts ([`artifact`]) → report. The modules are listed below in layer order, lowest first. A file
//! imports from layers below its own, never above.
//!
//! This crate does not use libtorch. Stages that need it are in the crate `dpt-torch`, whose `dpt-worker` the engine
//! starts.

#![cfg_attr(
    test,
    allow(
        clippy::print_stdout,
        clippy::print_stderr,
        clippy::disallowed_methods,
        reason = "tests write and read files of their own"
    )
)]

pub mod base;

pub mod artifact;
pub mod cache;

pub mod adapter;
pub mod data;
pub mod fetch;
pub mod learn;
pub mod metrics;
pub mod model;
pub mod report;
pub mod svd;

pub mod stages;
pub mod worker;

pub mod engine;

pub mod pipeline;

pub mod repro;

pub mod cli;

#[doc(hidden)]
pub mod testing;
