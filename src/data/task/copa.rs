//! COPA: which of two sentences is the cause, or the effect, of a premise?

use serde_json::{Value as Json, json};

use super::{Cell, Column, Fields, LABEL, LabelForm, MetricMode, Prediction, Task, TaskRow};
use crate::data::template::{Example, Rendering, Template};

/// Its name.
pub const NAME: &str = "copa";

/// See the module.
pub struct Copa;

impl Task for Copa {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> &'static str {
        "COPA"
    }

    fn about(&self) -> &'static str {
        "the more plausible of two causes or effects"
    }

    fn labels(&self) -> &'static [&'static str] {
        &["choice1", "choice2"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::int("idx"),
            Column::text("premise"),
            Column::text("choice1"),
            Column::text("choice2"),
            Column::text("question"),
            LABEL,
        ];
        COLUMNS
    }

    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>) {
        let texts = ["premise", "choice1", "choice2", "question"].map(|name| fields.text(name));
        let (idx, label) = (fields.int("idx"), fields.label(self, LabelForm::Index));
        let ([Some(premise), Some(choice1), Some(choice2), Some(question)], Some(idx), Some(label)) =
            (texts, idx, label)
        else {
            return;
        };
        if !["cause", "effect"].contains(&question) {
            fields.bad::<()>("question", &format!("is `{question}`, expected `cause` or `effect`"));
            return;
        }
        rows.push(vec![idx.into(), premise.into(), choice1.into(), choice2.into(), question.into(), label.into()]);
    }

    fn verbalizer(&self, template: Template) -> &'static [&'static str] {
        match template {
            Template::Plain => self.labels(),
            Template::DptPaper => &["0", "1"],
        }
    }

    /// The reference never says to the model whether the cause or the effect is asked for; `plain` does.
    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example> {
        let [premise, choice1, choice2] = ["premise", "choice1", "choice2"].map(|name| row.text(name));
        let choices = format!("choice1: {choice1} choice2: {choice2}");
        let source = match how.template {
            Template::Plain => format!("question: {} premise: {premise} {choices}", row.text("question")),
            Template::DptPaper => format!("premise: {premise} {choices}"),
        };
        vec![Example::new(row.int("idx").to_string(), source).labelled(row.label(), &how.verbalizer)]
    }

    fn metrics(&self, _: MetricMode) -> &'static [&'static str] {
        &["accuracy"]
    }

    /// The class number.
    fn submission_label(&self, prediction: &Prediction) -> Option<Json> {
        Some(json!(prediction.label?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{render, submit};
    use super::*;

    const ROWS: &str = r#"{"premise": "It rained.", "choice1": "I got wet.", "choice2": "I slept.", "question": "effect", "label": 0, "idx": 3}
{"premise": "I fell.", "choice1": "It was dry.", "choice2": "It was icy.", "question": "cause", "label": 1, "idx": 4}"#;

    #[test]
    fn rows_to_text() {
        let plain = render(&Copa, ROWS, Template::Plain);
        assert_eq!(plain[0].source, "question: effect premise: It rained. choice1: I got wet. choice2: I slept.");
        assert_eq!((plain[1].target.as_deref(), plain[1].label), (Some("choice2"), Some(1)));
        let paper = render(&Copa, ROWS, Template::DptPaper);
        assert_eq!(paper[1].source, "premise: I fell. choice1: It was dry. choice2: It was icy.");
        assert_eq!(paper[1].target.as_deref(), Some("1"));
    }

    #[test]
    fn other_questions_and_labels_are_refused() {
        let bad = ROWS.replace("\"effect\"", "\"why\"").replace("\"label\": 1", "\"label\": 2");
        let e = (&Copa as &dyn Task).parse_jsonl(&bad, "f").unwrap_err();
        assert_eq!(e.notes[0], "line 1: field `question` is `why`, expected `cause` or `effect`");
        assert_eq!(e.notes[1], "line 2: field `label` is `2`, not a label of `copa`");
    }

    #[test]
    fn handed_in_as_numbers() {
        assert_eq!(submit(&Copa, &[("3", Some(1), "")]), "{\"idx\":3,\"label\":1}\n");
    }
}
