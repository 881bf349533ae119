//! Unusual user files: pipes, devices, dangling links, files that change while they are read, and files that take long
//! to read.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{Ran, Sandbox};

/// The timeout for commands that must not hang.
const LONG: Duration = Duration::from_secs(30);
/// Too large to be hashed during a test. The file is sparse and takes no disk space.
const HUGE: u64 = 200 << 30;

/// Runs `dpt`. Fails if it does not end by itself.
#[track_caller]
fn ends(sandbox: &Sandbox, args: &[&str]) -> Ran {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "30", env!("CARGO_BIN_EXE_dpt")]).args(args).current_dir(sandbox.path());
    let began = Instant::now();
    let ran = sandbox.ran(command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", sandbox.path()));
    assert!(began.elapsed() < LONG, "`dpt {}` does not end", args.join(" "));
    ran
}

/// Checks that it fails with this message.
#[track_caller]
fn refused(sandbox: &Sandbox, args: &[&str], why: &str) {
    let ran = ends(sandbox, args);
    assert!(matches!(ran.code, 1 | 2 | 6), "{args:?}: {ran:?}");
    assert!(ran.stderr.contains(why), "{args:?}: expected {why}\n{}", ran.stderr);
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn pipes_and_devices_are_refused_at_once() {
    let sandbox = Sandbox::new();
    let at = |name: &str| sandbox.path().join(name);
    sandbox.write("code/a.py", "print()");
    sandbox.write("d/RTE/train.jsonl", "");
    sandbox.write(
        "p.toml",
        r#"schema = 1
[source.d]
url = "file:d"
[source.x]
url = "file:x.fifo"
[stage.folder]
kind = "command"
code = ["code"]
run = ["sh", "-c", "ls code > {out.t}"]
outputs = { t = "t.txt" }
[stage.file]
kind = "command"
files = { x = "x.fifo" }
run = ["cp", "{files.x}", "{out.t}"]
outputs = { t = "t.txt" }
[stage.split]
kind = "download"
source = "d"
format = "superglue"
task = "rte"
splits = { train = "train.jsonl", validation = "val.jsonl?" }
[stage.any]
kind = "download"
source = "d"
format = "files"
[stage.archive]
kind = "download"
source = "x"
format = "files"
"#,
    );
    sandbox.write("empty.toml", "schema = 1\n");
    pipe(&at("x.fifo"));
    pipe(&at("code/pipe"));
    pipe(&at("d/RTE/val.jsonl"));
    pipe(&at("empty.pins.toml"));
    pipe(&at("empty.lock"));
    refused(&sandbox, &["run", "p.toml", "folder"], "code/pipe`: it is a pipe, not a file");
    refused(&sandbox, &["run", "p.toml", "file"], "x.fifo`: it is a pipe, not a file");
    refused(&sandbox, &["run", "p.toml", "split"], "val.jsonl`: it is a pipe, not a file");
    refused(&sandbox, &["run", "p.toml", "any"], "val.jsonl`: it is a pipe, not a file");
    refused(&sandbox, &["run", "p.toml", "archive"], "x.fifo`: it is a pipe, not a file");
    refused(&sandbox, &["status", "p.toml"], "code/pipe`: it is a pipe, not a file");
    refused(&sandbox, &["status", "x.fifo"], "x.fifo`: it is a pipe, not a file");
    refused(&sandbox, &["status", "empty.toml"], "empty.pins.toml`: it is a pipe, not a file");
    refused(&sandbox, &["verify", "--lock", "empty.lock"], "empty.lock`: it is a pipe, not a file");
    refused(&sandbox, &["hash", "x.fifo"], "x.fifo`: it is a pipe, not a file");
    refused(&sandbox, &["cache", "import", "x.fifo"], "x.fifo`: it is a pipe, not a file");
    fs::create_dir(at("prompt")).unwrap();
    pipe(&at("prompt/adapter_config.json"));
    refused(&sandbox, &["adapter", "import", "prompt"], "adapter_config.json`: it is a pipe, not a file");
    refused(&sandbox, &["adapter", "import", "x.fifo"], "`x.fifo` is a pipe, not a folder");

    fs::remove_file(at("code/pipe")).unwrap();
    symlink("/dev/zero", at("code/zero")).unwrap();
    refused(&sandbox, &["run", "p.toml", "folder"], "code/zero`: it is a device, not a file");
    fs::remove_file(at("code/zero")).unwrap();
    ends(&sandbox, &["run", "p.toml", "folder"]).code(0);
}

/// An optional split.
const OPTIONAL: &str = r#"schema = 1
[source.d]
url = "file:d"
[stage.data]
kind = "download"
source = "d"
format = "superglue"
task = "rte"
splits = { train = "train.jsonl", validation = "val.jsonl?" }
"#;

#[test]
fn unreadable_split_is_not_a_missing_split() {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", OPTIONAL);
    let row = r#"{"premise": "a", "hypothesis": "b", "label": "entailment", "idx": 0}"#;
    let train = sandbox.write("d/RTE/train.jsonl", row);
    let val = train.with_file_name("val.jsonl");
    symlink("../.git/annex/objects/ab/val", &val).unwrap();
    let why = "val.jsonl`: it is a link to `../.git/annex/objects/ab/val`, where there is nothing";
    refused(&sandbox, &["run", "p.toml"], why);
    fs::remove_file(&val).unwrap();
    symlink("val.jsonl", &val).unwrap();
    refused(&sandbox, &["run", "p.toml"], "val.jsonl`: it is a link to `val.jsonl`, which leads in a circle");
    fs::remove_file(&val).unwrap();
    fs::create_dir(&val).unwrap();
    refused(&sandbox, &["run", "p.toml"], "val.jsonl`: it is a folder, not a file");
    fs::remove_dir(&val).unwrap();
    fs::rename(&train, sandbox.path().join("train")).unwrap();
    symlink("nowhere", &train).unwrap();
    refused(&sandbox, &["run", "p.toml"], "train.jsonl`: it is a link to `nowhere`, where there is nothing");
    fs::remove_file(&train).unwrap();
    fs::rename(sandbox.path().join("train"), &train).unwrap();
    ends(&sandbox, &["run", "p.toml"]).code(0);
}

#[test]
fn checkpoint_with_a_dangling_link_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        "schema = 1\n[source.m]\nurl = \"file:m\"\n\
         [stage.model]\nkind = \"download\"\nsource = \"m\"\nformat = \"checkpoint\"\n",
    );
    sandbox.write("m/config.json", r#"{ "model_type": "t5", "d_model": 4, "vocab_size": 8 }"#);
    let at = |name: &str| sandbox.path().join("m").join(name);
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torch_files/zip_form.bin");
    fs::copy(weights, at("pytorch_model.bin")).unwrap();
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        let kept = fs::read(at(name)).ok();
        let _ = fs::remove_file(at(name));
        symlink("../blobs/0123", at(name)).unwrap();
        let why = format!("{name}`: it is a link to `../blobs/0123`, where there is nothing");
        refused(&sandbox, &["run", "p.toml"], &why);
        fs::remove_file(at(name)).unwrap();
        kept.into_iter().for_each(|bytes| fs::write(at(name), bytes).unwrap());
    }
    ends(&sandbox, &["run", "p.toml"]).code(0);
}

#[test]
fn editor_lock_in_a_code_folder_is_ignored() {
    let sandbox = Sandbox::new();
    sandbox.write("code/a.py", "print()");
    sandbox.write(
        "p.toml",
        "schema = 1\n[stage.a]\nkind = \"command\"\ncode = [\"code\"]\n\
         run = [\"sh\", \"-c\", \"ls -A code > {out.t}\"]\noutputs = { t = \"t.txt\" }\n",
    );
    ends(&sandbox, &["run", "p.toml"]).code(0);
    symlink("someone@host.1234:1700000000", sandbox.path().join("code/.#a.py")).unwrap();
    let again = ends(&sandbox, &["run", "p.toml"]).code(0);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    ends(&sandbox, &["run", "p.toml", "--force"]).code(0);
    assert_eq!(fs::read_to_string(sandbox.path().join("cache/results/p/a/t.txt")).unwrap(), "a.py\n");
}

/// Makes a sparse file of this length.
fn hole(path: &Path, len: u64) {
    fs::File::create(path).unwrap().set_len(len).unwrap();
}

#[test]
fn source_cut_while_it_is_hashed_fails_only_its_node() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        r#"schema = 1
[stage.big]
kind = "command"
code = ["big.bin"]
run = ["sh", "-c", "wc -c < big.bin > {out.x}"]
outputs = { x = "x" }
[stage.other]
kind = "command"
run = ["sh", "-c", "echo > {out.x}"]
outputs = { x = "x" }
"#,
    );
    let big = sandbox.path().join("big.bin");
    hole(&big, HUGE);
    let mut run = spawn(&sandbox, &["run", "p.toml", "--keep-going", "--json"]);
    let mut events = BufReader::new(run.stdout.take().unwrap());
    until(&mut events, "run-progress", "hashing sources");
    fs::File::options().write(true).open(&big).unwrap().set_len(10).unwrap();
    let (code, stdout) = ended(run, events);
    // After the first failure its key is made again, now from a file of ten bytes.
    assert!(matches!(code, Some(0 | 1)), "{code:?}\n{stdout}");
    assert!(stdout.contains(r#""node-done","node":"other""#), "{stdout}");
    assert!(code == Some(0) || stdout.contains("big.bin` changed while it was read"), "{stdout}");
}

fn spawn(sandbox: &Sandbox, args: &[&str]) -> Child {
    sandbox.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Reads events until one of this kind is about this work.
fn until(events: &mut impl BufRead, kind: &str, what: &str) -> Value {
    loop {
        let mut line = String::new();
        assert_ne!(events.read_line(&mut line).unwrap(), 0, "the run ended before `{kind}` of `{what}`");
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == kind && event["update"]["what"] == what {
            return event;
        }
    }
}

/// Returns the exit code and the remaining events.
fn ended(mut run: Child, mut events: impl Read) -> (Option<i32>, String) {
    let mut stdout = String::new();
    events.read_to_string(&mut stdout).unwrap();
    let status = run.wait().unwrap();
    assert_eq!(status.signal(), None, "{stdout}");
    (status.code(), stdout)
}

#[test]
fn first_signal_stops_the_hashing_of_sources_and_outputs() {
    let sandbox = Sandbox::new();
    hole(&sandbox.path().join("big.bin"), HUGE);
    let stage = |more: &str, run: &str| {
        format!("schema = 1\n[stage.a]\nkind = \"command\"\n{more}\nrun = {run}\noutputs = {{ o = \"o\" }}\n")
    };
    let make = format!("[\"truncate\", \"-s\", \"{HUGE}\", \"{{out.o}}\"]");
    sandbox.write("source.toml", &stage("code = [\"big.bin\"]", "[\"true\"]"));
    sandbox.write("output.toml", &stage("", &make));
    sandbox.write("late.toml", &stage("resources = { timeout = 2 }", &make));
    for (file, kind, what) in
        [("source.toml", "run-progress", "hashing sources"), ("output.toml", "node-progress", "hashing outputs")]
    {
        let mut run = spawn(&sandbox, &["run", file, "--json"]);
        let mut events = BufReader::new(run.stdout.take().unwrap());
        let event = until(&mut events, kind, what);
        assert!(event["update"]["done"].as_u64().unwrap() > 0, "{event}");
        assert!(Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap().success());
        let began = Instant::now();
        let (code, stdout) = ended(run, events);
        assert_eq!(code, Some(130), "{file}: {stdout}");
        assert!(began.elapsed() < Duration::from_secs(10), "{file}: it ended {:?} later", began.elapsed());
        let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        let summary = &last["summary"];
        let counts = ["interrupted", "failed", "skipped", "made"].map(|name| &summary[name]);
        assert_eq!(counts, [&Value::from(true), &0.into(), &1.into(), &0.into()], "{file}: {stdout}");
        sandbox.dpt(&["verify"]).code(0);
    }
    let late = ends(&sandbox, &["run", "late.toml"]).code(1);
    assert!(late.stderr.contains("`a` ran longer than its timeout of"), "{}", late.stderr);
}

#[test]
fn files_are_synced_before_their_renames_and_folders_after() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        "schema = 1\n[stage.a]\nkind = \"command\"\nshell = true\n\
         run = \"sleep 0.2; for i in $(seq 300); do echo $i > out/o/$i; done; cp out/o/1 out/o/same\"\n\
         outputs = { o = \"o/\" }\n",
    );
    let log = sandbox.path().join("log");
    sandbox.ran(sandbox.command(&["run", "p.toml"]).env("DPT_FAULT_LOG", &log)).code(0);
    let steps = fs::read_to_string(&log).unwrap();
    let at =
        |name: &str| steps.lines().enumerate().filter(|(_, step)| *step == name).map(|(i, _)| i).collect::<Vec<_>>();
    let [prepare, sync, rename, folder] = ["object.prepare", "object.sync", "object.rename", "object.folder"].map(at);
    // 300 files, two of them with equal bytes, and an empty log.
    assert_eq!((prepare.len(), sync.len(), rename.len()), (302, 301, 301));
    assert!(sync.iter().max() < rename.first() && rename.last() < folder.iter().min(), "{steps}");
    let folders = fs::read_dir(sandbox.path().join("cache/v1/objects")).unwrap().count();
    assert_eq!(folder.len(), folders + 1, "each folder, and the folder of these that are new");
    assert!(folder.iter().max() < at("entry.rename").first(), "{steps}");
    sandbox.dpt(&["verify"]).code(0);
}
