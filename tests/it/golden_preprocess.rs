//! Rows as text and their order, against what the DPT paper's code makes of the same rows.

use dpt::data::sample;
use dpt::data::task::{self, Task};
use dpt::data::template::{Example, Purpose, Rendering, RteFields, Template};
use dpt::data::torch_rng::{TorchRng, randperm};
use serde_json::Value as Json;

use crate::golden;
use crate::parity::Parity;

const PAPER: &str = "the paper's code";

/// A file `<task>[_<word>…].jsonl`: the task and how its rows are written. A word that is not known here is an error:
/// the file would be held against the wrong text.
pub fn case(stem: &str, lines: &[Json]) -> (&'static dyn Task, Rendering) {
    let mut words = stem.split('_');
    let task = task::find(words.next().unwrap()).unwrap();
    let mut how = Rendering::new(task, Template::DptPaper, Purpose::Evaluate);
    for word in words {
        match word {
            "synthetic" => {}
            "noprefix" => how.record_prefix = false,
            "glue" | "superglue" if task.name() == "rte" => {}
            _ => panic!("preprocess/{stem}.jsonl: what does `{word}` mean?"),
        }
    }
    // Which class of the reference wrote the file stands in every line.
    let names: Vec<_> =
        lines.iter().flat_map(|l| l["expected"].as_array().unwrap()).map(|e| e["task"].as_str().unwrap()).collect();
    let [glue, superglue] = [task.name().to_owned(), format!("superglue-{}", task.name())];
    for name in &names {
        let known = *name == glue || *name == superglue || *name == format!("{superglue}.fixed");
        assert!(known && names[0] == *name, "preprocess/{stem}.jsonl: of task `{name}`");
    }
    how.rte_fields = if names.first() == Some(&"rte") { RteFields::Glue } else { RteFields::SuperGlue };
    (task, how)
}

/// The files of `preprocess/` with rows, by stem; each has a line a row.
pub fn files() -> Option<Vec<(String, Vec<Json>)>> {
    let mut files = Vec::new();
    for path in golden::list(&golden::dir("preprocess")?) {
        match golden::name(&path).rsplit_once('.') {
            Some((stem, "jsonl")) => {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                files.push((stem.to_owned(), lines));
            }
            Some((_, "json")) => {} // permutations
            _ => panic!("no test reads {}", path.display()),
        }
    }
    assert!(!files.is_empty());
    Some(files)
}

/// What the reference keeps beside source and target. (An example of WSC has its one answer here, which is its target
/// there.)
fn extra_fields(example: &Example) -> Json {
    let mut fields = serde_json::Map::new();
    if let Some(group) = &example.group {
        fields.insert("group".into(), serde_json::from_str(group).unwrap());
    }
    if let Some(answers) = example.answers.as_ref().filter(|a| **a != [example.target.clone().unwrap_or_default()]) {
        fields.insert("answers".into(), answers.clone().into());
    }
    fields.into()
}

#[test]
fn paper_template_agrees_with_the_reference() {
    let Some(files) = files() else { return };
    let mut parity = Parity::new("Preprocessing", "preprocess");
    for (stem, lines) in files {
        let (task, how) = case(&stem, &lines);
        for (i, line) in lines.iter().enumerate() {
            let at = format!("{stem}, row {i}");
            let batch = task.parse_jsonl(&line["input"].to_string(), &stem).unwrap();
            let rows = task::rows(task, &batch, &stem).unwrap();
            let examples: Vec<_> = rows.flat_map(|row| task.render(&row, &how)).collect();
            let expected = line["expected"].as_array().unwrap();
            let what = format!("`{}`: source, target and further fields of an example", task.name());
            assert_eq!(examples.len(), expected.len(), "{at}");
            for (example, expected) in examples.iter().zip(expected) {
                let ours = (example.source.as_str(), example.target.as_deref(), extra_fields(example));
                let mut theirs = expected["extra_fields"].clone();
                // Of our one answer that is the target nothing tells whether it is such a field.
                if theirs.get("answers").is_some_and(|answers| *answers == Json::from(vec![expected["target"].clone()]))
                {
                    assert!(example.answers.is_some(), "{at}");
                    theirs.as_object_mut().unwrap().remove("answers");
                }
                let theirs = (expected["source"].as_str().unwrap(), expected["target"].as_str(), theirs);
                parity.same(&what, PAPER, &ours, &theirs, &at);
                if let Some(keep) = line.get("kept_by_label_filter") {
                    parity.same("`wsc`: rows kept", PAPER, &example.keep, &keep.as_bool().unwrap(), &at);
                } else {
                    assert!(example.keep, "{at}");
                }
            }
        }
    }
}

#[test]
fn split_order_agrees_with_torch() {
    let Some(dir) = golden::dir("preprocess") else { return };
    let mut parity = Parity::new("Preprocessing", "shuffle");
    let files = golden::list(&dir).into_iter().filter(|path| path.extension().is_some_and(|e| e == "json"));
    for file in files.map(|path| golden::json(&path)) {
        for case in file["cases"].as_array().unwrap() {
            let (n, seed) = (case["n"].as_u64().unwrap() as usize, case["seed"].as_u64().unwrap());
            let expected: Vec<usize> =
                case["permutation"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
            let at = format!("{n} rows, seed {seed}");
            parity.same("order of a split's rows", "torch", &randperm(n, seed), &expected, &at);
            if seed == 42 {
                parity.same("`order = \"dpt-paper\"`", PAPER, &sample::paper_order(n), &expected, &at);
            }
        }
    }
}

#[test]
fn initial_prompts_agree_with_torch() {
    let Some(dir) = golden::dir("dpt_train") else { return };
    let mut parity = Parity::new("Training", "initial");
    for run in golden::folders(&dir) {
        let mut rng = TorchRng::new(golden::json(&run.join("run.json"))["init_seed"].as_u64().unwrap());
        let bytes = std::fs::read(run.join("tensors.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        // In the order of their names, which is the order of drawing: `prefix_first`, `prefix_second`.
        let mut names: Vec<_> = tensors.names().into_iter().filter(|name| name.starts_with("init.")).collect();
        names.sort_unstable();
        assert!(!names.is_empty(), "{} has no initial values", run.display());
        for name in names {
            let floats: Vec<f32> = tensors
                .tensor(name)
                .unwrap()
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let ours = rng.uniform(floats.len(), -0.5, 0.5);
            parity.same("values drawn from a seed", "torch", &ours, &floats, run.join(name).display());
        }
    }
}
