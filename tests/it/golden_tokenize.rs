//! Token ids, padding and decoding with the real T5 vocabulary, against Hugging Face's libraries; and the stage
//! `tokenize`, from raw rows to ids.

use dpt::base::value::Value;
use dpt::data::task;
use dpt::data::template::RteFields;
use dpt::data::tokenizer::Tokenizer;
use serde_json::Value as Json;

use crate::parity::Parity;
use crate::stage_tokenize::{run, split};
use crate::{golden, golden_preprocess};

const HUB: &str = "Hugging Face's fast tokenizer";

fn strings(value: &Json) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn ids(value: &Json) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect()
}

/// The tokenizer from `spiece.model` alone, and the same from a `tokenizer.json`.
fn tokenizers() -> Option<[(&'static str, Tokenizer); 2]> {
    let path = golden::data("t5-tokenizer")?.join("spiece.model");
    let spiece = Tokenizer::from_spiece(&std::fs::read(&path).unwrap(), "spiece.model").unwrap();
    let json = Tokenizer::from_json(spiece.to_json().as_bytes(), "tokenizer.json").unwrap();
    Some([("spiece.model", spiece), ("tokenizer.json", json)])
}

#[test]
fn ids_padding_and_decoding_agree_with_the_reference() {
    let (Some(dir), Some(tokenizers)) = (golden::dir("tokenize"), tokenizers()) else { return };
    let mut parity = Parity::new("Tokenisation", "tokenize");
    for path in golden::list(&dir) {
        let stem = golden::name(&path).strip_suffix(".json").unwrap_or_else(|| panic!("no test reads {path:?}"));
        let file = golden::json(&path);
        let mut cases = 0;
        for (list, value) in file.as_object().unwrap() {
            for (i, case) in value.as_array().into_iter().flatten().enumerate() {
                for (from, tokenizer) in &tokenizers {
                    check(&mut parity, tokenizer, from, case, &format!("{stem}, {list} {i}"));
                }
                cases += 1;
            }
        }
        assert!(cases > 0, "{} has no cases", path.display());
    }
}

fn check(parity: &mut Parity, tokenizer: &Tokenizer, from: &str, case: &Json, at: &str) {
    let at = format!("{at}, from {from}");
    if let Some(text) = case["text"].as_str() {
        let expected = ids(&case["ids"]);
        parity.same(&format!("ids, from `{from}`"), HUB, &tokenizer.encode(text), &expected, &at);
        for (key, cut) in case.as_object().unwrap() {
            let Some(max) = key.strip_prefix("ids_max") else { continue };
            let ours = tokenizer.encode_truncated(text, max.parse().unwrap());
            parity.same(&format!("cut ids, from `{from}`"), HUB, &ours, &(ids(cut), expected.len()), &at);
        }
    } else if let Some(texts) = case.get("texts") {
        let max = case["max_length"].as_u64().unwrap() as usize;
        for (i, text) in strings(texts).iter().enumerate() {
            let (encoded, _) = tokenizer.encode_truncated(text, max);
            let padded = |fill: i32| {
                let mut row = encoded.clone();
                row.resize(max, fill);
                row
            };
            let mask: Vec<i32> = (0..max).map(|j| i32::from(j < encoded.len())).collect();
            let ours = [padded(tokenizer.pad()), mask, padded(-100)];
            let theirs = ["input_ids", "attention_mask", "labels"].map(|name| ids(&case[name][i]));
            parity.same("rows of padded batches", "the paper's code", &ours, &theirs, &at);
        }
    } else if let Some(given) = case.get("ids").map(ids) {
        let text = |name: &str| case[name].as_str().unwrap();
        parity.same(
            "decoding with clean-up",
            "the paper's code",
            &*tokenizer.decode_clean(&given),
            text("reference"),
            &at,
        );
        parity.same("decoding", HUB, &*tokenizer.decode(&given), text("no_cleanup"), &at);
        parity.same("decoding with special tokens", HUB, &*tokenizer.decode_all(&given), text("keep_special"), &at);
    } else {
        panic!("{at}: a case of no known kind: {case}");
    }
}

/// Raw rows through the stage itself, with `template = "dpt-paper"`, give the ids of the reference's texts.
#[test]
fn tokenize_gives_the_ids_of_the_reference() {
    let (Some(files), Some([(_, tokenizer), _])) = (golden_preprocess::files(), tokenizers()) else { return };
    let spiece = golden::data("t5-tokenizer").unwrap().join("spiece.model");
    let mut parity = Parity::new("Tokenisation", "tokenize_stage");
    for (stem, lines) in files {
        let (task, how) = golden_preprocess::case(&stem, &lines);
        // Outside a test split the stage refuses rows without answers; the rows that the template drops it drops.
        let bare = |expected: &Json| expected["extra_fields"]["answers"].as_array().is_some_and(Vec::is_empty);
        let answered = |line: &&Json| !line["expected"].as_array().unwrap().iter().any(bare);
        let lines: Vec<&Json> = lines.iter().filter(answered).collect();
        let text: Vec<String> = lines.iter().map(|line| line["input"].to_string()).collect();
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("validation.parquet");
        dpt::artifact::table::write(&table, &task.parse_jsonl(&text.join("\n"), &stem).unwrap()).unwrap();
        let fields = if how.rte_fields == RteFields::Glue { "glue" } else { "superglue" };
        let params = [
            ("task", Value::Str(task.name().into())),
            ("template", Value::Str("dpt-paper".into())),
            ("rte_fields", Value::Str(fields.into())),
            ("record_prefix", Value::Bool(how.record_prefix)),
        ];
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        run(&out, [("validation.parquet".to_owned(), table)].into(), &spiece, 2, &params);

        let kept = lines.iter().filter(|line| line["kept_by_label_filter"].as_bool().unwrap_or(true));
        let expected: Vec<&Json> = kept.flat_map(|line| line["expected"].as_array().unwrap()).collect();
        let examples = split(&out, "validation");
        assert_eq!(examples.len(), expected.len(), "{stem}");
        for (example, expected) in examples.iter().zip(expected) {
            let texts = ["source", "target"].map(|name| expected[name].as_str().unwrap());
            let ours = (&example.input_ids, &example.target_ids, example.target.as_str());
            let (source, _) = tokenizer.encode_truncated(texts[0], 256);
            let (target, _) = tokenizer.encode_truncated(texts[1], 128);
            let at = format!("{stem}, example {}", example.example_id);
            parity.same(
                "stage `tokenize`: ids of source and target",
                "the paper's code",
                &ours,
                &(&source, &target, texts[1]),
                at,
            );
        }
    }
}

/// SuperGLUE's metrics are the default; the paper's are one word away, and that word is kept with the data.
#[test]
fn paper_metrics_are_one_parameter() {
    let (Some(rows), Some(t5)) = (golden::data("superglue_fewshot"), golden::data("t5-tokenizer")) else { return };
    for task in task::TASKS {
        let dir = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(rows.join(task.folder()).join("train.jsonl")).unwrap();
        let table = dir.path().join("train.parquet");
        dpt::artifact::table::write(&table, &task.parse_jsonl(&text, "train").unwrap()).unwrap();
        let mode = |words: &[(&str, &str)]| {
            let out = tempfile::tempdir().unwrap();
            let mut params = vec![("task", Value::Str(task.name().into())), ("template", Value::Str("plain".into()))];
            params.extend(words.iter().map(|(name, word)| (*name, Value::Str((*word).into()))));
            run(out.path(), [("train.parquet".to_owned(), table.clone())].into(), &t5.join("spiece.model"), 2, &params);
            let tokens: dpt::data::encoded::Tokens =
                dpt::artifact::json::read(&out.path().join("tokens.json")).unwrap();
            (tokens.metric_mode, tokens.metrics)
        };
        let of = |name: &str| {
            let metrics = task.metrics(task::MetricMode::find(name).unwrap());
            (name.to_owned(), metrics.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(mode(&[]), of("official"), "{}", task.name());
        assert_eq!(mode(&[("metric_mode", "dpt-paper")]), of("dpt-paper"), "{}", task.name());
        assert_eq!(mode(&[("template", "dpt-paper")]), of("dpt-paper"), "{}", task.name());
    }
}
