//! `dpt`, the engine.

use std::process::ExitCode;

fn main() -> ExitCode {
    dpt::cli::main().into()
}
