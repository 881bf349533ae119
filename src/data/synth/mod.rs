//! A small synthetic language, and all eight SuperGLUE tasks posed in it, in SuperGLUE's own jsonl form. Made for the
//! embedded default: no download, and a model of a few hundred thousand weights can learn the skills.
//!
//! **Splits cannot overlap.** Every passage, premise, sentence or text belongs to one [`Split`], by a hash of its words
//! ([`Split::of`]), whatever the task and whatever the seed. Rows of a split are made of texts of that split only. So
//! no text that a backbone is pretrained on, or a prompt trained on, can come back in an evaluation, and no seed can
//! change that. What is asked about a text (question, hypothesis, choices) is drawn freely.
//!
//! Labels are balanced as far as the number of rows allows. Same task, split, number and seed: the same rows.

use std::collections::BTreeSet;
use std::convert::Infallible;

use serde_json::Value;

pub mod draw;
pub mod lexicon;
pub mod skills;
pub mod tokenizer;

mod boolq;
mod cb;
mod copa;
mod multirc;
mod passage;
mod record;
mod rte;
mod split;
mod wic;
mod wsc;

use draw::Draw;

pub use split::Split;

/// One task of the language.
pub struct SynthTask {
    /// The task's name: `boolq`.
    pub name: &'static str,
    /// SuperGLUE's folder: `BoolQ`.
    pub folder: &'static str,
    /// Makes one row whose label is number `label` (modulo the number of classes; tasks without classes ignore it).
    row: fn(&mut Draw, Split, usize) -> Value,
    /// Its part of a pretraining, against those of the other tasks: what is harder to learn gets more.
    pub share: u64,
    /// The texts of a row that must not come back in another split.
    pub texts: fn(&Value) -> Vec<&str>,
}

/// Every task.
pub const TASKS: &[SynthTask] = &[
    SynthTask { name: "boolq", folder: "BoolQ", row: boolq::row, share: 2, texts: |row| fields(row, &["/passage"]) },
    SynthTask { name: "cb", folder: "CB", row: cb::row, share: 2, texts: |row| fields(row, &["/premise"]) },
    SynthTask { name: "copa", folder: "COPA", row: copa::row, share: 3, texts: |row| fields(row, &["/premise"]) },
    SynthTask {
        name: "multirc",
        folder: "MultiRC",
        row: multirc::row,
        share: 1,
        texts: |row| fields(row, &["/passage/text"]),
    },
    SynthTask {
        name: "record",
        folder: "ReCoRD",
        row: record::row,
        share: 1,
        texts: |row| fields(row, &["/passage/text"]),
    },
    SynthTask { name: "rte", folder: "RTE", row: rte::row, share: 4, texts: |row| fields(row, &["/premise"]) },
    SynthTask {
        name: "wic",
        folder: "WiC",
        row: wic::row,
        share: 2,
        texts: |row| fields(row, &["/sentence1", "/sentence2"]),
    },
    SynthTask { name: "wsc", folder: "WSC", row: wsc::row, share: 3, texts: |row| fields(row, &["/text"]) },
];

/// The strings at these places of a row.
fn fields<'a>(row: &'a Value, pointers: &[&str]) -> Vec<&'a str> {
    pointers.iter().map(|p| row.pointer(p).and_then(Value::as_str).expect("rows have their texts")).collect()
}

/// The task called `name`.
pub fn find(name: &str) -> Option<&'static SynthTask> {
    TASKS.iter().find(|task| task.name == name)
}

/// `n` rows of `task` for `split`, different from each other as long as the language has more to say. Fields and label
/// values are those of SuperGLUE's files; `idx` counts from 0 (for MultiRC and ReCoRD over passages, questions and
/// answers).
pub fn generate(task: &SynthTask, split: Split, n: usize, seed: i64) -> Vec<Value> {
    let Ok(rows) = try_generate(task, split, n, seed, || Ok::<(), Infallible>(()));
    rows
}

/// The same, where `go_on` is asked before each row.
///
/// # Errors
/// Fails with the error of `go_on`.
pub fn try_generate<E>(
    task: &SynthTask,
    split: Split,
    n: usize,
    seed: i64,
    go_on: impl Fn() -> Result<(), E>,
) -> Result<Vec<Value>, E> {
    let mut draw = Draw::new(&format!("synth.{}.{}", task.name, split.name()), seed);
    let mut labels: Vec<usize> = (0..n).collect();
    draw.shuffle(&mut labels);
    let mut seen = BTreeSet::new();
    let mut rows = Vec::with_capacity(n);
    for label in labels {
        go_on()?;
        let mut row = (task.row)(&mut draw, split, label);
        for _ in 0..50 {
            if !seen.contains(&row.to_string()) {
                break;
            }
            row = (task.row)(&mut draw, split, label);
        }
        seen.insert(row.to_string());
        rows.push(row);
    }
    number(&mut rows);
    if split != Split::Pretrain {
        rows.iter_mut().for_each(without_clues);
    }
    Ok(rows)
}

/// Takes the field `clue` away, wherever it is: SuperGLUE has none.
fn without_clues(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("clue");
            fields.values_mut().for_each(without_clues);
        }
        Value::Array(items) => items.iter_mut().for_each(without_clues),
        _ => {}
    }
}

/// Gives rows their `idx`.
fn number(rows: &mut [Value]) {
    let (mut questions, mut answers) = (0, 0);
    for (idx, row) in rows.iter_mut().enumerate() {
        row["idx"] = idx.into();
        let place = if row.get("qas").is_some() { "/qas" } else { "/passage/questions" };
        for question in list(row.pointer_mut(place)).into_iter().flatten() {
            question["idx"] = questions.into();
            questions += 1;
            // ReCoRD's answers are spans and have no number.
            if question.get("question").is_some() {
                for answer in list(question.get_mut("answers")).into_iter().flatten() {
                    answer["idx"] = answers.into();
                    answers += 1;
                }
            }
        }
    }
}

fn list(value: Option<&mut Value>) -> Option<&mut Vec<Value>> {
    value.and_then(Value::as_array_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_before_each_row_may_end_it() {
        let left = std::cell::Cell::new(3);
        let go_on = || {
            left.set(left.get() - 1);
            if left.get() == 0 { Err("ended") } else { Ok(()) }
        };
        assert_eq!(try_generate(&TASKS[0], Split::Train, 1_000_000, 1, go_on), Err("ended"));
    }

    #[test]
    fn same_seed_same_rows_other_seed_other_rows() {
        for task in TASKS {
            let rows = |seed| generate(task, Split::Train, 20, seed);
            assert_eq!(rows(1), rows(1), "{}", task.name);
            assert_ne!(rows(1), rows(2), "{}", task.name);
        }
    }

    /// The generator is pinned: rows made by an older build must not change without notice.
    #[test]
    fn rows_are_those_of_this_generator() {
        let row = |task: &str| generate(find(task).unwrap(), Split::Val, 1, 0)[0].to_string();
        assert_eq!(
            row("rte"),
            r#"{"hypothesis":"emma saw a tool.","idx":0,"label":"entailment","premise":"emma saw a spade in the garden."}"#
        );
        assert_eq!(
            row("wsc"),
            r#"{"idx":0,"label":false,"target":{"span1_index":0,"span1_text":"the sheep","span2_index":6,"span2_text":"it"},"text":"the sheep dragged the drum because it was cheap."}"#
        );
    }

    #[test]
    fn labels_are_balanced() {
        for (name, classes) in [("boolq", 2), ("cb", 3), ("copa", 2), ("rte", 2), ("wic", 2), ("wsc", 2)] {
            let mut counts = std::collections::BTreeMap::new();
            for row in generate(find(name).unwrap(), Split::Val, 60, 7) {
                *counts.entry(row["label"].to_string()).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), classes, "{name}");
            assert!(counts.values().all(|n| *n == 60 / classes), "{name}: {counts:?}");
        }
    }

    #[test]
    fn no_text_of_an_evaluation_is_in_other_splits_of_any_task_or_seed() {
        let texts = |split: Split, n: usize, seeds: &[i64]| {
            let mut texts = BTreeSet::new();
            for (task, seed) in TASKS.iter().flat_map(|task| seeds.iter().map(move |seed| (task, seed))) {
                for row in generate(task, split, n, *seed) {
                    texts.extend((task.texts)(&row).into_iter().map(str::to_owned));
                }
            }
            texts
        };
        let pretrain = texts(Split::Pretrain, 1500, &[0, 1]);
        let train = texts(Split::Train, 300, &[0, 1, 2]);
        let (val, test) = (texts(Split::Val, 300, &[0, 3]), texts(Split::Test, 300, &[0]));
        for (a, b) in
            [(&pretrain, &train), (&pretrain, &val), (&pretrain, &test), (&train, &val), (&train, &test), (&val, &test)]
        {
            assert!(a.len() > 500 && b.len() > 500);
            assert_eq!(a.intersection(b).next(), None);
        }
    }

    #[test]
    fn spans_point_at_their_words() {
        for row in generate(find("record").unwrap(), Split::Train, 20, 0) {
            let text = row["passage"]["text"].as_str().unwrap();
            let answer = &row["qas"][0]["answers"][0];
            let (start, end) = (answer["start"].as_u64().unwrap() as usize, answer["end"].as_u64().unwrap() as usize);
            assert_eq!(&text[start..=end], answer["text"].as_str().unwrap());
        }
        for row in generate(find("wic").unwrap(), Split::Train, 20, 0) {
            for i in ["1", "2"] {
                let at = |name: &str| row[format!("{name}{i}")].as_u64().unwrap() as usize;
                assert_eq!(
                    &row[format!("sentence{i}")].as_str().unwrap()[at("start")..at("end")],
                    row["word"].as_str().unwrap()
                );
            }
        }
        for row in generate(find("wsc").unwrap(), Split::Train, 20, 0) {
            let words: Vec<&str> = row["text"].as_str().unwrap().split(' ').collect();
            let target = &row["target"];
            let at = target["span1_index"].as_u64().unwrap() as usize;
            assert_eq!(words[at..at + 2].join(" "), target["span1_text"].as_str().unwrap());
            assert_eq!(words[target["span2_index"].as_u64().unwrap() as usize], "it");
        }
    }

    #[test]
    fn only_pretraining_rows_have_clues() {
        for task in TASKS {
            for split in Split::ALL {
                let has = generate(task, split, 3, 0)[2].to_string().contains("\"clue\"");
                assert_eq!(has, split == Split::Pretrain, "{} {}", task.name, split.name());
            }
        }
    }
}
