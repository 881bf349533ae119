//! The tasks of SuperGLUE. To add one: its file, its `mod` line, its row in [`TASKS`].
//!
//! A task says which columns its rows have, how they stand in SuperGLUE's jsonl, how a row is written as source and
//! target, which metrics count, and in which form predictions are handed in. It knows no tokenizer and no metric's code.

mod boolq;
mod cb;
mod copa;
mod multirc;
mod read;
mod record;
mod rte;
mod wic;
mod wsc;

use arrow::record_batch::RecordBatch;
use serde_json::{Value as Json, json};

pub use read::{Cell, Column, Fields, Kind, LABEL, LabelForm, Row, rows, schema};

use super::template::{Example, Rendering, Template};
use crate::base::diag::{Class, Diag};
use crate::base::suggest;

/// A task of SuperGLUE.
pub trait Task: Sync {
    /// As on the command line: `rte`.
    fn name(&self) -> &'static str;

    /// The folder (and archive, with `.zip`) in SuperGLUE's distribution: `RTE`.
    fn folder(&self) -> &'static str;

    /// One line for help texts.
    fn about(&self) -> &'static str;

    /// The classes by name, in class order (the order of Hugging Face's `super_glue`); empty where every row has its
    /// own candidates.
    fn labels(&self) -> &'static [&'static str];

    /// The columns of its table.
    fn columns(&self) -> &'static [Column];

    /// Reads one JSON object into rows, one cell a column. Notes problems in `fields`; adds only whole rows.
    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>);

    /// The target text of each class in `template`, in class order; empty where targets are free text.
    fn verbalizer(&self, template: Template) -> &'static [&'static str];

    /// Writes a row as one example or several.
    fn render(&self, row: &Row, how: &Rendering) -> Vec<Example>;

    /// The names of its metrics, the one that counts first. `score` means: the mean of the others.
    fn metrics(&self, mode: MetricMode) -> &'static [&'static str];

    /// The value of `label` in a line of SuperGLUE's submission. By default the label's name.
    fn submission_label(&self, prediction: &Prediction) -> Option<Json> {
        Some(json!(self.labels().get(prediction.label?)?))
    }

    /// All predictions of a split as the text of SuperGLUE's submission file, one JSON object a line, in the order
    /// given.
    ///
    /// # Errors
    /// A prediction without a class where the task has classes, or an id that is none of this task's.
    fn submission(&self, predictions: &[Prediction]) -> Result<String, Diag> {
        let mut lines = String::new();
        for p in predictions {
            let idx: i64 = p.example_id.parse().map_err(|_| foreign_id(self.name(), p.example_id))?;
            let label = self.submission_label(p).ok_or_else(|| no_class(self.name(), p))?;
            lines.push_str(&json!({ "idx": idx, "label": label }).to_string());
            lines.push('\n');
        }
        Ok(lines)
    }
}

/// Which definitions of the metrics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricMode {
    /// SuperGLUE's own: two-metric tasks by the mean of both.
    Official,
    /// As the DPT paper's code selects and reports.
    DptPaper,
}

/// Every metric mode, by name.
pub const METRIC_MODES: &[(&str, MetricMode)] =
    &[("official", MetricMode::Official), ("dpt-paper", MetricMode::DptPaper)];

impl MetricMode {
    /// The mode called `name`.
    pub fn find(name: &str) -> Option<Self> {
        METRIC_MODES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }
}

/// One prediction, to be handed in.
#[derive(Clone, Copy, Debug)]
pub struct Prediction<'a> {
    /// [`Example::id`].
    pub example_id: &'a str,
    /// The class. Take the verbalizer's choice where generated text is none of the classes.
    pub label: Option<usize>,
    /// The text: what ReCoRD hands in.
    pub text: &'a str,
}

/// Every task, in SuperGLUE's order.
pub const TASKS: &[&dyn Task] =
    &[&boolq::BoolQ, &cb::Cb, &copa::Copa, &multirc::MultiRc, &record::Record, &rte::Rte, &wic::WiC, &wsc::Wsc];

/// The names of all tasks, for parameter types.
pub const TASK_NAMES: &[&str] = &["boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"];

/// The task called `name`.
///
/// # Errors
/// There is none: says which there are.
pub fn find(name: &str) -> Result<&'static dyn Task, Diag> {
    TASKS.iter().find(|task| task.name() == name).copied().ok_or_else(|| {
        let diag = Diag::error(Class::Usage, format!("there is no task `{name}`"))
            .note(format!("there are {}", super::verbalizer::quoted(TASK_NAMES)));
        match suggest::nearest(name, TASK_NAMES.iter().copied()) {
            Some(near) => diag.help(format!("did you mean `{near}`?")),
            None => diag,
        }
    })
}

impl<'t> dyn Task + 't {
    /// Reads a whole jsonl file in SuperGLUE's form into this task's table; `origin` names the file in messages. Blank
    /// lines are passed over. A file without any label is a test split, with labels in a part of its rows it is wrong.
    ///
    /// # Errors
    /// Malformed JSON, missing fields, wrong types, labels that the task does not have: the first ten of all problems,
    /// each with its line. A file without examples.
    pub fn parse_jsonl(&self, text: &str, origin: &str) -> Result<RecordBatch, Diag> {
        read::parse(self, text, origin)
    }
}

fn foreign_id(task: &str, id: &str) -> Diag {
    Diag::error(Class::Bug, format!("`{id}` is not an example id of task `{task}`"))
}

fn no_class(task: &str, p: &Prediction) -> Diag {
    Diag::error(Class::Stage, format!("example `{}` of `{task}` has no class to hand in", p.example_id))
        .note(format!("its text is {:?}", p.text))
}

/// What the tests of every task's file need.
#[cfg(test)]
mod testing {
    use super::*;
    use crate::data::template::Purpose;

    pub fn render(task: &'static dyn Task, jsonl: &str, template: Template) -> Vec<Example> {
        render_for(task, jsonl, template, Purpose::Train)
    }

    pub fn render_for(task: &'static dyn Task, jsonl: &str, template: Template, purpose: Purpose) -> Vec<Example> {
        let batch = task.parse_jsonl(jsonl, "test.jsonl").unwrap();
        let how = Rendering::new(task, template, purpose);
        rows(task, &batch, "test.jsonl").unwrap().flat_map(|row| task.render(&row, &how)).collect()
    }

    pub fn submit(task: &dyn Task, predictions: &[(&str, Option<usize>, &str)]) -> String {
        let rows = predictions.iter().map(|(example_id, label, text)| Prediction { example_id, label: *label, text });
        task.submission(&rows.collect::<Vec<_>>()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::template::{Purpose, TEMPLATES};

    #[test]
    fn every_task_has_its_row_and_is_whole() {
        let names: Vec<_> = TASKS.iter().map(|t| t.name()).collect();
        assert_eq!(names, TASK_NAMES);
        for task in TASKS {
            assert_eq!(find(task.name()).unwrap().folder(), task.folder());
            assert!(!task.about().is_empty() && !task.columns().is_empty());
            for (_, template, _) in TEMPLATES {
                let texts = task.verbalizer(*template);
                assert!(texts.is_empty() || texts.len() == task.labels().len(), "{}", task.name());
                let how = Rendering::new(*task, *template, Purpose::Train);
                assert_eq!(how.verbalizer.len(), texts.len());
            }
            for (_, mode) in METRIC_MODES {
                assert!(!task.metrics(*mode).is_empty());
            }
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/data/task")).unwrap();
        assert_eq!(files.count(), TASKS.len() + 2, "one file a task, `mod.rs` and `read.rs`");
    }

    #[test]
    fn an_unknown_task_is_told_with_the_known_ones() {
        let diag = find("multrc").err().unwrap();
        assert_eq!(diag.help.as_deref(), Some("did you mean `multirc`?"));
    }

    #[test]
    fn problems_are_told_with_their_lines() {
        let boolq = find("boolq").unwrap();
        let good = r#"{"question": "q", "passage": "p", "idx": 0, "label": true}"#;
        let e = boolq.parse_jsonl(&format!("{good}\n{{\"question\": 1"), "val.jsonl").unwrap_err();
        assert_eq!(e.message, "`val.jsonl`, line 2: not JSON: EOF while parsing an object (column 14)");

        let bad = r#"{"question": 7, "idx": "x", "label": "maybe"}"#;
        let e = boolq.parse_jsonl(&format!("{good}\n\n{bad}\n[]\n"), "val.jsonl").unwrap_err();
        assert_eq!(
            e.to_string(),
            "`val.jsonl` has 5 problems as a file of task `boolq`\
             \n  = note: line 3: field `question` is `7`, expected text\
             \n  = note: line 3: field `passage` is missing\
             \n  = note: line 3: field `idx` is `\"x\"`, expected a whole number\
             \n  = note: line 3: field `label` is `\"maybe\"`, not a label of `boolq`\
             \n  = note: line 4: a list where a JSON object should stand\
             \n  = note: the labels of `boolq` are `false`, `true`"
        );
    }

    #[test]
    fn only_the_first_ten_problems_are_told() {
        let text = "{}\n".repeat(20);
        let e = find("rte").unwrap().parse_jsonl(&text, "f").unwrap_err();
        assert_eq!(e.message, "`f` has 60 problems as a file of task `rte`");
        assert_eq!(e.notes.len(), 11);
        assert_eq!(e.notes[10], "and 50 more");
    }

    #[test]
    fn an_empty_file_and_a_half_labelled_one_are_errors_a_test_split_is_not() {
        let boolq = find("boolq").unwrap();
        let e = boolq.parse_jsonl(" \n\n", "BoolQ/train.jsonl").unwrap_err();
        assert_eq!(e.message, "`BoolQ/train.jsonl` holds no examples");

        let with = r#"{"question": "q", "passage": "p", "idx": 0, "label": false}"#;
        let without = r#"{"question": "q", "passage": "p", "idx": 1}"#;
        let e = boolq.parse_jsonl(&format!("{with}\n{without}"), "f").unwrap_err();
        assert_eq!(e.message, "`f`, line 2: field `label` is missing, and other rows have it");

        let batch = boolq.parse_jsonl(&format!("{without}\n{without}"), "f").unwrap();
        assert!(rows(boolq, &batch, "f").unwrap().all(|row| row.label().is_none()));
    }

    #[test]
    fn a_table_of_another_task_is_refused() {
        let batch = find("boolq")
            .unwrap()
            .parse_jsonl(r#"{"question": "q", "passage": "p", "idx": 0, "label": true}"#, "f")
            .unwrap();
        let e = rows(find("rte").unwrap(), &batch, "train.parquet").err().unwrap();
        assert_eq!(e.message, "`train.parquet` is no table of task `rte`: column `premise`");

        // CB's table has RTE's columns, and one label more.
        let neutral = r#"{"premise": "p", "hypothesis": "h", "idx": 0, "label": "neutral"}"#;
        let batch = find("cb").unwrap().parse_jsonl(neutral, "f").unwrap();
        let e = rows(find("rte").unwrap(), &batch, "train.parquet").err().unwrap();
        assert_eq!(e.message, "`train.parquet` is no table of task `rte`: it has label 2");
    }

    /// Rows of all tasks at once, so that whatever field a task asks for is there in some form.
    const EVERYTHING: &str = r#"{"idx": 3, "label": true, "question": "cause", "passage": {"text": "Zoë met Bob", "entities":
        [{"start": 0, "end": 2}], "questions": [{"question": "q", "idx": 1, "answers": [{"text": "a", "idx": 0, "label": 1}]}]},
        "qas": [{"query": "@placeholder", "idx": 1, "answers": [{"text": "Zoë"}]}], "premise": "p", "hypothesis": "h",
        "choice1": "a", "choice2": "b", "word": "w", "sentence1": "s", "sentence2": "t", "start1": 0, "end1": 1, "start2": 0,
        "end2": 1, "text": "a b c", "target": {"span1_index": 0, "span1_text": "a", "span2_index": 2, "span2_text": "c"}}"#;

    /// Puts `value` in place of the `at`-th value in the tree.
    fn spoil(json: &mut Json, at: &mut usize, value: &Json) {
        if *at == 0 {
            *json = value.clone();
        }
        *at = at.wrapping_sub(1);
        match json {
            Json::Object(map) => map.values_mut().for_each(|inner| spoil(inner, at, value)),
            Json::Array(items) => items.iter_mut().for_each(|inner| spoil(inner, at, value)),
            _ => {}
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_a_reader_or_a_template_panic(text in "\\PC{0,40}", at in 0usize..60, kind in 0usize..6, n in -3i64..200) {
            let values = [json!(text), json!(n), Json::Null, json!([]), json!({}), json!(false)];
            let mut row: Json = serde_json::from_str(EVERYTHING).unwrap();
            spoil(&mut row, &mut { at }, &values[kind]);
            for task in TASKS {
                let _ = task.parse_jsonl(&text, "f");
                let Ok(batch) = task.parse_jsonl(&row.to_string(), "f") else { continue };
                for (_, template, _) in TEMPLATES {
                    for purpose in [Purpose::Train, Purpose::Evaluate] {
                        let how = Rendering::new(*task, *template, purpose);
                        rows(*task, &batch, "f").unwrap().for_each(|row| drop(task.render(&row, &how)));
                    }
                }
            }
        }
    }
}
