//! A worker is accepted only if it has the same build as `dpt`.

use std::os::unix::fs::PermissionsExt;

use dpt::base::digest::Digest;
use dpt::worker::build::Build;
use include_dir::include_dir;

use crate::sandbox::Sandbox;

const PIPELINE: &str = "schema = 1\n\
    [stage.words]\nkind = \"generate\"\ntasks = [\"rte\"]\ntrain_rows = 8\nval_rows = 8\ntest_rows = 0\n\
    [stage.model]\nkind = \"random-model\"\nneeds = { tokenizer = \"words\" }\nd_model = 8\nvocab_size = 2048\n\
    [stage.svd_init]\nneeds = { model = \"model\" }\nsource = \"uniform\"\nvirtual_tokens = 4\nrank = 2\n";

/// The build of the `dpt` that is tested.
fn own() -> Build {
    Build::of(&include_dir!("$CARGO_MANIFEST_DIR/torch/src"))
}

/// A sandbox with a shell script as worker, which reports `build` and exits.
fn sandbox(build: &Build) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", PIPELINE);
    let build = serde_json::to_string(build).unwrap();
    let ready = format!(
        "{{\"say\":\"ready\",\"protocol\":2,\"build\":{build},\"pid\":'$$',\"libtorch\":\"2.11.0\",\
         \"devices\":[\"cpu\"],\"notes\":[]}}"
    );
    let path = sandbox.write("worker", &format!("#!/bin/sh\necho '{ready}'\nread -r line\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox
}

#[test]
fn doctor_shows_the_build_of_dpt_and_its_worker() {
    let sandbox = sandbox(&own());
    let ran = sandbox.ran(sandbox.command(&["doctor"]).env("DPT_WORKER", sandbox.path().join("worker"))).code(0);
    assert!(ran.stdout.contains(&format!("build     ok  {}", own())), "{}", ran.stdout);
    assert!(ran.stdout.contains("worker, of the same build"), "{}", ran.stdout);
}

#[test]
fn worker_of_another_build_is_refused_with_exit_code_6() {
    let other = Build { sources: Digest::of(b"other sources"), ..own() };
    let sandbox = sandbox(&other);
    for args in [&["doctor"][..], &["run", "p.toml"]] {
        let ran = sandbox.ran(sandbox.command(args).env("DPT_WORKER", sandbox.path().join("worker"))).code(6);
        assert!(ran.stderr.contains("worker` is of another build than `dpt`"), "{}", ran.stderr);
        for text in [own().to_string(), other.to_string(), "cargo build --release".into(), "DPT_WORKER".into()] {
            assert!(ran.stderr.contains(&text), "`{text}` in {}", ran.stderr);
        }
    }
    let made = sandbox.dpt(&["cache", "ls"]).code(0).stdout;
    assert!(made.contains("model") && !made.contains("svd_init"), "{made}");
}
