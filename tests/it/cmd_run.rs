//! `dpt run` and `dpt status` on a pipeline of two downloads from a local folder, which need no libtorch.

use std::fs;

use crate::sandbox::Sandbox;

const PIPELINE: &str = r#"
schema = 1

[pipeline]
name = "copies"

[axes]
part = ["one", "two"]

[source.here]
url = "file:data"

[stage.fetch]
kind = "download"
axes = ["part"]
source = "here"
format = "files"
file = ["{part}.txt"]

[stage.all]
kind = "download"
source = "here"
format = "files"
file = ["one.txt", "two.txt"]
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("copies.toml", PIPELINE);
    sandbox.write("data/one.txt", "1");
    sandbox.write("data/two.txt", "2");
    sandbox
}

/// The names of the events in what `--json` printed, progress left out.
fn events(stdout: &str) -> Vec<String> {
    let name = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(line["at"].as_f64().is_some_and(|at| at > 1.7e9), "{line}");
        line["event"].as_str().expect("an event").to_owned()
    };
    stdout.lines().map(name).filter(|name| name != "node-progress").collect()
}

#[test]
fn runs_what_is_missing_and_then_says_so_in_one_line() {
    let sandbox = sandbox();
    let first = sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert_eq!(first.stdout, "");
    let last = first.stderr.lines().last().unwrap();
    assert_eq!(last, "copies: 3 done in <TIME>  -> cache/results/copies/all", "{}", first.stderr);
    let second = sandbox.dpt(&["run", "copies.toml"]).code(0);
    let line = "copies: all 3 nodes fresh, nothing to do  (<TIME>)  -> cache/results/copies/all\n";
    assert_eq!(second.stderr, line);
}

#[test]
fn results_lie_under_their_own_names() {
    let sandbox = sandbox();
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let file = sandbox.path().join("cache/results/copies/all/files/two.txt");
    assert_eq!(fs::read_to_string(&file).unwrap(), "2");
    sandbox.write("data/two.txt", "new");
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    fs::remove_file(&file).unwrap();
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "new", "a copy that was removed is made again");
}

#[test]
fn json_tells_events() {
    let sandbox = sandbox();
    let ran = sandbox.dpt(&["run", "copies.toml", "fetch[one]", "--json", "-j", "1"]).code(0);
    assert_eq!(events(&ran.stdout), ["run-started", "node-queued", "node-started", "node-done", "run-ended"]);
    assert_eq!(ran.stderr, "");
    let again = sandbox.dpt(&["run", "copies.toml", "fetch[one]", "--json"]).code(0);
    assert_eq!(events(&again.stdout), ["run-started", "node-hit", "run-ended"]);
}

#[test]
fn force_runs_again() {
    let sandbox = sandbox();
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let ran = sandbox.dpt(&["run", "copies.toml", "fetch[two]", "--force", "--json"]).code(0);
    assert_eq!(events(&ran.stdout), ["run-started", "node-queued", "node-started", "node-done", "run-ended"]);
}

#[test]
fn a_dry_run_runs_nothing_and_check_tells_by_its_code() {
    let sandbox = sandbox();
    let dry = sandbox.dpt(&["run", "copies.toml", "-n"]).code(0);
    assert!(dry.stderr.contains("would run fetch[part=one]  never made before\n"), "{}", dry.stderr);
    assert!(dry.stderr.ends_with("copies: 3 would run, 0 more may follow, 0 fresh  (<TIME>)\n"), "{}", dry.stderr);
    sandbox.dpt(&["run", "copies.toml", "--check"]).code(3);
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    sandbox.dpt(&["run", "copies.toml", "--check"]).code(0);
}

#[test]
fn only_what_changed_runs_again() {
    let sandbox = sandbox();
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    sandbox.write("data/two.txt", "22");
    let ran = sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert!(ran.stderr.contains("done fetch[part=two]"), "{}", ran.stderr);
    assert!(ran.stderr.contains("copies: 2 done, 1 fresh in <TIME>"), "{}", ran.stderr);
}

#[test]
fn a_failed_stage_is_told_and_gives_code_1() {
    let sandbox = sandbox();
    let pinned = PIPELINE
        .replace("url = \"file:data\"", "url = \"file:data\"\nfiles = { two = { path = \"two.txt\", bytes = 99 } }");
    sandbox.write("copies.toml", &pinned);
    let ran = sandbox.dpt(&["run", "copies.toml", "-k"]).code(1);
    assert!(ran.stderr.contains("error: fetch[part=two]: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("two.txt"), "{}", ran.stderr);
    assert!(ran.stderr.contains("copies: 1 done, 2 failed in <TIME>"), "{}", ran.stderr);
}

#[test]
fn a_wrong_pipeline_gives_code_2_and_makes_no_store() {
    let sandbox = sandbox();
    sandbox.write("bad.toml", &PIPELINE.replace("format =", "formta ="));
    let ran = sandbox.dpt(&["run", "bad.toml"]).code(2);
    assert!(ran.stderr.contains("did you mean `format`?"), "{}", ran.stderr);
    assert!(!sandbox.path().join("cache").exists());
    let missing = sandbox.dpt(&["run", "none.toml"]).code(2);
    assert!(missing.stderr.contains("cannot read `none.toml`"), "{}", missing.stderr);
    let target = sandbox.dpt(&["run", "copies.toml", "fetsh"]).code(2);
    assert!(target.stderr.contains("`fetsh`"), "{}", target.stderr);
}

#[test]
fn the_store_is_where_it_is_asked_for() {
    let sandbox = sandbox();
    sandbox.dpt(&["run", "copies.toml", "--cache", "a/store"]).code(0);
    assert!(sandbox.path().join("a/store/v1").is_dir());
    sandbox.ran(sandbox.command(&["run", "copies.toml"]).env("DPT_CACHE", "b")).code(0);
    assert!(sandbox.path().join("b/v1").is_dir());
    assert!(!sandbox.path().join("cache").exists());
}

#[test]
fn a_store_that_cannot_be_made_is_a_matter_of_the_machine() {
    let sandbox = sandbox();
    sandbox.write("file", "");
    let ran = sandbox.dpt(&["run", "copies.toml", "--cache", "file/store"]).code(6);
    assert!(ran.stderr.contains("--cache DIR"), "{}", ran.stderr);
}

#[test]
fn status_tells_how_nodes_stand() {
    let sandbox = sandbox();
    let before = sandbox.dpt(&["status", "copies.toml"]).code(0);
    let expected = "\
stage  nodes  done  stale  waiting
fetch      2            2           fetch[one]: never made before
all        1            1           all: never made before
";
    assert_eq!(before.stdout, expected);
    assert_eq!(before.stderr, "3 nodes in <TIME>\n");
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let after = sandbox.dpt(&["status", "copies.toml", "--nodes", "fetch"]).code(0);
    assert!(after.stdout.starts_with("done  fetch[one]  took <TIME>, "), "{}", after.stdout);
    let json = sandbox.dpt(&["status", "copies.toml", "--json", "all"]).code(0);
    let line: serde_json::Value = serde_json::from_str(json.stdout.trim_end()).unwrap();
    assert_eq!((line["node"].as_str(), line["status"].as_str()), (Some("all"), Some("done")));
}

#[test]
fn colour_is_for_terminals_alone() {
    let ran = sandbox().dpt(&["run", "copies.toml"]).code(0);
    assert!(!ran.stderr.contains('\x1b'), "{}", ran.stderr);
}

#[test]
fn exec_runs_one_node_and_nothing_that_it_needs() {
    let sandbox = sandbox();
    let ran = sandbox.dpt(&["exec", "copies.toml", "fetch[two]"]).code(0);
    assert_eq!(events(&ran.stdout), ["run-started", "node-queued", "node-started", "node-done", "run-ended"]);
}

#[test]
fn doctor_finds_a_missing_worker() {
    let sandbox = sandbox();
    let ran = sandbox.ran(sandbox.command(&["doctor"]).env("DPT_WORKER", "/no/such/worker")).code(6);
    assert!(ran.stdout.contains("worker  bad"), "{}", ran.stdout);
    assert!(ran.stderr.contains("is not at `/no/such/worker`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("cargo build --release"), "{}", ran.stderr);
}
