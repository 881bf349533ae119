//! BoolQ: a yes/no question about a passage.

use super::{Cell, Column, Fields, LABEL, LabelForm, MetricMode, Row, Task};
use crate::data::template::{Example, Rendering, Template};

/// See the module.
pub struct BoolQ;

impl Task for BoolQ {
    fn name(&self) -> &'static str {
        "boolq"
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
        const COLUMNS: &[Column] = &[Column::int("idx"), Column::text("question"), Column::text("passage"), LABEL];
        COLUMNS
    }

    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>) {
        let (question, passage) = (fields.text("question"), fields.text("passage"));
        let (idx, label) = (fields.int("idx"), fields.label(self, LabelForm::Bool));
        if let (Some(question), Some(passage), Some(idx), Some(label)) = (question, passage, idx, label) {
            rows.push(vec![idx.into(), question.into(), passage.into(), label.into()]);
        }
    }

    fn verbalizer(&self, template: Template) -> &'static [&'static str] {
        match template {
            Template::Plain => &["false", "true"],
            Template::DptPaper => &["0", "1"],
        }
    }

    fn render(&self, row: &Row, how: &Rendering) -> Vec<Example> {
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
