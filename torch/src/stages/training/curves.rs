//! The tables of a training: `curves.parquet`, a row a step, `evals.parquet`, a row a metric and scoring, and
//! `figures.parquet`, a row a figure of the method and step.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use crate::learn::descent::CurveRow;
use crate::learn::selection::EvalRow;

/// The type of the column `learning_rate`.
#[derive(Clone, Copy)]
pub(crate) enum RateType {
    Float32,
    Float64,
}

/// `step`, `loss`, `learning_rate` and `grad_norm`.
pub(crate) fn curves(rows: &[CurveRow], rate: RateType) -> RecordBatch {
    let rates = rows.iter().map(|row| row.learning_rate);
    let rates: ArrayRef = match rate {
        RateType::Float32 => Arc::new(Float32Array::from_iter_values(rates.map(|rate| rate as f32))),
        RateType::Float64 => Arc::new(Float64Array::from_iter_values(rates)),
    };
    let schema = Schema::new(vec![
        Field::new("step", DataType::Int32, false),
        Field::new("loss", DataType::Float32, false),
        Field::new("learning_rate", rates.data_type().clone(), false),
        Field::new("grad_norm", DataType::Float32, false),
    ]);
    let floats = |value: fn(&CurveRow) -> f32| Arc::new(Float32Array::from_iter_values(rows.iter().map(value)));
    let steps = Int32Array::from_iter_values(rows.iter().map(|row| row.step as i32));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(steps), floats(|r| r.loss), rates, floats(|r| r.grad_norm)])
        .expect("four columns of one length")
}

/// `step`, `split`, `metric` and `value`.
pub(crate) fn evals(rows: &[EvalRow]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("step", DataType::Int32, false),
        Field::new("split", DataType::Utf8, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("value", DataType::Float64, false),
    ]);
    let steps = Int32Array::from_iter_values(rows.iter().map(|row| row.step as i32));
    let splits = StringArray::from_iter_values(rows.iter().map(|row| &row.split));
    let metrics = StringArray::from_iter_values(rows.iter().map(|row| &row.metric));
    let values = Float64Array::from_iter_values(rows.iter().map(|row| row.value));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(steps), Arc::new(splits), Arc::new(metrics), Arc::new(values)])
        .expect("four columns of one length")
}

/// `step`, `figure` and `value`. A figure's first value is that before the first step.
pub(crate) fn figures(all: &[(&str, Vec<f64>)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("step", DataType::Int32, false),
        Field::new("figure", DataType::Utf8, false),
        Field::new("value", DataType::Float64, false),
    ]);
    let rows =
        || all.iter().flat_map(|(name, values)| (0..).zip(values).map(move |(step, value)| (step, *name, *value)));
    let steps = Int32Array::from_iter_values(rows().map(|(step, ..)| step));
    let names = StringArray::from_iter_values(rows().map(|(_, name, _)| name));
    let values = Float64Array::from_iter_values(rows().map(|(.., value)| value));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(steps), Arc::new(names), Arc::new(values)])
        .expect("three columns of one length")
}
