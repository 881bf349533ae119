//! `dpt`, the engine.

use std::process::ExitCode;

use dpt::worker::build::Build;
use include_dir::{Dir, include_dir};

/// The sources of `dpt-torch`. The crate itself does not have them, so that a change there compiles this file alone.
static TORCH: Dir = include_dir!("$CARGO_MANIFEST_DIR/torch/src");

fn main() -> ExitCode {
    dpt::cli::main(|| Build::of(&TORCH)).into()
}
