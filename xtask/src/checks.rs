//! Formatting, lints and tests.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use crate::{Context, Result, cargo, say, step};

/// `cargo fmt --check`.
pub fn format(root: &Path) -> Result {
    step(cargo(root).args(["fmt", "--all", "--check"]))
}

/// Clippy with warnings as errors. In the release profile, which shares torch-sys's two-minute C++ build with the
/// tests.
pub fn lint(root: &Path) -> Result {
    step(cargo(root).args(["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Every test of the workspace, in the release profile; then what was skipped, and why.
pub fn test(root: &Path, args: &[&str]) -> Result<ExitCode> {
    step(cargo(root).args(["build", "--release"]))?;
    let mut command = cargo(root);
    command.args(["test", "--release", "--workspace"]).args(args);
    if !args.contains(&"--") {
        command.arg("--");
    }
    command.arg("--show-output").stdout(Stdio::piped());
    say(&command);
    let mut child = command.spawn().context(|| "cannot start cargo".to_owned())?;
    let mut watch = Watch::default();
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        if let Some(line) = watch.line(line?) {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    println!("\n{}", watch.summary());
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads what the test harness prints: keeps what passing tests print to itself, except why they were skipped.
#[derive(Default)]
struct Watch {
    /// Inside the part that shows what passing tests printed.
    successes: bool,
    test: String,
    skipped: Vec<String>,
    passed: usize,
    failed: usize,
}

impl Watch {
    /// The line, if it is to be shown.
    fn line(&mut self, line: String) -> Option<String> {
        if line == "successes:" {
            self.successes = true;
        } else if line == "failures:" || line.starts_with("test result:") {
            self.successes = false;
        }
        if let Some(counts) = line.strip_prefix("test result:") {
            let count = |what: &str| {
                let before = counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(what));
                before.and_then(|n| n.trim().parse::<usize>().ok()).unwrap_or(0)
            };
            self.passed += count("passed");
            self.failed += count("failed");
        }
        if !self.successes {
            return Some(line);
        }
        if let Some(test) = line.strip_prefix("---- ").and_then(|l| l.strip_suffix(" stdout ----")) {
            self.test = test.to_owned();
        }
        if let Some(why) = line.strip_prefix("skipped:") {
            self.skipped.push(format!("{}:{why}", self.test));
        }
        None
    }

    fn summary(&self) -> String {
        let mut text = format!("{} tests passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len());
        for line in &self.skipped {
            text += &format!("\n  skipped {line}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_told_and_other_output_is_not() {
        let output = "\
running 2 tests
test a::b ... ok
test a::c ... ok

successes:

---- a::b stdout ----
some words
---- a::c stdout ----
skipped: no GPU here


successes:
    a::b
    a::c

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let mut watch = Watch::default();
        let shown: Vec<_> = output.lines().filter_map(|line| watch.line(line.to_owned())).collect();
        assert_eq!(shown.len(), 5, "{shown:?}");
        assert_eq!(watch.summary(), "2 tests passed, 0 failed, 1 skipped\n  skipped a::c: no GPU here");
    }
}
