//! L6, the user interface: command line, output, exit codes. To add a command, add its file, its `mod` line and its row
//! in [`COMMANDS`].

pub mod adapter;
pub mod cache;
pub mod check;
pub mod check_lock;
pub mod common;
pub mod diff;
pub mod doctor;
pub mod dry_run;
pub mod exec;
pub mod exit;
pub mod explain;
pub mod forecast;
pub mod graph;
pub mod hash;
pub mod lock;
pub mod patterns;
pub mod pin;
pub mod progress;
pub mod render;
pub mod results;
pub mod run;
pub mod select;
pub mod status;
pub mod status_kind;
pub mod status_table;
pub mod values;
pub mod verify;

use std::ffi::OsString;
use std::panic;

use clap::{ArgMatches, Args, FromArgMatches};

use crate::base::diag::{Class, Diag};
use crate::worker::build::Build;
pub use exit::CommandResult;
use exit::Exit;

/// A command of `dpt`.
pub struct Command {
    /// The name as typed.
    pub name: &'static str,
    /// One line for `dpt --help`.
    pub about: &'static str,
    /// The end of `dpt NAME --help`: examples.
    pub examples: &'static str,
    /// Adds the arguments to clap's command.
    pub args: fn(clap::Command) -> clap::Command,
    /// Runs the command.
    pub run: fn(&ArgMatches) -> CommandResult,
    /// The help of `dpt` leaves the command out.
    pub hidden: bool,
}

/// Every command, in the order of the help text.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        about: "Bring a pipeline up to date: run only what is missing or stale",
        examples: run::EXAMPLES,
        args: run::Args::augment_args,
        run: |matches| run::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "status",
        about: "Show which nodes are fresh or stale, and why; run nothing",
        examples: status::EXAMPLES,
        args: status::Args::augment_args,
        run: |matches| status::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "explain",
        about: "Explain why a node is fresh, stale or blocked, down to the first cause",
        examples: explain::EXAMPLES,
        args: explain::Args::augment_args,
        run: |matches| explain::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "diff",
        about: "Compare parameters, nodes and metrics of two runs or two pipeline revisions",
        examples: diff::EXAMPLES,
        args: diff::Args::augment_args,
        run: |matches| diff::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "check",
        about: "Check pipeline files and report all problems with their lines; run nothing",
        examples: CHECK_EXAMPLES,
        args: check::Args::augment_args,
        run: |matches| check::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "graph",
        about: "Draw a pipeline in the terminal, as a picture or as an interactive page",
        examples: graph::EXAMPLES,
        args: graph::Args::augment_args,
        run: |matches| graph::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "pin",
        about: "Record sizes and digests of a pipeline's downloads, so that later downloads are checked",
        examples: pin::EXAMPLES,
        args: pin::Args::augment_args,
        run: |matches| pin::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "cache",
        about: "Inspect and clean the store of results, or move results between stores",
        examples: cache::EXAMPLES,
        args: cache::Args::augment_args,
        run: |matches| cache::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "lock",
        about: "Record the results of a pipeline in a lock file, for `dpt run --locked` to compare with",
        examples: lock::EXAMPLES,
        args: lock::Args::augment_args,
        run: |matches| lock::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "verify",
        about: "Check the stored files; with `--rerun`, run nodes again and compare the results",
        examples: verify::EXAMPLES,
        args: verify::Args::augment_args,
        run: |matches| verify::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "adapter",
        about: "Import prompts from Hugging Face PEFT, or export them to it",
        examples: adapter::EXAMPLES,
        args: adapter::Args::augment_args,
        run: |matches| adapter::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "doctor",
        about: "Check this machine: libtorch, devices, the store",
        examples: doctor::EXAMPLES,
        args: doctor::Args::augment_args,
        run: |matches| doctor::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "exec",
        about: "Run single nodes whose inputs are in the store; executors start this on other machines",
        examples: exec::EXAMPLES,
        args: exec::Args::augment_args,
        run: |matches| exec::run(&parse(matches)),
        hidden: true,
    },
    Command {
        name: "hash",
        about: "Print the digests that the store uses for files",
        examples: hash::EXAMPLES,
        args: hash::Args::augment_args,
        run: |matches| hash::run(&parse(matches)),
        hidden: true,
    },
];

const CHECK_EXAMPLES: &str = "\
Example:
  dpt check pipelines/*.toml";

const ABOUT: &str = "\
dpt tunes soft prompts on a frozen T5, over many tasks, methods and seeds.

A pipeline file (TOML) describes an experiment: its data and model, its stages (download, tokenize, svd-init, train, \
eval, report), and the axes to sweep over. `dpt` stores each result under a hash of everything that can change it: \
parameters, inputs, code version. So `dpt run` runs only what is missing or has changed.";

const START: &str = "\
First steps:
  dpt run pipelines/quickstart.toml       train, evaluate and write a report, offline
  dpt status pipelines/quickstart.toml    show what is up to date
  dpt run --help                          show all options of a run";

/// Returns clap's definition of the command line.
pub fn command() -> clap::Command {
    with(COMMANDS.iter())
}

/// Like [`command`], but with the subcommand `first` only. Building the whole tree costs start-up time.
fn command_for(first: Option<OsString>) -> clap::Command {
    let named = COMMANDS.iter().find(|row| first.as_ref().is_some_and(|first| first == row.name));
    named.map_or_else(command, |row| with(std::iter::once(row)))
}

fn with<'a>(rows: impl Iterator<Item = &'a Command>) -> clap::Command {
    let top = clap::Command::new("dpt")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A declarative pipeline tool for decomposed prompt tuning")
        .long_about(ABOUT)
        .after_help(format!("{START}\n\n{}", exit::HELP))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .max_term_width(100);
    rows.fold(top, |top, row| {
        // This comes after `args`, which sets the doc comment of the struct as the text.
        let one = (row.args)(clap::Command::new(row.name)).about(row.about).long_about(None);
        top.subcommand(one.after_help(row.examples).hide(row.hidden))
    })
}

/// Parses the command line, runs the command and prints its errors. Catches panics. `build` returns the digest of the
/// sources that this program was built from.
pub fn main(build: fn() -> Build) -> Exit {
    Build::set_this(build);
    let matches = match command_for(std::env::args_os().nth(1)).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // clap reports help and version this way too, and prints them to stdout.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let (name, matches) = matches.subcommand().expect("clap requires a command");
    let row = COMMANDS.iter().find(|row| row.name == name).expect("clap knows only the rows of COMMANDS");
    match panic::catch_unwind(panic::AssertUnwindSafe(|| (row.run)(matches))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(diags)) => {
            render::err(&render::diags(&diags));
            Exit::of(&diags)
        }
        Err(_) => {
            let bug = Diag::error(Class::Bug, format!("`dpt {name}` panicked; the panic message is above")).help(
                "this is a bug in dpt, please report it. Finished results are kept, so you can run the command again",
            );
            render::err(&render::diag(&bug));
            Exit::Bug
        }
    }
}

/// Converts clap's matches to the struct of a command's arguments.
fn parse<A: FromArgMatches + Args>(matches: &ArgMatches) -> A {
    A::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_passes_claps_checks() {
        command().debug_assert();
    }

    #[test]
    fn commands_have_unique_names_texts_and_examples() {
        for (i, row) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..i].iter().all(|other| other.name != row.name), "`{}` twice", row.name);
            assert!(row.about.len() > 20 && !row.about.ends_with('.'), "`{}`: {}", row.name, row.about);
            assert!(row.examples.contains(&format!("dpt {}", row.name)), "`{}` shows no example", row.name);
        }
    }

    #[test]
    fn every_argument_has_a_help_text() {
        for one in command().get_subcommands() {
            for arg in one.get_arguments().filter(|arg| arg.get_id() != "help") {
                assert!(arg.get_help().is_some(), "`{} {}` has no help", one.get_name(), arg.get_id());
            }
        }
    }
}
