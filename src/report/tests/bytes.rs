//! The bytes of `report.md`, `report.html` and `report.json` are those of version 1 of the stage. A change here makes
//! stored reports wrong: raise the version of `report` in `src/stages/report.rs` with it.

use super::sample::{evaluated, inputs, options, origin};
use crate::base::digest::Digest;
use crate::report::inputs::Inputs;
use crate::report::render::{RENDERERS, render};
use crate::report::summary::grid::superglue;
use crate::report::summary::{ReportOptions, Summary};

/// A report's name, inputs and options.
type Case = (&'static str, Inputs, ReportOptions);

fn partial() -> ReportOptions {
    ReportOptions { complete: false, ..options() }
}

/// A random backbone, a cell that lacks a seed and one without any run.
fn gaps() -> Inputs {
    let mut inputs = inputs();
    for run in &mut inputs.runs {
        run.record.backbone.origin = "random".into();
    }
    inputs.runs.pop();
    inputs.runs.retain(|r| r.record.task != "cb" || r.record.method != "dpt");
    inputs
}

/// Eight tasks and four columns.
pub fn wide() -> Inputs {
    let mut runs = Vec::new();
    for (i, task) in superglue().iter().enumerate() {
        for (j, (method, rank)) in
            [("dpt", "4"), ("dpt", "10"), ("dpt", "64"), ("prompt-tuning", "10")].iter().enumerate()
        {
            for seed in [42, 43, 44] {
                let score = 0.55 + 0.04 * i as f64 + 0.01 * j as f64 + 0.003 * (seed - 43) as f64;
                let mut run = evaluated(task, method, seed, score);
                let seed = seed.to_string();
                let axes = [("task", *task), ("method", *method), ("rank", *rank), ("seed", seed.as_str())];
                run.origin = origin("eval", &axes);
                runs.push(run);
            }
        }
    }
    Inputs { runs, ..Inputs::default() }
}

/// No scores before training, no constant answers, ranges of sizes, names with special characters, and warnings.
fn odd() -> Inputs {
    let mut inputs = inputs();
    inputs.runs.retain(|r| r.record.task == "rte" || r.record.task == "copa");
    for (i, run) in inputs.runs.iter_mut().enumerate() {
        run.record.baselines.untrained = None;
        run.record.metrics.greedy = None;
        run.record.method = if run.record.method == "dpt" { "my_*method|<b>" } else { "it's \"50%\"/\\x" }.into();
        let seed = run.record.seed.unwrap_or_default().to_string();
        let axes = [("task", run.record.task.as_str()), ("path", run.record.method.as_str()), ("data_seed", &seed)];
        run.origin = origin("eval", &axes);
        run.record.virtual_tokens += 20 * i as u64;
        run.record.rank = run.record.rank.map(|rank| rank + i as u64);
        run.record.best_step = None;
        run.record.modal.share = 0.7 + 0.1 * i as f64;
        run.record.select_on = Some("validation".into());
        if run.record.task == "rte" {
            run.record.template = "dpt-paper".into();
            run.record.baselines.majority = None;
        }
    }
    for training in &mut inputs.trainings {
        training.loss.clear();
        training.scores[0].value = f64::NAN;
    }
    for i in 0..5 {
        let mut init = inputs.inits[0].clone();
        init.origin = origin("svd_init", &[("seed", &i.to_string())]);
        init.record.warnings = vec![format!("direction {i} is <not> unique | it's `so`")];
        if i == 3 {
            init.record.figures = None;
        }
        inputs.inits.push(init);
    }
    inputs
}

/// Reports that differ in what they hold and lack.
pub fn cases() -> Vec<Case> {
    let bare = Inputs { runs: inputs().runs, ..Inputs::default() };
    let trainings = Inputs { inits: Vec::new(), ..inputs() };
    let one = Inputs { runs: vec![evaluated("wic", "dpt", 7, 1.0)], ..Inputs::default() };
    let by_data_seed = ReportOptions { over: "data_seed".into(), title: "it's `a_b` / \"c\"".into(), complete: true };
    vec![
        ("whole", inputs(), options()),
        ("gaps", gaps(), partial()),
        ("wide", wide(), options()),
        ("bare", bare, options()),
        ("trainings", trainings, options()),
        ("odd", odd(), by_data_seed),
        ("one", one, options()),
    ]
}

/// Digests of `report.md`, `report.html` and `report.json`.
const BYTES: [(&str, [&str; 3]); 7] = [
    ("whole", ["b3:682abf92de3d", "b3:3602721dcd31", "b3:dcc3d8e52f4c"]),
    ("gaps", ["b3:ac42ee51f527", "b3:bf3e67c0c3d1", "b3:232938857298"]),
    ("wide", ["b3:5a71a452ef39", "b3:aa0b97c2dda7", "b3:6d39dbc32752"]),
    ("bare", ["b3:614ee020de60", "b3:70fc17a59845", "b3:8961b32eecf0"]),
    ("trainings", ["b3:8a048c209353", "b3:6f8c18de99ac", "b3:1f2dd4669f84"]),
    ("odd", ["b3:979eb63f4be6", "b3:e9a6b51b5142", "b3:c489f8f46aa3"]),
    ("one", ["b3:d8a9791c8b16", "b3:25843461aa3d", "b3:21fae884b91f"]),
];

#[test]
fn markdown_html_and_json_keep_the_bytes_of_version_1() {
    // To look at the reports: `DPT_REPORT_SAMPLES=DIR cargo test -p dpt --lib report`.
    let samples = std::env::var_os("DPT_REPORT_SAMPLES");
    let mut found = Vec::new();
    for (name, inputs, options) in cases() {
        let summary = Summary::of(&inputs, &options).unwrap();
        let files = render(&summary, &inputs, &RENDERERS[..3]).unwrap();
        if let Some(dir) = &samples {
            for file in &files {
                let path = std::path::Path::new(dir).join(file.name.replace("report", name));
                std::fs::write(path, &file.text).unwrap();
            }
        }
        found.push((name, files.iter().map(|file| Digest::of(file.text.as_bytes()).to_string()).collect::<Vec<_>>()));
    }
    let wanted = BYTES.map(|(name, digests)| (name, digests.map(str::to_owned).to_vec()));
    assert_eq!(found, wanted);
}
