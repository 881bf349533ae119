//! `dpt run` on a pipeline of two downloads from a local folder, which need no libtorch.

use std::fs;

use crate::sandbox::Sandbox;
use crate::support::copies::{ALL, COPIES, chain, copies};

/// A pipeline of two stages that copy two files.
pub fn sandbox() -> Sandbox {
    copies(ALL)
}

/// Returns the names of the events that `--json` printed, without progress.
fn events(stdout: &str) -> Vec<String> {
    let name = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(line["at"].as_f64().is_some_and(|at| at > 1.7e9), "{line}");
        line["event"].as_str().expect("an event").to_owned()
    };
    stdout.lines().map(name).filter(|name| name != "node-progress").collect()
}

#[test]
fn second_run_prints_one_line_and_runs_nothing() {
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
fn results_are_copied_under_their_own_names() {
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
fn json_prints_events() {
    let sandbox = sandbox();
    let ran = sandbox.dpt(&["run", "copies.toml", "fetch[one]", "--json", "-j", "1"]).code(0);
    assert_eq!(events(&ran.stdout), ["run-started", "node-queued", "node-started", "node-done", "run-ended"]);
    assert_eq!(ran.stderr, "");
    let again = sandbox.dpt(&["run", "copies.toml", "fetch[one]", "--json"]).code(0);
    assert_eq!(events(&again.stdout), ["run-started", "node-hit", "run-ended"]);
}

#[test]
fn force_runs_a_fresh_node_again() {
    let sandbox = sandbox();
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let ran = sandbox.dpt(&["run", "copies.toml", "fetch[two]", "--force", "--json"]).code(0);
    assert_eq!(events(&ran.stdout), ["run-started", "node-queued", "node-started", "node-done", "run-ended"]);
}

#[test]
fn dry_run_runs_nothing_and_check_sets_the_exit_code() {
    let sandbox = sandbox();
    let dry = sandbox.dpt(&["run", "copies.toml", "-n"]).code(0);
    let expected = "\
stage  nodes  fresh  missing  time
fetch      2               2     ?  never made before
all        1               1     ?  never made before
";
    assert_eq!(dry.stdout, expected);
    let last = "copies: 3 would run, 0 fresh  (<TIME>); 3 nodes have no recorded time\n";
    assert_eq!(dry.stderr, last);
    assert!(!sandbox.path().join("cache").exists(), "a dry run makes no store");
    sandbox.dpt(&["run", "copies.toml", "--check"]).code(3);
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let fresh = sandbox.dpt(&["run", "copies.toml", "--check"]).code(0);
    assert_eq!(
        (fresh.stdout.as_str(), fresh.stderr.as_str()),
        ("", "copies: all 3 nodes fresh, nothing to do  (<TIME>)\n")
    );
    sandbox.write("data/two.txt", "22");
    let dry = sandbox.dpt(&["run", "copies.toml", "-n"]).code(0);
    assert!(dry.stdout.contains("fetch[two]: file two.txt changed\n"), "{}", dry.stdout);
    let json = sandbox.dpt(&["run", "copies.toml", "-n", "--json"]).code(0);
    assert_eq!(events(&json.stdout), ["run-started", "node-hit", "node-would-run", "node-would-run", "run-ended"]);
    assert!(json.stdout.starts_with("{\"at\":") && json.stdout.contains("\"schema\":1"), "{}", json.stdout);
}

#[test]
fn only_needs_its_inputs_in_the_store() {
    let sandbox = chain();
    let none = sandbox.dpt(&["run", "chain.toml", "--only", "tokenize[task=rte]"]).code(2);
    assert!(none.stderr.contains("is needed, is not among the nodes to run, and is not up to date"), "{}", none.stderr);
    assert!(none.stderr.contains("chain: 1 failed, 2 skipped in <TIME>\n  failed   "), "{}", none.stderr);
    let dry = sandbox.dpt(&["run", "chain.toml", "--only", "tokenize[task=rte]", "-n"]).code(2);
    assert!(dry.stderr.contains("= note: and 1 more\n"), "{}", dry.stderr);
    sandbox.dpt(&["run", "chain.toml", "--until", "data", "model"]).code(2);
    sandbox.dpt(&["run", "chain.toml", "--until", "data", "--until", "model"]).code(0);
    let only = sandbox.dpt(&["run", "chain.toml", "--only", "tokenize[task=rte]", "--json"]).code(0);
    let expected = ["run-started", "node-hit", "node-hit", "node-queued", "node-started", "node-done", "run-ended"];
    assert_eq!(events(&only.stdout), expected);
    let force = sandbox.dpt(&["run", "chain.toml", "--only", "tokenize[rte]", "--force", "--json"]).code(0);
    assert_eq!(events(&force.stdout), expected);
    // Stale inputs are not used: `data` is not selected, and its result is out of date.
    sandbox.write("data/RTE/train.jsonl", "");
    let stale = sandbox.dpt(&["run", "chain.toml", "--from", "tokenize[rte]"]).code(2);
    assert!(stale.stderr.contains("error: `data[task=rte]` is needed"), "{}", stale.stderr);
    sandbox.dpt(&["run", "chain.toml", "--from", "tokenize[cb]"]).code(0);
}

#[test]
fn unknown_part_is_refused_with_a_suggestion() {
    let sandbox = chain();
    let ran = sandbox.dpt(&["run", "chain.toml", "--only", "tokenise"]).code(2);
    assert!(
        ran.stderr.contains("there is no stage `tokenise`") && ran.stderr.contains("--> --only:1:1"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("did you mean `tokenize`?"), "{}", ran.stderr);
    let ran = sandbox.dpt(&["run", "chain.toml", "--from", "data[task=rtx]"]).code(2);
    assert!(ran.stderr.contains("did you mean `rte`?"), "{}", ran.stderr);
    let ran = sandbox.dpt(&["run", "chain.toml", "--from", "tokenize", "--until", "data"]).code(2);
    assert!(ran.stderr.contains("no node matches all of TARGET, `--from` and `--until`"), "{}", ran.stderr);
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
fn failed_stage_is_reported_with_exit_code_1() {
    let sandbox = sandbox();
    let pinned = format!("{COPIES}{ALL}")
        .replace("url = \"file:data\"", "url = \"file:data\"\nfiles = { two = { path = \"two.txt\", bytes = 99 } }");
    sandbox.write("copies.toml", &pinned);
    // One at a time, since the last line names the node that failed first.
    let ran = sandbox.dpt(&["run", "copies.toml", "-k", "-j", "1"]).code(1);
    assert!(ran.stderr.contains("error: fetch[part=two]: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("two.txt"), "{}", ran.stderr);
    assert!(ran.stderr.contains("copies: 1 done, 2 failed in <TIME>\n  failed   "), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("  for details: dpt explain copies.toml 'fetch[two]'\n"), "{}", ran.stderr);
}

#[test]
fn invalid_pipeline_gives_exit_code_2_and_no_store() {
    let sandbox = sandbox();
    sandbox.write("bad.toml", &COPIES.replace("format =", "formta ="));
    let ran = sandbox.dpt(&["run", "bad.toml"]).code(2);
    assert!(ran.stderr.contains("did you mean `format`?"), "{}", ran.stderr);
    assert!(!sandbox.path().join("cache").exists());
    let missing = sandbox.dpt(&["run", "none.toml"]).code(2);
    assert!(missing.stderr.contains("cannot read `none.toml`"), "{}", missing.stderr);
    let target = sandbox.dpt(&["run", "copies.toml", "fetsh"]).code(2);
    assert!(target.stderr.contains("`fetsh`"), "{}", target.stderr);
}

#[test]
fn store_is_in_the_named_folder() {
    let sandbox = sandbox();
    sandbox.dpt(&["run", "copies.toml", "--cache", "a/store"]).code(0);
    assert!(sandbox.path().join("a/store/v1").is_dir());
    sandbox.ran(sandbox.command(&["run", "copies.toml"]).env("DPT_CACHE", "b")).code(0);
    assert!(sandbox.path().join("b/v1").is_dir());
    assert!(!sandbox.path().join("cache").exists());
}

#[test]
fn store_that_cannot_be_created_gives_exit_code_6() {
    let sandbox = sandbox();
    sandbox.write("file", "");
    let ran = sandbox.dpt(&["run", "copies.toml", "--cache", "file/store"]).code(6);
    assert!(ran.stderr.contains("--cache DIR"), "{}", ran.stderr);
}

#[test]
fn piped_output_has_no_colours() {
    let ran = sandbox().dpt(&["run", "copies.toml"]).code(0);
    assert!(!ran.stderr.contains('\x1b'), "{}", ran.stderr);
}

#[test]
fn exec_runs_only_the_named_node() {
    let sandbox = sandbox();
    let ran = sandbox.dpt(&["exec", "copies.toml", "fetch[two]"]).code(0);
    assert_eq!(events(&ran.stdout), ["run-started", "node-queued", "node-started", "node-done", "run-ended"]);
}

#[test]
fn doctor_reports_a_missing_worker() {
    let sandbox = sandbox();
    let ran = sandbox.ran(sandbox.command(&["doctor"]).env("DPT_WORKER", "/no/such/worker")).code(6);
    assert!(ran.stdout.contains("worker  bad"), "{}", ran.stdout);
    assert!(ran.stderr.contains("is not at `/no/such/worker`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("cargo build --release"), "{}", ran.stderr);
}
