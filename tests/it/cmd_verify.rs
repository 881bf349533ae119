//! `dpt verify`: damage in the store, and nodes that give other results in a rerun. Uses stages without libtorch;
//! `quickstart.rs` reruns a training.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::sandbox::Sandbox;

const PIPELINE: &str = r#"
schema = 1

[pipeline]
name = "rows"

[axes]
seed = [1, 2, 3, 4]

[stage.rows]
kind = "generate"
axes = ["seed"]
tasks = ["rte"]
train_rows = 4
val_rows = 1
test_rows = 1
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("rows.toml", PIPELINE);
    sandbox.dpt(&["run", "rows.toml"]).code(0);
    sandbox
}

/// Returns the object of a node's file.
fn object(sandbox: &Sandbox, node: &str, file: &str) -> PathBuf {
    let (_, entry) = sandbox.entry(node);
    let digest = entry["made"][0]["files"][file]["bytes"].as_str().unwrap().to_owned();
    sandbox.path().join("cache/v1/objects").join(&digest[..2]).join(&digest[2..])
}

fn damage(path: &PathBuf) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn verify_checks_a_store_or_a_pipeline() {
    let sandbox = sandbox();
    let all = sandbox.dpt(&["verify"]).code(0);
    assert!(all.stdout.starts_with("checked 4 entries, 13 objects, "), "{}", all.stdout);
    assert!(all.stdout.ends_with(" in <TIME>: no damage\n"), "{}", all.stdout);
    let some = sandbox.dpt(&["verify", "rows.toml", "rows[2]"]).code(0);
    assert!(some.stdout.starts_with("checked 1 entry, 4 objects, "), "{}", some.stdout);
    let open = sandbox.dpt(&["verify", "rows.toml", "--set", "axes.seed=[4,5]"]).code(0);
    assert!(open.stdout.contains(": no damage; 1 node has no result yet"), "{}", open.stdout);
    let none = sandbox.dpt(&["verify", "--cache", "none"]).code(2);
    assert!(none.stderr.contains("there is no store at `none`"), "{}", none.stderr);
    assert!(!sandbox.path().join("none").exists());
}

#[test]
fn damaged_file_is_quarantined_and_made_again() {
    let sandbox = sandbox();
    let path = object(&sandbox, "rows[seed=2]", "RTE/train.jsonl");
    damage(&path);
    let ran = sandbox.dpt(&["verify", "rows.toml"]).code(5);
    assert!(ran.stdout.contains(": 1 damaged\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("error: `RTE/train.jsonl` is not what was stored\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("note: made by rows[seed=2]\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("note: moved to cache/v1/quarantine\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("help: `dpt run rows.toml` makes it again\n"), "{}", ran.stderr);
    assert!(!path.exists());
    let missing = sandbox.dpt(&["verify"]).code(5);
    assert!(missing.stderr.contains("`RTE/train.jsonl` is missing"), "{}", missing.stderr);
    let json = sandbox.dpt(&["verify", "--json"]).code(5);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["broken"][0]["aside"], json["entries"].as_u64()), (&"missing".into(), Some(4)));
    sandbox.dpt(&["run", "rows.toml"]).code(0);
    sandbox.dpt(&["verify"]).code(0);
}

#[test]
fn verify_checks_a_lock_without_its_pipeline() {
    let sandbox = sandbox();
    sandbox.dpt(&["lock", "rows.toml"]).code(0);
    fs::remove_file(sandbox.path().join("rows.toml")).unwrap();
    sandbox.dpt(&["verify", "--lock", "rows.lock"]).code(0);
    let (path, _) = sandbox.entry("rows[seed=3]");
    fs::remove_file(path).unwrap();
    let ran = sandbox.dpt(&["verify", "--lock", "rows.lock"]).code(4);
    assert!(ran.stderr.contains("1 of the lock's 4 nodes is not in the store as recorded"), "{}", ran.stderr);
    assert!(ran.stderr.contains("rows[seed=3]  is not in the store"), "{}", ran.stderr);
    sandbox.dpt(&["verify", "--lock", "none.lock"]).code(2);
}

#[test]
fn rerun_of_equal_nodes_is_identical() {
    let sandbox = sandbox();
    let before = fs::read_dir(sandbox.path().join("cache/v1/work")).unwrap().count();
    let ran = sandbox.dpt(&["verify", "rows.toml", "--rerun", "--statement", "s.json"]).code(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.stdout);
    assert_eq!(lines[0], "identical  rows[seed=1]");
    assert!(lines[4].starts_with("reproduced: 4 of 4 nodes (all) ran again: 4 identical; dpt "), "{}", ran.stdout);
    let statement: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(sandbox.path().join("s.json")).unwrap()).unwrap();
    assert_eq!((&statement["reproduced"], &statement["identical"]), (&true.into(), &4.into()));
    assert_eq!(statement["nodes"][0]["compared_by"], "digests");
    assert!(!statement["machine"]["cpu_kind"].as_str().unwrap().is_empty());
    // No scratch folder is left, and the store is unchanged.
    assert_eq!(fs::read_dir(sandbox.path().join("cache/v1/work")).unwrap().count(), before);
    sandbox.dpt(&["run", "rows.toml", "--check"]).code(0);
}

#[test]
fn sample_depends_on_its_seed_only() {
    let sandbox = sandbox();
    let names = |seed: &str| {
        let ran = sandbox.dpt(&["verify", "rows.toml", "--rerun", "--sample", "50%", "--seed", seed]).code(0);
        assert!(ran.stdout.contains(&format!("2 of 4 nodes (sample 50%, seed {seed}) ran again")), "{}", ran.stdout);
        ran.stdout.lines().filter(|l| l.starts_with("identical")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("1"), names("1"));
    assert!((2..9).any(|seed| names(&seed.to_string()) != names("1")));
    sandbox.dpt(&["verify", "rows.toml", "--rerun", "--sample", "0"]).code(2);
    sandbox.dpt(&["verify", "rows.toml", "--sample", "1"]).code(2);
    sandbox.dpt(&["verify", "--rerun"]).code(2);
}

/// A forged result has valid digests, but its recipe does not give it.
#[test]
fn rerun_finds_a_forged_result() {
    let sandbox = sandbox();
    sandbox.forge("rows.toml", "rows[seed=2]", "RTE/train.jsonl", "forged\n");
    sandbox.dpt(&["verify"]).code(0);
    let ran = sandbox.dpt(&["verify", "rows.toml", "--rerun", "--keep", "kept"]).code(4);
    let (_, row) = ran.stdout.split_once("differs    rows[seed=2]\n").unwrap();
    assert!(row.starts_with("             RTE/train.jsonl  b3:"), "{row}");
    assert!(row.lines().next().unwrap().ends_with(" bytes"), "{row}");
    assert!(
        ran.stdout
            .lines()
            .last()
            .unwrap()
            .starts_with("not reproduced: 4 of 4 nodes (all) ran again: 3 identical, 1 different")
    );
    let kept = fs::read_to_string(sandbox.path().join("kept/rows[seed=2]/RTE/train.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 4);
    assert!(!sandbox.path().join("kept/rows[seed=1]").exists());
    let json = sandbox.dpt(&["verify", "rows.toml", "--rerun", "rows[2]", "--json"]).code(4);
    let last: serde_json::Value = serde_json::from_str(json.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["verdict"], &last["node"]), (&"differs".into(), &"rows[seed=2]".into()));
}

#[test]
fn rerun_refuses_missing_and_damaged_results() {
    let sandbox = sandbox();
    let ran = sandbox.dpt(&["verify", "rows.toml", "--rerun", "--set", "axes.seed=[4,5]"]).code(2);
    assert!(ran.stderr.contains("no results to compare with: rows[5]"), "{}", ran.stderr);
    damage(&object(&sandbox, "rows[seed=1]", "RTE/train.jsonl"));
    let ran = sandbox.dpt(&["verify", "rows.toml", "--rerun"]).code(5);
    assert!(ran.stderr.contains("the store is damaged: rows[1]"), "{}", ran.stderr);
}

/// A program that reads an undeclared file, so that it may behave differently in a rerun.
fn moody(sandbox: &Sandbox, script: &str, resources: &str) {
    let run = script.replace("HERE", &sandbox.path().display().to_string());
    sandbox.write(
        "moody.toml",
        &format!(
            "schema = 1\n[stage.moody]\nkind = \"command\"\nshell = true\nrun = '{run}'\noutputs = {{ o = \"o\" }}\n\
             resources = {{ {resources} }}\n"
        ),
    );
    sandbox.dpt(&["run", "moody.toml"]).code(0);
}

#[test]
fn rerun_stops_at_the_timeout_of_its_node() {
    let sandbox = Sandbox::new();
    moody(&sandbox, "echo 1 > \"$DPT_OUT_O\"; test ! -e HERE/slow || exec sleep 600", "timeout = \"1s\"");
    sandbox.write("slow", "");
    let ran = sandbox.dpt(&["verify", "moody.toml", "--rerun"]).code(1);
    assert!(ran.stderr.contains("`moody` ran longer than its timeout of"), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("failed     moody\n"), "{}", ran.stdout);
}

#[test]
fn rerun_retries_like_a_run() {
    let sandbox = Sandbox::new();
    let script = "echo 1 > \"$DPT_OUT_O\"; test ! -e HERE/fails || { rm HERE/fails; exit 1; }";
    moody(&sandbox, script, "retries = 1, backoff = 0");
    sandbox.write("fails", "");
    let ran = sandbox.dpt(&["verify", "moody.toml", "--rerun"]).code(0);
    assert!(ran.stdout.starts_with("identical  moody\n"), "{}", ran.stdout);
}
