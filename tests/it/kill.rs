//! A kill during `train`: the next run resumes from the last checkpoint, with the results of an undisturbed run.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::quickstart::{args, sandbox};

/// `report.json`: it names the digest of every evaluation, and so of every trained prompt.
fn report(sandbox: &crate::sandbox::Sandbox, cache: &str) -> String {
    std::fs::read_to_string(sandbox.path().join(cache).join("results/quickstart/report/report.json")).unwrap()
}

#[test]
fn killed_training_resumes_with_equal_results() {
    let Some(sandbox) = sandbox() else { return };
    let cut = ["--set", "stage.train.checkpoint_every=10"];
    let steps = "stage.train.steps=120";

    let mut killed = sandbox.command(&args("killed", steps, &cut)).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    let far_enough = lines.any(|line| {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let train = event["node"].as_str().is_some_and(|node| node.starts_with("train["));
        event["event"] == "node-progress" && train && event["update"]["done"].as_u64().unwrap() >= 11
    });
    assert!(far_enough, "the training ended before it could be killed");
    killed.kill().unwrap();
    killed.wait().unwrap();

    let resumed = sandbox.dpt(&args("killed", steps, &cut)).code(0);
    assert!(resumed.stdout.contains("goes on after step"), "{}", resumed.stdout);
    sandbox.dpt(&args("whole", steps, &cut)).code(0);
    assert_eq!(report(&sandbox, "killed"), report(&sandbox, "whole"));
}
