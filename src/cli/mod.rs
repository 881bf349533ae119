//! L6: all that is for a person: the command line, what is printed, the exit code. To add a command: its file, its `mod`
//! line, its row in [`COMMANDS`].

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
use exit::Exit;

/// What a command returns: how it ended, or messages that are still to be shown.
pub type CommandResult = Result<Exit, Vec<Diag>>;

/// A command.
pub struct Command {
    /// As typed.
    pub name: &'static str,
    /// One line for `dpt --help`.
    pub about: &'static str,
    /// For `dpt NAME --help`: examples.
    pub examples: &'static str,
    /// Adds its arguments.
    pub args: fn(clap::Command) -> clap::Command,
    /// Does it.
    pub run: fn(&ArgMatches) -> CommandResult,
    /// Whether help texts leave it out.
    pub hidden: bool,
}

/// Every command, in the order of the help text.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        about: "Bring a pipeline up to date: run what is missing or stale, and nothing else",
        examples: run::EXAMPLES,
        args: run::Args::augment_args,
        run: |matches| run::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "status",
        about: "Show what is fresh, what is stale and why; run nothing",
        examples: status::EXAMPLES,
        args: status::Args::augment_args,
        run: |matches| status::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "explain",
        about: "Show why a node is fresh, stale or blocked, field by field, to the first cause",
        examples: explain::EXAMPLES,
        args: explain::Args::augment_args,
        run: |matches| explain::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "diff",
        about: "Compare two runs, or two revisions of a pipeline: parameters, nodes, metrics",
        examples: diff::EXAMPLES,
        args: diff::Args::augment_args,
        run: |matches| diff::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "check",
        about: "Check pipeline files: every problem at once, each with its line; run nothing",
        examples: CHECK_EXAMPLES,
        args: check::Args::augment_args,
        run: |matches| check::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "graph",
        about: "Draw a pipeline and how it stands: in the terminal, as a picture, as an interactive page",
        examples: graph::EXAMPLES,
        args: graph::Args::augment_args,
        run: |matches| graph::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "pin",
        about: "Record the sizes and digests of what a pipeline downloads, so that it stays the same",
        examples: pin::EXAMPLES,
        args: pin::Args::augment_args,
        run: |matches| pin::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "cache",
        about: "Look into the store of results, clear it up, carry results from one store to another",
        examples: cache::EXAMPLES,
        args: cache::Args::augment_args,
        run: |matches| cache::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "lock",
        about: "Record what a pipeline gave, for `dpt run --locked` to hold later runs against",
        examples: lock::EXAMPLES,
        args: lock::Args::augment_args,
        run: |matches| lock::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "verify",
        about: "Hash what is stored; with `--rerun`, run nodes again and compare",
        examples: verify::EXAMPLES,
        args: verify::Args::augment_args,
        run: |matches| verify::run(&parse(matches)),
        hidden: false,
    },
    Command {
        name: "adapter",
        about: "Bring trained prompts in from Hugging Face PEFT, and out to it",
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
        about: "Run single nodes whose inputs are in the store (what an executor starts on another machine)",
        examples: exec::EXAMPLES,
        args: exec::Args::augment_args,
        run: |matches| exec::run(&parse(matches)),
        hidden: true,
    },
    Command {
        name: "hash",
        about: "Print the digests of files, as the store sees them",
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

A pipeline file (TOML) says what the experiment is: where data and model come from, which stages there are (download, \
tokenize, svd-init, train, eval, report), and the axes to sweep over. `dpt run` does exactly what is missing: every \
result is kept in a store under a key made of all that shapes it, so what has not changed is not run again.";

const START: &str = "\
First steps:
  dpt run pipelines/quickstart.toml       from nothing to a report, in about two minutes, offline
  dpt status pipelines/quickstart.toml    what is fresh
  dpt run --help                          all about running";

/// The command line as clap sees it.
pub fn command() -> clap::Command {
    with(COMMANDS.iter())
}

/// The same for one command line: of the commands the one that it names alone, since all that is to be told then is about it.
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
        // After the arguments, whose struct brings its own doc comment as the text.
        let one = (row.args)(clap::Command::new(row.name)).about(row.about).long_about(None);
        top.subcommand(one.after_help(row.examples).hide(row.hidden))
    })
}

/// Reads the command line, does it, prints what is left to say. Panics end here. `build`: what this program was built from.
pub fn main(build: fn() -> Build) -> Exit {
    Build::set_this(build);
    let matches = match command_for(std::env::args_os().nth(1)).try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no errors, and go to stdout.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let (name, matches) = matches.subcommand().expect("clap asks for a command");
    let row = COMMANDS.iter().find(|row| row.name == name).expect("clap knows the rows alone");
    match panic::catch_unwind(panic::AssertUnwindSafe(|| (row.run)(matches))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(diags)) => {
            render::err(&render::diags(&diags));
            Exit::of(&diags)
        }
        Err(_) => {
            let bug = Diag::error(Class::Bug, format!("`dpt {name}` panicked; what it said is above")).help(
                "this is a bug in dpt: please report it. Finished work is kept: running again goes on from there",
            );
            render::err(&render::diag(&bug));
            Exit::Bug
        }
    }
}

/// The arguments of a command as its own struct.
fn parse<A: FromArgMatches + Args>(matches: &ArgMatches) -> A {
    A::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_a_name_of_its_own_and_says_what_it_does() {
        for (i, row) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..i].iter().all(|other| other.name != row.name), "`{}` twice", row.name);
            assert!(row.about.len() > 20 && !row.about.ends_with('.'), "`{}`: {}", row.name, row.about);
            assert!(row.examples.contains(&format!("dpt {}", row.name)), "`{}` shows no example", row.name);
        }
    }

    #[test]
    fn every_flag_has_a_help_text() {
        for one in command().get_subcommands() {
            for arg in one.get_arguments().filter(|arg| arg.get_id() != "help") {
                assert!(arg.get_help().is_some(), "`{} {}` has no help", one.get_name(), arg.get_id());
            }
        }
    }
}
