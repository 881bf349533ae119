//! [`Encoded`]: a tokenised split as `train` and `eval` read it, and [`Tokens`], what is true of all its splits. The
//! stage `tokenize` writes both.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Int32Array, Int32Builder, ListArray, ListBuilder,
    StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::base::diag::{Class, Diag};

/// One example as ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Unique in its split.
    pub example_id: String,
    /// The input of the encoder, `</s>` included, cut to the longest length allowed.
    pub input_ids: Vec<i32>,
    /// How many ids there were before the cut.
    pub input_length: i32,
    /// `true` if ids were cut off.
    pub truncated: bool,
    /// The expected output of the decoder, `</s>` included; empty in a test split.
    pub target_ids: Vec<i32>,
    /// The same as text, as the template gave it.
    pub target: String,
    /// The right class: an index into `choices`, or into [`Tokens::verbalizer`] where there are none.
    pub label: Option<i32>,
    /// The group of answers that are scored together.
    pub group: Option<String>,
    /// Free text only: the right answers.
    pub answers: Option<Vec<String>>,
    /// The row's own candidates as ids, `</s>` included.
    pub choices: Option<Vec<Vec<i32>>>,
    /// The same as texts.
    pub choice_texts: Option<Vec<String>>,
}

/// `tokens.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// The task's name.
    pub task: String,
    /// The template's name.
    pub template: String,
    /// The classes; empty where rows have their own candidates or targets are free text.
    pub verbalizer: Vec<ClassTokens>,
    /// The names of the metrics (`metrics::METRICS`), the one that counts first; `score` is the mean of the others.
    pub metrics: Vec<String>,
    /// `official` or `dpt-paper`.
    pub metric_mode: String,
    /// One more than the largest id of the tokenizer.
    pub vocab_size: usize,
    /// Fills batches.
    pub pad_id: i32,
    /// Ends every text.
    pub eos_id: i32,
    /// Longest source, in ids.
    pub max_source_length: usize,
    /// Longest target, in ids.
    pub max_target_length: usize,
    /// By split name.
    pub splits: BTreeMap<String, SplitTokens>,
    /// blake3 of the tokenizer's file, in hex.
    pub tokenizer_digest: String,
}

/// A class of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassTokens {
    /// Its name.
    pub label: String,
    /// Its target text.
    pub text: String,
    /// The text's ids, `</s>` included.
    pub ids: Vec<i32>,
    /// The decoded ids, with which generated text is compared. Differs from `text` where the
    /// tokenizer does not know all of it.
    pub decoded: String,
}

/// The figures of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitTokens {
    /// Examples.
    pub rows: usize,
    /// How many of them have a cut source.
    pub truncated: usize,
    /// How many have a cut target.
    pub truncated_targets: usize,
    /// How many rows of the data the template leaves out.
    pub dropped: usize,
    /// The longest source before any cut, in ids.
    pub max_input: usize,
    /// The longest target, in ids.
    pub max_target: usize,
    /// A few-shot draw: which rows of the split that it was drawn from, in file order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Vec<usize>>,
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The columns of a tokenised split.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("example_id", DataType::Utf8, false),
        Field::new("input_ids", list_of(DataType::Int32), false),
        Field::new("input_length", DataType::Int32, false),
        Field::new("truncated", DataType::Boolean, false),
        Field::new("target_ids", list_of(DataType::Int32), false),
        Field::new("target", DataType::Utf8, false),
        Field::new("label", DataType::Int32, true),
        Field::new("group", DataType::Utf8, true),
        Field::new("answers", list_of(DataType::Utf8), true),
        Field::new("choices", list_of(list_of(DataType::Int32)), true),
        Field::new("choice_texts", list_of(DataType::Utf8), true),
    ]))
}

/// The examples as a table.
pub fn to_batch(examples: &[Encoded]) -> RecordBatch {
    let mut id = StringBuilder::new();
    let mut input_ids = ListBuilder::new(Int32Builder::new());
    let mut input_length = Int32Builder::new();
    let mut truncated = BooleanBuilder::new();
    let mut target_ids = ListBuilder::new(Int32Builder::new());
    let mut target = StringBuilder::new();
    let mut label = Int32Builder::new();
    let mut group = StringBuilder::new();
    let mut answers = ListBuilder::new(StringBuilder::new());
    let mut choices = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    let mut choice_texts = ListBuilder::new(StringBuilder::new());
    for e in examples {
        id.append_value(&e.example_id);
        input_ids.append_value(e.input_ids.iter().copied().map(Some));
        input_length.append_value(e.input_length);
        truncated.append_value(e.truncated);
        target_ids.append_value(e.target_ids.iter().copied().map(Some));
        target.append_value(&e.target);
        label.append_option(e.label);
        group.append_option(e.group.as_deref());
        append_texts(&mut answers, e.answers.as_deref());
        for ids in e.choices.iter().flatten() {
            choices.values().append_value(ids.iter().copied().map(Some));
        }
        choices.append(e.choices.is_some());
        append_texts(&mut choice_texts, e.choice_texts.as_deref());
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(id.finish()),
        Arc::new(input_ids.finish()),
        Arc::new(input_length.finish()),
        Arc::new(truncated.finish()),
        Arc::new(target_ids.finish()),
        Arc::new(target.finish()),
        Arc::new(label.finish()),
        Arc::new(group.finish()),
        Arc::new(answers.finish()),
        Arc::new(choices.finish()),
        Arc::new(choice_texts.finish()),
    ];
    RecordBatch::try_new(schema(), columns).expect("the builders follow the schema")
}

fn append_texts(list: &mut ListBuilder<StringBuilder>, texts: Option<&[String]>) {
    for text in texts.unwrap_or_default() {
        list.values().append_value(text);
    }
    list.append(texts.is_some());
}

/// The examples of a table; `origin` names it in messages.
///
/// # Errors
/// A column is missing or of another type: it was not written by `tokenize`, or by another version of it.
pub fn from_batch(batch: &RecordBatch, origin: &str) -> Result<Vec<Encoded>, Diag> {
    for field in schema().fields() {
        let fits = batch.column_by_name(field.name()).is_some_and(|column| {
            column.data_type().equals_datatype(field.data_type()) && (field.is_nullable() || column.null_count() == 0)
        });
        if !fits {
            let message = format!("`{origin}` is no tokenised split: column `{}` is not as expected", field.name());
            return Err(Diag::error(Class::Stage, message).note(format!("expected {}", field.data_type())));
        }
    }
    fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> &'a T {
        batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref()).expect("checked above")
    }
    let id: &StringArray = column(batch, "example_id");
    let input_ids: &ListArray = column(batch, "input_ids");
    let input_length: &Int32Array = column(batch, "input_length");
    let truncated: &BooleanArray = column(batch, "truncated");
    let target_ids: &ListArray = column(batch, "target_ids");
    let target: &StringArray = column(batch, "target");
    let label: &Int32Array = column(batch, "label");
    let group: &StringArray = column(batch, "group");
    let answers: &ListArray = column(batch, "answers");
    let choices: &ListArray = column(batch, "choices");
    let choice_texts: &ListArray = column(batch, "choice_texts");
    let rows = (0..batch.num_rows()).map(|i| Encoded {
        example_id: id.value(i).to_owned(),
        input_ids: ids(&input_ids.value(i)),
        input_length: input_length.value(i),
        truncated: truncated.value(i),
        target_ids: ids(&target_ids.value(i)),
        target: target.value(i).to_owned(),
        label: label.is_valid(i).then(|| label.value(i)),
        group: group.is_valid(i).then(|| group.value(i).to_owned()),
        answers: answers.is_valid(i).then(|| texts(&answers.value(i))),
        choices: choices.is_valid(i).then(|| {
            let lists = choices.value(i);
            let lists = lists.as_list::<i32>();
            (0..lists.len()).map(|j| ids(&lists.value(j))).collect()
        }),
        choice_texts: choice_texts.is_valid(i).then(|| texts(&choice_texts.value(i))),
    });
    Ok(rows.collect())
}

fn ids(list: &ArrayRef) -> Vec<i32> {
    list.as_primitive::<Int32Type>().values().to_vec()
}

fn texts(list: &ArrayRef) -> Vec<String> {
    list.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let examples = vec![
            Encoded { example_id: "1".into(), input_ids: vec![5, 6, 1], input_length: 9, ..Encoded::default() },
            Encoded {
                example_id: "7-3".into(),
                input_ids: vec![1],
                input_length: 1,
                truncated: true,
                target_ids: vec![4, 1],
                target: "Zoë".into(),
                label: Some(1),
                group: Some("7".into()),
                answers: Some(vec![]),
                choices: Some(vec![vec![3, 1], vec![4, 1]]),
                choice_texts: Some(vec!["Bob".into(), "Zoë".into()]),
            },
        ];
        let batch = to_batch(&examples);
        assert_eq!(from_batch(&batch, "f").unwrap(), examples);
        assert_eq!(from_batch(&to_batch(&[]), "f").unwrap(), []);
        let e = from_batch(&batch.project(&[0, 1]).unwrap(), "train.parquet").unwrap_err();
        assert_eq!(e.message, "`train.parquet` is no tokenised split: column `input_length` is not as expected");
    }
}
