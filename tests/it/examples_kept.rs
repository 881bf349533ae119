//! The files in `examples/` are those that the stages make, without duplicates.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use dpt::data::synth::{self, Split};

/// `seed` and `train_rows` (as `val_rows`, `test_rows`) of `pipelines/tiny_t5.toml`.
const SEED: i64 = 1;
const ROWS: usize = 256;

fn example(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn kept_rows_equal_the_generated_ones() {
    for task in synth::TASKS {
        for split in [Split::Train, Split::Val, Split::Test] {
            let made: String = synth::generate(task, split, ROWS, SEED).iter().map(|row| format!("{row}\n")).collect();
            let file = format!("data/{}/{}.jsonl", task.folder, split.name());
            assert!(example(&file) == made, "`examples/{file}` is not what the generator makes now");
        }
    }
}

/// The backbone was trained only on texts of `Split::Pretrain` (tested beside the generator). No text of a kept file is
/// in that split, and none is in files of two different splits, over all tasks.
#[test]
fn no_text_is_in_pretraining_or_in_two_splits() {
    let texts = |split: Split| -> BTreeSet<String> {
        let mut texts = BTreeSet::new();
        for task in synth::TASKS {
            for line in example(&format!("data/{}/{}.jsonl", task.folder, split.name())).lines() {
                let row = serde_json::from_str(line).unwrap();
                texts.extend((task.texts)(&row).into_iter().map(str::to_owned));
            }
        }
        texts
    };
    let [train, val, test] = [Split::Train, Split::Val, Split::Test].map(|split| {
        let texts = texts(split);
        assert!(texts.len() > 1000);
        assert!(texts.iter().all(|text| Split::of(text) == split));
        texts
    });
    assert!(train.is_disjoint(&val) && train.is_disjoint(&test) && val.is_disjoint(&test));
}

#[test]
fn kept_tokenizer_equals_the_generated_one() {
    assert_eq!(example("tiny_t5/tokenizer.json"), synth::tokenizer::tokenizer_json().to_string());
}

#[test]
fn kept_backbone_is_small_and_has_an_origin() {
    let weights = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/tiny_t5/model.safetensors");
    assert!(fs::metadata(weights).unwrap().len() < 4 << 20);
    let backbone: serde_json::Value = serde_json::from_str(&example("tiny_t5/backbone.json")).unwrap();
    assert_eq!(backbone["origin"], "pretrained-here");
}
