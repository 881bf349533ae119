//! The forward pass against Hugging Face's, on two small random models (v1.0 tied, v1.1 gated and untied).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dpt_torch::model::t5::T5;
use tch::{Device, Kind, Tensor};

use crate::golden;

fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    ["config.json", "model.safetensors"].iter().map(|name| (name.to_string(), folder.join(name))).collect()
}

fn check(model: &Path, expected: &Path, dtype: Kind, tolerance: f64) {
    let t5 = T5::load(&files(model), Device::Cpu, dtype).unwrap();
    let io = golden::tensors(&expected.join("io.safetensors"));
    let _guard = tch::no_grad_guard();
    for prefix in ["", "long_"] {
        let get = |name: &str| &io[&format!("{prefix}{name}")];
        let (ids, mask, labels) = (get("input_ids"), get("attention_mask"), get("labels"));
        let (states, states_mask) = t5.encode(None, ids, mask);
        let logits = t5.decode(&states, &states_mask, &t5.shift_right(labels));
        golden::close(&format!("{prefix}states"), &states, get("encoder_last_hidden_state"), tolerance);
        golden::close(&format!("{prefix}logits"), &logits, get("logits"), tolerance);
        let loss = t5.loss(None, ids, mask, labels);
        golden::close(&format!("{prefix}loss"), &loss.view([1]), get("loss"), tolerance / 10.0);
    }
    assert_eq!(t5.shift_right(&io["labels"]), io["decoder_input_ids"]);
    if dtype != Kind::Float {
        return;
    }
    let (states, mask) = t5.encode(None, &io["input_ids"], &io["attention_mask"]);
    let expected: Vec<Vec<i64>> = Vec::try_from(&io["greedy_ids"]).unwrap();
    for (row, expected) in t5.greedy(&states, &mask, 12).iter().zip(expected) {
        assert_eq!(row.as_slice(), golden::ended(&expected[1..]));
    }
}

#[test]
fn forward_loss_and_greedy() {
    let Some(dir) = golden::dir("t5") else { return };
    for name in ["v10-relu-tied", "v11-gated-untied"] {
        check(&dir.join(name), &dir.join(name), Kind::Float, 1e-4);
    }
}

/// Duplicate and unused tensors of older checkpoints change nothing, nor do keys left out of the config.
#[test]
fn hub_keys() {
    let Some(dir) = golden::dir("t5") else { return };
    check(&dir.join("v10-hub-keys"), &dir.join("v10-relu-tied"), Kind::Float, 1e-4);
}

/// Half types stay near: they have 8 and 11 bits where float32 has 24.
#[test]
fn half_types_stay_near() {
    let Some(dir) = golden::dir("t5") else { return };
    check(&dir.join("v10-relu-tied"), &dir.join("v10-relu-tied"), Kind::BFloat16, 0.25);
    check(&dir.join("v11-gated-untied"), &dir.join("v11-gated-untied"), Kind::Half, 0.05);
}

#[test]
fn a_model_on_trainable_tensors_computes_the_same() {
    let Some(dir) = golden::dir("t5") else { return };
    let folder = dir.join("v11-gated-untied");
    let frozen = T5::load(&files(&folder), Device::Cpu, Kind::Float).unwrap();
    let tensors = golden::tensors(&folder.join("model.safetensors"));
    let tensors = tensors.into_iter().map(|(name, t)| (name, t.set_requires_grad(true))).collect();
    let trainable = T5::from_tensors(frozen.config().clone(), tensors);
    let io = golden::tensors(&folder.join("io.safetensors"));
    let loss = |t5: &T5| t5.loss(None, &io["input_ids"], &io["attention_mask"], &io["labels"]);
    golden::close("loss", &loss(&trainable), &loss(&frozen), 1e-5);
    loss(&trainable).backward();
    for (name, tensor) in trainable.tensors() {
        assert!(tensor.grad().defined() && tensor.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0, "{name}");
    }
    let frozen_again = trainable.frozen();
    golden::close("frozen", &loss(&frozen_again), &loss(&frozen), 1e-6);
    let _: Tensor = loss(&frozen_again);
}
