//! BoolQ: a yes/no question about a passage.

use super::{Cell, Column, Fields, LabelForm, MetricMode, Task, TaskRow};
use crate::data::template::{Example, Rendering, Template};

/// Its name.
pub const NAME: &str = "boolq";

/// See the module.
pub struct BoolQ;

impl Task for BoolQ {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> &'static str {
        "BoolQ"
    }

    fn about(&self) -> &'static str {
        "a yes/no question about a passage"
    }

    fn labels(&self) -> &'static [&'static str] {
        &["false", "true"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &Column::pair("question", "passage") }
    }

    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>) {
        rows.extend(fields.pair(self, ["question", "passage"], LabelForm::Bool));
    }

    fn verbalizer(&self, template: Template) -> &'static [&'static str] {
        match template {
            Template::Plain => &["false", "true"],
            Template::DptPaper => &["0", "1"],
        }
    }

    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example> {
        let source = format!("question: {} passage: {}", row.text("question"), row.text("passage"));
        vec![Example::new(row.int("idx").to_string(), source).labelled(row.label(), &how.verbalizer)]
    }

    fn metrics(&self, _: MetricMode) -> &'static [&'static str] {
        &["accuracy"]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{render, submit};
    use super::*;

    const ROWS: &str = r#"{"question": "is it so", "passage": "It is.", "idx": 4, "label": true}
{"question": "is it not", "passage": "It is.", "idx": 5, "label": "False"}"#;

    #[test]
    fn rows_to_text() {
        let plain = render(&BoolQ, ROWS, Template::Plain);
        assert_eq!((plain[0].id.as_str(), plain[0].source.as_str()), ("4", "question: is it so passage: It is."));
        assert_eq!((plain[0].target.as_deref(), plain[0].label), (Some("true"), Some(1)));
        let paper = render(&BoolQ, ROWS, Template::DptPaper);
        assert_eq!((paper[1].target.as_deref(), paper[1].label), (Some("0"), Some(0)));
    }

    #[test]
    fn handed_in_as_words() {
        assert_eq!(submit(&BoolQ, &[("4", Some(1), "")]), "{\"idx\":4,\"label\":\"true\"}\n");
    }
}
