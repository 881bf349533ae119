//! `dpt cache …`, `--shared-store`, and stores that cannot be written.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::sandbox::Sandbox;
use crate::support::copies::copies;

/// A stage in addition to the copies.
const ROWS: &str = r#"
[stage.rows]
kind = "generate"
tasks = ["rte"]
train_rows = 3
val_rows = 2
test_rows = 2
"#;

fn sandbox() -> Sandbox {
    let sandbox = copies(ROWS);
    sandbox.write("data/two.txt", "22");
    sandbox
}

fn ran() -> Sandbox {
    let sandbox = sandbox();
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    sandbox
}

/// The values of a field in lines of JSON.
fn field(stdout: &str, name: &str) -> Vec<serde_json::Value> {
    stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()[name].clone()).collect()
}

#[test]
fn ls_lists_filters_and_sorts() {
    let sandbox = ran();
    let all = sandbox.dpt(&["cache", "ls", "--sort", "node"]).code(0);
    let lines: Vec<_> = all.stdout.lines().collect();
    assert!(lines[0].starts_with("key              node               size"), "{}", all.stdout);
    assert!(lines[1].contains("fetch[part=one]") && lines[3].contains("rows 7"), "{}", all.stdout);
    assert!(all.stderr.starts_with("3 entries, "), "{}", all.stderr);
    let nodes = |args: &[&str]| {
        let args: Vec<_> = ["cache", "ls", "--json", "--sort", "size"].iter().chain(args).copied().collect();
        field(&sandbox.dpt(&args).code(0).stdout, "node")
    };
    assert_eq!(nodes(&[]), ["fetch[part=one]", "fetch[part=two]", "rows"]);
    assert_eq!(nodes(&["fetch[two]"]), ["fetch[part=two]"]);
    assert_eq!(nodes(&["--kind", "generate"]), ["rows"]);
    assert_eq!(nodes(&["--larger-than", "1kB"]), ["rows"]);
    assert_eq!(nodes(&["--older-than", "1d"]).len(), 0);
    let key = field(&sandbox.dpt(&["cache", "ls", "rows", "--json"]).code(0).stdout, "key")[0].clone();
    assert_eq!(nodes(&[&key.as_str().unwrap()[..12]]), ["rows"]);
}

#[test]
fn show_prints_one_result_in_full() {
    let sandbox = ran();
    let shown = sandbox.dpt(&["cache", "show", "rows"]).code(0).stdout;
    for part in
        ["rows\n  key ", "  kind      generate\n", "metrics\n  rows  7\n", "RTE/val.jsonl", "recipe\n  schema = 1\n"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("  param.train_rows = 3\n") && shown.contains("content b3:"), "{shown}");
    let json = sandbox.dpt(&["cache", "show", "fetch[one]", "--json"]).code(0).stdout;
    assert_eq!(field(&json, "schema"), [1]);
    let none = sandbox.dpt(&["cache", "show", "train"]).code(2).stderr;
    assert!(none.contains("no stored result matches `train`"), "{none}");
    let many = sandbox.dpt(&["cache", "show", "fetch"]).code(2).stderr;
    assert!(many.contains("`fetch` matches 2 results") && many.contains("fetch[part=two]"), "{many}");
}

#[test]
fn du_counts_shared_files_once() {
    let sandbox = sandbox();
    // Both nodes bring the same bytes, under different names.
    sandbox.write("data/two.txt", "1");
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let lines = sandbox.dpt(&["cache", "du", "--json"]).code(0).stdout;
    let objects: u64 = walk(&sandbox, "cache/v1/objects");
    let (what, bytes) = (field(&lines, "what"), field(&lines, "bytes"));
    assert_eq!(what[..2], ["download", "generate"]);
    let sum: u64 = bytes[..2].iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(sum, objects);
    let table = sandbox.dpt(&["cache", "du", "--by", "pipeline"]).code(0).stdout;
    assert!(table.contains("copies") && table.contains("journals and logs"), "{table}");
}

fn walk(sandbox: &Sandbox, folder: &str) -> u64 {
    let dirs = fs::read_dir(sandbox.path().join(folder)).unwrap();
    dirs.flat_map(|dir| fs::read_dir(dir.unwrap().path()).unwrap()).map(|f| f.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn gc_lists_first_and_removes_only_unused_results() {
    let sandbox = ran();
    sandbox.dpt(&["run", "copies.toml", "--set", "stage.rows.train_rows=4"]).code(0);
    let gc = |more: &[&str]| {
        let args: Vec<_> = ["cache", "gc", "--grace", "0s"].iter().chain(more).copied().collect();
        sandbox.dpt(&args)
    };
    // By default the results of the last ten runs are kept.
    let safe = gc(&[]).code(0);
    assert_eq!(safe.stdout, "nothing to remove\n");
    assert!(safe.stderr.contains("4 entries with") && safe.stderr.contains("the last 2 runs"), "{}", safe.stderr);
    let told = gc(&["--keep-runs", "1", "--list"]).code(0);
    assert!(told.stdout.contains("generate       1"), "{}", told.stdout);
    assert!(told.stderr.ends_with("nothing was removed; `--yes` removes it\n"), "{}", told.stderr);
    assert_eq!(sandbox.dpt(&["cache", "ls", "--json"]).code(0).stdout.lines().count(), 4);
    let done = gc(&["--keep-runs", "1", "-y", "--json"]).code(0);
    assert_eq!(field(&done.stdout, "removed"), [true]);
    assert_eq!(field(&done.stdout, "kept"), [3]);
    let check = sandbox.dpt(&["run", "copies.toml", "--check", "--set", "stage.rows.train_rows=4"]);
    assert_eq!(check.code, 0, "{}", check.stderr);
    sandbox.dpt(&["run", "copies.toml", "--check"]).code(3);
    // Keeps the current and the previous results of the pipeline.
    let kept = gc(&["--keep-pipeline", "copies.toml", "-y"]).code(0);
    assert_eq!(kept.stdout, "nothing to remove\n");
    let young = sandbox.dpt(&["cache", "gc", "--keep-runs", "0"]).code(0);
    assert_eq!(young.stdout, "nothing to remove\n");
    gc(&["--keep-runs", "0", "-y"]).code(0);
    assert_eq!(sandbox.dpt(&["cache", "ls"]).code(0).stdout, "");
    sandbox.dpt(&["run", "copies.toml"]).code(0);
}

#[test]
fn gc_refuses_or_waits_while_a_run_uses_the_store() {
    let sandbox = ran();
    let in_use = dpt::cache::Store::open(&sandbox.path().join("cache")).unwrap().in_use().unwrap();
    let args = ["cache", "gc", "--grace", "0s", "--keep-runs", "0", "-y"];
    let refused = sandbox.dpt(&args).code(6);
    assert!(refused.stderr.contains("a run uses the store; nothing was removed"), "{}", refused.stderr);
    let mut waiting = sandbox.command(&[&args[..], &["--wait"]].concat());
    let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "a run uses the store; waiting until it ends"));
    assert_eq!(sandbox.dpt(&["cache", "ls", "--json"]).code(0).stdout.lines().count(), 3);
    drop(in_use);
    assert!(lines.any(|line| line.starts_with("freed ")));
    assert!(waiting.wait().unwrap().success());
    assert_eq!(sandbox.dpt(&["cache", "ls"]).code(0).stdout, "");
}

/// Results that a run uses while gc waits for it are kept, whatever their age.
#[test]
fn gc_keeps_results_that_a_run_used_while_gc_waited() {
    let sandbox = ran();
    sandbox.dpt(&["run", "copies.toml", "--set", "stage.rows.train_rows=4"]).code(0);
    let in_use = dpt::cache::Store::open(&sandbox.path().join("cache")).unwrap().in_use().unwrap();
    let mut gc = sandbox.command(&["cache", "gc", "--grace", "0s", "--keep-runs", "1", "-y", "--wait"]);
    let mut gc = gc.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(gc.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("waiting")));
    // The node that would be removed runs again, so it belongs to the last run.
    sandbox.dpt(&["run", "copies.toml", "--only", "rows", "--force"]).code(0);
    drop(in_use);
    assert!(lines.any(|line| line.starts_with("freed ")));
    assert!(gc.wait().unwrap().success());
    sandbox.dpt(&["run", "copies.toml", "rows", "--check"]).code(0);
}

#[test]
fn gc_without_index_or_with_a_wrong_pipeline_removes_nothing() {
    let sandbox = ran();
    let wrong = sandbox.dpt(&["cache", "gc", "-y", "--keep-pipeline", "none.toml"]).code(2);
    assert!(wrong.stderr.contains("cannot read `none.toml`"), "{}", wrong.stderr);
    fs::remove_file(sandbox.path().join("cache/v1/index")).unwrap();
    let lost = sandbox.dpt(&["cache", "gc", "-y", "--grace", "0s"]).code(2);
    assert!(lost.stderr.contains("--keep-pipeline FILE"), "{}", lost.stderr);
    sandbox.dpt(&["run", "copies.toml", "--check"]).code(0);
    let none = sandbox.dpt(&["cache", "ls", "--cache", "nowhere"]).code(2);
    assert!(none.stderr.contains("there is no store in `nowhere`"), "{}", none.stderr);
    assert!(!sandbox.path().join("nowhere").exists());
}

#[test]
fn exported_results_can_be_imported() {
    let sandbox = ran();
    let out = sandbox.dpt(&["cache", "export", "all.tar.gz", "--pipeline", "copies.toml"]).code(0);
    assert!(out.stderr.starts_with("all.tar.gz: 3 entries, "), "{}", out.stderr);
    let taken = sandbox.dpt(&["cache", "import", "all.tar.gz", "--cache", "other"]).code(0);
    assert!(taken.stderr.starts_with("all.tar.gz: 3 new of 3 entries, "), "{}", taken.stderr);
    sandbox.dpt(&["run", "copies.toml", "--cache", "other", "--check"]).code(0);
    let again = sandbox.dpt(&["cache", "import", "all.tar.gz", "--cache", "other"]).code(0);
    assert!(again.stderr.contains("0 new of 3 entries, 0 new files of ") && again.stderr.contains("3 already there"));
    sandbox.write("bad.tar", "no archive");
    let bad = sandbox.dpt(&["cache", "import", "bad.tar", "--cache", "other"]).code(2);
    assert!(bad.stderr.contains("`bad.tar` cannot be imported") || bad.stderr.contains("bad.tar"), "{}", bad.stderr);
    assert!(bad.stderr.contains("nothing was imported"), "{}", bad.stderr);
    sandbox.dpt(&["cache", "export", "x.tar"]).code(2);
}

#[test]
fn shared_store_is_read_and_own_store_is_written() {
    let sandbox = ran();
    let own = ["--cache", "own", "--shared-store", "cache"];
    let with = |args: &[&str]| sandbox.dpt(&args.iter().chain(&own).copied().collect::<Vec<_>>());
    with(&["run", "copies.toml", "--check"]).code(0);
    let run = with(&["run", "copies.toml", "--set", "stage.rows.train_rows=9"]).code(0);
    assert!(run.stderr.contains("copies: 1 done, 2 fresh in"), "{}", run.stderr);
    assert_eq!(field(&sandbox.dpt(&["cache", "ls", "--json", "--cache", "own"]).stdout, "node"), ["rows"]);
    assert_eq!(sandbox.dpt(&["cache", "ls", "--json"]).stdout.lines().count(), 3);
    let status = sandbox
        .command(&["status", "copies.toml", "--cache", "own2"])
        .env("DPT_SHARED_STORE", "cache")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("fetch      2      2"), "{status:?}");
    let none = sandbox.dpt(&["run", "copies.toml", "--shared-store", "nowhere"]).code(2);
    assert!(none.stderr.contains("there is no store to read in `nowhere`"), "{}", none.stderr);
}

/// Mounts the sandbox's `cache` read-only.
const READ_ONLY: &str = "mount --bind cache cache && mount -o remount,bind,ro cache";

/// Runs a script with `dpt` as `$DPT` after a mount. Returns `None` if users may not mount on this machine.
fn on_mount(sandbox: &Sandbox, mount: &str, script: &str) -> Option<(i32, String)> {
    let run = |script: &str| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .current_dir(sandbox.path())
            .env("DPT", env!("CARGO_BIN_EXE_dpt"))
            .output()
            .ok()
    };
    if !run(mount).is_some_and(|output| output.status.success()) {
        println!("skipped: no user may mount a file system here");
        return None;
    }
    let output = run(&format!("{mount} && {script}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.code().unwrap_or(-1), text))
}

#[test]
fn read_only_store_can_be_read_and_its_errors_help() {
    let sandbox = ran();
    for (script, code, says) in [
        ("\"$DPT\" status copies.toml", 0, "rows       1      1"),
        ("\"$DPT\" run copies.toml", 0, "all 3 nodes fresh"),
        ("\"$DPT\" run copies.toml -n --set stage.rows.train_rows=5", 0, "1 would run"),
        ("\"$DPT\" cache ls", 0, "fetch[part=one]"),
        ("\"$DPT\" run copies.toml --set stage.rows.train_rows=5", 6, "--cache DIR --shared-store"),
        ("\"$DPT\" cache gc --keep-runs 0 --grace 0s -y", 6, "read-only file system"),
        (
            "\"$DPT\" run copies.toml --cache own --shared-store cache --set stage.rows.train_rows=5",
            0,
            "1 done, 2 fresh",
        ),
    ] {
        let Some((exit, text)) = on_mount(&sandbox, READ_ONLY, script) else { return };
        assert!(exit == code && text.contains(says), "{script}: {exit}\n{text}");
    }
}

#[test]
fn full_disk_is_reported_and_a_later_run_completes() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path().join("cache")).unwrap();
    let script = r#"run() { "$DPT" run copies.toml -k --set stage.rows.train_rows=3000 "$@"; }
run; echo "full: $?"
mount -o remount,size=50m cache
run || exit 1
run --check || exit 2
"$DPT" cache gc -y --grace 0s --leftovers-older-than 0s || exit 3
ls cache/v1/work cache/v1/quarantine"#;
    let mount = "mount -t tmpfs -o size=300k tmpfs cache";
    let Some((exit, text)) = on_mount(&sandbox, mount, script) else { return };
    assert!(exit == 0 && text.contains("full: 6\n") && text.contains("no space left on device"), "{exit}\n{text}");
    assert!(text.contains("free some space, then run again"), "{text}");
    assert!(text.contains("cache/v1/quarantine:\n\ncache/v1/work:\n"), "{text}");
}

#[test]
fn doctor_shows_how_results_are_copied() {
    let sandbox = sandbox();
    let ran = sandbox.ran(sandbox.command(&["doctor"]).env("DPT_WORKER", "/no/such/worker"));
    assert!(ran.stdout.contains("copies"), "{}", ran.stdout);
}
