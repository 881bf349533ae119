//! `command` stages from outside: the shipped pipeline, what is in the key, retries, timeouts, kills.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::quickstart::copy;
use crate::sandbox::{Ran, Sandbox};

/// Returns the nodes with this event.
fn nodes(ran: &Ran, event: &str) -> Vec<String> {
    let lines = ran.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut nodes: Vec<_> =
        lines.filter(|line| line["event"] == event).map(|line| line["node"].as_str().unwrap().to_owned()).collect();
    nodes.sort();
    nodes
}

/// Runs `p.toml` and returns the nodes that ran.
fn made(sandbox: &Sandbox, more: &[&str]) -> Vec<String> {
    let args: Vec<_> = ["run", "p.toml", "--json"].into_iter().chain(more.iter().copied()).collect();
    nodes(&sandbox.dpt(&args).code(0), "node-done")
}

fn shipped() -> Sandbox {
    let sandbox = Sandbox::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["examples/data/CB", "examples/data/RTE", "examples/tiny_t5", "examples/command"] {
        copy(&root.join(name), &sandbox.path().join(name));
    }
    copy(&root.join("pipelines/command.toml"), &sandbox.path().join("pipelines/command.toml"));
    sandbox
}

#[test]
fn shipped_command_pipeline_runs_and_reruns_only_changes() {
    let sandbox = shipped();
    let run = |more: &[&str]| {
        let args: Vec<_> = ["run", "pipelines/command.toml", "--cache", "cache", "--json"]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        nodes(&sandbox.dpt(&args).code(0), "node-done")
    };
    assert_eq!(run(&[]).len(), 8);
    let table = sandbox.path().join("cache/results/command/table/table.md");
    let expected = "\
| task | split | rows |
| --- | --- | ---: |
| cb | train | 207 |
| cb | validation | 209 |
| rte | train | 120 |
| rte | validation | 102 |
";
    assert_eq!(fs::read_to_string(&table).unwrap(), expected);
    assert_eq!(fs::read_to_string(table.with_file_name("command.log")).unwrap(), "2 tasks\n");
    assert_eq!(run(&[]), [""; 0]);
    // All rows are short enough now, so the tokens change once.
    let longer = run(&["--set", "stage.short.params.longest=1000"]);
    assert_eq!(longer, ["short[task=cb]", "short[task=rte]", "table", "tokenize[task=cb]", "tokenize[task=rte]"]);
    assert_eq!(run(&["--set", "stage.short.params.longest=1001"]), ["short[task=cb]", "short[task=rte]"]);
    let script = sandbox.path().join("examples/command/table.py");
    fs::write(&script, fs::read_to_string(&script).unwrap().replace("| rows |", "| number |")).unwrap();
    assert_eq!(run(&[]), ["table"]);
    assert!(fs::read_to_string(&table).unwrap().starts_with("| task | split | number |"));
}

const PIPELINE: &str = r#"
schema = 1

[stage.a]
kind = "command"
run = ["sh", "code/a.sh", "{param.x}", "{files.f}", "{out.o}"]
code = ["code"]
files = { f = "f.txt" }
params = { x = 1 }
env = ["COLOUR"]
secrets = ["MY_SECRET"]
outputs = { o = "o.txt" }

[stage.b]
kind = "command"
needs = { a = "a" }
run = ["cp", "{in.a/o.txt}", "{out.o}"]
outputs = { o = "copy.txt" }
"#;

const SECRET: &str = "hunter2-and-more";

fn small() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", PIPELINE);
    sandbox.write("code/a.sh", "echo $1 $COLOUR > $3; cat $2 >> $3; echo said $MY_SECRET");
    sandbox.write("f.txt", "file\n");
    sandbox
}

/// Runs `p.toml` with a secret and returns the nodes that ran.
fn with(sandbox: &Sandbox, env: &[(&str, &str)], more: &[&str]) -> Vec<String> {
    let args: Vec<_> = ["run", "p.toml", "--json"].into_iter().chain(more.iter().copied()).collect();
    let mut command = sandbox.command(&args);
    command.env("MY_SECRET", SECRET).envs(env.iter().copied());
    nodes(&sandbox.ran(&mut command).code(0), "node-done")
}

#[test]
fn every_input_of_a_command_is_in_its_key() {
    let sandbox = small();
    let both = ["a", "b"];
    assert_eq!(with(&sandbox, &[], &[]), both);
    assert_eq!(with(&sandbox, &[], &[]), [""; 0]);
    assert_eq!(with(&sandbox, &[("COLOUR", "red")], &[]), both, "an environment variable");
    assert_eq!(with(&sandbox, &[("COLOUR", "blue")], &[]), both);
    assert_eq!(with(&sandbox, &[], &["--set", "stage.a.params.x=2"]), both, "a parameter");
    assert_eq!(with(&sandbox, &[], &["--set", "stage.a.params.x=1.0"]), both, "its type");
    let more = "stage.a.params={x=1,y=2}";
    assert_eq!(with(&sandbox, &[], &["--set", more]), ["a"], "one more, although no argument names it");
    let version = r#"stage.a.version=["echo","7"]"#;
    assert_eq!(with(&sandbox, &[], &["--set", version]), ["a"], "the version of a program");
    let outputs = r#"stage.a.outputs={o="p.txt"}"#;
    let args = ["run", "p.toml", "a", "--json", "--set", outputs];
    let ran = sandbox.ran(sandbox.command(&args).env("MY_SECRET", SECRET)).code(0);
    assert_eq!(nodes(&ran, "node-done"), ["a"], "the path of an output");
    sandbox.write("f.txt", "other\n");
    assert_eq!(with(&sandbox, &[], &[]), both, "a file");
    sandbox.write("code/lib.sh", "");
    assert_eq!(with(&sandbox, &[], &[]), ["a"], "a script beside the script");
    sandbox.write("code/a.sh", "echo $1 $COLOUR > $3; cat $2 >> $3");
    assert_eq!(with(&sandbox, &[], &[]), ["a"], "the script; what it makes is the same, so nothing follows");
}

#[test]
fn other_changes_keep_the_key_of_a_command() {
    let sandbox = small();
    assert_eq!(with(&sandbox, &[], &[]).len(), 2);
    let none = [""; 0];
    assert_eq!(with(&sandbox, &[("MY_SECRET", "another-secret")], &[]), none, "the value of a secret");
    assert_eq!(with(&sandbox, &[("PATH", "/bin:/usr/bin"), ("LANG", "de")], &[]), none, "where programs are");
    let resources = "stage.a.resources={cpu=2,retries=3,backoff=0,timeout=\"1h\"}";
    assert_eq!(with(&sandbox, &[], &["--set", resources]), none, "resources");
    sandbox.write("p.toml", &PIPELINE.replace("[stage.a]", "# a comment\n[stage.a]\ndescription = \"x\""));
    sandbox.write("f.txt", "file\n");
    assert_eq!(with(&sandbox, &[], &[]), none, "comments and times");
    sandbox.write("elsewhere/f.txt", "file\n");
    assert_eq!(with(&sandbox, &[], &["--set", "stage.a.files.f=elsewhere/f.txt"]), none, "the folder of a file");
    let moved = Sandbox::new();
    for name in ["p.toml", "code", "f.txt", "cache"] {
        copy(&sandbox.path().join(name), &moved.path().join(name));
    }
    // Signatures are valid only in the store's place; after a copy, each file is hashed once.
    assert_eq!(with(&moved, &[], &[]), none, "where the project lies");
}

#[test]
fn script_changed_while_its_node_waits_enters_the_key() {
    let sandbox = Sandbox::new();
    let script = sandbox.write("b.sh", "echo old > $1");
    let text = r#"
schema = 1
[stage.a]
kind = "command"
run = "echo 'echo new > $1' > $DPT_PARAM_SCRIPT; echo > $DPT_OUT_O"
shell = true
params = { script = "SCRIPT" }
outputs = { o = "o" }
resources = { cpu = 4 }
[stage.b]
kind = "command"
run = ["sh", "b.sh", "{out.o}"]
code = ["b.sh"]
outputs = { o = "o" }
"#;
    sandbox.write("p.toml", &text.replace("SCRIPT\"", &format!("{}\"", script.display())));
    assert_eq!(made(&sandbox, &["-j", "1"]), ["a", "b"]);
    assert_eq!(fs::read_to_string(sandbox.path().join("cache/results/p/b/o")).unwrap(), "new\n");
    assert_eq!(made(&sandbox, &[]), [""; 0], "what is kept belongs to the script as it is");
}

#[test]
fn retries_are_counted_and_not_in_the_key() {
    let sandbox = Sandbox::new();
    let text = r#"
schema = 1
[stage.flaky]
kind = "command"
run = "echo x >> COUNT; test $(wc -l < COUNT) -gt 2 || { echo not yet; exit 7; }; echo > $DPT_OUT_O"
shell = true
outputs = { o = "o" }
resources = { retries = 2, backoff = 0 }
"#;
    let count = sandbox.path().join("count");
    sandbox.write("p.toml", &text.replace("COUNT", &count.display().to_string()));
    let first = sandbox.dpt(&["run", "p.toml", "--json", "--set", "stage.flaky.resources.retries=1"]).code(1);
    assert_eq!((nodes(&first, "node-retry").len(), nodes(&first, "node-failed").len()), (1, 1));
    fs::remove_file(&count).unwrap();
    let second = sandbox.dpt(&["run", "p.toml"]).code(0);
    let told = "retry flaky  attempt 2 failed (`flaky` ended with exit status 7), retrying";
    assert!(second.stderr.contains(told), "{}", second.stderr);
    assert_eq!(made(&sandbox, &["--set", "stage.flaky.resources.retries=9"]), [""; 0]);
}

#[test]
fn permanent_failures_are_not_retried() {
    let sandbox = Sandbox::new();
    let text =
        "schema = 1\n[stage.a]\nkind = \"command\"\nrun = RUN\noutputs = { o = \"o\" }\nresources = { retries = 5 }\n";
    for (run, code) in [("[\"true\"]", 1), ("[\"no-such-program\"]", 6), ("[\"cat\", \"{in.x}\"]", 2)] {
        sandbox.write("p.toml", &text.replace("RUN", run));
        let ran = sandbox.dpt(&["run", "p.toml", "--json"]).code(code);
        assert!(!ran.stdout.contains("node-retry"), "{}", ran.stdout);
    }
}

#[test]
fn timeout_ends_the_whole_process_group() {
    let sandbox = Sandbox::new();
    let child = sandbox.path().join("child");
    let text = format!(
        "schema = 1\n[stage.slow]\nkind = \"command\"\nrun = \"sleep 1000 & echo $! > {}; wait\"\nshell = true\n\
         outputs = {{ o = \"o\" }}\nresources = {{ timeout = \"1s\" }}\n",
        child.display()
    );
    sandbox.write("p.toml", &text);
    let started = Instant::now();
    let ran = sandbox.dpt(&["run", "p.toml"]).code(1);
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(ran.stderr.contains("error: `slow` ran longer than its timeout of"), "{}", ran.stderr);
    assert!(gone(&child));
}

/// Returns `true` if the process whose id is in this file ends soon.
fn gone(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// A pipeline whose program waits for a file. Returns the file that it writes when it runs.
fn waiting(sandbox: &Sandbox) -> std::path::PathBuf {
    let (pid, go) = (sandbox.path().join("pid"), sandbox.path().join("go"));
    let text = format!(
        "schema = 1\n[stage.w]\nkind = \"command\"\nshell = true\noutputs = {{ o = \"o\" }}\n\
         run = \"echo $$ > {}.new; mv {0}.new {0}; while test ! -e {}; do sleep 0.02; done; echo > $DPT_OUT_O\"\n",
        pid.display(),
        go.display()
    );
    sandbox.write("p.toml", &text);
    pid
}

fn started(sandbox: &Sandbox, pid: &Path) -> std::process::Child {
    let child = sandbox.command(&["run", "p.toml"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    while !pid.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn ctrl_c_ends_the_program_and_the_next_run_continues() {
    let sandbox = Sandbox::new();
    let pid = waiting(&sandbox);
    let mut dpt = started(&sandbox, &pid);
    std::process::Command::new("kill").args(["-INT", &dpt.id().to_string()]).status().unwrap();
    assert_eq!(dpt.wait().unwrap().code(), Some(130));
    assert!(gone(&pid));
    sandbox.write("go", "");
    assert_eq!(made(&sandbox, &[]), ["w"]);
}

#[test]
fn program_dies_with_a_killed_dpt() {
    let sandbox = Sandbox::new();
    let pid = waiting(&sandbox);
    let mut dpt = started(&sandbox, &pid);
    dpt.kill().unwrap();
    dpt.wait().unwrap();
    assert!(gone(&pid));
    sandbox.write("go", "");
    assert_eq!(made(&sandbox, &[]), ["w"]);
    assert_eq!(fs::read_dir(sandbox.path().join("cache/v1/work")).unwrap().count(), 0);
}

#[test]
fn failure_shows_the_end_of_the_log_and_its_path() {
    let sandbox = Sandbox::new();
    let text = "schema = 1\n[stage.a]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"echo out; echo err >&2; exit 3\"]\n\
                outputs = { o = \"o\" }\n";
    sandbox.write("p.toml", text);
    let ran = sandbox.dpt(&["run", "p.toml"]).code(1);
    let key = regex::Regex::new("[0-9a-f]{64}").unwrap();
    let expected = "\
error: `a` ended with exit status 3
   = note: the command was `sh -c 'echo out; echo err >&2; exit 3'`
   = note: its last lines:
           out
           err
   = note: its log: `<DIR>/cache/v1/work/KEY/scratch/command.log`
p: 1 failed in <TIME>
  failed   a: ended with exit status 3
  for details: dpt explain p.toml 'a'
";
    assert_eq!(key.replace_all(&ran.stderr, "KEY"), expected);
}

#[test]
fn gather_reads_named_files_and_has_a_manifest() {
    let sandbox = Sandbox::new();
    let text = r#"
schema = 1
[axes]
seed = [2, 10]
[stage.one]
kind = "command"
axes = ["seed"]
run = ["sh", "-c", "echo {seed} > $0; echo noise > $1", "{out.o}", "{out.noise}"]
outputs = { o = "o.txt", noise = "noise.txt" }
[stage.all]
kind = "command"
needs = { runs = "one[*]" }
run = ["sh", "-c", "cat \"$@\" > $0; cat in/runs.json >> $0; ls in/runs/000 >> $0", "{out.all}", "{in.runs/o.txt}"]
outputs = { all = "all.txt" }
"#;
    sandbox.write("p.toml", text);
    assert_eq!(made(&sandbox, &[]).len(), 3);
    let all = fs::read_to_string(sandbox.path().join("cache/results/p/all/all.txt")).unwrap();
    assert!(all.starts_with("2\n10\n"), "{all}");
    assert!(all.contains("\"seed\": \"10\"") && all.ends_with("o.txt\n") && !all.contains("noise"), "{all}");
    // A change of a file that it does not read has no effect.
    sandbox.write("p.toml", &text.replace("echo noise", "echo louder"));
    assert_eq!(made(&sandbox, &[]), ["one[seed=10]", "one[seed=2]"]);
}

#[test]
fn invalid_command_is_reported_before_anything_runs() {
    let sandbox = Sandbox::new();
    let text = r#"schema = 1

[stage.rows]
kind = "command"
run = "ls | wc"
outputs = { rows = "rows.txt" }

[stage.more]
kind = "command"
needs = { data = "good" }
run = ["cat", "{in.dta}", "{out.rows}"]
outputs = { rows = "rows.csv" }

[stage.good]
kind = "command"
run = ["touch", "{out.rows}"]
outputs = { rows = "rows.csv" }

[stage.tokenize]
needs = { data = "good", tokenizer = "good" }
task = "rte"
"#;
    sandbox.write("p.toml", text);
    let ran = sandbox.dpt(&["check", "p.toml"]).code(2);
    let expected = "\
error: `run` is one text, but `shell` is not set
  --> p.toml:3:8
   |
 3 | [stage.rows]
   |        ^^^^
   = note: in `rows`
   = help: write the program and its arguments as a list, `run = [\"python3\", \"plot.py\"]`; or set `shell = true`

error: `run` of stage `more` names `{in.dta}`, but its `needs` has no role `dta`
  --> p.toml:10:1
   |
10 | needs = { data = \"good\" }
   | ^^^^^ did you mean `data`?

error: `good` makes nothing that role `data` reads
  --> p.toml:20:18
   |
20 | needs = { data = \"good\", tokenizer = \"good\" }
   |                  ^^^^^^ makes `rows.csv`
   = note: the role reads `*.parquet` or `train.jsonl` or `validation.jsonl` or `dev.jsonl` or `test.jsonl`

error: `good` makes nothing that role `tokenizer` reads
  --> p.toml:20:38
   |
20 | needs = { data = \"good\", tokenizer = \"good\" }
   |                                      ^^^^^^ makes `rows.csv`
   = note: the role reads `tokenizer.json` or `spiece.model` or `config.json`
";
    assert_eq!(ran.stdout.clone() + &ran.stderr, expected, "{ran:?}");
}

#[test]
fn output_of_a_program_is_not_locked_or_verified() {
    let sandbox = Sandbox::new();
    let text = "schema = 1\n[stage.a]\nkind = \"command\"\nshell = true\nrun = \"echo $$ at $(date +%N); echo ORDER > $DPT_OUT_O\"\n\
                outputs = { o = \"o.txt\" }\n";
    sandbox.write("p.toml", &text.replace("ORDER", "the same"));
    assert_eq!(made(&sandbox, &[]), ["a"]);
    sandbox.dpt(&["lock", "p.toml"]).code(0);
    sandbox.dpt(&["verify", "p.toml", "--rerun"]).code(0);
    sandbox.dpt(&["run", "p.toml", "--force"]).code(0);
    sandbox.dpt(&["run", "p.toml", "--locked"]).code(0);
    sandbox.write("p.toml", &text.replace("ORDER", "$$"));
    assert_eq!(made(&sandbox, &[]), ["a"]);
    sandbox.dpt(&["lock", "p.toml"]).code(0);
    sandbox.dpt(&["verify", "p.toml", "--rerun"]).code(4);
}
