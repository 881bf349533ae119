//! [`Exit`]: all exit codes. Scripts rely on them, so a number never changes its meaning.

use std::process::ExitCode;

use crate::base::diag::{Class, Diag};

/// The result of a command: its exit code, or errors that have not been printed yet.
pub type CommandResult = Result<Exit, Vec<Diag>>;

/// The exit code of `dpt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Done = 0,
    /// A stage failed.
    StageFailed = 1,
    /// A wrong command line or an invalid pipeline.
    Usage = 2,
    /// `--check` found something to run, or `--locked` a difference.
    Found = 3,
    /// `verify` found a result that differs from the recorded one.
    Mismatch = 4,
    /// The store is damaged.
    StoreDamaged = 5,
    /// The machine lacks something: a device, libtorch, a source, disk space, a write permission.
    Environment = 6,
    /// A bug in `dpt`.
    Bug = 70,
    /// Ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// The end of `dpt --help`.
pub const HELP: &str = "\
Exit codes:
    0  success
    1  a stage failed
    2  wrong command line or invalid pipeline
    3  `--check` found something to run, or `--locked` a difference
    4  `verify` found a difference
    5  the store is damaged
    6  the machine lacks something (a device, libtorch, a source, disk space, a write permission)
   70  a bug in dpt
  130  interrupted";

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Stage => Exit::StageFailed,
            Class::Usage => Exit::Usage,
            Class::Store => Exit::StoreDamaged,
            Class::Environment => Exit::Environment,
            Class::Bug => Exit::Bug,
            Class::Interrupted => Exit::Interrupted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// Returns the code for several errors: the most severe one.
    pub fn of<'a>(diags: impl IntoIterator<Item = &'a Diag>) -> Self {
        let rank = |exit: &Exit| match exit {
            Exit::Done => 0,
            Exit::Found | Exit::Mismatch => 1,
            Exit::StageFailed => 2,
            Exit::Environment => 3,
            Exit::StoreDamaged => 4,
            Exit::Usage => 5,
            Exit::Bug => 6,
            Exit::Interrupted => 7,
        };
        diags.into_iter().map(|diag| Exit::from(diag.class)).max_by_key(rank).unwrap_or(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_fixed_and_listed_in_the_help() {
        let all = [
            (Exit::Done, 0),
            (Exit::StageFailed, 1),
            (Exit::Usage, 2),
            (Exit::Found, 3),
            (Exit::Mismatch, 4),
            (Exit::StoreDamaged, 5),
            (Exit::Environment, 6),
            (Exit::Bug, 70),
            (Exit::Interrupted, 130),
        ];
        for (exit, number) in all {
            assert_eq!(exit as u8, number);
            let line = format!("\n{number:>5}  ");
            assert!(HELP.contains(&line), "{number} is not in the help");
        }
    }

    #[test]
    fn most_severe_error_decides_the_exit_code() {
        let of = |classes: &[Class]| Exit::of(&classes.iter().map(|c| Diag::error(*c, "x")).collect::<Vec<_>>());
        assert_eq!(of(&[]), Exit::Done);
        assert_eq!(of(&[Class::Stage, Class::Environment]), Exit::Environment);
        assert_eq!(of(&[Class::Bug, Class::Stage]), Exit::Bug);
        assert_eq!(of(&[Class::Stage, Class::Interrupted]), Exit::Interrupted);
    }
}
