//! The integration tests, one binary: the built `dpt` from outside, and the library against reference figures.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests write and read files of their own"
)]

mod bad_pipelines;
mod ci_example;
mod circles;
mod cmd_adapter;
mod cmd_cache;
mod cmd_diff;
mod cmd_explain;
mod cmd_graph;
mod cmd_help;
mod cmd_lock;
mod cmd_pin;
mod cmd_run;
mod cmd_status;
mod cmd_verify;
mod command;
mod command_inputs;
mod command_leftovers;
mod command_outputs;
mod command_races;
mod download;
mod elf;
mod examples_kept;
mod faults;
mod fetch;
mod fetch_archives;
mod fetch_bounds;
mod fetch_versions;
mod golden;
mod golden_metrics;
mod golden_preprocess;
mod golden_tokenize;
mod interrupt;
mod kill;
mod linkage;
mod lost_manifests;
mod meaning;
mod methods;
mod parity;
mod pipeline_bounds;
mod quickstart;
mod reading;
mod real_rows;
mod results;
mod sandbox;
mod security;
mod set_values;
mod shipped_pipelines;
mod stage_tokenize;
mod support;
mod tidy;
mod worker_build;
