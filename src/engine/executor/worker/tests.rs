//! A pool of workers in shell, which do what their jobs say.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::base::digest::Digest;
use crate::base::fs;
use crate::testing::Recorder;
use crate::worker::build::Build;
use crate::worker::device::DeviceChoice;
use std::time::Duration;

/// A worker in shell: the job's kind says what it does. It numbers the jobs that it ran.
const FAKE: &str = r#"#!/bin/sh
test "$2" = cuda:7 && { echo '{"say":"failed","error":{"class":"environment","message":"no such GPU","notes":[],"help":null}}'; exit 6; }
echo '{"say":"ready","protocol":2,"build":BUILD,"pid":'$$',"libtorch":"fake","devices":["cuda:3"],"notes":["a note of the start"]}'
n=0
while read -r line; do
  case "$line" in
    *'"say":"quit"'*) exit 0 ;;
    *'"say":"cancel"'*) echo '{"say":"failed","error":{"class":"interrupted","message":"told to end","notes":[],"help":null}}' ;;
    *'"kind":"wait"'*) echo '{"say":"note","text":"waiting"}' ;;
    *'"kind":"deaf"'*) echo '{"say":"note","text":"waiting"}'; while :; do sleep 1; done ;;
    *'"kind":"die"'*) echo "first words" >&2; echo "last words" >&2; exit 3 ;;
    *'"kind":"segv"'*) kill -SEGV $$ ;;
    *'"kind":"noise"'*) echo "hello" ;;
    *'"kind":"bug"'*) echo '{"say":"failed","error":{"class":"bug","message":"panicked","notes":[],"help":null}}'; exit 70 ;;
    *)
      n=$((n+1))
      case "$line" in *'"device":"cuda:3"'*) own=1 ;; *) own=0 ;; esac
      echo "job $n on stderr" >&2
      echo '{"say":"progress","update":{"what":"work","done":1,"total":2,"unit":"steps","detail":""}}'
      echo '{"say":"done","outcome":{"metrics":{"n":'$n',"pid":'$$',"threads":'$OMP_NUM_THREADS',"own":'$own'},"numerics":{},"notes":[]}}' ;;
  esac
done
"#;

/// A build as the worker's first answer has it.
fn build(build: &Build) -> String {
    serde_json::to_string(build).unwrap()
}

/// The outcome of a worker whose script is `FAKE` with `from` replaced by `to`.
fn refused(from: &str, to: &str) -> Diag {
    let fake = fake();
    let program = &fake.pool.config.program;
    let script = fs::read_to_string(program).unwrap();
    assert!(script.contains(from), "{script}");
    fs::write_atomic(program, script.replace(from, to).as_bytes()).unwrap();
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let diag = run(&fake, "touch").unwrap_err();
    assert!(fake.pool.state().idle.is_empty(), "it is not kept");
    diag
}

#[test]
fn worker_of_another_build_is_refused() {
    let own = Build::this();
    let mut other = own.clone();
    other.sources = Digest::of(b"other sources");
    let diag = refused(&build(&own), &build(&other));
    assert_eq!(diag.class, Class::Environment);
    assert!(diag.message.ends_with("worker.sh` is of another build than `dpt`"), "{diag}");
    assert!(diag.notes[0].contains(&own.to_string()) && diag.notes[1].contains(&other.to_string()), "{diag}");
}

#[test]
fn worker_that_does_not_say_its_build_is_refused() {
    let field = format!("\"build\":{},", build(&Build::this()));
    for (from, to) in [(field.as_str(), ""), (r#""protocol":2"#, r#""protocol":1"#)] {
        let diag = refused(from, to);
        assert_eq!(diag.class, Class::Environment);
        assert!(diag.message.ends_with("worker.sh` is of another build than `dpt`"), "{diag}");
    }
}

#[test]
fn program_between_engine_and_worker_is_refused() {
    for pid in ["1", "0"] {
        let diag = refused("\"pid\":'$$'", &format!("\"pid\":{pid}"));
        assert_eq!(diag.class, Class::Environment);
        assert!(diag.message.ends_with("worker.sh` is not `dpt-worker` itself"), "{diag}");
        assert!(diag.help.unwrap().contains("exec dpt-worker"));
    }
}

struct Fake {
    dir: tempfile::TempDir,
    pool: WorkerPool,
}

fn fake_with(device: DeviceChoice, max_workers: usize) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("worker.sh");
    fs::write_atomic(&program, FAKE.replace("BUILD", &build(&Build::this())).as_bytes()).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = WorkerConfig::new(program, device, max_workers).logs_in(dir.path().join("logs"));
    config.grace = Duration::from_millis(200);
    Fake { pool: WorkerPool::new(config), dir }
}

fn fake() -> Fake {
    fake_with(DeviceChoice::Auto, 2)
}

fn job(kind: &str) -> Job {
    Job {
        node: format!("{kind}[task=rte,seed=1]"),
        kind: kind.to_owned(),
        out: "out".into(),
        scratch: "scratch".into(),
        base: ".".into(),
        threads: 3,
        device: "auto".into(),
        ..Job::default()
    }
}

fn run(fake: &Fake, kind: &str) -> StageResult {
    fake.pool.run(&job(kind), &Recorder::default(), &Cancel::new())
}

#[test]
fn worker_is_started_once_and_kept_warm() {
    let (fake, seen) = (fake(), Recorder::default());
    let first = fake.pool.run(&job("touch"), &seen, &Cancel::new()).unwrap();
    let second = fake.pool.run(&job("touch"), &seen, &Cancel::new()).unwrap();
    assert_eq!(first.metrics["pid"], second.metrics["pid"]);
    assert_eq!((first.metrics["n"], second.metrics["n"]), (1.0, 2.0));
    assert_eq!(first.metrics["threads"], 3.0);
    assert_eq!(first.metrics["own"], 1.0, "`auto` is replaced by the worker's device");
    assert_eq!(seen.updates().len(), 2);
    assert_eq!(seen.notes(), ["a note of the start"], "told once");
}

#[test]
fn stderr_becomes_the_log_of_the_node() {
    let fake = fake();
    run(&fake, "touch").unwrap();
    let dir = fake.dir.path().join("logs");
    drop(fake.pool);
    assert_eq!(fs::read_to_string(&dir.join("touch.task-rte.seed-1.log")).unwrap(), "job 1 on stderr\n");
}

#[test]
fn dead_worker_fails_its_node_and_is_replaced() {
    let fake = fake();
    let diag = run(&fake, "die").unwrap_err();
    assert_eq!(diag.class, Class::Stage);
    assert_eq!(diag.message, "the worker of `die[task=rte,seed=1]` ended with exit status 3");
    assert_eq!(diag.notes[0], "its last lines:\nfirst words\nlast words");
    assert!(diag.notes[1].starts_with("its log: `"), "{diag}");
    assert_eq!(run(&fake, "touch").unwrap().metrics["n"], 1.0);
}

#[test]
fn signal_is_named() {
    let diag = run(&fake(), "segv").unwrap_err();
    assert_eq!(diag.message, "the worker of `segv[task=rte,seed=1]` was killed by signal 11 (SIGSEGV)");
}

#[test]
fn worker_that_died_idle_is_replaced_silently() {
    let fake = fake();
    let pid = run(&fake, "touch").unwrap().metrics["pid"];
    let pid_of_worker = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid_of_worker, rustix::process::Signal::KILL).unwrap();
    while fake.pool.state().idle[0].lives() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_ne!(run(&fake, "touch").unwrap().metrics["pid"], pid);
}

#[test]
fn worker_is_not_used_again_after_a_bug() {
    let fake = fake();
    let pid = run(&fake, "touch").unwrap().metrics["pid"];
    assert_eq!(run(&fake, "bug").unwrap_err().class, Class::Bug);
    assert_ne!(run(&fake, "touch").unwrap().metrics["pid"], pid);
}

#[test]
fn noise_on_stdout_is_a_bug() {
    let diag = run(&fake(), "noise").unwrap_err();
    assert_eq!((diag.class, &diag.notes[..]), (Class::Bug, &["hello".to_owned()][..]));
}

/// Cancels when the stage says that it waits.
fn cancels_when_it_waits() -> Recorder {
    Recorder { cancel_on_note: Some("waiting"), ..Recorder::default() }
}

#[test]
fn cancelled_worker_takes_another_job() {
    let (fake, recorder) = (fake(), cancels_when_it_waits());
    let diag = fake.pool.run(&job("wait"), &recorder, &recorder.cancel).unwrap_err();
    assert_eq!((diag.class, diag.message.as_str()), (Class::Interrupted, "told to end"));
    assert_eq!(fake.pool.state().idle.len(), 1);
}

#[test]
fn deaf_worker_is_killed_after_the_grace() {
    let (fake, recorder) = (fake(), cancels_when_it_waits());
    let diag = fake.pool.run(&job("deaf"), &recorder, &recorder.cancel).unwrap_err();
    assert_eq!(diag.class, Class::Interrupted);
    assert!(fake.pool.state().idle.is_empty());
    assert_eq!(run(&fake, "touch").unwrap().metrics["n"], 1.0);
}

#[test]
fn no_more_workers_than_allowed() {
    let fake = fake_with(DeviceChoice::Cpu, 2);
    let pids: Mutex<Vec<u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| pids.lock().unwrap().push(run(&fake, "touch").unwrap().metrics["pid"] as u64));
        }
    });
    let mut pids = pids.into_inner().unwrap();
    assert_eq!(pids.len(), 6);
    pids.sort_unstable();
    pids.dedup();
    assert!(pids.len() <= 2, "{pids:?}");
}

#[test]
fn missing_worker_error_names_the_build_command() {
    let pool = WorkerPool::new(WorkerConfig::new("no/such/dpt-worker".into(), DeviceChoice::Auto, 1));
    let diag = pool.run(&job("touch"), &Recorder::default(), &Cancel::new()).unwrap_err();
    assert_eq!(diag.class, Class::Environment);
    assert!(diag.help.unwrap().contains("cargo build --release"));
    // The place in the pool is free again.
    assert_eq!(pool.hello().unwrap_err().class, Class::Environment);
}

#[test]
fn worker_that_refuses_the_device_says_why() {
    let fake = fake_with(DeviceChoice::Cuda(Some(7)), 1);
    let diag = run(&fake, "touch").unwrap_err();
    assert_eq!((diag.class, diag.message.as_str()), (Class::Environment, "no such GPU"));
}

#[test]
fn program_that_is_no_worker_is_reported() {
    let pool = WorkerPool::new(WorkerConfig::new("/bin/false".into(), DeviceChoice::Auto, 1));
    let diag = pool.hello().unwrap_err();
    assert_eq!(diag.message, "`/bin/false` ended with exit status 1 before it was ready");
}

#[test]
fn log_names_are_safe() {
    assert_eq!(log_name("report"), "report.log");
    assert_eq!(log_name("train[task=a/../b,lr=1e-3]"), "train.task-a-..-b.lr-1e-3.log");
    assert!(log_name(&"é".repeat(300)).len() < 255);
}
