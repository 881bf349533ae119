//! `dpt-worker`, the process with libtorch. Started by `dpt`; speaks [`dpt::worker::protocol`] on stdin and stdout.
#![allow(clippy::print_stderr, reason = "the engine keeps the stderr of a worker")]

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::process::ExitCode;

use dpt::base::diag::{Class, Diag};
use dpt::worker::build::Build;
use dpt::worker::device::DeviceChoice;
use dpt::worker::protocol::{Answer, PROTOCOL};
use dpt::worker::serve::{End, Serve};
use dpt_torch::cuda;
use dpt_torch::model::device;
use dpt_torch::stages::runner;
use include_dir::{Dir, include_dir};

/// The sources of this crate, for [`Build`].
static TORCH: Dir = include_dir!("$CARGO_MANIFEST_DIR/src");

fn main() -> ExitCode {
    // Ctrl-C reaches the whole terminal group. The engine hears it and cancels our job, so that it ends in order.
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let mut stdout = match take_stdout() {
        Ok(stdout) => stdout,
        Err(error) => {
            eprintln!("dpt-worker: cannot set stdout aside: {error}");
            return ExitCode::from(6);
        }
    };
    let ready = device_choice(std::env::args().skip(1)).and_then(|wanted| {
        let libtorch = cuda::check_libtorch(device::running_libtorch())?;
        Ok((libtorch, cuda::load(wanted)?))
    });
    let (libtorch, devices) = match ready {
        Ok(ready) => ready,
        Err(diag) => {
            let code = if diag.class == Class::Usage { 2 } else { 6 };
            let answer = Answer::Failed { error: diag.into() };
            let line = serde_json::to_string(&answer).expect("an answer is always JSON");
            // If nobody reads stdout any more, nobody misses the answer.
            let _ = writeln!(stdout, "{line}");
            return ExitCode::from(code);
        }
    };
    let ready = Answer::Ready {
        protocol: PROTOCOL,
        build: Some(Build::of(&TORCH)),
        pid: std::process::id(),
        libtorch,
        devices: devices.names,
        notes: devices.notes,
    };
    let serve = Serve {
        ready,
        runner: &runner,
        before: &|job| tch::set_num_threads(i32::try_from(job.threads).unwrap_or(i32::MAX).max(1)),
        orphaned: || {
            // Not `exit`: another thread may hold locks that the libraries' destructors take.
            // SAFETY: `_exit` ends the process and touches no memory.
            unsafe { libc::_exit(130) }
        },
    };
    match serve.serve(BufReader::new(io::stdin()), stdout) {
        End::Quit => ExitCode::SUCCESS,
        End::Panicked => ExitCode::from(70),
    }
}

/// Parses the arguments: `--device WORD`, or none.
fn device_choice(args: impl Iterator<Item = String>) -> Result<DeviceChoice, Diag> {
    let args: Vec<_> = args.collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(DeviceChoice::Auto),
        ["--device", text] => text.parse().map_err(|e| Diag::error(Class::Usage, format!("{e}"))),
        _ => Err(Diag::error(
            Class::Usage,
            "`dpt-worker` is started by `dpt`, as `dpt-worker --device auto|cpu|cuda[:N]`",
        )),
    }
}

/// The real stdout, for answers only: whatever else prints to file descriptor 1 (libtorch, a stray `println!`) lands on
/// stderr from now on.
fn take_stdout() -> io::Result<File> {
    // At least 3, so that it never takes the place of a standard stream that is closed.
    let own = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(File::from(own))
}
