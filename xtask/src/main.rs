//! `cargo xtask`: sets up libtorch, builds, runs the quickstart, runs the checks. Knows nothing of `dpt`'s insides.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it has no library: it prints, and uses the file system and the environment as they are"
)]

mod checks;
mod cuda;
mod dependencies;
mod libtorch;
mod parity;
mod pip;
mod torture;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Sets up, builds and checks dpt.

Usage: cargo xtask <COMMAND>

Commands:
  quickstart [ARG…]  set up libtorch, build, and run pipelines/quickstart.toml to its report;
                     ARGs go to `dpt run`, such as `--device cpu`
  test [ARG…]        set up libtorch, build, and run all tests; ARGs go to `cargo test`
  ci                 formatting, lints (warnings are errors), licences and sources of dependencies, `test`,
                     and a short `torture`
  deny               check licences and sources of dependencies against deny.toml
  parity [--table]   run the tests that compare with other programs, and write the tables of docs/parity.md;
                     with --table only write, from what the last test run recorded
  torture            kill, damage and crowd `dpt` at random, and check that nothing wrong is used; `--seed N`,
                     `--seconds N` [default: 300], `--no-train`, `--dpt FILE` [default: build it]
  libtorch [--cuda]  set up libtorch alone; with --cuda also what a GPU needs

libtorch 2.11.0 is looked for in this order:
  1. the folder that LIBTORCH names
  2. a `torch` 2.11.0 that `python3` can import
  3. fetched once with `python3 -m pip download` (about 545 MB) into target/libtorch
";

/// An error, as lines for the user.
#[derive(Debug)]
pub struct Failed(pub String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed(error.to_string())
    }
}

/// The result of a task.
pub type Result<T = ()> = std::result::Result<T, Failed>;

/// Adds what was being done to an error.
pub trait Context<T> {
    /// `{what}: {error}`.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Failed>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failed(format!("{}: {}", what(), error.into().0)))
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(code) => code,
        Err(Failed(message)) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<ExitCode> {
    let root = root();
    match args {
        ["quickstart", rest @ ..] => quickstart(&root, rest),
        ["test", rest @ ..] => {
            libtorch::ensure(&root)?;
            checks::test(&root, rest)
        }
        ["ci"] => {
            checks::format(&root)?;
            libtorch::ensure(&root)?;
            checks::lint(&root)?;
            dependencies::check(&root)?;
            let tested = checks::test(&root, &[])?;
            torture::torture(&root, &["--seed", "1", "--seconds", "40"])?;
            Ok(tested)
        }
        ["parity"] => {
            libtorch::ensure(&root)?;
            parity::test(&root)?;
            parity::write(&root)
        }
        ["parity", "--table"] => parity::write(&root),
        ["deny"] => dependencies::check(&root).map(|()| ExitCode::SUCCESS),
        ["torture", rest @ ..] => {
            if !rest.contains(&"--dpt") {
                libtorch::ensure(&root)?;
            }
            torture::torture(&root, rest)
        }
        ["libtorch"] => libtorch::ensure(&root).map(|()| ExitCode::SUCCESS),
        ["libtorch", "--cuda"] => {
            libtorch::ensure(&root)?;
            cuda::ensure(&root).map(|()| ExitCode::SUCCESS)
        }
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Failed(format!("no such command: `{}`\n\n{HELP}", args.join(" ")))),
    }
}

fn quickstart(root: &Path, args: &[&str]) -> Result<ExitCode> {
    libtorch::ensure(root)?;
    step(cargo(root).args(["build", "--release"]))?;
    let mut dpt = Command::new(target(root).join("release/dpt"));
    dpt.current_dir(root).args(["run", "pipelines/quickstart.toml"]).args(args);
    say(&dpt);
    // Its exit code is ours, so that a script can tell a failed stage from a wrong pipeline.
    let status = dpt.status().context(|| "cannot start `dpt`".to_owned())?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// The workspace's root.
fn root() -> PathBuf {
    // `cargo run` sets the variable; the built-in path serves when the binary is started by hand.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Where cargo builds to.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The cargo that runs us.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a command in sight; its failure is ours.
fn step(command: &mut Command) -> Result {
    say(command);
    let status = command.status().context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        return Err(Failed(format!("`{}` failed ({status})", line(command))));
    }
    Ok(())
}

fn say(command: &Command) {
    eprintln!("$ {}", line(command));
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = match program.file_name() {
        Some(name) if name == "cargo" => name.to_string_lossy().into_owned(),
        _ => program.display().to_string(),
    };
    let args = command.get_args().map(|arg| format!(" {}", arg.to_string_lossy()));
    program + &args.collect::<String>()
}
