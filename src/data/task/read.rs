//! SuperGLUE's jsonl into typed columns: reads every line, remembers every problem with its line, and tells the first
//! ten. Which fields there are stands in each task's file.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, Int64Builder, ListArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use rayon::prelude::*;
use serde_json::{Map, Value as Json};

use super::Task;
use crate::base::diag::{Class, Diag};
use crate::data::verbalizer::quoted;

/// How many problems of a file are told one by one.
const TOLD: usize = 10;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Utf8.
    Text,
    /// Int64.
    Int,
    /// List of Utf8.
    Texts,
}

/// One column of a task's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// snake_case.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether a row may lack it: labels and answers, which test splits do not have.
    pub nullable: bool,
}

impl Column {
    /// Text in every row.
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text, nullable: false }
    }

    /// A whole number in every row.
    pub const fn int(name: &'static str) -> Self {
        Self { name, kind: Kind::Int, nullable: false }
    }

    /// A list of texts in every row.
    pub const fn texts(name: &'static str) -> Self {
        Self { name, kind: Kind::Texts, nullable: false }
    }

    /// Those of a task whose rows are two texts with a label.
    pub const fn pair(first: &'static str, second: &'static str) -> [Self; 4] {
        [Self::int("idx"), Self::text(first), Self::text(second), LABEL]
    }

    /// The same, absent in some rows.
    pub const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    fn data_type(&self) -> DataType {
        match self.kind {
            Kind::Text => DataType::Utf8,
            Kind::Int => DataType::Int64,
            Kind::Texts => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        }
    }
}

/// The column of class numbers.
pub const LABEL: Column = Column::int("label").nullable();

/// The Arrow schema of a task's table.
pub fn schema(task: &dyn Task) -> SchemaRef {
    let fields: Vec<_> = task.columns().iter().map(|c| Field::new(c.name, c.data_type(), c.nullable)).collect();
    Arc::new(Schema::new(fields))
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// For [`Kind::Text`].
    Text(String),
    /// For [`Kind::Int`].
    Int(i64),
    /// For [`Kind::Texts`].
    Texts(Vec<String>),
    /// Absent.
    Null,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<i64> for Cell {
    fn from(n: i64) -> Self {
        Cell::Int(n)
    }
}

impl From<Option<i64>> for Cell {
    fn from(n: Option<i64>) -> Self {
        n.map_or(Cell::Null, Cell::Int)
    }
}

/// In which JSON forms a task's labels stand in SuperGLUE's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelForm {
    /// `true`/`false`, also as text or as 1/0.
    Bool,
    /// The class number, also as the label's name.
    Index,
    /// The label's name.
    Name,
}

/// The fields of one JSON object. Each getter returns `None` after noting the problem, so that a reader asks for every
/// field first and gives up afterwards.
pub struct Fields<'a> {
    map: &'a Map<String, Json>,
    /// Where the object stands in its line: ``, `passage.`, `qas[3].`.
    at: String,
    problems: &'a RefCell<Vec<String>>,
}

impl<'a> Fields<'a> {
    fn problem<T>(&self, text: String) -> Option<T> {
        self.problems.borrow_mut().push(text);
        None
    }

    fn get(&self, name: &str) -> Option<&'a Json> {
        match self.map.get(name) {
            Some(value) => Some(value),
            None => self.problem(format!("field `{}{name}` is missing", self.at)),
        }
    }

    fn wrong<T>(&self, name: &str, value: &Json, expected: &str) -> Option<T> {
        self.problem(format!("field `{}{name}` is {}, expected {expected}", self.at, shown(value)))
    }

    /// Text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let value = self.get(name)?;
        value.as_str().or_else(|| self.wrong(name, value, "text"))
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Option<i64> {
        let value = self.get(name)?;
        value.as_i64().or_else(|| self.wrong(name, value, "a whole number"))
    }

    /// A whole number that is not negative.
    pub fn index(&self, name: &str) -> Option<usize> {
        let n = self.int(name)?;
        usize::try_from(n)
            .ok()
            .or_else(|| self.problem(format!("field `{}{name}` is {n}, expected 0 or more", self.at)))
    }

    /// An object.
    pub fn object(&self, name: &str) -> Option<Fields<'a>> {
        let value = self.get(name)?;
        match value {
            Json::Object(map) => Some(Fields { map, at: format!("{}{name}.", self.at), problems: self.problems }),
            other => self.wrong(name, other, "an object"),
        }
    }

    /// A list of objects.
    pub fn objects(&self, name: &str) -> Option<Vec<Fields<'a>>> {
        let value = self.get(name)?;
        let Json::Array(items) = value else { return self.wrong(name, value, "a list") };
        let mut all = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let Json::Object(map) = item else { return self.wrong(&format!("{name}[{i}]"), item, "an object") };
            all.push(Fields { map, at: format!("{}{name}[{i}].", self.at), problems: self.problems });
        }
        Some(all)
    }

    /// A list of objects that may be absent or `null`.
    pub fn optional_objects(&self, name: &str) -> Option<Option<Vec<Fields<'a>>>> {
        match self.map.get(name) {
            None | Some(Json::Null) => Some(None),
            Some(_) => self.objects(name).map(Some),
        }
    }

    /// The row of a task whose columns are [`Column::pair`] of `first` and `second`.
    pub fn pair(&self, task: &dyn Task, [first, second]: [&str; 2], form: LabelForm) -> Option<Vec<Cell>> {
        // All are looked at before the first that is wrong ends it: every problem is told.
        let (first, second, idx, label) =
            (self.text(first), self.text(second), self.int("idx"), self.label(task, form));
        Some(vec![idx?.into(), first?.into(), second?.into(), label?.into()])
    }

    /// The class number in field `label`; `Some(None)` where the field is absent or `null`, as in a test split.
    pub fn label(&self, task: &dyn Task, form: LabelForm) -> Option<Option<i64>> {
        let value = match self.map.get("label") {
            None | Some(Json::Null) => return Some(None),
            Some(value) => value,
        };
        let labels = task.labels();
        let class = match value {
            Json::Bool(b) if form == LabelForm::Bool => Some(usize::from(*b)),
            Json::Number(n) if form != LabelForm::Name => n.as_u64().map(|n| n as usize).filter(|n| *n < labels.len()),
            Json::String(s) => {
                labels.iter().position(|label| label == s || (form == LabelForm::Bool && label.eq_ignore_ascii_case(s)))
            }
            _ => None,
        };
        match class {
            Some(class) => Some(Some(class as i64)),
            None => {
                self.problem(format!("field `{}label` is {}, not a label of `{}`", self.at, shown(value), task.name()))
            }
        }
    }

    /// Notes that field `name` holds something that cannot be used.
    pub fn bad<T>(&self, name: &str, what: &str) -> Option<T> {
        self.problem(format!("field `{}{name}` {what}", self.at))
    }
}

/// A value as a message shows it: short ones as they are, long ones by their type.
fn shown(value: &Json) -> String {
    match value {
        Json::Null => "`null`".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::Array(_) => "a list".to_owned(),
        Json::String(s) if s.chars().count() > 40 => "text".to_owned(),
        other => format!("`{other}`"),
    }
}

/// The rows of one line, or the line's problems.
struct Line {
    number: usize,
    rows: Vec<Vec<Cell>>,
    problems: Vec<String>,
}

fn read_line(task: &dyn Task, number: usize, text: &str) -> Line {
    let problems = RefCell::new(Vec::new());
    let mut rows = Vec::new();
    match serde_json::from_str::<Json>(text) {
        Ok(Json::Object(map)) => {
            let fields = Fields { map: &map, at: String::new(), problems: &problems };
            task.read(&fields, &mut rows);
        }
        Ok(other) => problems.borrow_mut().push(format!("{} where a JSON object should stand", shown(&other))),
        Err(e) => {
            let what = e.to_string();
            let what = what.split(" at line ").next().unwrap_or(&what);
            problems.borrow_mut().push(format!("not JSON: {what} (column {})", e.column()));
        }
    }
    Line { number, rows, problems: problems.into_inner() }
}

/// Reads a whole file: what `parse_jsonl` does.
pub(super) fn parse(task: &dyn Task, text: &str, origin: &str) -> Result<RecordBatch, Diag> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered: Vec<_> = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
    let mut lines: Vec<Line> = numbered.par_iter().map(|(i, line)| read_line(task, i + 1, line)).collect();
    mark_half_labelled(task, &mut lines);

    let problems: Vec<_> =
        lines.iter().flat_map(|line| line.problems.iter().map(move |p| (line.number, p.as_str()))).collect();
    if !problems.is_empty() {
        return Err(report(task, origin, &problems));
    }
    let rows: Vec<_> = lines.into_iter().flat_map(|line| line.rows).collect();
    if rows.is_empty() {
        return Err(Diag::error(Class::Stage, format!("`{origin}` holds no examples")));
    }
    Ok(to_batch(task, &rows))
}

/// A file has labels in all its rows or in none: a few missing ones are a mistake, not a test split.
fn mark_half_labelled(task: &dyn Task, lines: &mut [Line]) {
    let Some(label) = task.columns().iter().position(|c| *c == LABEL) else { return };
    let lacks = |line: &Line| line.rows.iter().any(|row| row[label] == Cell::Null);
    if lines.iter().any(|line| line.rows.iter().any(|row| row[label] != Cell::Null)) {
        for line in lines.iter_mut().filter(|line| lacks(line)) {
            line.problems.push("field `label` is missing, and other rows have it".to_owned());
        }
    }
}

fn report(task: &dyn Task, origin: &str, problems: &[(usize, &str)]) -> Diag {
    let labels = problems.iter().any(|(_, p)| p.contains("not a label of"));
    let mut diag = if let [(number, problem)] = problems {
        Diag::error(Class::Stage, format!("`{origin}`, line {number}: {problem}"))
    } else {
        let message = format!("`{origin}` has {} problems as a file of task `{}`", problems.len(), task.name());
        let mut diag = Diag::error(Class::Stage, message);
        for (number, problem) in problems.iter().take(TOLD) {
            diag = diag.note(format!("line {number}: {problem}"));
        }
        if problems.len() > TOLD {
            diag = diag.note(format!("and {} more", problems.len() - TOLD));
        }
        diag
    };
    if labels {
        diag = diag.note(format!("the labels of `{}` are {}", task.name(), quoted(task.labels())));
    }
    diag
}

fn to_batch(task: &dyn Task, rows: &[Vec<Cell>]) -> RecordBatch {
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
pub struct Row<'a> {
    batch: &'a RecordBatch,
    index: usize,
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
) -> Result<impl ExactSizeIterator<Item = Row<'a>> + Clone + use<'a>, Diag> {
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
    let rows = (0..batch.num_rows()).map(move |index| Row { batch, index });
    if task.columns().contains(&LABEL) {
        let classes = 0..task.labels().len() as i64;
        if let Some(label) = rows.clone().filter_map(|row| row.label()).find(|label| !classes.contains(label)) {
            let message = format!("`{origin}` is no table of task `{}`: it has label {label}", task.name());
            return Err(Diag::error(Class::Stage, message).note(format!("its labels are 0 to {}", classes.end - 1)));
        }
    }
    Ok(rows)
}

impl<'a> Row<'a> {
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
