//! Starting other programs, and saying how they ended.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use super::leftovers;

/// Starts it. It is known to be ours for as long as this process runs.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    unless_busy(|| {
        let _starting = leftovers::starting();
        let child = command.spawn()?;
        leftovers::own(child.id() as i32, None);
        Ok(child)
    })
}

/// Runs it to its end, and gives what it printed.
pub fn output(command: &mut Command) -> std::io::Result<Output> {
    let child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let process = child.id() as i32;
    let output = child.wait_with_output();
    leftovers::disown(process);
    output
}

/// Starts a program. One that is being written this moment (a build that just ends) is tried again for half a second.
pub fn unless_busy<T>(mut start: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    for _ in 0..50 {
        match start() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    start()
}

/// `ended with exit status 3`, `was killed by signal 11 (SIGSEGV)`.
pub fn how(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "ended".to_owned() };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (_, Some(signal)) => format!("was killed by signal {signal}{}", signal_name(signal)),
        _ => "ended".to_owned(),
    }
}

/// ` (SIGKILL)`; nothing for a signal that is seldom seen.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => " (SIGHUP)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGQUIT => " (SIGQUIT)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGTRAP => " (SIGTRAP)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGPIPE => " (SIGPIPE)",
        libc::SIGALRM => " (SIGALRM)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGXCPU => " (SIGXCPU)",
        libc::SIGXFSZ => " (SIGXFSZ)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_named() {
        let run = |script: &str| spawn(Command::new("/bin/sh").args(["-c", script])).unwrap().wait().unwrap();
        assert_eq!(how(Some(run("exit 3"))), "ended with exit status 3");
        assert_eq!(how(Some(run("kill -SEGV $$"))), "was killed by signal 11 (SIGSEGV)");
        assert_eq!(how(Some(run("kill -USR1 $$"))), "was killed by signal 10");
        assert_eq!(how(None), "ended");
    }
}
