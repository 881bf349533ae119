//! Ctrl-C: the first one ends running stages in order and leaves a store from which the next run goes on; the second
//! ends the program at once.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::quickstart::{args, sandbox};
use crate::sandbox::Sandbox;

const CUT: [&str; 2] = ["--set", "stage.train.checkpoint_every=10"];
const STEPS: &str = "stage.train.steps=120";

/// A run that has trained some steps past its first checkpoint, and the rest of its events.
#[expect(clippy::zombie_processes, reason = "who gets it waits for it")]
fn training(sandbox: &Sandbox, cache: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = sandbox.command(&args(cache, STEPS, &CUT));
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(run.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        assert_ne!(events.read_line(&mut line).unwrap(), 0, "the run ended before its training was seen");
        let event: Value = serde_json::from_str(&line).unwrap();
        let train = event["node"].as_str().is_some_and(|node| node.starts_with("train["));
        if event["event"] == "node-progress" && train && event["update"]["done"].as_u64().unwrap() >= 11 {
            return (run, events);
        }
    }
}

fn signal(run: &Child) {
    let done = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(done.success());
}

/// The exit code and what was left of stdout and stderr.
fn ended(mut run: Child, mut events: impl Read) -> (Option<i32>, String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    events.read_to_string(&mut stdout).unwrap();
    run.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (run.wait().unwrap().code(), stdout, stderr)
}

fn report(sandbox: &Sandbox, cache: &str) -> String {
    std::fs::read_to_string(sandbox.path().join(cache).join("results/quickstart/report/report.json")).unwrap()
}

#[test]
fn interrupted_run_stops_cleanly_and_the_next_continues() {
    let Some(sandbox) = sandbox() else { return };
    let (run, events) = training(&sandbox, "cut");
    signal(&run);
    let (code, stdout, stderr) = ended(run, events);
    assert_eq!(code, Some(130), "{stdout}\n{stderr}");
    assert!(stderr.contains("stopping after the current steps; press Ctrl-C again to stop now"), "{stderr}");
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["summary"]["interrupted"]), (&"run-ended".into(), &true.into()));
    assert_eq!(last["summary"]["failed"], 0, "who is asked to end has not failed");
    let work = std::fs::read_dir(sandbox.path().join("cut/v1/work")).unwrap();
    let spare = work.filter(|item| item.as_ref().unwrap().file_name().to_string_lossy().starts_with("spare-"));
    assert_eq!(spare.count(), 0, "no folder is kept for nodes that will not come");

    let status = sandbox
        .dpt(&[
            "status",
            "pipelines/quickstart.toml",
            "--cache",
            "cut",
            "--set",
            "axes.task=[\"rte\"]",
            "--set",
            "axes.method=[\"dpt\"]",
            "--set",
            STEPS,
        ])
        .code(0);
    assert!(status.stdout.contains("never made before") && status.stdout.contains("fresh"), "{}", status.stdout);

    let resumed = sandbox.dpt(&args("cut", STEPS, &CUT)).code(0);
    assert!(resumed.stdout.contains("goes on after step"), "{}", resumed.stdout);
    sandbox.dpt(&args("whole", STEPS, &CUT)).code(0);
    assert_eq!(report(&sandbox, "cut"), report(&sandbox, "whole"));
}

#[test]
fn second_interrupt_exits_at_once() {
    let Some(sandbox) = sandbox() else { return };
    let (run, events) = training(&sandbox, "cut");
    // A worker that does not hear: only the second signal can end this.
    let workers = Command::new("pgrep").args(["-P", &run.id().to_string()]).output().unwrap();
    let workers: Vec<String> = String::from_utf8(workers.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(!workers.is_empty(), "the training runs in a worker");
    for worker in &workers {
        Command::new("kill").args(["-STOP", worker]).status().unwrap();
    }
    signal(&run);
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    signal(&run);
    let mut run = run;
    let code = loop {
        if let Some(status) = run.try_wait().unwrap() {
            break status.code();
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it goes on after the second signal");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(code, Some(130));
    drop(events);
    for worker in &workers {
        Command::new("kill").args(["-KILL", worker]).status().unwrap();
    }
    let resumed = sandbox.dpt(&args("cut", STEPS, &CUT)).code(0);
    assert!(resumed.stdout.contains("goes on after step"), "{}", resumed.stdout);
}

/// `nohup dpt run …` when the terminal closes.
#[test]
fn run_under_nohup_survives_a_hangup_and_others_stop() {
    use std::os::unix::process::CommandExt;
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        "schema = 1\n[stage.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"sleep 1; echo > {out.o}\"]\noutputs = { o = \"o\" }\n",
    );
    for (ignored, expected) in [(false, 130), (true, 0)] {
        let mut command = sandbox.command(&["run", "p.toml", "--json"]);
        // The tests themselves may run under `nohup`.
        let action = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: the call takes no pointer.
        unsafe {
            command.pre_exec(move || {
                libc::signal(libc::SIGHUP, action);
                Ok(())
            })
        };
        let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut events = BufReader::new(run.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("node-started") {
            line.clear();
            assert_ne!(events.read_line(&mut line).unwrap(), 0, "the run ended before its command was seen");
        }
        assert!(Command::new("kill").args(["-HUP", &run.id().to_string()]).status().unwrap().success());
        let (code, stdout, stderr) = ended(run, events);
        assert_eq!(code, Some(expected), "{stdout}\n{stderr}");
    }
}
