//! The errors of a worker that cannot be started, or died.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use crate::base::diag::{Class, Diag};
use crate::base::process::how;

pub(super) fn interrupted(node: &str) -> Diag {
    Diag::error(Class::Interrupted, format!("`{node}` was interrupted"))
}

pub(super) fn cannot_start(program: &Path, error: &std::io::Error) -> Diag {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Diag::error(
            Class::Environment,
            format!("`dpt-worker`, which runs the stages that need libtorch, is not at `{}`", program.display()),
        )
        .note("`dpt` looks beside itself, or where `DPT_WORKER` says")
        .help("build it: `cargo xtask libtorch`, then `cargo build --release`");
    }
    Diag::error(Class::Environment, format!("cannot start `{}`: {error}", program.display()))
}

/// The answer comes from another process than the one that was started.
pub(super) fn not_itself(program: &Path, started: u32, answers: u32) -> Diag {
    Diag::error(Class::Environment, format!("`{}` is not `dpt-worker` itself", program.display()))
        .note(format!(
            "process {started} was started, and process {answers} answers: another program started the worker"
        ))
        .note("such a program can change jobs and results, so that these are not what their keys say")
        .help("let `DPT_WORKER` name `dpt-worker`, or a script that becomes it: `exec dpt-worker \"$@\"`; or unset it")
}

/// The worker ended before it was ready.
pub(super) fn not_ready(program: &Path, status: Option<ExitStatus>, tail: &[String]) -> Diag {
    let diag = Diag::error(Class::Environment, format!("`{}` {} before it was ready", program.display(), how(status)));
    let library = tail.iter().any(|line| line.contains("error while loading shared libraries"));
    let diag = with_tail(diag, tail);
    if library {
        return diag
            .help("libtorch is no longer where the build found it: install it again with `cargo xtask libtorch`");
    }
    diag
}

/// The worker ended in the middle of a job.
pub(super) fn died(node: &str, status: Option<ExitStatus>, tail: &[String], log: Option<&Path>) -> Diag {
    let diag = Diag::error(Class::Stage, format!("the worker of `{node}` {}", how(status)));
    let mut diag = with_tail(diag, tail);
    if let Some(log) = log.filter(|log| log.exists()) {
        diag = diag.note(format!("its log: `{}`", log.display()));
    }
    if status.and_then(|s| s.signal()) == Some(libc::SIGKILL) {
        return diag.help(
            "it was killed, most often by the system for lack of memory: run fewer nodes at once with `--jobs`, \
             or set a smaller `batch_size`",
        );
    }
    diag
}

fn with_tail(diag: Diag, tail: &[String]) -> Diag {
    match tail {
        [] => diag.note("it printed nothing on stderr"),
        _ => diag.note(format!("its last lines:\n{}", tail.join("\n"))),
    }
}
