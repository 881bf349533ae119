//! MultiRC: is this answer to a question about a paragraph right? One row an answer; answers of a question are scored
//! together too.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value as Json, json};

use super::{Cell, Column, Fields, LABEL, LabelForm, MetricMode, Prediction, Task, TaskRow, foreign_id, no_class};
use crate::base::diag::Diag;
use crate::data::template::{Example, Rendering, Template};

/// Its name.
pub const NAME: &str = "multirc";

/// See the module.
pub struct MultiRc;

impl Task for MultiRc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> &'static str {
        "MultiRC"
    }

    fn about(&self) -> &'static str {
        "which of several answers to a question about a paragraph are right"
    }

    fn labels(&self) -> &'static [&'static str] {
        &["false", "true"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::int("paragraph_idx"),
            Column::int("question_idx"),
            Column::int("answer_idx"),
            Column::text("paragraph"),
            Column::text("question"),
            Column::text("answer"),
            LABEL,
        ];
        COLUMNS
    }

    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>) {
        if fields.has("paragraph") {
            rows.extend(flat(self, fields));
            return;
        }
        let (paragraph_idx, passage) = (fields.int("idx"), fields.object("passage"));
        let Some(passage) = passage else { return };
        let (paragraph, questions) = (passage.text("text"), passage.objects("questions"));
        for q in questions.unwrap_or_default() {
            let (question, question_idx, answers) = (q.text("question"), q.int("idx"), q.objects("answers"));
            for a in answers.unwrap_or_default() {
                let (answer, answer_idx, label) = (a.text("text"), a.int("idx"), a.label(self, LabelForm::Index));
                let (Some(p_idx), Some(q_idx), Some(a_idx)) = (paragraph_idx, question_idx, answer_idx) else {
                    continue;
                };
                let (Some(paragraph), Some(question), Some(answer)) = (paragraph, question, answer) else { continue };
                let Some(label) = label else { continue };
                rows.push(vec![
                    p_idx.into(),
                    q_idx.into(),
                    a_idx.into(),
                    paragraph.into(),
                    question.into(),
                    answer.into(),
                    label.into(),
                ]);
            }
        }
    }

    fn verbalizer(&self, template: Template) -> &'static [&'static str] {
        match template {
            Template::Plain => &["false", "true"],
            Template::DptPaper => &["0", "1"],
        }
    }

    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example> {
        let [question, answer, paragraph] = ["question", "answer", "paragraph"].map(|n| without_markup(row.text(n)));
        let [p, q, a] = ["paragraph_idx", "question_idx", "answer_idx"].map(|name| row.int(name));
        let source = format!("question: {question} answer: {answer} paragraph: {paragraph}");
        let mut example = Example::new(format!("{p}-{q}-{a}"), source).labelled(row.label(), &how.verbalizer);
        example.group = Some(match how.template {
            Template::Plain => format!("{p}-{q}"),
            // The reference groups by the question's number only.
            Template::DptPaper => q.to_string(),
        });
        vec![example]
    }

    fn metrics(&self, mode: MetricMode) -> &'static [&'static str] {
        match mode {
            MetricMode::Official => &["score", "f1", "question-em"],
            MetricMode::DptPaper => &["f1", "question-em"],
        }
    }

    /// The class number.
    fn submission_label(&self, prediction: &Prediction) -> Option<Json> {
        Some(json!(prediction.label?))
    }

    /// One line a paragraph, questions and answers nested in it, all in the order of their first prediction.
    fn submission(&self, predictions: &[Prediction]) -> Result<String, Diag> {
        type Question = (i64, Vec<Json>);
        let mut paragraphs: Vec<(i64, Vec<Question>)> = Vec::new();
        for p in predictions {
            let idx: Option<Vec<i64>> = p.example_id.split('-').map(|part| part.parse().ok()).collect();
            let Some(&[paragraph, question, answer]) = idx.as_deref() else {
                return Err(foreign_id(self.name(), p.example_id));
            };
            let label = self.submission_label(p).ok_or_else(|| no_class(self.name(), p))?;
            let questions = entry(&mut paragraphs, paragraph);
            entry(questions, question).push(json!({ "idx": answer, "label": label }));
        }
        let mut lines = String::new();
        for (idx, questions) in paragraphs {
            let questions: Vec<_> =
                questions.into_iter().map(|(idx, answers)| json!({ "idx": idx, "answers": answers })).collect();
            lines.push_str(&json!({ "idx": idx, "passage": { "questions": questions } }).to_string());
            lines.push('\n');
        }
        Ok(lines)
    }
}

/// A row as Hugging Face's copy has it: one line an answer.
fn flat(task: &dyn Task, fields: &Fields) -> Option<Vec<Cell>> {
    let texts = ["paragraph", "question", "answer"].map(|name| fields.text(name));
    let (idx, label) = (fields.object("idx"), fields.label(task, LabelForm::Index));
    let idx = idx.map(|idx| ["paragraph", "question", "answer"].map(|name| idx.int(name)));
    let ([Some(paragraph), Some(question), Some(answer)], Some([Some(p), Some(q), Some(a)])) = (texts, idx) else {
        return None;
    };
    Some(vec![p.into(), q.into(), a.into(), paragraph.into(), question.into(), answer.into(), label?.into()])
}

/// The list under `key`, made at the end where there is none. Predictions come in file order, so the last one is tried
/// first.
fn entry<T>(lists: &mut Vec<(i64, Vec<T>)>, key: i64) -> &mut Vec<T> {
    let at = lists.iter().rposition(|(known, _)| *known == key).unwrap_or_else(|| {
        lists.push((key, Vec::new()));
        lists.len() - 1
    });
    &mut lists[at].1
}

/// `<br>` becomes a blank, `<b>` and `</b>` go; nothing else is touched.
fn without_markup(text: &str) -> String {
    static BOLD: LazyLock<Regex> = LazyLock::new(|| Regex::new("</?b>").expect("a valid pattern"));
    BOLD.replace_all(&text.replace("<br>", " "), "").into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{render, submit};
    use super::*;

    const ROWS: &str = r#"{"idx": 6, "version": 1.1, "passage": {"text": "<b>Sent 1: </b>Rain fell.<br>", "questions": [
        {"question": "What fell?", "idx": 56, "answers": [{"text": "rain", "idx": 0, "label": 1}, {"text": "snow", "idx": 1, "label": 0}]}]}}"#;

    fn rows() -> String {
        ROWS.replace('\n', " ")
    }

    #[test]
    fn rows_to_text() {
        let plain = render(&MultiRc, &rows(), Template::Plain);
        assert_eq!(plain[0].source, "question: What fell? answer: rain paragraph: Sent 1: Rain fell. ");
        assert_eq!((plain[0].id.as_str(), plain[0].group.as_deref()), ("6-56-0", Some("6-56")));
        assert_eq!((plain[1].target.as_deref(), plain[1].label), (Some("false"), Some(0)));
        let paper = render(&MultiRc, &rows(), Template::DptPaper);
        assert_eq!((paper[0].target.as_deref(), paper[0].group.as_deref()), (Some("1"), Some("56")));
    }

    #[test]
    fn problems_say_where_in_the_line_they_are() {
        let bad = rows().replace("\"label\": 0", "\"label\": 5").replace("\"text\": \"rain\", ", "");
        let e = (&MultiRc as &dyn Task).parse_jsonl(&bad, "f").unwrap_err();
        assert_eq!(e.notes[0], "line 1: field `passage.questions[0].answers[0].text` is missing");
        assert_eq!(
            e.notes[1],
            "line 1: field `passage.questions[0].answers[1].label` is `5`, not a label of `multirc`"
        );
    }

    #[test]
    fn handed_in_by_paragraph_and_question() {
        let all = [("6-56-0", Some(1), ""), ("6-56-1", Some(0), ""), ("6-57-0", Some(0), ""), ("7-60-3", Some(1), "")];
        let lines = submit(&MultiRc, &all);
        let lines: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines[0],
            json!({"idx": 6, "passage": {"questions": [
                {"idx": 56, "answers": [{"idx": 0, "label": 1}, {"idx": 1, "label": 0}]},
                {"idx": 57, "answers": [{"idx": 0, "label": 0}]}
            ]}})
        );
        assert_eq!(lines[1]["idx"], 7);
        assert_eq!(lines.len(), 2);
    }
}
