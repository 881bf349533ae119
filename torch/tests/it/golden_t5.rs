//! The forward pass against Hugging Face's, on small random models.

use std::path::{Path, PathBuf};

use dpt_torch::model::relative_position_bucket;
use dpt_torch::model::t5::T5;
use tch::{Device, Kind};

use crate::golden;
use crate::parity::Parity;

const HUB: &str = "Hugging Face's T5";

fn load(folder: &Path, dtype: Kind) -> T5 {
    T5::load(&golden::checkpoint(folder), Device::Cpu, dtype).unwrap()
}

/// A folder with a model, and the one whose outputs it must give: its own, or, of a folder without any, those of the model with
/// the same weights.
fn cases() -> Option<Vec<(PathBuf, PathBuf)>> {
    let folders: Vec<_> = golden::folders(&golden::dir("t5")?);
    let (with, without): (Vec<_>, Vec<_>) = folders.into_iter().partition(|f| f.join("io.safetensors").exists());
    let weights = |folder: &Path| golden::tensors(&folder.join("model.safetensors"));
    let twin = |folder: &Path| {
        let ours = weights(folder);
        let has_all = |other: &&PathBuf| weights(other).iter().all(|(name, t)| ours.get(name) == Some(t));
        let twin = with.iter().find(has_all);
        twin.unwrap_or_else(|| panic!("{} has no outputs, and weights of its own", folder.display())).clone()
    };
    let variants: Vec<_> = without.iter().map(|folder| (folder.clone(), twin(folder))).collect();
    Some(with.iter().map(|folder| (folder.clone(), folder.clone())).chain(variants).collect())
}

/// How far outputs may be from the reference's.
struct Tolerance {
    states: f64,
    logits: f64,
    loss: f64,
    /// Of the largest value of the tensor, in place of absolute.
    relative: bool,
}

const FLOAT32: Tolerance = Tolerance { states: 1e-4, logits: 1e-4, loss: 1e-5, relative: false };
/// Measured, with a margin of two to three; the loss with more, it is a mean of what mostly cancels.
const BFLOAT16: Tolerance = Tolerance { states: 0.08, logits: 0.08, loss: 0.01, relative: true };
const FLOAT16: Tolerance = Tolerance { states: 6e-3, logits: 6e-3, loss: 1e-3, relative: true };

fn check(parity: &mut Parity, t5: &T5, outputs: &Path, tolerance: &Tolerance, dtype: &str) {
    let io = golden::tensors(&outputs.join("io.safetensors"));
    let _guard = tch::no_grad_guard();
    let prefixes: Vec<_> =
        io.keys().filter_map(|name| name.strip_suffix("input_ids")).filter(|p| !p.ends_with("decoder_")).collect();
    assert!(!prefixes.is_empty(), "{} has no inputs", outputs.display());
    for prefix in prefixes {
        let get = |name: &str| &io[&format!("{prefix}{name}")];
        let at = format!("{} {prefix}", golden::name(outputs));
        let (ids, mask, labels) = (get("input_ids"), get("attention_mask"), get("labels"));
        let decoder_ids = t5.shift_right(labels);
        if let Some(expected) = io.get(&format!("{prefix}decoder_input_ids")) {
            assert_eq!(decoder_ids, *expected);
        }
        let (states, states_mask) = t5.encode(t5.text(ids, mask));
        let logits = t5.decode(&states, &states_mask, &decoder_ids);
        let loss = t5.loss(&states, &states_mask, labels).view([1]);
        for (what, ours, name, allowed) in [
            ("encoder states", &states, "encoder_last_hidden_state", tolerance.states),
            ("logits", &logits, "logits", tolerance.logits),
            ("loss", &loss, "loss", tolerance.loss),
        ] {
            let difference = golden::difference(ours, get(name));
            if tolerance.relative {
                let what = format!("{dtype}: {what}, part of the largest");
                parity.within(&what, HUB, allowed, difference / golden::largest(get(name)), &at);
            } else {
                parity.within(what, HUB, allowed, difference, &at);
            }
        }
        if let (Kind::Float, Some(expected)) = (t5.kind(), io.get(&format!("{prefix}greedy_ids"))) {
            let expected: Vec<Vec<i64>> = Vec::try_from(expected).unwrap();
            let ours = t5.greedy(&states, &states_mask, expected[0].len() - 1);
            for (ours, theirs) in ours.iter().zip(&expected) {
                let theirs = golden::generated(theirs, t5.config().eos_token_id);
                parity.same("greedy ids, rows", HUB, ours.as_slice(), theirs, &at);
            }
        }
    }
}

/// All models; those with duplicate and unused tensors of older checkpoints, and with keys left out of the config, too.
#[test]
fn forward_loss_and_greedy() {
    let Some(cases) = cases() else { return };
    let mut parity = Parity::new("T5", "t5");
    for (model, outputs) in cases {
        check(&mut parity, &load(&model, Kind::Float), &outputs, &FLOAT32, "float32");
    }
}

/// Half types stay near: they have 8 and 11 bits where float32 has 24.
#[test]
fn half_types_stay_near() {
    let Some(cases) = cases() else { return };
    let mut parity = Parity::new("Half types", "t5_half");
    for (model, outputs) in cases {
        check(&mut parity, &load(&model, Kind::BFloat16), &outputs, &BFLOAT16, "bfloat16");
        check(&mut parity, &load(&model, Kind::Half), &outputs, &FLOAT16, "float16");
    }
}

#[test]
fn a_model_on_trainable_tensors_computes_the_same() {
    let Some(cases) = cases() else { return };
    for (folder, _) in cases.into_iter().filter(|(model, outputs)| model == outputs) {
        let frozen = load(&folder, Kind::Float);
        let tensors = golden::tensors(&folder.join("model.safetensors"));
        let tensors = tensors.into_iter().map(|(name, t)| (name, t.set_requires_grad(true))).collect();
        let trainable = T5::from_tensors(frozen.config().clone(), tensors);
        let io = golden::tensors(&folder.join("io.safetensors"));
        let loss = |t5: &T5| {
            let (states, mask) = t5.encode(t5.text(&io["input_ids"], &io["attention_mask"]));
            t5.loss(&states, &mask, &io["labels"])
        };
        assert!(golden::difference(&loss(&trainable), &loss(&frozen)) < 1e-5);
        loss(&trainable).backward();
        for (name, tensor) in trainable.tensors() {
            assert!(tensor.grad().defined() && tensor.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0, "{name}");
        }
        let frozen_again = trainable.frozen();
        assert!(golden::difference(&loss(&frozen_again), &loss(&frozen)) < 1e-6);
    }
}

#[test]
fn relative_position_buckets() {
    let Some(dir) = golden::dir("t5") else { return };
    let mut parity = Parity::new("T5", "buckets");
    for path in golden::list(&dir).into_iter().filter(|path| path.is_file()) {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("safetensors") => {}
            Some("json") => continue, // single rows of the same, for reading
            _ => panic!("no test reads {}", path.display()),
        }
        for (name, table) in golden::tensors(&path) {
            let numbers: Vec<i64> = name.split(['_', 'b', 'd']).filter_map(|part| part.parse().ok()).collect();
            let [buckets, max_distance] = numbers[..] else { panic!("{name}") };
            let bidirectional = match name.split('_').next() {
                Some("bidirectional") => true,
                Some("causal") => false,
                _ => panic!("{name}"),
            };
            let theirs: Vec<Vec<i64>> = Vec::try_from(table.to_kind(Kind::Int64)).unwrap();
            for (query, theirs) in theirs.iter().enumerate() {
                let bucket = |key| relative_position_bucket(key - query as i64, bidirectional, buckets, max_distance);
                let ours: Vec<i64> = (0..theirs.len() as i64).map(bucket).collect();
                let what = "relative position buckets, rows of the tables";
                parity.same(what, HUB, &ours, theirs, format!("{name}, query {query}"));
            }
        }
    }
}
