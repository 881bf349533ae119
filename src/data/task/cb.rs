//! CB (CommitmentBank): does the premise's author hold the hypothesis, deny it, or neither?

use super::{Cell, Column, Fields, LabelForm, MetricMode, Task, TaskRow};
use crate::data::template::{Example, Rendering, Template};

/// Its name.
pub const NAME: &str = "cb";

/// See the module.
pub struct Cb;

impl Task for Cb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> &'static str {
        "CB"
    }

    fn about(&self) -> &'static str {
        "entailment, contradiction or neither, of an embedded clause"
    }

    fn labels(&self) -> &'static [&'static str] {
        &["entailment", "contradiction", "neutral"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &Column::pair("premise", "hypothesis") }
    }

    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>) {
        rows.extend(fields.pair(self, ["premise", "hypothesis"], LabelForm::Name));
    }

    fn verbalizer(&self, template: Template) -> &'static [&'static str] {
        match template {
            Template::Plain => self.labels(),
            Template::DptPaper => &["0", "1", "2"],
        }
    }

    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example> {
        let (premise, hypothesis) = (row.text("premise"), row.text("hypothesis"));
        let source = match how.template {
            Template::Plain => format!("hypothesis: {hypothesis} premise: {premise}"),
            Template::DptPaper => format!("premise: {premise} hypothesis: {hypothesis}"),
        };
        vec![Example::new(row.int("idx").to_string(), source).labelled(row.label(), &how.verbalizer)]
    }

    fn metrics(&self, mode: MetricMode) -> &'static [&'static str] {
        match mode {
            MetricMode::Official => &["score", "accuracy", "macro-f1"],
            MetricMode::DptPaper => &["accuracy", "macro-f1-all"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{render, submit};
    use super::*;

    const ROWS: &str = r#"{"premise": "I know it rains.", "hypothesis": "it rains", "idx": 0, "label": "entailment"}
{"premise": "He may say so.", "hypothesis": "he says so", "idx": 1, "label": "neutral"}"#;

    #[test]
    fn rows_to_text() {
        let plain = render(&Cb, ROWS, Template::Plain);
        assert_eq!(plain[0].source, "hypothesis: it rains premise: I know it rains.");
        assert_eq!((plain[1].target.as_deref(), plain[1].label), (Some("neutral"), Some(2)));
        let paper = render(&Cb, ROWS, Template::DptPaper);
        assert_eq!(paper[0].source, "premise: I know it rains. hypothesis: it rains");
        assert_eq!(paper[1].target.as_deref(), Some("2"));
    }

    #[test]
    fn class_numbers_are_taken_and_others_refused() {
        let row = |label: &str| format!(r#"{{"premise": "p", "hypothesis": "h", "idx": 0, "label": {label}}}"#);
        let rows: Vec<_> = ["0", "1", "2", "\"neutral\""].map(row).into();
        let labels = render(&Cb, &rows.join("\n"), Template::Plain).into_iter().map(|e| e.label.unwrap());
        assert_eq!(labels.collect::<Vec<_>>(), [0, 1, 2, 2]);
        let e = (&Cb as &dyn Task).parse_jsonl(&row("3"), "f").unwrap_err();
        assert_eq!(e.message, "`f`, line 1: field `label` is `3`, not a label of `cb`");
    }

    #[test]
    fn handed_in_by_name() {
        assert_eq!(submit(&Cb, &[("1", Some(1), "")]), "{\"idx\":1,\"label\":\"contradiction\"}\n");
    }
}
