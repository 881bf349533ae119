//! RTE: does the premise entail the hypothesis?

use super::{Cell, Column, Fields, LabelForm, MetricMode, Task, TaskRow};
use crate::data::template::{Example, Rendering, RteFields, Template};

/// Its name.
pub const NAME: &str = "rte";

/// See the module.
pub struct Rte;

impl Task for Rte {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> &'static str {
        "RTE"
    }

    fn about(&self) -> &'static str {
        "whether a premise entails a hypothesis"
    }

    fn labels(&self) -> &'static [&'static str] {
        &["entailment", "not_entailment"]
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
            Template::DptPaper => &["0", "1"],
        }
    }

    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example> {
        let (premise, hypothesis) = (row.text("premise"), row.text("hypothesis"));
        let source = match (how.template, how.rte_fields) {
            (Template::Plain, _) => format!("hypothesis: {hypothesis} premise: {premise}"),
            (Template::DptPaper, RteFields::Glue) => format!("sentence1: {premise} sentence2: {hypothesis}"),
            (Template::DptPaper, RteFields::SuperGlue) => format!("premise: {premise} hypothesis: {hypothesis}"),
        };
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

    const ROWS: &str = r#"{"premise": "A cat sat.", "hypothesis": "An animal sat.", "idx": 9, "label": "entailment"}
{"premise": "A cat sat.", "hypothesis": "A dog sat.", "idx": 10, "label": "not_entailment"}"#;

    #[test]
    fn rows_to_text() {
        let plain = render(&Rte, ROWS, Template::Plain);
        assert_eq!(plain[0].source, "hypothesis: An animal sat. premise: A cat sat.");
        assert_eq!((plain[1].target.as_deref(), plain[1].label), (Some("not_entailment"), Some(1)));
        let paper = render(&Rte, ROWS, Template::DptPaper);
        assert_eq!(paper[1].source, "sentence1: A cat sat. sentence2: A dog sat.");
        assert_eq!(paper[1].target.as_deref(), Some("1"));
    }

    #[test]
    fn handed_in_by_name() {
        assert_eq!(submit(&Rte, &[("9", Some(0), "")]), "{\"idx\":9,\"label\":\"entailment\"}\n");
    }
}
