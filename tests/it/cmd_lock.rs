//! `dpt lock` and `dpt run --locked`, on a pipeline that generates rows and tokenises nothing: no libtorch.

use std::fs;

use crate::sandbox::Sandbox;

const PIPELINE: &str = r#"
schema = 1

[pipeline]
name = "rows"

[axes]
size = [2, 3]

[source.here]
url = "file:data"

[stage.rows]
kind = "generate"
axes = ["size"]
tasks = ["rte"]
train_rows = "{size}"
val_rows = 1
test_rows = 1

[stage.fetch]
kind = "download"
source = "here"
format = "files"
file = ["one.txt"]
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("p/rows.toml", PIPELINE);
    sandbox.write("p/data/one.txt", "1");
    fs::create_dir(sandbox.path().join("cache")).unwrap();
    sandbox
}

/// A sandbox after `dpt run` and `dpt lock`.
fn locked() -> Sandbox {
    let sandbox = sandbox();
    sandbox.dpt(&["run", "p/rows.toml"]).code(0);
    let ran = sandbox.dpt(&["lock", "p/rows.toml"]).code(0);
    assert_eq!(ran.stderr, "p/rows.lock: 3 nodes: 3 new\n");
    sandbox
}

fn text(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.path().join("p/rows.lock")).unwrap()
}

#[test]
fn lock_needs_fresh_nodes_and_run_writes_no_lock() {
    let sandbox = sandbox();
    let ran = sandbox.dpt(&["lock", "p/rows.toml"]).code(3);
    assert!(ran.stderr.contains("3 nodes of `rows` are not up to date; nothing was written"), "{}", ran.stderr);
    assert!(ran.stderr.contains("help: `dpt run p/rows.toml` first"), "{}", ran.stderr);
    sandbox.dpt(&["run", "p/rows.toml"]).code(0);
    assert!(!sandbox.path().join("p/rows.lock").exists());
    let none = sandbox.dpt(&["run", "p/rows.toml", "--locked"]).code(2);
    assert!(
        none.stderr.contains("`--locked` needs the lock file `p/rows.lock`, which does not exist"),
        "{}",
        none.stderr
    );
}

/// Folder, store and time do not change the bytes of a lock file.
#[test]
fn equal_runs_give_equal_locks() {
    let (one, other) = (locked(), locked());
    assert_eq!(text(&one), text(&other));
    assert!(!text(&one).contains(&one.path().display().to_string()));
    let again = one.dpt(&["lock", "p/rows.toml"]).code(0);
    assert_eq!(again.stderr, "p/rows.lock: unchanged, 3 nodes\n");
}

#[test]
fn locked_run_agrees_with_an_empty_and_a_full_store() {
    let sandbox = locked();
    for cache in ["cache", "fresh"] {
        let ran = sandbox.dpt(&["run", "p/rows.toml", "--locked", "--cache", cache]).code(0);
        assert!(ran.stderr.ends_with("p/rows.lock: 3 nodes agree, 3 identical\n"), "{}", ran.stderr);
    }
    sandbox.dpt(&["run", "p/rows.toml", "--locked", "--check"]).code(0);
    sandbox.dpt(&["run", "p/rows.toml", "--locked", "--check", "--cache", "third"]).code(3);
    let dry = sandbox.dpt(&["run", "p/rows.toml", "--locked", "-n", "--cache", "third"]).code(0);
    let line = "p/rows.lock: 3 nodes unchanged; 0 have the locked results, 3 have no result yet\n";
    assert!(dry.stderr.starts_with(line), "{}", dry.stderr);
}

/// Nothing runs, and the old value is shown even if no store has the old result.
#[test]
fn locked_run_reports_a_changed_parameter_before_it_runs() {
    let sandbox = locked();
    let ran =
        sandbox.dpt(&["run", "p/rows.toml", "--locked", "--cache", "new", "--set", "stage.rows.val_rows=5"]).code(3);
    let expected = "\
error: 2 nodes differ from `p/rows.lock`; nothing was run
   = note: node          what      lock  now
           rows[size=2]  val_rows  1     5
           rows[size=3]  val_rows  1     5
";
    assert!(ran.stderr.starts_with(expected), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("help: if the change is intended, run `dpt run p/rows.toml`, then `dpt lock p/rows.toml`")
    );
    let json = sandbox.dpt(&["run", "p/rows.toml", "--locked", "--json", "--set", "stage.rows.val_rows=5"]).code(3);
    let first: serde_json::Value = serde_json::from_str(json.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["lock"], &first["now"]), (&"lock-mismatch".into(), &"1".into(), &"5".into()));
}

#[test]
fn locked_run_reports_a_changed_file() {
    let sandbox = locked();
    sandbox.write("p/data/one.txt", "2");
    let ran = sandbox.dpt(&["run", "p/rows.toml", "--locked"]).code(3);
    assert!(ran.stderr.contains("1 node differs from `p/rows.lock`; nothing was run"), "{}", ran.stderr);
    assert!(ran.stderr.contains("fetch  file."), "{}", ran.stderr);
}

#[test]
fn locked_run_reports_new_and_removed_nodes_without_targets() {
    let sandbox = locked();
    let more = ["run", "p/rows.toml", "--locked", "--set", "axes.size=[3,4]"];
    let ran = sandbox.dpt(&more).code(3);
    assert!(ran.stderr.contains("rows[size=4]  the node  not in the lock  in the pipeline"), "{}", ran.stderr);
    assert!(ran.stderr.contains("rows[size=2]  the node  in the lock      not in the pipeline"), "{}", ran.stderr);
    sandbox.dpt(&["run", "p/rows.toml", "rows[3]", "--locked", "--set", "axes.size=[3,4]"]).code(0);
}

/// A different result under the same key and numerics is found in the store and after a run.
#[test]
fn locked_run_reports_the_file_of_a_changed_result() {
    let sandbox = locked();
    let key = sandbox.forge("p/rows.toml", "rows[size=2]", "RTE/train.jsonl", "forged\n");
    let ran = sandbox.dpt(&["run", "p/rows.toml", "--locked"]).code(3);
    assert!(ran.stderr.contains("1 node differs from `p/rows.lock`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("rows[size=2]  RTE/train.jsonl  b3:"), "{}", ran.stderr);
    // `lock` records the forged result. A run from nothing gives the true result and so differs.
    let lock = sandbox.dpt(&["lock", "p/rows.toml"]).code(0);
    assert_eq!(lock.stderr, "p/rows.lock: 3 nodes: 1 changed\n");
    assert!(text(&sandbox).contains(&key));
    let fresh = sandbox.dpt(&["run", "p/rows.toml", "--locked", "--cache", "new"]).code(3);
    assert!(fresh.stderr.contains("; the results are in the store"), "{}", fresh.stderr);
}

#[test]
fn lock_with_targets_keeps_the_other_lines() {
    let sandbox = locked();
    let before = text(&sandbox);
    fs::write(sandbox.path().join("p/rows.toml"), PIPELINE.replace("val_rows = 1", "val_rows = 2")).unwrap();
    sandbox.dpt(&["run", "p/rows.toml"]).code(0);
    let ran = sandbox.dpt(&["lock", "p/rows.toml", "rows[3]"]).code(0);
    assert_eq!(ran.stderr, "p/rows.lock: 3 nodes: 1 changed\n");
    let changed = before.lines().zip(text(&sandbox).lines()).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 1);
}

#[test]
fn lock_with_a_conflict_is_refused_and_can_be_rewritten() {
    let sandbox = locked();
    let right = text(&sandbox);
    let wrong = right.replace("{\"node\":\"rows[size=2]\"", "<<<<<<< ours\n{\"node\":\"rows[size=2]\"")
        + "=======\n>>>>>>> theirs\n";
    sandbox.write("p/rows.lock", &wrong);
    let ran = sandbox.dpt(&["run", "p/rows.toml", "--locked"]).code(2);
    let expected = "\
error: unresolved merge conflict
  --> p/rows.lock:5:1
   |
 5 | <<<<<<< ours
   | ^^^^^^^^^^^^ begins here
   = help: rewrite the file: `dpt run PIPELINE`, then `dpt lock PIPELINE`
";
    assert_eq!(ran.stderr, expected);
    let anew = sandbox.dpt(&["lock", "p/rows.toml"]).code(0);
    assert!(anew.stderr.starts_with("p/rows.lock could not be read and is rewritten\n"), "{}", anew.stderr);
    assert_eq!(text(&sandbox), right);
    sandbox.write("p/rows.lock", &right.replace("\"rows\":4.0", "\"rows\":5.0"));
    let edited = sandbox.dpt(&["run", "p/rows.toml", "--locked"]).code(2);
    assert!(
        edited.stderr.contains("the line of `rows[size=2]` was edited\n  --> p/rows.lock:5:1"),
        "{}",
        edited.stderr
    );
}

/// Results in a lock file survive a gc that would remove them otherwise.
#[test]
fn gc_keeps_the_results_of_a_lock() {
    let sandbox = locked();
    sandbox.dpt(&["run", "p/rows.toml", "--set", "stage.rows.val_rows=5"]).code(0);
    let gc = ["cache", "gc", "--keep-lock", "p/rows.lock", "--grace", "0s", "--yes"];
    let ran = sandbox.dpt(&gc).code(0);
    assert!(ran.stderr.contains("freed "), "{}{}", ran.stdout, ran.stderr);
    sandbox.dpt(&["verify", "--lock", "p/rows.lock"]).code(0);
    let left = sandbox.dpt(&["verify"]).code(0);
    assert!(left.stdout.starts_with("checked 3 entries, "), "{}", left.stdout);
    sandbox.dpt(&["cache", "gc", "--keep-lock", "none.lock"]).code(2);
}

#[test]
fn invalid_tolerance_is_refused_and_unused_one_warned() {
    let sandbox = locked();
    let ran = sandbox.dpt(&["run", "p/rows.toml", "--locked", "--tolerance", "score=x"]).code(2);
    assert!(ran.stderr.contains("`--tolerance score=x` is not of the form `METRIC=NUMBER`"), "{}", ran.stderr);
    let unused = sandbox.dpt(&["run", "p/rows.toml", "--locked", "--tolerance", "scroe=1"]).code(0);
    assert!(unused.stderr.contains("warning: the tolerance of `scroe` matches no metric"), "{}", unused.stderr);
    sandbox.dpt(&["run", "p/rows.toml", "--tolerance", "score=1"]).code(2);
}
