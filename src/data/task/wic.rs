//! WiC: is a word used in the same sense in two sentences?

use super::{Cell, Column, Fields, LABEL, LabelForm, MetricMode, Task, TaskRow};
use crate::data::template::{Example, Rendering, Template};

/// Its name.
pub const NAME: &str = "wic";

/// See the module.
pub struct WiC;

impl Task for WiC {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> &'static str {
        "WiC"
    }

    fn about(&self) -> &'static str {
        "whether a word has one sense in two sentences"
    }

    fn labels(&self) -> &'static [&'static str] {
        &["false", "true"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::int("idx"),
            Column::text("word"),
            Column::text("sentence1"),
            Column::text("sentence2"),
            Column::int("start1"),
            Column::int("end1"),
            Column::int("start2"),
            Column::int("end2"),
            LABEL,
        ];
        COLUMNS
    }

    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>) {
        let texts = ["word", "sentence1", "sentence2"].map(|name| fields.text(name));
        let spans = ["start1", "end1", "start2", "end2"].map(|name| fields.int(name));
        let (idx, label) = (fields.int("idx"), fields.label(self, LabelForm::Bool));
        let ([Some(word), Some(sentence1), Some(sentence2)], Some(idx), Some(label)) = (texts, idx, label) else {
            return;
        };
        let [Some(start1), Some(end1), Some(start2), Some(end2)] = spans else { return };
        rows.push(vec![
            idx.into(),
            word.into(),
            sentence1.into(),
            sentence2.into(),
            start1.into(),
            end1.into(),
            start2.into(),
            end2.into(),
            label.into(),
        ]);
    }

    fn verbalizer(&self, template: Template) -> &'static [&'static str] {
        match template {
            Template::Plain => &["false", "true"],
            Template::DptPaper => &["0", "1"],
        }
    }

    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example> {
        let [word, sentence1, sentence2] = ["word", "sentence1", "sentence2"].map(|name| row.text(name));
        let sentences = format!("sentence1: {sentence1} sentence2: {sentence2}");
        let source = match how.template {
            Template::Plain => format!("word: {word} {sentences}"),
            Template::DptPaper => format!("{sentences} word: {word}"),
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

    const ROWS: &str = r#"{"word": "bank", "sentence1": "The bank lends.", "sentence2": "By the bank.", "idx": 0, "label": false, "start1": 4, "end1": 8, "start2": 7, "end2": 11, "version": 1.1}
{"word": "run", "sentence1": "I run.", "sentence2": "They run.", "idx": 1, "label": true, "start1": 2, "end1": 5, "start2": 5, "end2": 8}"#;

    #[test]
    fn rows_to_text() {
        let plain = render(&WiC, ROWS, Template::Plain);
        assert_eq!(plain[0].source, "word: bank sentence1: The bank lends. sentence2: By the bank.");
        assert_eq!((plain[1].target.as_deref(), plain[1].label), (Some("true"), Some(1)));
        let paper = render(&WiC, ROWS, Template::DptPaper);
        assert_eq!(paper[0].source, "sentence1: The bank lends. sentence2: By the bank. word: bank");
        assert_eq!(paper[0].target.as_deref(), Some("0"));
    }

    #[test]
    fn handed_in_as_words() {
        assert_eq!(submit(&WiC, &[("1", Some(0), "")]), "{\"idx\":1,\"label\":\"false\"}\n");
    }
}
