//! ReCoRD: which entity of a news passage fills the gap in a query about it? One row a query.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value as Json, json};

use super::{Cell, Column, Fields, MetricMode, Prediction, Task, TaskRow, foreign_id, no_class};
use crate::base::diag::Diag;
use crate::data::template::{Example, Purpose, Rendering, Template};

/// Its name.
pub const NAME: &str = "record";

/// See the module.
pub struct Record;

impl Task for Record {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> &'static str {
        "ReCoRD"
    }

    fn about(&self) -> &'static str {
        "the entity of a passage that fills the gap in a query"
    }

    fn labels(&self) -> &'static [&'static str] {
        &[]
    }

    /// `entities`: their texts, sorted by first occurrence, each once. `answers`: each once, sorted by code
    /// point, as Hugging Face's builder gives them; null in a test split.
    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::int("passage_idx"),
            Column::int("query_idx"),
            Column::text("passage"),
            Column::text("query"),
            Column::texts("entities"),
            Column::texts("answers").nullable(),
        ];
        COLUMNS
    }

    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>) {
        if fields.is_text("passage") {
            rows.extend(flat(fields));
            return;
        }
        let (passage_idx, passage, queries) = (fields.int("idx"), fields.object("passage"), fields.objects("qas"));
        let Some(passage) = passage else { return };
        let (text, spans) = (passage.text("text"), passage.objects("entities"));
        let entities = text.zip(spans).and_then(|(text, spans)| entities(text, &spans));
        for q in queries.unwrap_or_default() {
            let (query, query_idx, answers) = (q.text("query"), q.int("idx"), q.optional_objects("answers"));
            let answers = answers.and_then(|answers| match answers {
                None => Some(Cell::Null),
                Some(answers) => {
                    let mut texts =
                        answers.iter().map(|a| a.text("text").map(str::to_owned)).collect::<Option<Vec<_>>>()?;
                    texts.sort_unstable();
                    texts.dedup();
                    Some(Cell::Texts(texts))
                }
            });
            let (Some(p_idx), Some(q_idx), Some(query)) = (passage_idx, query_idx, query) else { continue };
            let (Some(text), Some(entities), Some(answers)) = (text, &entities, answers) else { continue };
            rows.push(vec![
                p_idx.into(),
                q_idx.into(),
                text.into(),
                query.into(),
                Cell::Texts(entities.clone()),
                answers,
            ]);
        }
    }

    fn verbalizer(&self, _: Template) -> &'static [&'static str] {
        &[]
    }

    /// `dpt-paper`: one example an answer, in training and in evaluation. `plain`: so in training (a query without
    /// answers gives none); in evaluation one example a query, the entities as its choices and the first of them that
    /// is an answer as its label.
    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example> {
        let entities = row.texts("entities").expect("the column is never null");
        let (query, passage) = (row.text("query"), without_highlights(row.text("passage")));
        let body = format!("query: {query} entities: {} passage: {passage}", entities.join(", "));
        let source = match (how.template, how.record_prefix) {
            (Template::Plain, _) => body,
            (Template::DptPaper, true) => format!("superglue-record record {body}"),
            (Template::DptPaper, false) => format!("record {body}"),
        };
        let mut whole = Example::new(format!("{}-{}", row.int("passage_idx"), row.int("query_idx")), source);
        whole.answers = row.texts("answers");

        match (how.template, how.purpose) {
            (Template::Plain, Purpose::Evaluate) => {
                whole.target = whole.answers.as_ref().and_then(|answers| answers.first().cloned());
                whole.label = entities.iter().position(|e| whole.answers.iter().flatten().any(|a| a == e));
                whole.choices = (!entities.is_empty()).then_some(entities);
                vec![whole]
            }
            (Template::Plain, Purpose::Train) => once_an_answer(&whole),
            (Template::DptPaper, _) => {
                let answers = whole.answers.get_or_insert_default();
                if answers.is_empty() {
                    whole.target = Some("<unk>".to_owned());
                    return vec![whole];
                }
                once_an_answer(&whole)
            }
        }
    }

    fn metrics(&self, mode: MetricMode) -> &'static [&'static str] {
        match mode {
            MetricMode::Official => &["score", "answer-f1", "answer-em"],
            MetricMode::DptPaper => &["answer-f1", "answer-em"],
        }
    }

    /// The text.
    fn submission_label(&self, prediction: &Prediction) -> Option<Json> {
        Some(json!(prediction.text))
    }

    /// One line a query, from the first of its examples.
    fn submission(&self, predictions: &[Prediction]) -> Result<String, Diag> {
        let mut lines = String::new();
        for p in predictions {
            let (query, repeated) = p.example_id.split_once('#').map_or((p.example_id, false), |(id, _)| (id, true));
            let idx = query.split_once('-').and_then(|(passage, query)| {
                passage.parse::<i64>().ok()?;
                query.parse::<i64>().ok()
            });
            let idx = idx.ok_or_else(|| foreign_id(self.name(), p.example_id))?;
            if !repeated {
                let label = self.submission_label(p).ok_or_else(|| no_class(self.name(), p))?;
                lines.push_str(&json!({ "idx": idx, "label": label }).to_string());
                lines.push('\n');
            }
        }
        Ok(lines)
    }
}

/// A row as Hugging Face's copy has it: one line a query, with entities and answers as texts.
fn flat(fields: &Fields) -> Option<Vec<Cell>> {
    let (passage, query, idx) = (fields.text("passage"), fields.text("query"), fields.object("idx"));
    let entities = fields.texts("entities");
    let answers = if fields.has("answers") { fields.texts("answers").map(Cell::Texts) } else { Some(Cell::Null) };
    let idx = idx.map(|idx| ["passage", "query"].map(|name| idx.int(name)));
    let Some([Some(p), Some(q)]) = idx else { return None };
    Some(vec![p.into(), q.into(), passage?.into(), query?.into(), Cell::Texts(entities?), answers?])
}

fn once_an_answer(whole: &Example) -> Vec<Example> {
    let answers = whole.answers.iter().flatten().enumerate();
    answers
        .map(|(i, answer)| {
            let id = if i == 0 { whole.id.clone() } else { format!("{}#{i}", whole.id) };
            Example { id, target: Some(answer.clone()), ..whole.clone() }
        })
        .collect()
}

/// The texts of the spans, which count characters and include their last one.
fn entities(text: &str, spans: &[Fields]) -> Option<Vec<String>> {
    let starts: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
    let mut found = Vec::with_capacity(spans.len());
    for span in spans {
        let (start, end) = (span.index("start")?, span.index("end")?);
        if start > end || end + 1 >= starts.len() {
            return span.bad("end", &format!("is {end}, after start {start} of {} characters", starts.len() - 1));
        }
        found.push((start, &text[starts[start]..starts[end + 1]]));
    }
    found.sort_by_key(|(start, _)| *start);
    let mut texts: Vec<String> = Vec::with_capacity(found.len());
    for (_, text) in found {
        if !texts.iter().any(|known| known == text) {
            texts.push(text.to_owned());
        }
    }
    Some(texts)
}

/// Bullet points become sentences: a `@highlight` line ends the sentence before it, unless that has its own end.
fn without_highlights(passage: &str) -> String {
    static AFTER_END: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("([.?!\"'])\n@highlight\n").expect("a valid pattern"));
    AFTER_END.replace_all(passage, "$1 ").replace("\n@highlight\n", ". ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{render, render_for, submit};
    use super::*;

    const ROWS: &str = r#"{"idx": 7, "passage": {"text": "Zoë met Bob.\n@highlight\nBob ran", "entities": [{"start": 8, "end": 10}, {"start": 0, "end": 2}, {"start": 24, "end": 26}]}, "qas": [{"query": "@placeholder ran", "idx": 3, "answers": [{"start": 8, "end": 10, "text": "Bob"}, {"start": 24, "end": 26, "text": "Bob"}, {"start": 0, "end": 2, "text": "Zoë"}]}]}"#;

    #[test]
    fn rows_to_text() {
        let train = render(&Record, ROWS, Template::Plain);
        assert_eq!(train.len(), 2);
        assert_eq!(train[0].source, "query: @placeholder ran entities: Zoë, Bob passage: Zoë met Bob. Bob ran");
        assert_eq!(train.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["7-3", "7-3#1"]);
        assert_eq!(train.iter().map(|e| e.target.as_deref().unwrap()).collect::<Vec<_>>(), ["Bob", "Zoë"]);

        let eval = render_for(&Record, ROWS, Template::Plain, Purpose::Evaluate);
        assert_eq!(eval.len(), 1);
        assert_eq!(eval[0].choices.as_deref().unwrap(), ["Zoë", "Bob"]);
        assert_eq!(eval[0].answers.as_deref().unwrap(), ["Bob", "Zoë"]);
        assert_eq!(eval[0].label, Some(0));

        let paper = render_for(&Record, ROWS, Template::DptPaper, Purpose::Evaluate);
        assert!(paper[0].source.starts_with("superglue-record record query: @placeholder"));
        assert_eq!((paper.len(), paper[0].label, paper[0].choices.clone()), (2, None, None));
    }

    #[test]
    fn a_test_query_has_no_target() {
        let test = ROWS.replace("\"answers\"", "\"other\"");
        let eval = render_for(&Record, &test, Template::Plain, Purpose::Evaluate);
        assert_eq!((eval[0].target.clone(), eval[0].answers.clone(), eval[0].label), (None, None, None));
        assert!(render(&Record, &test, Template::Plain).is_empty());
    }

    #[test]
    fn a_span_past_the_end_is_told() {
        let bad = ROWS.replace("\"end\": 26}]", "\"end\": 99}]");
        let e = (&Record as &dyn Task).parse_jsonl(&bad, "f").unwrap_err();
        assert_eq!(e.message, "`f`, line 1: field `passage.entities[2].end` is 99, after start 24 of 31 characters");
    }

    #[test]
    fn handed_in_once_a_query() {
        let lines = submit(&Record, &[("7-3", None, "Bob"), ("7-3#1", None, "Zoë")]);
        assert_eq!(lines, "{\"idx\":3,\"label\":\"Bob\"}\n");
    }
}
