//! The program `dpt`.

use std::process::ExitCode;

use dpt::worker::build::Build;
use include_dir::{Dir, include_dir};

/// The sources of `dpt-torch`. They are not in the library, so that a change there recompiles only this file.
static TORCH: Dir = include_dir!("$CARGO_MANIFEST_DIR/torch/src");

fn main() -> ExitCode {
    dpt::cli::main(|| Build::of(&TORCH)).into()
}
