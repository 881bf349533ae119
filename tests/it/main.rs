//! The integration tests, one binary: the built `dpt` from outside, and the library against reference figures.

mod bad_pipelines;
mod cmd_help;
mod cmd_pin;
mod cmd_run;
mod download;
mod elf;
mod examples_kept;
mod fetch;
mod golden_data;
mod kill;
mod linkage;
mod quickstart;
mod sandbox;
mod shipped_pipelines;
mod stage_tokenize;
mod support;
mod tidy;
