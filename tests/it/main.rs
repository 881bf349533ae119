//! The integration tests, one binary: the built `dpt` from outside, and the library against reference figures.

mod bad_pipelines;
mod cmd_explain;
mod cmd_help;
mod cmd_pin;
mod cmd_run;
mod cmd_status;
mod command;
mod download;
mod elf;
mod examples_kept;
mod fetch;
mod golden;
mod golden_metrics;
mod golden_preprocess;
mod golden_tokenize;
mod kill;
mod linkage;
mod parity;
mod quickstart;
mod real_rows;
mod sandbox;
mod security;
mod shipped_pipelines;
mod stage_tokenize;
mod support;
mod tidy;
