//! A reduced quickstart (one task, one method, few steps): a first run, a run without work, and a change of a part.

use std::path::Path;
use std::sync::LazyLock;

use crate::sandbox::Sandbox;

/// Returns a sandbox with the pipeline and its inputs. Returns `None`, with a message, if `dpt-worker` was not built or
/// has other sources than `dpt` (as with `cargo test -p dpt`).
pub fn sandbox() -> Option<Sandbox> {
    static SKIPPED: LazyLock<Option<String>> = LazyLock::new(|| {
        if !Path::new(env!("CARGO_BIN_EXE_dpt")).with_file_name("dpt-worker").exists() {
            return Some("no `dpt-worker` beside `dpt`; `cargo build --release` makes both".to_owned());
        }
        let doctor = Sandbox::new().dpt(&["doctor", "--device", "cpu"]);
        doctor.stderr.contains("is of another build than `dpt`").then_some(doctor.stderr)
    });
    if let Some(why) = SKIPPED.as_ref() {
        eprintln!("skipped: {why}");
        return None;
    }
    let sandbox = Sandbox::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["pipelines/quickstart.toml", "pipelines/quickstart.lock", "examples/data", "examples/tiny_t5"] {
        copy(&root.join(name), &sandbox.path().join(name));
    }
    Some(sandbox)
}

/// Copies a file or a folder.
pub fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in std::fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

/// Runs only RTE with DPT, with the store `cache`.
pub fn args<'a>(cache: &'a str, steps: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let cut = ["run", "pipelines/quickstart.toml", "--cache", cache, "--json", "--device", "cpu"];
    let sets = ["--set", "axes.task=[\"rte\"]", "--set", "axes.method=[\"dpt\"]", "--set", steps];
    cut.into_iter().chain(sets).chain(more.iter().copied()).collect()
}

/// Returns the stages of the nodes with this event.
fn stages(stdout: &str, event: &str) -> Vec<String> {
    let lines = stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let node = |line: serde_json::Value| line["node"].as_str().unwrap().split('[').next().unwrap().to_owned();
    let mut stages: Vec<_> = lines.filter(|line| line["event"] == event).map(node).collect();
    stages.sort();
    stages
}

#[test]
fn quickstart_runs_then_is_fresh_then_reruns_only_a_change() {
    let Some(sandbox) = sandbox() else { return };
    let all = ["data", "eval", "model", "report", "svd_init", "tokenize", "train"];

    let first = sandbox.dpt(&args("cache", "stage.train.steps=20", &[])).code(0);
    assert_eq!(stages(&first.stdout, "node-done"), all, "{}", first.stderr);
    let report = sandbox.path().join("cache/results/quickstart/report/report.md");
    assert!(std::fs::read_to_string(report).unwrap().contains("rte"));

    let second = sandbox.dpt(&args("cache", "stage.train.steps=20", &[])).code(0);
    assert_eq!(stages(&second.stdout, "node-hit"), all);
    assert!(stages(&second.stdout, "node-started").is_empty());

    let exact = sandbox.dpt(&args("cache", "stage.train.steps=20", &["--accept", "exact"])).code(0);
    assert_eq!(stages(&exact.stdout, "node-hit"), all, "what was made here counts: {}", exact.stderr);

    let third = sandbox.dpt(&args("cache", "stage.train.steps=21", &[])).code(0);
    assert_eq!(stages(&third.stdout, "node-done"), ["eval", "report", "train"], "{}", third.stderr);
    assert_eq!(stages(&third.stdout, "node-hit"), ["data", "model", "svd_init", "tokenize"]);
}

/// On each of the four tasks and for each of three seeds, a trained prompt of 288 parameters scores 30 points above the
/// majority class, and the untrained prompt does not.
#[test]
fn trained_prompts_beat_the_baseline_by_30_points() {
    let Some(sandbox) = sandbox() else { return };
    let sets = ["--set", "axes.seed=[42,43,44]", "--set", "axes.method=[\"dpt\"]", "--device", "cpu"];
    let run = ["run", "pipelines/quickstart.toml", "--cache", "cache"];
    sandbox.dpt(&run.into_iter().chain(sets).collect::<Vec<_>>()).code(0);

    let report = std::fs::read(sandbox.path().join("cache/results/quickstart/report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 12);
    for run in runs {
        let record = &run["record"];
        let score = record["score"].as_f64().unwrap();
        let majority = record["baselines"]["majority"]["score"].as_f64().unwrap();
        let untrained = record["baselines"]["untrained"]["score"].as_f64().unwrap();
        let node = &run["origin"]["node"];
        assert!(score >= majority + 0.3, "{node}: {score} against {majority}");
        assert!(untrained < majority + 0.3, "{node}: {untrained} before training against {majority}");
    }
}
