//! The quickstart, cut down: one task, one method, few steps, from the kept examples to a report; then nothing to do;
//! then a change that reaches a part of it.

use std::path::Path;
use std::sync::LazyLock;

use crate::sandbox::Sandbox;

/// The pipeline and what it reads, in a sandbox of their own. `None`, and a line that says so, where `dpt-worker` was
/// not built, or from other sources than `dpt` (`cargo test -p dpt`).
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

/// A file, or a folder with all below it.
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

/// `dpt run` of RTE and DPT alone, with the store `cache`.
pub fn args<'a>(cache: &'a str, steps: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let cut = ["run", "pipelines/quickstart.toml", "--cache", cache, "--json", "--device", "cpu"];
    let sets = ["--set", "axes.task=[\"rte\"]", "--set", "axes.method=[\"dpt\"]", "--set", steps];
    cut.into_iter().chain(sets).chain(more.iter().copied()).collect()
}

/// Stages of the nodes of which `event` was told.
fn stages(stdout: &str, event: &str) -> Vec<String> {
    let lines = stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let node = |line: serde_json::Value| line["node"].as_str().unwrap().split('[').next().unwrap().to_owned();
    let mut stages: Vec<_> = lines.filter(|line| line["event"] == event).map(node).collect();
    stages.sort();
    stages
}

#[test]
fn from_examples_to_a_report_then_nothing_then_a_part() {
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

/// What the quickstart is for: on each of its four tasks, in each of three seeds, a trained prompt of 288 numbers
/// stands 30 points above the majority class, and the same prompt before training does not.
#[test]
fn a_trained_prompt_elicits_what_an_untrained_one_does_not() {
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
