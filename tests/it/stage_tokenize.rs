//! The stage `tokenize` on real rows of all eight tasks with the real T5 tokenizer. Skipped if they are not available.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dpt::artifact::{json, table};
use dpt::base::digest::Digest;
use dpt::base::value::{Params, Value};
use dpt::data::encoded::{self, Encoded, Tokens};
use dpt::data::task;
use dpt::metrics::Suite;
use dpt::stages::ctx::{Cancel, Ctx, Input, Job};
use dpt::stages::stage::Runs;
use dpt::stages::tokenize;
use dpt::testing::Recorder;

use crate::golden::data;

pub fn run(out: &Path, tables: BTreeMap<String, PathBuf>, spiece: &Path, threads: usize, params: &[(&str, Value)]) {
    let input = |files| Input {
        node: "upstream".to_owned(),
        axes: Vec::new(),
        key: Digest::of(b""),
        files,
        digests: BTreeMap::new(),
        executable: Default::default(),
    };
    let tokenizer = BTreeMap::from([("spiece.model".to_owned(), spiece.to_owned())]);
    let defaults: [(&str, Value); 6] = [
        ("max_source_length", Value::Int(256)),
        ("max_target_length", Value::Int(128)),
        ("order", Value::Str("file".into())),
        ("shots_seed", Value::Int(42)),
        ("rte_fields", Value::Str("glue".into())),
        ("record_prefix", Value::Bool(true)),
    ];
    let params: Params = defaults.iter().chain(params).map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    tokenize::KIND.check.unwrap()(&params).unwrap();
    let job = Job {
        node: "tokenize".to_owned(),
        kind: "tokenize".to_owned(),
        params,
        inputs: BTreeMap::from([
            ("data".to_owned(), vec![input(tables)]),
            ("tokenizer".to_owned(), vec![input(tokenizer)]),
        ]),
        out: out.to_owned(),
        scratch: out.join("scratch"),
        threads,
        device: "cpu".to_owned(),
        ..Job::default()
    };
    let Runs::Here(stage) = tokenize::KIND.runs else { panic!("`tokenize` runs in the engine's process") };
    stage(&Ctx { job: &job, progress: &Recorder::default(), cancel: &Cancel::new() }).unwrap();
}

pub fn split(out: &Path, name: &str) -> Vec<Encoded> {
    encoded::from_batch(&table::read(&out.join(format!("{name}.parquet"))).unwrap(), name).unwrap()
}

#[test]
fn tokenize_reads_real_rows_of_every_task() {
    let (Some(rows), Some(t5)) = (data("superglue_fewshot"), data("t5-tokenizer")) else { return };
    let spiece = t5.join("spiece.model");
    for task in task::TASKS {
        let dir = tempfile::tempdir().unwrap();
        let tables: BTreeMap<String, PathBuf> = [("train", "train"), ("dev", "dev32")]
            .into_iter()
            .map(|(split, stem)| {
                let path = rows.join(task.folder()).join(format!("{stem}.jsonl"));
                let text = std::fs::read_to_string(&path).unwrap();
                let name = format!("{split}.parquet");
                let at = dir.path().join(&name);
                table::write(&at, &task.parse_jsonl(&text, &name).unwrap()).unwrap();
                (name, at)
            })
            .collect();
        for template in ["plain", "dpt-paper"] {
            let params = [("task", Value::Str(task.name().into())), ("template", Value::Str(template.into()))];
            let out = |threads: usize| {
                let out = dir.path().join(format!("{template}-{threads}"));
                std::fs::create_dir(&out).unwrap();
                run(&out, tables.clone(), &spiece, threads, &params);
                out
            };
            let one = out(1);
            if task.name() == "cb" {
                let three = out(3);
                for name in ["train.parquet", "dev.parquet", "tokens.json"] {
                    let bytes = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
                    assert_eq!(bytes(&one), bytes(&three), "{template} {name}");
                }
            }
            let tokens: Tokens = json::read(&one.join("tokens.json")).unwrap();
            assert_eq!((tokens.vocab_size, tokens.pad_id, tokens.eos_id), (32_100, 0, 1));
            Suite::new(&tokens.metrics).unwrap();
            assert!(tokens.verbalizer.iter().all(|class| class.text == class.decoded), "{:?}", tokens.verbalizer);
            for name in ["train", "dev"] {
                let examples = split(&one, name);
                assert_eq!(examples.len(), tokens.splits[name].rows);
                for e in &examples {
                    assert!(
                        e.input_ids.len() <= 256 && e.input_ids.last() == Some(&1) && e.target_ids.last() == Some(&1)
                    );
                    assert_eq!(e.truncated, e.input_length > 256);
                    match (&e.choices, e.label) {
                        (Some(choices), Some(label)) => assert!((label as usize) < choices.len()),
                        (None, Some(label)) => assert_eq!(tokens.verbalizer[label as usize].ids, e.target_ids),
                        (_, None) => assert!(e.answers.as_ref().is_some_and(|answers| !answers.is_empty())),
                    }
                }
            }
        }
    }
}
