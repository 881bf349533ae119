//! The CI example: the script works on a small pipeline, the workflow calls the script, and the shipped lock file
//! belongs to the quickstart.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::quickstart;
use crate::sandbox::{Ran, Sandbox};

const PIPELINE: &str = r#"
schema = 1

[pipeline]
name = "rows"

[stage.rows]
kind = "generate"
tasks = ["rte"]
train_rows = 4
val_rows = 1
test_rows = 1
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn script() -> PathBuf {
    root().join("examples/ci/reproduce.sh")
}

/// Runs the script in a sandbox with the layout of the repository.
fn reproduce(sandbox: &Sandbox, pipeline: &str) -> Ran {
    let text = std::fs::read_to_string(script()).unwrap();
    let script = sandbox.write("examples/ci/reproduce.sh", &text);
    let mut command = Command::new("sh");
    command.arg(script).arg(pipeline).current_dir("/").env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/bin:/bin").env("HOME", sandbox.path()).env("DPT", env!("CARGO_BIN_EXE_dpt"));
    sandbox.ran(&mut command)
}

#[test]
fn reproduce_script_fails_if_a_run_differs_from_the_lock() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.toml", PIPELINE);
    let none = reproduce(&sandbox, "rows.toml").code(2);
    assert!(none.stderr.contains("needs the lock file"), "{}", none.stderr);
    sandbox.dpt(&["run", "rows.toml"]).code(0);
    sandbox.dpt(&["lock", "rows.toml"]).code(0);
    let right = reproduce(&sandbox, "rows.toml").code(0);
    assert!(right.stdout.contains("\nreproduced: 1 of 1 node (sample 10%, seed 0) ran again"), "{}", right.stdout);
    assert!(sandbox.path().join("reproduced.json").exists());
    sandbox.write("rows.toml", &PIPELINE.replace("= 4", "= 5"));
    reproduce(&sandbox, "rows.toml").code(3);
    sandbox.write("rows.toml", PIPELINE);
    sandbox.forge("rows.toml", "rows", "RTE/train.jsonl", "forged\n");
    sandbox.dpt(&["lock", "rows.toml"]).code(0);
    reproduce(&sandbox, "rows.toml").code(4);
}

#[test]
fn workflow_calls_the_script() {
    let workflow = std::fs::read_to_string(root().join("examples/ci/github-actions.yml")).unwrap();
    assert!(workflow.contains("run: examples/ci/reproduce.sh pipelines/quickstart.toml"));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(script()).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "the script is not executable");
}

/// Compares the requests without running the quickstart. If this fails after an intended change, run
/// `dpt run pipelines/quickstart.toml`, then `dpt lock pipelines/quickstart.toml`.
#[test]
fn shipped_lock_has_the_requests_of_the_quickstart() {
    let Some(sandbox) = quickstart::sandbox() else { return };
    sandbox.dpt(&["run", "pipelines/quickstart.toml", "--locked", "-n", "--cache", "cache"]).code(0);
}

/// Runs the quickstart from nothing and compares it with the shipped lock file, on any kind of CPU.
#[test]
fn quickstart_gives_the_results_of_its_lock() {
    let Some(sandbox) = quickstart::sandbox() else { return };
    std::fs::create_dir(sandbox.path().join("cache")).unwrap();
    let ran = reproduce(&sandbox, "pipelines/quickstart.toml").code(0);
    assert!(ran.stderr.contains("pipelines/quickstart.lock: 27 nodes agree, "), "{}", ran.stderr);
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("reproduced: 3 of 27 nodes (sample 10%, seed 0) ran again: 3 identical"), "{last}");
}
