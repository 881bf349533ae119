//! Missing and unreadable manifests: the next run makes such results again, and then `lock` can record everything.

use std::fs;
use std::path::PathBuf;

use crate::sandbox::Sandbox;

const PIPELINE: &str = r#"
schema = 1
[axes]
i = [1, 2, 3]
[stage.a]
kind = "command"
axes = ["i"]
run = ["sh", "-c", "echo $0 > out/x", "{i}"]
outputs = { x = "x" }
"#;

/// A sandbox in which the pipeline was run.
fn ran() -> Sandbox {
    let sandbox = Sandbox::in_memory();
    sandbox.write("p.toml", PIPELINE);
    fs::create_dir(sandbox.path().join("cache")).unwrap();
    sandbox.dpt(&["run", "p.toml"]).code(0);
    sandbox
}

/// The manifests, sorted.
fn manifests(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folders = fs::read_dir(sandbox.path().join("cache/v1/entries")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// A run makes this many nodes; afterwards everything can be locked, and the next run has nothing to do and writes
/// nothing.
#[track_caller]
fn mended(sandbox: &Sandbox, made: usize) {
    // Changes within the last clock tick are confirmed, and so written, by a later run.
    let settle = || std::thread::sleep(std::time::Duration::from_millis(100));
    settle();
    let run = sandbox.dpt(&["run", "p.toml"]).code(0);
    settle();
    assert!(run.stderr.contains(&format!("{made} done")), "{}", run.stderr);
    sandbox.dpt(&["lock", "p.toml"]).code(0);
    let index = || {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(sandbox.path().join("cache/v1/index")).unwrap().ino()
    };
    let before = index();
    let run = sandbox.dpt(&["run", "p.toml"]).code(0);
    assert!(run.stderr.contains("all 3 nodes fresh"), "{}", run.stderr);
    assert_eq!(index(), before, "a run without work writes no index");
}

#[test]
fn gc_killed_at_any_step_leaves_no_result_fresh_without_its_manifest() {
    let gc = ["cache", "gc", "-y", "--grace", "0s", "--keep-runs", "0"];
    for (fault, made) in [
        ("gc.index", 0),
        ("index.rename", 0),
        ("gc.entry@1", 0),
        ("gc.entry@2", 1),
        ("gc.entry@3", 2),
        ("gc.folder", 3),
        ("gc.object@1", 3),
        ("gc.object@2", 3),
    ] {
        let sandbox = ran();
        let killed = sandbox.ran(sandbox.command(&gc).env("DPT_FAULT", format!("{fault}=kill")));
        assert_eq!(killed.code, -1, "{fault}: {}", killed.stderr);
        if made > 0 {
            mended(&sandbox, made);
        } else {
            sandbox.dpt(&["run", "p.toml"]).code(0);
            sandbox.dpt(&["lock", "p.toml"]).code(0);
        }
    }
}

#[test]
fn index_forgets_what_gc_removes_before_the_first_manifest_goes() {
    let sandbox = ran();
    let before = fs::read(sandbox.path().join("cache/v1/index")).unwrap();
    let gc = ["cache", "gc", "-y", "--grace", "0s", "--keep-runs", "0"];
    sandbox.ran(sandbox.command(&gc).env("DPT_FAULT", "gc.entry@1=kill"));
    assert_eq!(manifests(&sandbox).len(), 3);
    let after = fs::read(sandbox.path().join("cache/v1/index")).unwrap();
    assert!(after.len() < before.len(), "{} bytes before, {} after", before.len(), after.len());
}

#[test]
fn result_without_manifest_is_made_again_by_the_next_run() {
    let sandbox = ran();
    fs::remove_file(&manifests(&sandbox)[1]).unwrap();
    mended(&sandbox, 1);
    fs::remove_dir_all(sandbox.path().join("cache/v1/entries")).unwrap();
    fs::create_dir(sandbox.path().join("cache/v1/entries")).unwrap();
    mended(&sandbox, 3);
    for file in manifests(&sandbox) {
        fs::remove_file(&file).unwrap();
        fs::write(&file, "").unwrap();
    }
    sandbox.dpt(&["run", "p.toml"]).code(0);
    sandbox.dpt(&["lock", "p.toml"]).code(0);
}

#[test]
fn index_restored_from_a_backup_brings_back_no_removed_result() {
    let sandbox = ran();
    let index = sandbox.path().join("cache/v1/index");
    let backup = fs::read(&index).unwrap();
    // Remove only the manifests; the objects may belong to another pipeline.
    manifests(&sandbox)[..2].iter().for_each(|file| fs::remove_file(file).unwrap());
    sandbox.dpt(&["run", "p.toml"]).code(0);
    manifests(&sandbox)[..2].iter().for_each(|file| fs::remove_file(file).unwrap());
    fs::write(&index, backup).unwrap();
    mended(&sandbox, 2);
}

#[test]
fn damaged_manifest_is_made_again_after_any_command_that_read_it() {
    let commands: [&[&str]; 4] = [
        &["lock", "p.toml"],
        &["cache", "export", "all.tar", "--pipeline", "p.toml"],
        &["explain", "p.toml", "a[2]"],
        &["verify", "p.toml"],
    ];
    for command in commands {
        let sandbox = ran();
        let (manifest, _) = sandbox.entry("a[i=2]");
        // Overwritten in place, so no folder changes.
        let length = fs::metadata(&manifest).unwrap().len();
        fs::OpenOptions::new().write(true).open(&manifest).unwrap().set_len(length - 9).unwrap();
        sandbox.dpt(&["run", "p.toml"]).code(0);
        let met = sandbox.dpt(command);
        let run = sandbox.dpt(&["run", "p.toml"]).code(0);
        assert!(run.stderr.contains("1 done"), "{command:?}: {}\n{}", met.stderr, run.stderr);
        sandbox.dpt(&["lock", "p.toml"]).code(0);
    }
}

#[test]
fn verify_reports_a_lost_manifest_once_and_drops_the_result() {
    for scope in [&["verify"][..], &["verify", "p.toml"]] {
        let sandbox = ran();
        fs::remove_file(&manifests(&sandbox)[0]).unwrap();
        let told = sandbox.dpt(scope).code(0);
        let line = "1 result was dropped because its manifest is missing (`dpt run` makes it again)";
        assert!(told.stdout.contains(line), "{}", told.stdout);
        let again = sandbox.dpt(scope).code(0);
        assert!(!again.stdout.contains("dropped"), "{}", again.stdout);
        mended(&sandbox, 1);
    }
}
