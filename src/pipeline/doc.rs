//! [`Item`] and [`Table`]: a TOML document in file order, with the span of every key and value. Knows no pipeline.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::diag::{Diag, Span};
use crate::base::value::{Params, Value};

use super::source::{Source, wrong};

/// One value and its place.
#[derive(Clone, Debug)]
pub struct Item {
    /// The place of the value.
    pub span: Span,
    /// The value.
    pub node: Node,
}

/// What a value may be.
#[derive(Clone, Debug)]
pub enum Node {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A text.
    Str(String),
    /// A list.
    List(Vec<Item>),
    /// A table.
    Table(Table),
}

/// A table, in file order.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its keys and values.
    pub entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The place of the key.
    pub key_span: Span,
    /// The value.
    pub item: Item,
}

impl Item {
    /// Returns the text of a `Str`.
    pub fn as_str(&self) -> Option<&str> {
        match &self.node {
            Node::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Returns the table of a `Table`.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.node {
            Node::Table(t) => Some(t),
            _ => None,
        }
    }

    /// Returns what it is, in words.
    pub fn is_a(&self) -> &'static str {
        match &self.node {
            Node::Bool(_) => "a boolean",
            Node::Int(_) => "a whole number",
            Node::Float(_) => "a number",
            Node::Str(_) => "a text",
            Node::List(_) => "a list",
            Node::Table(_) => "a table",
        }
    }

    /// Returns the items of a list, or the one item in its place.
    pub fn one_or_more(&self) -> &[Item] {
        match &self.node {
            Node::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// As a plain value, nothing substituted.
    pub fn to_value(&self) -> Value {
        match &self.node {
            Node::Bool(b) => Value::Bool(*b),
            Node::Int(i) => Value::Int(*i),
            Node::Float(x) => Value::Float(*x),
            Node::Str(s) => Value::Str(s.clone()),
            Node::List(items) => Value::List(items.iter().map(Item::to_value).collect()),
            Node::Table(table) => Value::Table(table.to_params()),
        }
    }
}

impl Table {
    /// Returns the entry under `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// Returns the entry under `key`, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.key == key)
    }

    /// Returns all keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|e| e.key.as_str())
    }

    /// As plain values, nothing substituted.
    pub fn to_params(&self) -> Params {
        self.entries.iter().map(|e| (e.key.clone(), e.item.to_value())).collect()
    }
}

/// Reads `source` as TOML: all that could be read, and every problem.
pub fn read(source: &Source) -> (Table, Vec<Diag>) {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    let mut problems = one_a_line(errors.iter().map(|e| syntax(source, e)).collect());
    let table = table(source, document.get_ref(), &mut problems);
    (table, problems)
}

/// Returns what is wrong with the values of `source`, where its TOML is right: a number that is not finite or does not
/// fit, a date. `None`: it is no TOML.
pub fn wrong_values(source: &Source) -> Option<Vec<Diag>> {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    let mut problems = Vec::new();
    table(source, document.get_ref(), &mut problems);
    errors.is_empty().then_some(problems)
}

/// Returns the first of each line, or the one that says what was left open: the others follow from it.
fn one_a_line(problems: Vec<Diag>) -> Vec<Diag> {
    let mut kept: BTreeMap<usize, Diag> = BTreeMap::new();
    for diag in problems {
        let line = diag.span.as_ref().map_or(0, |s| s.line_column().0);
        match kept.get_mut(&line) {
            Some(first) if diag.message.contains("unclosed") => *first = diag,
            Some(_) => {}
            None => drop(kept.insert(line, diag)),
        }
    }
    kept.into_values().collect()
}

/// Returns the TOML parser's message in our form.
fn syntax(source: &Source, error: &toml::de::Error) -> Diag {
    let span = error.span().unwrap_or(source.text().len()..source.text().len());
    let (what, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
    if what == "string values must be quoted" {
        let typed = source.text()[span.clone()].trim();
        let empty = typed.is_empty() || typed.starts_with('#');
        return match empty {
            true => wrong(&source.span(span), "expected a value").label("nothing here"),
            false => {
                wrong(&source.span(span.clone()), "a text must be in quotes").label(format!("write `\"{typed}\"`"))
            }
        };
    }
    if what.contains("recursion limit") || what.contains("recursion depth") {
        return wrong(&source.span(span), "invalid TOML: values, tables or keys are nested more than 80 deep");
    }
    let diag = wrong(&source.span(span), format!("invalid TOML: {what}"));
    match expected {
        "" => diag,
        "nothing" => diag.label("nothing is allowed here"),
        _ => diag.label(format!("expected {}", expected.replace(", ", " or "))),
    }
}

fn table(source: &Source, table: &DeTable<'_>, problems: &mut Vec<Diag>) -> Table {
    let mut entries: Vec<_> = table
        .iter()
        .filter_map(|(key, value)| {
            Some(Entry {
                key: key.get_ref().to_string(),
                key_span: source.span(key.span()),
                item: item(source, value, problems)?,
            })
        })
        .collect();
    entries.sort_by_key(|e| e.key_span.range.start);
    Table { entries }
}

fn item(source: &Source, value: &Spanned<DeValue<'_>>, problems: &mut Vec<Diag>) -> Option<Item> {
    let span = source.span(value.span());
    let node = match value.get_ref() {
        DeValue::Boolean(b) => Node::Bool(*b),
        DeValue::String(s) => Node::Str(s.to_string()),
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => Node::Int(i),
            Err(_) => {
                problems.push(wrong(&span, format!("the whole number `{i}` does not fit 64 bits")));
                return None;
            }
        },
        DeValue::Float(x) => match x.as_str().parse::<f64>() {
            Ok(x) if x.is_finite() => Node::Float(if x == 0.0 { 0.0 } else { x }),
            _ => {
                problems.push(wrong(&span, format!("`{}` is not a finite number", x.as_str())));
                return None;
            }
        },
        DeValue::Datetime(date) => {
            let diag = wrong(&span, "a pipeline has no use for a date");
            problems.push(diag.help(format!("if it is meant as a text, put it in quotes: \"{date}\"")));
            return None;
        }
        DeValue::Array(items) => Node::List(items.iter().filter_map(|v| item(source, v, problems)).collect()),
        DeValue::Table(t) => Node::Table(table(source, t, problems)),
    };
    Some(Item { span, node })
}
