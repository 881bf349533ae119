//! [`Exit`]: every exit code there is. Scripts rely on them: a number never changes its meaning.

use std::process::ExitCode;

use crate::base::diag::{Class, Diag};

/// How `dpt` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// A stage failed.
    StageFailed = 1,
    /// A wrong command line, or an invalid pipeline.
    Usage = 2,
    /// `--check` found work to do, or `--locked` a difference.
    Found = 3,
    /// `verify` found that a result is not what was recorded.
    Mismatch = 4,
    /// The store is damaged.
    StoreDamaged = 5,
    /// The machine lacks something: a device, libtorch, disk space, a right to write.
    Environment = 6,
    /// A bug in `dpt`.
    Bug = 70,
    /// Ctrl-C, or a signal to end.
    Interrupted = 130,
}

/// For the end of `dpt --help`.
pub const HELP: &str = "\
Exit codes:
    0  done
    1  a stage failed
    2  wrong command line or invalid pipeline
    3  `--check` found something to run, or `--locked` a difference
    4  `verify` found a difference
    5  the store is damaged
    6  the machine lacks something (a device, libtorch, a source, disk space, a right to write)
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
    /// The code for several errors: the one that a script must hear first.
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
    fn numbers_never_change() {
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
    fn the_gravest_error_decides() {
        let of = |classes: &[Class]| Exit::of(&classes.iter().map(|c| Diag::error(*c, "x")).collect::<Vec<_>>());
        assert_eq!(of(&[]), Exit::Done);
        assert_eq!(of(&[Class::Stage, Class::Environment]), Exit::Environment);
        assert_eq!(of(&[Class::Bug, Class::Stage]), Exit::Bug);
        assert_eq!(of(&[Class::Stage, Class::Interrupted]), Exit::Interrupted);
    }
}
