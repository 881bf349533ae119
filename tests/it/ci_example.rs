//! The CI example: its script does what it says on a small pipeline, and the workflow calls the script; and the lock
//! that is shipped with the quickstart is that of the quickstart.

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

/// The script, in a sandbox that has it where the repository does.
fn reproduce(sandbox: &Sandbox, pipeline: &str) -> Ran {
    let text = std::fs::read_to_string(script()).unwrap();
    let script = sandbox.write("examples/ci/reproduce.sh", &text);
    let mut command = Command::new("sh");
    command.arg(script).arg(pipeline).current_dir("/").env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/bin:/bin").env("HOME", sandbox.path()).env("DPT", env!("CARGO_BIN_EXE_dpt"));
    sandbox.ran(&mut command)
}

#[test]
fn the_script_tells_a_run_that_agrees_from_one_that_does_not() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.toml", PIPELINE);
    let none = reproduce(&sandbox, "rows.toml").code(2);
    assert!(none.stderr.contains("there is no lock file"), "{}", none.stderr);
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
fn the_workflow_calls_the_script() {
    let workflow = std::fs::read_to_string(root().join("examples/ci/github-actions.yml")).unwrap();
    assert!(workflow.contains("run: examples/ci/reproduce.sh pipelines/quickstart.toml"));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(script()).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "the script is not executable");
}

/// What the quickstart asks for, without running it. Where this fails since the pipeline or a stage changed on purpose:
/// `dpt run pipelines/quickstart.toml`, then `dpt lock pipelines/quickstart.toml`.
#[test]
fn the_shipped_lock_asks_for_what_the_quickstart_does() {
    let Some(sandbox) = quickstart::sandbox() else { return };
    sandbox.dpt(&["run", "pipelines/quickstart.toml", "--locked", "-n", "--cache", "cache"]).code(0);
}

/// The whole of it from nothing, with the lock that is shipped: on this machine's kind of CPU, whatever that is.
#[test]
fn the_quickstart_gives_what_its_lock_says() {
    let Some(sandbox) = quickstart::sandbox() else { return };
    std::fs::create_dir(sandbox.path().join("cache")).unwrap();
    let ran = reproduce(&sandbox, "pipelines/quickstart.toml").code(0);
    assert!(ran.stderr.contains("pipelines/quickstart.lock: 27 nodes as locked, "), "{}", ran.stderr);
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("reproduced: 3 of 27 nodes (sample 10%, seed 0) ran again: 3 identical"), "{last}");
}
