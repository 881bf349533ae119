//! `dpt-worker` from outside: what it says, and that it leaves when the engine does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use dpt::base::diag::Class;
use dpt::worker::build::Build;
use dpt::worker::protocol::{Answer, PROTOCOL};
use include_dir::include_dir;

fn worker(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dpt-worker"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // It finds libtorch by itself.
    command.env_remove("LD_LIBRARY_PATH").env_remove("LIBTORCH");
    command
}

fn first_answer(args: &[&str]) -> (Answer, Option<i32>) {
    let output = worker(args).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (serde_json::from_str(line).unwrap(), output.status.code())
}

#[test]
fn says_what_it_is_and_ends_with_its_input() {
    let (answer, code) = first_answer(&["--device", "cpu"]);
    let Answer::Ready { protocol, build, pid, libtorch, devices, notes } = answer else { panic!("{answer:?}") };
    assert_eq!(build, Some(Build::of(&include_dir!("$CARGO_MANIFEST_DIR/src"))));
    assert_ne!(pid, std::process::id());
    assert_eq!((protocol, libtorch.as_str()), (PROTOCOL, "2.11.0"));
    assert_eq!((devices, notes), (vec!["cpu".to_owned()], vec![]));
    assert_eq!(code, Some(0));
}

/// Another libtorch, as far as its version goes: it gives other numbers under the same keys.
#[test]
fn worker_under_another_libtorch_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (source, library) = (dir.path().join("other.c"), dir.path().join("libother.so"));
    std::fs::write(&source, "unsigned long long aoti_torch_abi_version(void) { return 0x020c000000000000ull; }")
        .unwrap();
    let mut cc = Command::new("cc");
    assert!(cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap().success());
    let output = worker(&["--device", "cpu"]).stdin(Stdio::null()).env("LD_PRELOAD", &library).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let Answer::Failed { error } = serde_json::from_str(line.trim_end()).unwrap() else { panic!("{line}") };
    assert_eq!((error.class, output.status.code()), (Class::Environment, Some(6)));
    assert_eq!(error.message, "`dpt-worker` is built for libtorch 2.11.0, and 2.12.0 is loaded");
    assert!(error.notes[0].contains("libtorch_cpu.so"), "{:?}", error.notes);
}

#[test]
fn a_gpu_that_is_not_there_is_refused() {
    if dpt::worker::device::gpu_present() {
        println!("skipped: this machine has a GPU");
        return;
    }
    let (answer, code) = first_answer(&["--device", "cuda"]);
    let Answer::Failed { error } = answer else { panic!("{answer:?}") };
    assert_eq!((error.class, code), (Class::Environment, Some(6)));
}

#[test]
fn quits_when_told_though_its_input_stays_open() {
    let mut child = worker(&["--device", "cpu"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"ready\""));
    stdin.write_all(b"{\"say\":\"quit\"}\n").unwrap();
    for _ in 0..1000 {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    panic!("it did not quit");
}
