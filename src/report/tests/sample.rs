//! Made-up inputs for tests: four tasks, two methods, two seeds.

use std::collections::BTreeMap;

use crate::base::digest::Digest;
use crate::base::draw::Draws;
use crate::base::value::Params;
use crate::report::inputs::{Evaluated, Initialised, Inputs, Origin, ScorePoint, Trained};
use crate::report::records::{Backbone, Baselines, Constant, EvalRecord, InitRecord, Modal, Scored, ScoredBy, Scores};
use crate::report::summary::ReportOptions;
use crate::svd::decompose::Svd;
use crate::svd::factor::{Fill, Split, factor};
use crate::svd::figures::{Figures, energies, gaussian_sigma};
use crate::svd::matrix::Matrix;

pub const TASKS: [(&str, f64, u64, &str); 4] = [
    ("boolq", 0.6217, 3270, "true"),
    ("cb", 0.361, 56, "entailment"),
    ("copa", 0.55, 100, "choice1"),
    ("rte", 0.5271, 277, "entailment"),
];

pub fn options() -> ReportOptions {
    ReportOptions { title: "Four tasks & <two> methods".into(), over: "seed".into(), complete: true }
}

pub fn origin(stage: &str, axes: &[(&str, &str)]) -> Origin {
    let axes: Vec<(String, String)> = axes.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect();
    let list: Vec<_> = axes.iter().map(|(a, v)| format!("{a}={v}")).collect();
    let node = if list.is_empty() { stage.to_owned() } else { format!("{stage}[{}]", list.join(",")) };
    Origin { key: Digest::of(node.as_bytes()), digest: Digest::of(format!("{node} json").as_bytes()), node, axes }
}

fn scored(score: f64) -> Scored {
    Scored { score, metrics: BTreeMap::from([("accuracy".into(), score)]) }
}

pub fn evaluated(task: &str, method: &str, seed: i64, score: f64) -> Evaluated {
    let (_, majority, examples, answer) = *TASKS.iter().find(|t| t.0 == task).unwrap_or(&TASKS[3]);
    let seed_text = seed.to_string();
    Evaluated {
        origin: origin("eval", &[("task", task), ("method", method), ("seed", &seed_text)]),
        record: EvalRecord {
            task: task.into(),
            method: method.into(),
            seed: Some(seed),
            split: "validation".into(),
            score: Some(score),
            scored_by: ScoredBy::Verbalizer,
            counts: if task == "cb" { vec!["accuracy".into(), "f1".into()] } else { vec!["accuracy".into()] },
            metric_mode: "official".into(),
            template: "plain".into(),
            metrics: Scores { verbalizer: Some(scored(score)), greedy: Some(scored(score - 0.01)) },
            baselines: Baselines {
                majority: Some(Constant { answer: answer.into(), score: majority, metrics: BTreeMap::new() }),
                untrained: Some(scored(majority - 0.05)),
            },
            examples,
            truncated: 0,
            invalid: 3,
            modal: Modal { answer: answer.into(), share: 0.61 },
            trainable_parameters: if method == "dpt" { 8680 } else { 76800 },
            virtual_tokens: 100,
            rank: (method == "dpt").then_some(10),
            params: Params::new(),
            d_model: 768,
            backbone: Backbone { name: "tiny".into(), origin: "pretrained-here".into() },
            best_step: Some(200),
            select_on: Some("dev".into()),
        },
    }
}

pub fn inputs() -> Inputs {
    let mut inputs = Inputs::default();
    let mut draws = Draws::new("report.sample", 1);
    let (rows, cols, rank) = (12, 20, 4);
    let m = Matrix::new(rows, cols, (0..rows * cols).map(|_| draws.gaussian() + 0.6).collect());
    let svd = Svd::of(&m);
    let factors = factor(&svd, rank, Split::Sqrt, Fill::Random, 0.01, &mut draws).unwrap();
    let start = factors.a.times(&factors.b);
    for (i, (task, majority, ..)) in TASKS.iter().enumerate() {
        for (j, method) in ["dpt", "prompt-tuning"].into_iter().enumerate() {
            for seed in [42, 43] {
                let gain = 0.3 - 0.04 * i as f64 + 0.02 * j as f64;
                let score = majority + gain + 0.01 * draws.gaussian();
                inputs.runs.push(evaluated(task, method, seed, score));
                let seed_text = seed.to_string();
                let noise = if method == "dpt" {
                    let a = Matrix::new(rows, rank, (0..rows * rank).map(|_| draws.gaussian()).collect());
                    a.times(&factors.b)
                } else {
                    Matrix::new(rows, cols, (0..rows * cols).map(|_| draws.gaussian()).collect())
                };
                inputs.trainings.push(Trained {
                    origin: origin("train", &[("task", task), ("method", method), ("seed", &seed_text)]),
                    init: if method == "dpt" { "svd" } else { "vocab" }.into(),
                    task: (*task).into(),
                    method: method.into(),
                    select: Some(("dev".into(), "accuracy".into())),
                    loss: (0..400)
                        .map(|s| (f64::from(s), 0.4 + 1.8 * (-f64::from(s) / 60.0).exp() + 0.12 * draws.unit()))
                        .collect(),
                    scores: (0..=8)
                        .map(|s| ScorePoint {
                            step: f64::from(s * 50),
                            split: "dev".into(),
                            metric: "accuracy".into(),
                            value: score - gain * (-f64::from(s) / 2.0).exp() + 0.01 * draws.gaussian(),
                        })
                        .collect(),
                    start: Some(start.clone()),
                    prompt: Some(if method == "dpt" {
                        Matrix::new(rows, cols, start.data.iter().zip(&noise.data).map(|(a, b)| a + b).collect())
                    } else {
                        noise
                    }),
                });
            }
        }
    }
    inputs.inits.push(Initialised {
        origin: origin("svd_init", &[("method", "dpt")]),
        record: InitRecord {
            method: "dpt".into(),
            source: "vocab".into(),
            ids: None,
            source_rows: rows as u64,
            rows: "as-is".into(),
            split: Some(Split::Sqrt),
            fill: Some(Fill::Random),
            scale: 1.0,
            seed: 42,
            sign_rule: 1,
            backbone: Some(Backbone { name: "tiny".into(), origin: "pretrained-here".into() }),
            backbone_digest: String::new(),
            figures: Some(Figures::of(&m, &svd, &factors)),
            warnings: vec![],
        },
        energy: energies(&svd.sigma),
        centred: energies(&Svd::of(&m.centred()).sigma),
        gaussian: energies(&gaussian_sigma(rows, cols)),
    });
    inputs
}
