//! Preprocessing, tokenisation, draws and metrics against figures that other programs computed: the reference code of
//! the DPT paper and Hugging Face's libraries. Where the figures are not at hand the tests say so and pass.

use std::path::{Path, PathBuf};

use dpt::data::sample;
use dpt::data::task::{self, Task};
use dpt::data::template::{Purpose, Rendering, RteFields, Template};
use dpt::data::tokenizer::Tokenizer;
use dpt::data::torch_rng::{TorchRng, randperm};
use dpt::metrics::{self, Row, normalize, wsc};
use serde_json::Value as Json;

/// A folder of reference figures, `None` (told) where it is not at hand.
fn golden(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DPT_GOLDEN_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden"), PathBuf::from);
    beside(&root.join(folder))
}

/// The real data and the real tokenizer lie beside the figures.
pub fn data(folder: &str) -> Option<PathBuf> {
    beside(&golden("")?.join("../data").join(folder))
}

fn beside(dir: &Path) -> Option<PathBuf> {
    let there = dir.is_dir();
    if !there {
        eprintln!("skipped: `{}` is not there", dir.display());
    }
    there.then(|| dir.to_owned())
}

/// The files of `dir` with `ending`, by stem, sorted; at least one.
fn files(dir: &Path, ending: &str) -> Vec<(String, String)> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    all.sort();
    assert!(!all.is_empty(), "{} holds no .{ending}", dir.display());
    all
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn strings(value: &Json) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn ids(value: &Json) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect()
}

#[test]
fn the_paper_template_writes_what_the_reference_writes() {
    let Some(dir) = golden("preprocess") else { return };
    for (stem, text) in files(&dir, "jsonl") {
        let (name, variant) = stem.split_once('_').unwrap_or((&stem, ""));
        let task = task::find(name).unwrap();
        let mut how = Rendering::new(task, Template::DptPaper, Purpose::Evaluate);
        if name == "rte" && variant.is_empty() {
            how.rte_fields = RteFields::SuperGlue;
        }
        how.record_prefix = variant != "noprefix";
        for (i, line) in text.lines().enumerate() {
            let case = json(line);
            let batch = task.parse_jsonl(&case["input"].to_string(), &stem).unwrap();
            let rows = task::rows(task, &batch, &stem).unwrap();
            let examples: Vec<_> = rows.flat_map(|row| task.render(&row, &how)).collect();
            let expected = case["expected"].as_array().unwrap();
            assert_eq!(examples.len(), expected.len(), "{stem} row {i}");
            for (example, expected) in examples.iter().zip(expected) {
                assert_eq!(example.source, expected["source"].as_str().unwrap(), "{stem} row {i}");
                assert_eq!(example.target.as_deref(), expected["target"].as_str(), "{stem} row {i}");
                let extra = &expected["extra_fields"];
                if let Some(group) = extra.get("group") {
                    assert_eq!(example.group.as_deref(), Some(group.to_string().as_str()), "{stem} row {i}");
                }
                if let Some(answers) = extra.get("answers") {
                    assert_eq!(example.answers.as_deref(), Some(strings(answers).as_slice()), "{stem} row {i}");
                }
                if let Some(keep) = case.get("kept_by_label_filter") {
                    assert_eq!(example.keep, keep.as_bool().unwrap(), "{stem} row {i}");
                }
            }
        }
    }
}

#[test]
fn splits_are_laid_out_as_torch_shuffles_them() {
    let Some(dir) = golden("preprocess") else { return };
    let shuffle = json(&std::fs::read_to_string(dir.join("shuffle.json")).unwrap());
    for case in shuffle["cases"].as_array().unwrap() {
        let (n, seed) = (case["n"].as_u64().unwrap() as usize, case["seed"].as_u64().unwrap());
        let expected: Vec<usize> =
            case["permutation"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
        assert_eq!(randperm(n, seed), expected, "n {n}, seed {seed}");
        if seed == 42 {
            assert_eq!(sample::paper_order(n), expected);
        }
    }
}

#[test]
fn prompts_start_from_the_numbers_that_torch_draws() {
    let Some(dir) = golden("dpt_train") else { return };
    let mut runs = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let run = entry.unwrap().path();
        let Ok(settings) = std::fs::read_to_string(run.join("run.json")) else { continue };
        let mut rng = TorchRng::new(json(&settings)["init_seed"].as_u64().unwrap());
        let bytes = std::fs::read(run.join("tensors.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut drawn = 0;
        for name in ["prefix_first", "prefix_second", "prefix_full"] {
            let Some(key) = tensors.names().into_iter().find(|n| n.starts_with("init.") && n.ends_with(name)) else {
                continue;
            };
            let floats: Vec<f32> = tensors
                .tensor(key)
                .unwrap()
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            assert_eq!(rng.uniform(floats.len(), -0.5, 0.5), floats, "{}: {key}", run.display());
            drawn += 1;
        }
        assert!(drawn > 0, "{} has no init.*", run.display());
        runs += 1;
    }
    assert!(runs > 0);
}

fn real_tokenizer() -> Option<Tokenizer> {
    let path = data("t5-tokenizer")?.join("spiece.model");
    Some(Tokenizer::from_spiece(&std::fs::read(&path).unwrap(), "spiece.model").unwrap())
}

#[test]
fn the_real_sentencepiece_model_gives_hugging_faces_ids() {
    let (Some(dir), Some(tokenizer)) = (golden("tokenize"), real_tokenizer()) else { return };
    assert_eq!((tokenizer.pad(), tokenizer.eos(), tokenizer.unk(), tokenizer.vocab_size()), (0, 1, 2, 32_100));
    let as_json = Tokenizer::from_json(tokenizer.to_json().as_bytes(), "tokenizer.json").unwrap();
    let mut texts = 0;
    for (stem, text) in files(&dir, "json") {
        let file = json(&text);
        let max = file["max_length"].as_u64().unwrap_or(256) as usize;
        for list in ["sources", "targets", "cases"] {
            for case in file[list].as_array().into_iter().flatten().filter(|case| case.get("text").is_some()) {
                let text = case["text"].as_str().unwrap();
                let expected = ids(&case["ids"]);
                assert_eq!(tokenizer.encode(text), expected, "{stem}: {text:?}");
                assert_eq!(as_json.encode(text), expected, "{stem}, through tokenizer.json: {text:?}");
                let cut = tokenizer.encode_truncated(text, max);
                assert_eq!(cut, (ids(&case["ids_max256"]), expected.len()), "{stem}: {text:?}");
                texts += 1;
            }
        }
    }
    assert!(texts > 100, "{texts} texts");
}

#[test]
fn batches_are_padded_as_the_reference_pads_them() {
    let (Some(dir), Some(tokenizer)) = (golden("tokenize"), real_tokenizer()) else { return };
    let file = json(&std::fs::read_to_string(dir.join("padded.json")).unwrap());
    for case in file["cases"].as_array().unwrap() {
        let max = case["max_length"].as_u64().unwrap() as usize;
        for (i, text) in strings(&case["texts"]).iter().enumerate() {
            let (encoded, _) = tokenizer.encode_truncated(text, max);
            let padded = |fill: i32| {
                let mut row = encoded.clone();
                row.resize(max, fill);
                row
            };
            assert_eq!(padded(tokenizer.pad()), ids(&case["input_ids"][i]), "{text:?}");
            assert_eq!(padded(-100), ids(&case["labels"][i]), "{text:?}");
            let mask: Vec<i32> = (0..max).map(|j| i32::from(j < encoded.len())).collect();
            assert_eq!(mask, ids(&case["attention_mask"][i]), "{text:?}");
        }
    }
}

#[test]
fn ids_are_decoded_as_the_reference_compares_them() {
    let (Some(dir), Some(tokenizer)) = (golden("tokenize"), real_tokenizer()) else { return };
    let file = json(&std::fs::read_to_string(dir.join("decode.json")).unwrap());
    for case in file["cases"].as_array().unwrap() {
        let given = ids(&case["ids"]);
        assert_eq!(tokenizer.decode_clean(&given), case["reference"].as_str().unwrap(), "{given:?}");
        assert_eq!(tokenizer.decode(&given), case["no_cleanup"].as_str().unwrap(), "{given:?}");
        assert_eq!(tokenizer.decode_all(&given), case["keep_special"].as_str().unwrap(), "{given:?}");
    }
}

/// Holds one file of metric cases against a metric, in percent.
fn check(cases: &Json, key: &str, metric: &str, classes: &[&str]) {
    let metric = metrics::find(metric).unwrap();
    for case in cases.as_array().unwrap() {
        let Some(expected) = case["expected"].get(key) else { panic!("{} has no {key}", case["name"]) };
        let predictions = strings(&case["predictions"]);
        let targets = case["targets"].as_array().unwrap();
        let answers: Vec<Vec<String>> = targets
            .iter()
            .map(|target| target.as_str().map_or_else(|| strings(target), |text| vec![text.to_owned()]))
            .collect();
        let groups: Vec<String> =
            case.get("groups").map_or_else(Vec::new, |g| g.as_array().unwrap().iter().map(Json::to_string).collect());
        let rows: Vec<Row> = (0..predictions.len())
            .map(|i| Row {
                prediction: &predictions[i],
                target: answers[i].first().map_or("", String::as_str),
                answers: &answers[i],
                group: groups.get(i).map(String::as_str),
            })
            .collect();
        let found = 100.0 * metric.score(&rows, classes).unwrap();
        let expected = expected.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-6, "{} {}: {found}, expected {expected}", metric.name(), case["name"]);
    }
}

#[test]
fn metrics_agree_with_the_reference() {
    let Some(dir) = golden("metrics") else { return };
    for (stem, text) in files(&dir, "json") {
        let file = json(&text);
        let cases = &file["cases"];
        match stem.as_str() {
            "accuracy" => check(cases, "accuracy", "accuracy", &[]),
            "cb_macro_f1" => {
                check(cases, "accuracy", "accuracy", &[]);
                check(cases, "f1_multiclass", "macro-f1-all", &["0", "1", "2"]);
            }
            "f1_with_invalid" => check(cases, "f1", "f1", &["0", "1"]),
            "multirc" => {
                check(cases, "f1", "f1", &["0", "1"]);
                check(cases, "em", "question-em", &["0", "1"]);
            }
            "squad" => {
                check(cases, "f1", "answer-f1", &[]);
                check(cases, "em", "answer-em", &[]);
            }
            "matthews" => check(cases, "matthews_correlation", "matthews", &[]),
            "pearson" => check(cases, "pearson", "pearson", &[]),
            "spearman" => check(cases, "spearmanr", "spearman", &[]),
            "normalize" => {
                for case in cases.as_array().unwrap() {
                    let text = case["text"].as_str().unwrap();
                    assert_eq!(normalize::squad(text), case["squad"].as_str().unwrap(), "{text:?}");
                    assert_eq!(normalize::trivia_qa(text), case["trivia_qa"].as_str().unwrap(), "{text:?}");
                }
            }
            "wsc" => {
                for case in file["pairs"].as_array().unwrap() {
                    let flag =
                        match wsc::compare(case["prediction"].as_str().unwrap(), case["target"].as_str().unwrap()) {
                            wsc::Match::Yes => 1,
                            wsc::Match::No => 0,
                            wsc::Match::Empty => -1,
                        };
                    assert_eq!(flag, case["expected"].as_i64().unwrap(), "{}", case["name"]);
                }
                check(&file["aggregate"], "accuracy", "wsc-match", &[]);
                check(&file["multi_batch"], "accuracy", "wsc-match", &[]);
            }
            other => panic!("no test reads metrics/{other}.json"),
        }
    }
}

#[test]
fn every_real_row_is_read_and_written() {
    let Some(dir) = data("superglue_fewshot") else { return };
    for task in task::TASKS {
        let splits = files(&dir.join(task.folder()), "jsonl");
        for (split, text) in splits {
            let origin = format!("{}/{split}.jsonl", task.folder());
            let batch = task.parse_jsonl(&text, &origin).unwrap();
            for template in [Template::Plain, Template::DptPaper] {
                let how = Rendering::new(*task, template, Purpose::Evaluate);
                let rows = task::rows(*task, &batch, &origin).unwrap();
                let examples: Vec<_> = rows.flat_map(|row| task.render(&row, &how)).collect();
                assert!(examples.iter().all(|e| e.target.is_some() && !e.source.is_empty()), "{origin}");
                let mut seen: Vec<_> = examples.iter().map(|e| e.id.as_str()).collect();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), examples.len(), "{origin}: ids are unique");
            }
            unlabelled(*task, &text, &origin);
        }
    }
}

/// The same rows without labels and answers, as test splits have them.
fn unlabelled(task: &dyn Task, text: &str, origin: &str) {
    fn strip(value: &mut Json) {
        match value {
            Json::Object(map) => {
                map.remove("label");
                if map.contains_key("query") {
                    map.remove("answers");
                }
                map.values_mut().for_each(strip);
            }
            Json::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let mut row = json(line);
            strip(&mut row);
            row.to_string()
        })
        .collect();
    let batch = task.parse_jsonl(&lines.join("\n"), origin).unwrap();
    let how = Rendering::new(task, Template::Plain, Purpose::Evaluate);
    for row in task::rows(task, &batch, origin).unwrap() {
        assert!(task.render(&row, &how).iter().all(|e| e.target.is_none() && e.label.is_none()), "{origin}");
    }
}
