//! The columns of a task's table, and the fields of a JSON object as a task reads them into cells. Which fields there
//! are stands in each task's file.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde_json::{Map, Value as Json};

use super::Task;

/// The label of a row that has none, as Hugging Face's data sets write it.
pub(super) const NO_LABEL: i64 = -1;

/// The content of a column.
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
    /// Its content.
    pub kind: Kind,
    /// `true` if a row may lack it: labels and answers, which test splits do not have.
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

    pub(super) fn data_type(&self) -> DataType {
        match self.kind {
            Kind::Text => DataType::Utf8,
            Kind::Int => DataType::Int64,
            Kind::Texts => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        }
    }
}

/// The column of class numbers.
pub const LABEL: Column = Column::int("label").nullable();

/// The column of a task's right answers, where it has no classes.
pub(super) const ANSWERS: &str = "answers";

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

/// The JSON forms of a task's labels in SuperGLUE's files. In each of them the class number is taken too, which is
/// what Hugging Face's copy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelForm {
    /// `true`/`false`, also as text.
    Bool,
    /// The class number, or the label's name.
    Index,
    /// The label's name.
    Name,
}

/// The fields of one JSON object. Each getter returns `None` after noting the problem, so that a reader asks for every
/// field first and gives up afterwards.
pub struct Fields<'a> {
    pub(super) map: &'a Map<String, Json>,
    /// The path of the object in its line: ``, `passage.`, `qas[3].`.
    pub(super) at: String,
    pub(super) problems: &'a RefCell<Vec<String>>,
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

    /// Returns `true` if there is a field `name`.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Returns `true` if there is a field `name`, and it is text.
    pub fn is_text(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(Json::is_string)
    }

    /// A list of texts.
    pub fn texts(&self, name: &str) -> Option<Vec<String>> {
        let value = self.get(name)?;
        let text = |item: &Json| item.as_str().map(str::to_owned);
        let texts = || value.as_array()?.iter().map(text).collect::<Option<Vec<String>>>();
        texts().or_else(|| self.wrong(name, value, "a list of texts"))
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
        // All fields are checked before an error is returned: every problem is reported.
        let (first, second, idx, label) =
            (self.text(first), self.text(second), self.int("idx"), self.label(task, form));
        Some(vec![idx?.into(), first?.into(), second?.into(), label?.into()])
    }

    /// The class number in field `label`; `Some(None)` where the field is absent or `null`, as in a test split.
    /// [`NO_LABEL`] is taken as it is: whether rows may be without a label is known of the whole file.
    pub fn label(&self, task: &dyn Task, form: LabelForm) -> Option<Option<i64>> {
        let value = match self.map.get("label") {
            None | Some(Json::Null) => return Some(None),
            Some(value) => value,
        };
        let labels = task.labels();
        let class = match value {
            Json::Bool(b) if form == LabelForm::Bool => Some(usize::from(*b)),
            Json::Number(n) if n.as_i64() == Some(NO_LABEL) => return Some(Some(NO_LABEL)),
            Json::Number(n) => n.as_u64().map(|n| n as usize).filter(|n| *n < labels.len()),
            Json::String(s) => class_of(labels, s, form == LabelForm::Bool),
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

/// The number of the class that is called `name`.
pub(super) fn class_of(labels: &[&str], name: &str, any_case: bool) -> Option<usize> {
    labels.iter().position(|label| *label == name || (any_case && label.eq_ignore_ascii_case(name)))
}

/// A value as a message shows it: short ones as they are, long ones by their type.
pub(super) fn shown(value: &Json) -> String {
    match value {
        Json::Null => "`null`".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::Array(_) => "a list".to_owned(),
        Json::String(s) if s.chars().count() > 40 => "text".to_owned(),
        other => format!("`{other}`"),
    }
}
