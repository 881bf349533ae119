//! Training against the reference's own runs, step by step: 60 fixed batches through the real loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use dpt::base::diag::Diag;
use dpt_torch::learn::batch::{Batch, BatchSource};
use dpt_torch::learn::fit::{CurveRow, FitOptions, Observer, Score, Snapshot, fit};
use dpt_torch::learn::optim::clip;
use dpt_torch::learn::schedule::{Linear, warmup_steps};
use dpt_torch::model::t5::T5;
use dpt_torch::prompt::{self, Adapter, Dims, Init};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::golden::{self, close, difference};

/// The batches of a run, as they were kept.
struct Kept(BTreeMap<String, Tensor>);

impl Kept {
    fn eval(&self, name: &str) -> &Tensor {
        &self.0[&format!("eval.{name}")]
    }
}

impl BatchSource for Kept {
    fn batch(&self, step: u64) -> Result<Batch, Diag> {
        let get = |name: &str| self.0[name].get(step as i64);
        Ok(Batch { input_ids: get("input_ids"), mask: get("attention_mask"), labels: get("labels") })
    }
}

/// Keeps every snapshot.
#[derive(Default)]
struct Keeper(RefCell<BTreeMap<u64, BTreeMap<String, Tensor>>>);

impl Observer for Keeper {
    fn check(&self) -> Result<(), Diag> {
        Ok(())
    }
    fn step(&self, _row: &CurveRow, _examples: i64) {}
    fn scored(&self, _step: u64, _scores: &[Score], _best: bool) {}
    fn save(&self, snapshot: Snapshot) -> Result<(), Diag> {
        let copies = snapshot.tensors.iter().map(|(name, t)| (name.clone(), t.copy())).collect();
        self.0.borrow_mut().insert(snapshot.state.step, copies);
        Ok(())
    }
}

/// Our name of a tensor of the reference.
fn ours(name: &str) -> &'static str {
    match name {
        "prefix_first" => "factor_a",
        "prefix_second" => "factor_b",
        "prefix_full" => "prompt",
        other => panic!("{other}"),
    }
}

struct Tolerances {
    losses: [f64; 3],
    after: [f64; 4],
    last: f64,
    eval_loss: f64,
    eval_logits: f64,
}

/// For the runs at rates of 0.1 and more, where AdamW lets last-bit differences grow.
const HIGH_RATE: Tolerances = Tolerances {
    losses: [5e-4, 5e-3, 3e-2],
    after: [1e-4, 1e-4, 1e-2, 0.1],
    last: 0.1,
    eval_loss: 1e-2,
    eval_logits: 0.2,
};

/// For the run that holds the whole loop to account.
const LOW_RATE: Tolerances =
    Tolerances { losses: [1e-3; 3], after: [1e-4, 1e-4, 3e-4, 3e-4], last: 3e-4, eval_loss: 1e-3, eval_logits: 5e-3 };

fn check(folder: &Path, tolerances: &Tolerances) {
    let run: Value = serde_json::from_slice(&std::fs::read(folder.join("run.json")).unwrap()).unwrap();
    let expected = golden::tensors(&folder.join("tensors.safetensors"));
    let batches = Kept(golden::tensors(&folder.join("batches.safetensors")));
    let number = |name: &str| run[name].as_i64().unwrap();
    let numbers =
        |name: &str| -> Vec<f64> { run[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };

    let weights = folder.join(run["base_weights"].as_str().unwrap());
    let files = [("config.json", folder.join("config.json")), ("model.safetensors", weights)];
    let files = files.into_iter().map(|(name, path)| (name.to_owned(), path)).collect();
    let t5 = T5::load(&files, Device::Cpu, Kind::Float).unwrap();

    let method = prompt::find(if run["kind"] == "dpt" { "dpt" } else { "prompt-tuning" }).unwrap();
    let dims = Dims {
        virtual_tokens: number("prompt_length"),
        rank: run["bottleneck"].as_i64().unwrap_or_default(),
        d_model: t5.config().d_model,
    };
    let seed = number("init_seed") as u64;
    let adapter = Adapter::init(method, dims, &Init::Uniform { scale: 0.5 }, seed, Device::Cpu).unwrap();
    assert_eq!(adapter.parameters(), number("trainable_parameters"));
    let part = |prefix: &str| -> Vec<(&str, &'static str)> {
        expected.keys().filter_map(|name| Some((name.as_str(), ours(name.strip_prefix(prefix)?)))).collect()
    };
    for (theirs, our) in part("init.") {
        let (_, tensor) = adapter.named().find(|(name, _)| *name == our).unwrap();
        assert_eq!(difference(tensor, &expected[theirs]), 0.0, "{theirs}");
    }

    // Step 0, piece by piece.
    close("step0.prompt", &adapter.prompt(), &expected["step0.prompt"], 1e-6);
    let first = batches.batch(0).unwrap();
    let prompt = adapter.prompt().unsqueeze(0);
    let (states, mask) = t5.encode(Some(&prompt), &first.input_ids, &first.mask);
    close("step0.states", &states, &expected["step0.encoder_last_hidden_state"], 1e-4);
    let logits = t5.decode(&states, &mask, &t5.shift_right(&first.labels));
    close("step0.logits", &logits, &expected["step0.logits"], 1e-4);
    let loss = t5.loss(Some(&prompt), &first.input_ids, &first.mask, &first.labels);
    let losses = numbers("loss_per_step");
    assert!((loss.double_value(&[]) - losses[0]).abs() < 1e-5);
    let mut gradients = Tensor::run_backward(&[loss], adapter.tensors(), false, false);
    let names: Vec<_> = adapter.named().map(|(name, _)| name).collect();
    let gradient =
        |our: &str, gradients: &[Tensor]| gradients[names.iter().position(|name| *name == our).unwrap()].copy();
    for (theirs, our) in part("step0.grad.") {
        close(theirs, &gradient(our, &gradients), &expected[theirs], 3e-5);
    }
    let norms = numbers("grad_norm_before_clip_per_step");
    let norm = clip(&mut gradients, 1.0);
    assert!((norm / norms[0] - 1.0).abs() < 1e-4);
    for (theirs, our) in part("step0.grad_clipped.") {
        close(theirs, &gradient(our, &gradients), &expected[theirs], 3e-5);
    }

    // The loop.
    let settings = &run["optimizer"];
    let total = run["schedule"]["total_steps"].as_u64().unwrap();
    let options = FitOptions {
        steps: total,
        learning_rate: settings["lr"].as_f64().unwrap(),
        weight_decay: settings["weight_decay"].as_f64().unwrap(),
        warmup_steps: warmup_steps(0.1, total),
        max_grad_norm: run["max_grad_norm"].as_f64().unwrap(),
        eval_every: 0,
        patience: 0,
        checkpoint_every: 1,
        dropout: 0.0,
        seed: 1,
    };
    let keeper = Keeper::default();
    let fitted = fit(&t5, adapter, &options, &batches, None, &keeper, None).unwrap();
    let rates = numbers("lr_per_step");
    for (i, row) in fitted.curves.iter().enumerate() {
        let allowed = tolerances.losses[if i < 5 {
            0
        } else if i < 10 {
            1
        } else {
            2
        }];
        let loss = f64::from(row.loss);
        assert!((loss - losses[i]).abs() < allowed, "loss of step {i}: {loss}, expected {}", losses[i]);
        assert!((f64::from(row.learning_rate) - rates[i]).abs() < 1e-7);
    }
    for (step, allowed) in [1, 2, 9, 29].into_iter().zip(tolerances.after) {
        for (theirs, our) in part(&format!("after_step{step}.")) {
            let snapshot = &keeper.0.borrow()[&(step + 1)];
            close(theirs, &snapshot[&format!("adapter.{our}")], &expected[theirs], allowed);
        }
    }
    for (theirs, our) in expected.keys().filter_map(|n| Some((n, n.strip_prefix("final.")?))) {
        match our.rsplit_once('.') {
            None if our == "prompt" => {
                let allowed = if tolerances.last < 0.01 { tolerances.last * 10.0 } else { 0.5 };
                close(theirs, &fitted.last.prompt(), &expected[theirs], allowed);
            }
            None => {
                let (_, tensor) = fitted.last.named().find(|(name, _)| *name == ours(our)).unwrap();
                close(theirs, tensor, &expected[theirs], tolerances.last);
            }
            Some((moment, name)) => {
                let ours = &fitted.moments[&format!("{moment}.{}", ours(name))];
                close(theirs, ours, &expected[theirs], tolerances.last);
            }
        }
    }

    // What came of it.
    let _guard = tch::no_grad_guard();
    let prompt = fitted.last.prompt().unsqueeze(0);
    let (ids, mask) = (batches.eval("input_ids"), batches.eval("attention_mask"));
    let (states, mask_n) = t5.encode(Some(&prompt), ids, mask);
    let logits = t5.decode(&states, &mask_n, &t5.shift_right(batches.eval("labels")));
    close("eval.logits", &logits, &expected["eval.logits"], tolerances.eval_logits);
    let loss = t5.loss(Some(&prompt), ids, mask, batches.eval("labels")).double_value(&[]);
    assert!((loss - run["eval_loss"].as_f64().unwrap()).abs() < tolerances.eval_loss);
    let longest = number("generate_max_length") as usize - 1;
    let greedy = run["greedy_after_training"].as_array().unwrap();
    for (row, theirs) in t5.greedy(&states, &mask_n, longest).iter().zip(greedy) {
        let theirs: Vec<i64> = theirs.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
        assert_eq!(row.as_slice(), golden::ended(&theirs[1..]));
    }
}

#[test]
fn dpt_low_rate_v11() {
    let Some(dir) = golden::dir("dpt_train") else { return };
    check(&dir.join("dpt-v11-lowlr"), &LOW_RATE);
}

#[test]
fn dpt_v11() {
    let Some(dir) = golden::dir("dpt_train") else { return };
    check(&dir.join("dpt-v11"), &HIGH_RATE);
}

#[test]
fn dpt_v10() {
    let Some(dir) = golden::dir("dpt_train") else { return };
    check(&dir.join("dpt-v10"), &HIGH_RATE);
}

#[test]
fn prompt_tuning_v10() {
    let Some(dir) = golden::dir("dpt_train") else { return };
    check(&dir.join("pt-v10"), &HIGH_RATE);
}

#[test]
fn rates() {
    let Some(dir) = golden::dir("dpt_train") else { return };
    let text = std::fs::read(dir.join("lr_schedule.json")).unwrap();
    let all: Value = serde_json::from_slice(&text).unwrap();
    for case in all["cases"].as_array().unwrap() {
        let total = case["total_steps"].as_u64().unwrap();
        let warmup = warmup_steps(case["num_warmup_steps_option"].as_f64().unwrap(), total);
        assert_eq!(warmup, case["warmup_steps"].as_u64().unwrap());
        let schedule = Linear { rate: case["lr"].as_f64().unwrap(), warmup, total };
        for (step, expected) in case["lr_used_at_step"].as_array().unwrap().iter().enumerate() {
            assert!((schedule.at(step as u64) - expected.as_f64().unwrap()).abs() < 1e-9);
        }
    }
}
