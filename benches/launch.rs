//! `cargo bench --bench launch [-- PROGRAMS MIB]`: what it costs to start a program, three ways, from a process as
//! large as `dpt` is at 1,000 nodes. Each program is `/bin/true`; the ways take turns. Prints times; asserts nothing.
//!
//! The second way has no death signal (a killed `dpt` would leave its programs running), so it only shows what the
//! signal costs with `std`: a hook before `exec` makes `std` copy the process instead of using `posix_spawn`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark prints its figures"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hint::black_box;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dpt::base::launch::{Launch, launch};

/// How many times each way has its turn.
const ROUNDS: usize = 10;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let programs = numbers.next().unwrap_or(1000);
    let mib = numbers.next().unwrap_or(20);
    let resident: Vec<u8> = (0..mib << 20).map(|i| i as u8).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ways: [(&str, fn(&Path)); 3] =
        [("base::launch", by_launch), ("std, no death signal", by_spawn), ("std, death signal", by_fork)];
    let mut times = ways.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, start), times) in ways.iter().zip(&mut times) {
            let began = Instant::now();
            (0..programs / ROUNDS).for_each(|_| start(folder.path()));
            times.push(began.elapsed());
        }
    }
    black_box(&resident);
    println!("{programs} programs from {mib} MiB, one after the other");
    for ((name, _), times) in ways.iter().zip(&mut times) {
        times.sort();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / (programs / ROUNDS) as f64;
        let (least, median) = (each(times[0]), each(times[ROUNDS / 2]));
        println!("{name:<24} {least:>7.0} µs each at the least, {median:>7.0} µs in the median");
    }
}

fn environment() -> BTreeMap<String, OsString> {
    BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".into()), ("LANG".to_owned(), "C.UTF-8".into())])
}

fn by_launch(folder: &Path) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let arguments = ["/bin/true".to_owned()];
    let environment = environment();
    let order =
        Launch { arguments: &arguments, environment: &environment, folder, room: folder, output: writer.as_fd() };
    launch(&order).expect("there is /bin/true").wait().expect("it is a child");
    drop(reader);
}

fn command(folder: &Path) -> (Command, io::PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut command = Command::new("/bin/true");
    command.env_clear().envs(environment()).current_dir(folder).process_group(0);
    command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
    (command, reader)
}

fn by_spawn(folder: &Path) {
    let (mut command, _reader) = command(folder);
    command.status().expect("there is /bin/true");
}

fn by_fork(folder: &Path) {
    let (mut command, _reader) = command(folder);
    #[cfg(target_os = "linux")]
    // SAFETY: one system call, which takes numbers only.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?));
    }
    command.status().expect("there is /bin/true");
}
