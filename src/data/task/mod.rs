//! The tasks of SuperGLUE. To add one: its file, its `mod` line, its row in [`TASKS`].
//!
//! A task says which columns its rows have, how SuperGLUE's jsonl has them, how a row is written as source and target,
//! which metrics count, and in which form predictions are handed in. It knows no tokenizer and no metric's code.

mod boolq;
mod cb;
mod copa;
mod jsonl;
mod multirc;
mod read;
mod record;
mod rte;
mod table;
mod wic;
mod wsc;

use arrow::record_batch::RecordBatch;
use serde_json::{Value as Json, json};

pub use read::{Cell, Column, Fields, Kind, LABEL, LabelForm};
pub use table::{TaskRow, conform, rows, schema};

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

    /// Returns whether it is one of the eight tasks whose mean is the SuperGLUE score.
    fn is_superglue(&self) -> bool {
        true
    }

    /// Checks that the metrics of `mode` can score what the task writes in `template`.
    ///
    /// # Errors
    /// Fails if they cannot; no error by default.
    fn check(&self, _template: Template, _mode: MetricMode) -> Result<(), Diag> {
        Ok(())
    }

    /// Writes a row as one example or several.
    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example>;

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

/// The split whose rows need no labels, and have none where all of them are `-1`.
pub const UNLABELLED: &str = "test";

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

/// Makes the registry: each row is the module of a task, and the task.
macro_rules! tasks {
    ($($module:ident::$task:ident),* $(,)?) => {
        /// Every task; those of SuperGLUE in its order.
        pub const TASKS: &[&dyn Task] = &[$(&$module::$task),*];

        /// The names of all tasks, for parameter types.
        pub const TASK_NAMES: &[&str] = &[$($module::NAME),*];
    };
}

tasks![boolq::BoolQ, cb::Cb, copa::Copa, multirc::MultiRc, record::Record, rte::Rte, wic::WiC, wsc::Wsc,];

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
        self.read_jsonl(text.as_bytes(), origin, UNLABELLED)
    }

    /// As [`parse_jsonl`](Self::parse_jsonl), from the bytes of the file of `split`. In a split `test`, `-1` in all
    /// rows stands for no label; elsewhere a row with `-1` has no label, which is an error.
    ///
    /// # Errors
    /// As there; also a file that is no text in UTF-8, or something else in its place: says what.
    pub fn read_jsonl(&self, bytes: &[u8], origin: &str, split: &str) -> Result<RecordBatch, Diag> {
        jsonl::parse(self, jsonl::text(bytes, origin)?, origin, split)
    }
}

fn foreign_id(task: &str, id: &str) -> Diag {
    Diag::error(Class::Bug, format!("`{id}` is not an example id of task `{task}`"))
}

fn no_class(task: &str, p: &Prediction) -> Diag {
    Diag::error(Class::Stage, format!("example `{}` of `{task}` has no class to hand in", p.example_id))
        .note(format!("its text is {:?}", p.text))
}

/// Helpers for the tests of every task.
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
        assert_eq!(files.count(), TASKS.len() + 4, "one file a task, `mod.rs`, `jsonl.rs`, `read.rs` and `table.rs`");
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

    /// A row of each task with classes, without its label.
    fn unlabelled(task: &str, label: &str) -> String {
        let row = match task {
            "boolq" => r#"{"question": "q", "passage": "p", "idx": 0, "label": L}"#,
            "cb" | "rte" => r#"{"premise": "p", "hypothesis": "h", "idx": 0, "label": L}"#,
            "copa" => r#"{"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "idx": 0, "label": L}"#,
            "multirc" => {
                r#"{"idx": 0, "passage": {"text": "p", "questions": [{"question": "q", "idx": 0, "answers": [{"text": "a", "idx": 0, "label": L}]}]}}"#
            }
            "wic" => {
                r#"{"word": "w", "sentence1": "a", "sentence2": "b", "idx": 0, "start1": 0, "end1": 1, "start2": 0, "end2": 1, "label": L}"#
            }
            "wsc" => {
                r#"{"text": "a b", "target": {"span1_index": 0, "span1_text": "a", "span2_index": 1, "span2_text": "b"}, "idx": 0, "label": L}"#
            }
            other => panic!("{other}"),
        };
        row.replace('L', label)
    }

    #[test]
    fn labels_by_number_are_taken_for_every_task_with_classes() {
        for task in TASKS.iter().filter(|task| !task.labels().is_empty()) {
            let of = |labels: &[&str], split: &str| {
                let lines: Vec<_> = labels.iter().map(|label| unlabelled(task.name(), label)).collect();
                let batch = task.read_jsonl(lines.join("\n").as_bytes(), "f", split)?;
                Ok::<_, Diag>(rows(*task, &batch, "f")?.map(|row| row.label()).collect::<Vec<_>>())
            };
            let numbers: Vec<String> = (0..task.labels().len()).map(|n| n.to_string()).collect();
            let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
            let classes: Vec<_> = (0..numbers.len() as i64).map(Some).collect();
            assert_eq!(of(&numbers, "train").unwrap(), classes, "{}", task.name());
            let beyond = numbers.len().to_string();
            assert!(of(&[&beyond], "train").unwrap_err().message.contains("not a label of"));
            assert_eq!(of(&["-1", "-1"], "test").unwrap(), [None, None], "{}", task.name());
            for (labels, split) in [(["-1", "-1"], "train"), (["0", "-1"], "test"), (["0", "-1"], "validation")] {
                let error = of(&labels, split).unwrap_err();
                assert!(error.to_string().contains("line 2: the row has no label (-1)"), "{error}");
                assert!(error.notes.iter().any(|note| note.starts_with("only a split `test`")), "{error}");
            }
        }
    }

    #[test]
    fn rows_of_hugging_faces_copy_are_the_rows_of_the_official_files() {
        let pairs = [
            (
                "wsc",
                unlabelled("wsc", "true"),
                r#"{"text": "a b", "span1_index": 0, "span1_text": "a", "span2_index": 1, "span2_text": "b", "idx": 0, "label": 1}"#,
            ),
            (
                "multirc",
                unlabelled("multirc", "1"),
                r#"{"paragraph": "p", "question": "q", "answer": "a", "idx": {"paragraph": 0, "question": 0, "answer": 0}, "label": 1}"#,
            ),
            (
                "record",
                r#"{"idx": 3, "passage": {"text": "Bob ran", "entities": [{"start": 0, "end": 2}]}, "qas": [{"query": "@placeholder", "idx": 7, "answers": [{"start": 0, "end": 2, "text": "Bob"}]}]}"#.to_owned(),
                r#"{"passage": "Bob ran", "query": "@placeholder", "entities": ["Bob"], "answers": ["Bob"], "idx": {"passage": 3, "query": 7}}"#,
            ),
        ];
        for (name, official, hub) in pairs {
            let task = find(name).unwrap();
            let of = |text: &str| task.read_jsonl(text.as_bytes(), "f", "train").unwrap();
            assert_eq!(of(&official), of(hub), "{name}");
        }
        let record = find("record").unwrap();
        let bare = r#"{"passage": "Bob ran", "query": "@placeholder", "entities": ["Bob"], "answers": [], "idx": {"passage": 3, "query": 7}}"#;
        let answers = |split: &str| {
            let batch = record.read_jsonl(bare.as_bytes(), "f", split).unwrap();
            rows(record, &batch, "f").unwrap().next().unwrap().texts("answers")
        };
        assert_eq!((answers("test"), answers("train")), (None, Some(vec![])));
    }

    #[test]
    fn file_of_rows_that_is_something_else_is_said_to_be_what_it_is() {
        let boolq = find("boolq").unwrap();
        let said = |bytes: &[u8]| boolq.read_jsonl(bytes, "train.jsonl", "train").unwrap_err();
        let cases: [(&[u8], &str); 9] = [
            (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
            (b"<!DOCTYPE html>", "it is a web page"),
            (b"\x1f\x8b\x08\0", "it is compressed with gzip"),
            (b"PK\x03\x04", "it is a zip archive"),
            (b"PAR1\x15", "it is a parquet table"),
            (b"\xff\xfe{\0}\0", "it is text in UTF-16LE"),
            (b"[\n{\"a\": 1},\n{\"a\": 2}\n]\n", "one JSON value over several lines, a list of 2: one object a line"),
            (b"[{\"a\": 1}]", "one JSON value in one line, a list of 1: one object a line is expected"),
            (b"{\n\"a\": 1\n}\n", "one JSON value over several lines: one object a line is expected"),
        ];
        for (bytes, what) in cases {
            let error = said(bytes);
            assert!(error.message.contains(what) && error.help.is_some(), "{error}");
        }
        assert_eq!(said(b"{}\n\xff\n").message, "`train.jsonl`, line 2: not UTF-8");
        let row = unlabelled("boolq", "true");
        let two = format!("\u{feff}{row}\n\u{feff}{row}\n");
        assert_eq!(boolq.read_jsonl(two.as_bytes(), "f", "train").unwrap().num_rows(), 2);
        let odd = row.replace("}", ", \"score\": NaN}");
        assert_eq!(boolq.read_jsonl(odd.as_bytes(), "f", "train").unwrap().num_rows(), 1);
        let odd = row.replace("\"q\"", "NaN");
        let problem = said(odd.as_bytes()).message;
        assert!(problem.contains("field `question` is `null`") && problem.contains("`NaN`, which JSON does not have"));
    }

    #[test]
    fn table_of_another_writer_is_read_as_rows() {
        use arrow::array::{
            ArrayRef, BooleanArray, Float64Array, Int8Array, Int32Array, NullArray, StringArray, StructArray,
        };
        use arrow::datatypes::{DataType, Field};
        use std::sync::Arc;
        let text = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
        let short = || Arc::new(Int32Array::from(vec![0, 1])) as ArrayRef;
        let boolq = find("boolq").unwrap();
        let read = |label: ArrayRef, split: &str| {
            let columns = [("question", text()), ("passage", text()), ("idx", short()), ("label", label)];
            let batch = conform(boolq, &RecordBatch::try_from_iter(columns).unwrap(), "f", split)?;
            Ok::<_, Diag>(rows(boolq, &batch, "f")?.map(|row| (row.int("idx"), row.label())).collect::<Vec<_>>())
        };
        let labelled = vec![(0, Some(1)), (1, Some(0))];
        for label in [
            Arc::new(Int8Array::from(vec![1, 0])) as ArrayRef,
            Arc::new(BooleanArray::from(vec![true, false])),
            Arc::new(Float64Array::from(vec![1.0, 0.0])),
            Arc::new(StringArray::from(vec!["true", "False"])),
        ] {
            assert_eq!(read(label, "train").unwrap(), labelled);
        }
        let bare = vec![(0, None), (1, None)];
        for label in [
            Arc::new(Int8Array::from(vec![-1, -1])) as ArrayRef,
            Arc::new(NullArray::new(2)),
            Arc::new(Float64Array::from(vec![f64::NAN, f64::NAN])),
        ] {
            assert_eq!(read(label, "test").unwrap(), bare);
        }
        let error = |label: ArrayRef, split: &str| read(label, split).unwrap_err().message;
        let minus: ArrayRef = Arc::new(Int8Array::from(vec![0, -1]));
        for split in ["train", "test"] {
            assert_eq!(error(minus.clone(), split), "`f`, row 2: the row has no label (-1)");
        }
        assert!(error(Arc::new(Float64Array::from(vec![0.5, 1.0])), "train").contains("column `label` has label 0.5"));
        assert!(error(Arc::new(Int8Array::from(vec![7, 0])), "train").contains("it has label 7"));
        assert!(error(Arc::new(StringArray::from(vec!["a", "b"])), "train").contains("has label `a`"));

        let multirc = find("multirc").unwrap();
        let part = |name: &str| (Arc::new(Field::new(name, DataType::Int32, true)), short());
        let idx: ArrayRef = Arc::new(StructArray::from(vec![part("paragraph"), part("question"), part("answer")]));
        let texts = ["paragraph", "question", "answer"].map(|name| (name, text()));
        let columns = texts.into_iter().chain([("idx", idx), ("label", short())]);
        let batch = conform(multirc, &RecordBatch::try_from_iter(columns).unwrap(), "f", "train").unwrap();
        let row = rows(multirc, &batch, "f").unwrap().nth(1).unwrap();
        assert_eq!((row.int("question_idx"), row.text("answer"), row.label()), (1, "b", Some(1)));
    }
}
