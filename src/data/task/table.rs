//! A task's table: made of cells, and read row by row, also where another program wrote it with other types for the
//! same.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, Int64Builder, ListArray, ListBuilder, StringArray, StringBuilder,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::read::{ANSWERS, Cell, Kind, LABEL, NO_LABEL, class_of};
use super::{Task, UNLABELLED};
use crate::base::diag::{Class, Diag};

/// The Arrow schema of a task's table.
pub fn schema(task: &dyn Task) -> SchemaRef {
    let fields: Vec<_> = task.columns().iter().map(|c| Field::new(c.name, c.data_type(), c.nullable)).collect();
    Arc::new(Schema::new(fields))
}

/// The rows as a table; each has a cell a column.
pub fn to_batch(task: &dyn Task, rows: &[Vec<Cell>]) -> RecordBatch {
    let arrays = task
        .columns()
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let cells = rows.iter().map(|row| &row[i]);
            match column.kind {
                Kind::Text => {
                    let mut b = StringBuilder::new();
                    cells.for_each(|cell| match cell {
                        Cell::Text(text) => b.append_value(text),
                        _ => b.append_null(),
                    });
                    Arc::new(b.finish()) as ArrayRef
                }
                Kind::Int => {
                    let mut b = Int64Builder::new();
                    cells.for_each(|cell| match cell {
                        Cell::Int(n) => b.append_value(*n),
                        _ => b.append_null(),
                    });
                    Arc::new(b.finish())
                }
                Kind::Texts => {
                    let mut b = ListBuilder::new(StringBuilder::new());
                    cells.for_each(|cell| match cell {
                        Cell::Texts(texts) => b.append_value(texts.iter().map(Some)),
                        _ => b.append_null(),
                    });
                    Arc::new(b.finish())
                }
            }
        })
        .collect();
    RecordBatch::try_new(schema(task), arrays).expect("each task's reader fills its own columns")
}

/// One row of a task's table.
#[derive(Clone, Copy, Debug)]
pub struct TaskRow<'a> {
    batch: &'a RecordBatch,
    index: usize,
}

/// The table of `split` as other programs write it, with the columns of `task` in the types that [`rows`] reads: whole
/// numbers of any width, labels also as names and as true and false, and indices that stand together in a column `idx`.
/// Labels that are all [`NO_LABEL`] in a split `test` become none. A column that has no such form stays, and [`rows`]
/// tells of it.
///
/// # Errors
/// A label that is none, a row without a label (-1), a number that does not fit.
pub fn conform(task: &dyn Task, batch: &RecordBatch, origin: &str, split: &str) -> Result<RecordBatch, Diag> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for column in task.columns() {
        let Some(found) = find(batch, column.name) else { continue };
        let wrong = |what: String| {
            let message = format!("`{origin}` is no table of task `{}`: column `{}` {what}", task.name(), column.name);
            Diag::error(Class::Stage, message)
        };
        let array = match column.kind {
            Kind::Int if *column == LABEL => {
                let labels = labels(task, &found).map_err(wrong)?;
                labels.map_or(Ok(found), |labels| known_labels(labels, origin, split))?
            }
            Kind::Int if found.data_type().is_integer() => {
                let strict = CastOptions { safe: false, ..CastOptions::default() };
                cast_with_options(&found, &DataType::Int64, &strict).map_err(|e| wrong(format!("does not fit: {e}")))?
            }
            Kind::Texts if column.name == ANSWERS => unanswered(as_texts(found, &column.data_type()), split),
            Kind::Texts => as_texts(found, &column.data_type()),
            _ => found,
        };
        fields.push(Field::new(column.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
    batch.map_err(|e| Diag::error(Class::Stage, format!("`{origin}` is no table of task `{}`: {e}", task.name())))
}

/// The column `name`, or for `paragraph_idx` the part `paragraph` of the column `idx`.
fn find(batch: &RecordBatch, name: &str) -> Option<ArrayRef> {
    batch.column_by_name(name).cloned().or_else(|| {
        let part = name.strip_suffix("_idx")?;
        batch.column_by_name("idx")?.as_struct_opt()?.column_by_name(part).cloned()
    })
}

/// A list of texts, also where all lists are empty, so that its writer knew no type for the items.
fn as_texts(found: ArrayRef, ty: &DataType) -> ArrayRef {
    let untyped = match found.data_type() {
        DataType::Null => true,
        DataType::List(item) => item.data_type().is_null(),
        _ => false,
    };
    if untyped { arrow::compute::cast(&found, ty).unwrap_or(found) } else { found }
}

/// No answers in all rows of a test split are the same as none given.
fn unanswered(answers: ArrayRef, split: &str) -> ArrayRef {
    let empty = |list: &ListArray| (0..list.len()).all(|i| list.is_null(i) || list.value_length(i) == 0);
    if split == UNLABELLED && answers.as_list_opt::<i32>().is_some_and(empty) {
        return arrow::array::new_null_array(answers.data_type(), answers.len());
    }
    answers
}

/// The class numbers of a column of labels, in whichever form; `None`: it has no form that labels have.
fn labels(task: &dyn Task, found: &ArrayRef) -> Result<Option<Int64Array>, String> {
    let names = task.labels();
    let truths = names == ["false", "true"];
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let ints = |array: &ArrayRef| {
        let cast = cast_with_options(array, &DataType::Int64, &strict).map_err(|e| format!("does not fit: {e}"))?;
        Ok(Some(cast.as_primitive::<Int64Type>().clone()))
    };
    match found.data_type() {
        ty if ty.is_integer() || ty.is_null() => ints(found),
        DataType::Boolean if truths => ints(found),
        // A column of whole numbers of which some are missing, as pandas keeps it.
        ty if ty.is_floating() => {
            let floats = arrow::compute::cast(found, &DataType::Float64).map_err(|e| e.to_string())?;
            let floats = floats.as_primitive::<arrow::datatypes::Float64Type>();
            let whole = |float: f64| match float {
                float if float.is_nan() => Ok(None),
                float if float.fract() == 0.0 && float.abs() < 1e9 => Ok(Some(float as i64)),
                other => Err(format!("has label {other}")),
            };
            let numbers = floats.iter().map(|float| float.map_or(Ok(None), whole));
            Ok(Some(numbers.collect::<Result<Int64Array, String>>()?))
        }
        DataType::Utf8 => {
            let class = |name: &str| {
                let class = class_of(names, name, truths).map(|class| class as i64);
                class.ok_or_else(|| format!("has label `{}`, not one of `{}`", name.escape_debug(), names.join("`, `")))
            };
            let texts = found.as_string::<i32>().iter();
            Ok(Some(texts.map(|text| text.map(class).transpose()).collect::<Result<Int64Array, String>>()?))
        }
        _ => Ok(None),
    }
}

/// The labels as they count in `split`.
fn known_labels(labels: Int64Array, origin: &str, split: &str) -> Result<ArrayRef, Diag> {
    let Some(bare) = labels.iter().position(|label| label == Some(NO_LABEL)) else { return Ok(Arc::new(labels)) };
    if split == UNLABELLED && labels.iter().flatten().all(|label| label == NO_LABEL) {
        return Ok(arrow::array::new_null_array(&DataType::Int64, labels.len()));
    }
    let message = format!("`{origin}`, row {}: the row has no label (-1)", bare + 1);
    let note = format!("only a split `{UNLABELLED}` may be without labels, and then all of its rows");
    Err(Diag::error(Class::Stage, message).note(note))
}

/// The rows of `batch`, after checking that it is a table of `task`.
///
/// # Errors
/// A column is missing or of another type, or a label is none of the task's: the table was made for another task or by
/// another version.
pub fn rows<'a>(
    task: &dyn Task,
    batch: &'a RecordBatch,
    origin: &str,
) -> Result<impl ExactSizeIterator<Item = TaskRow<'a>> + Clone + use<'a>, Diag> {
    for column in task.columns() {
        let found = batch.column_by_name(column.name);
        let problem = match found {
            None => "has no such column".to_owned(),
            Some(array) if !array.data_type().equals_datatype(&column.data_type()) => {
                format!("has it as {}, expected {}", array.data_type(), column.data_type())
            }
            Some(array) if !column.nullable && array.null_count() > 0 => "has rows without it".to_owned(),
            Some(_) => continue,
        };
        let message = format!("`{origin}` is no table of task `{}`: column `{}`", task.name(), column.name);
        return Err(Diag::error(Class::Stage, message).note(format!("the table {problem}")));
    }
    let rows = (0..batch.num_rows()).map(move |index| TaskRow { batch, index });
    if task.columns().contains(&LABEL) {
        let classes = 0..task.labels().len() as i64;
        if let Some(label) = rows.clone().filter_map(|row| row.label()).find(|label| !classes.contains(label)) {
            let message = format!("`{origin}` is no table of task `{}`: it has label {label}", task.name());
            return Err(Diag::error(Class::Stage, message).note(format!("its labels are 0 to {}", classes.end - 1)));
        }
    }
    Ok(rows)
}

impl<'a> TaskRow<'a> {
    fn column<T: 'static>(&self, name: &str) -> &'a T {
        let column = self.batch.column_by_name(name).and_then(|array| array.as_any().downcast_ref());
        column.unwrap_or_else(|| panic!("`rows` has checked column `{name}`"))
    }

    /// A text column.
    pub fn text(&self, name: &str) -> &'a str {
        self.column::<StringArray>(name).value(self.index)
    }

    /// A number column that every row has.
    pub fn int(&self, name: &str) -> i64 {
        self.column::<Int64Array>(name).value(self.index)
    }

    /// The class number, where there is one.
    pub fn label(&self) -> Option<i64> {
        let column = self.column::<Int64Array>("label");
        column.is_valid(self.index).then(|| column.value(self.index))
    }

    /// A list column.
    pub fn texts(&self, name: &str) -> Option<Vec<String>> {
        let column = self.column::<ListArray>(name);
        column.is_valid(self.index).then(|| {
            let items = column.value(self.index);
            let items = items.as_any().downcast_ref::<StringArray>().expect("`rows` has checked the item type");
            (0..items.len()).map(|i| items.value(i).to_owned()).collect()
        })
    }
}
