//! `[axes]`, its `exclude` and `include` rows, and rows of conditions.

use std::collections::HashMap;

use crate::base::diag::{Diag, Span};
use crate::base::name::is_name;
use crate::base::value::Value;
use crate::pipeline::doc::{Entry, Item, Node, Table};
use crate::pipeline::source::{Diags, place, wrong};
use crate::pipeline::spec::{Axis, AxisValue, Condition, Row, Spec, Word};

use super::shape::{bad_name, tables, unknown_key, whole};

/// How many values all axes may have together.
const MOST_VALUES: i64 = 1_000_000;
/// How many bytes a value may have: it becomes part of names.
const LONGEST_VALUE: usize = 200;

pub(super) fn axes(table: &Table, replaced: &Table, spec: &mut Spec, diags: &mut Diags) {
    let mut left = MOST_VALUES;
    for entry in &table.entries {
        match entry.key.as_str() {
            "exclude" => spec.exclude = rows(&entry.item, "`axes.exclude`", diags),
            "include" => spec.include = rows(&entry.item, "`axes.include`", diags),
            name if !is_name(name) => diags.push(bad_name(&entry.key_span, name, "an axis")),
            "params" => {
                let diag = wrong(&entry.key_span, "no axis may be called `params`");
                diags.push(diag.help("`{params.NAME}` refers to a parameter"));
            }
            name => {
                let mut axis = axis(entry, &mut left, diags);
                let former = replaced.get(name).map(|e| self::axis(e, &mut MOST_VALUES.clone(), &mut Diags::new()));
                axis.former = former.map(|a| a.values.into_iter().map(|v| v.text).collect());
                spec.axes.push(axis);
            }
        }
    }
}

/// One axis: a list of scalars, one scalar, or `{ from, count }`. It may have `left` values, and takes them from there.
fn axis(entry: &Entry, left: &mut i64, diags: &mut Diags) -> Axis {
    let name = Word { text: entry.key.clone(), span: entry.key_span.clone() };
    let mut values = match &entry.item.node {
        Node::Table(table) => counted(&entry.key, table, &entry.item.span, left, diags),
        _ => entry.item.one_or_more().iter().filter_map(|i| diags.ok(axis_value(&entry.key, i))).collect(),
    };
    // Whole numbers among fractions are fractions: `[0, 0.5]`.
    if values.iter().any(|v| matches!(v.value, Value::Float(_))) {
        for v in &mut values {
            if let Value::Int(i) = v.value {
                v.value = Value::Float(i as f64);
                v.text = v.value.to_string();
            }
        }
    }
    if let Some(odd) = values.iter().find(|v| !same_type(&v.value, &values[0].value)) {
        let diag = wrong(&odd.span, format!("axis `{}` mixes texts and numbers", entry.key));
        diags.push(diag.label(format!("the first value is `{}`", values[0].value)));
    }
    let mut seen: HashMap<String, Span> = HashMap::new();
    values.retain(|v| match seen.insert(v.text.clone(), v.span.clone()) {
        None => true,
        Some(first) => {
            let diag = wrong(&v.span, format!("axis `{}` has the value `{}` twice", entry.key, v.text));
            diags.push(diag.note(format!("first at {}", place(&first))));
            false
        }
    });
    if values.is_empty() && matches!(&entry.item.node, Node::List(items) if items.is_empty()) {
        diags.push(wrong(&entry.item.span, format!("axis `{}` has no values", entry.key)));
    }
    Axis::new(name, values)
}

/// Returns whether two values may be in one axis.
pub fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Returns a scalar as a value of axis `axis`.
///
/// # Errors
/// It is a list or a table, or a text that could not stand in a node's name.
pub fn axis_value(axis: &str, item: &Item) -> Result<AxisValue, Diag> {
    let value = item.to_value();
    let text = match &value {
        Value::Str(s) => s.clone(),
        Value::List(_) | Value::Table(_) => {
            let diag =
                wrong(&item.span, format!("a value of axis `{axis}` must be a text or a number, not {}", item.is_a()));
            return Err(diag);
        }
        other => other.to_string(),
    };
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    let unfit = |c: char| c.is_whitespace() || c.is_control() || turns(c) || "[],=*?|{}\"'`".contains(c);
    if text.is_empty() || text.len() > LONGEST_VALUE || text.chars().any(unfit) {
        let shown: String = text.chars().take(LONGEST_VALUE).collect();
        let diag = wrong(&item.span, format!("`{shown}` cannot be a value of axis `{axis}`"));
        return Err(diag
            .help("it becomes part of names such as `train[rte,dpt,42]`: use letters, digits and `.`, `_`, `-`, `/`"));
    }
    Ok(AxisValue { value, text, span: item.span.clone() })
}

/// `{ from = 42, count = 3 }`.
fn counted(axis: &str, table: &Table, span: &Span, left: &mut i64, diags: &mut Diags) -> Vec<AxisValue> {
    let mut misspelt = false;
    for entry in table.entries.iter().filter(|e| !["from", "count"].contains(&e.key.as_str())) {
        misspelt = true;
        diags.push(unknown_key(entry, &format!("axis `{axis}`"), &["from", "count"]));
    }
    if misspelt {
        return Vec::new();
    }
    let mut number = |key: &str, least: i64, most: i64| match table.get(key) {
        None => {
            let diag = wrong(span, format!("axis `{axis}` lacks `{key}`"));
            diags.push(diag.help("write a list, or a range such as `{ from = 42, count = 3 }`"));
            None
        }
        Some(entry) => whole(&entry.item, &format!("`{key}` of axis `{axis}`"), least, most, diags),
    };
    let (from, count) = (number("from", i64::MIN / 2, i64::MAX / 2), number("count", 1, MOST_VALUES));
    let (Some(from), Some(count)) = (from, count) else { return Vec::new() };
    if count > *left {
        let diag = wrong(span, format!("the axes have more than {MOST_VALUES} values together"));
        diags.push(diag.note(format!("axis `{axis}` alone has {count}")));
        return Vec::new();
    }
    *left -= count;
    let value = |i: i64| AxisValue { value: Value::Int(i), text: i.to_string(), span: span.clone() };
    (from..from + count).map(value).collect()
}

/// Returns the rows of an array of tables, each a row of conditions.
fn rows(item: &Item, what: &str, diags: &mut Diags) -> Vec<Row> {
    let tables: Vec<_> = tables(item, what, diags).collect();
    tables
        .into_iter()
        .filter_map(|(span, table)| {
            if table.entries.is_empty() {
                diags.push(wrong(&span, format!("this row of {what} names no axis")));
                return None;
            }
            Some(Row { span, conditions: conditions(table) })
        })
        .collect()
}

pub(super) fn conditions(table: &Table) -> Vec<Condition> {
    let condition = |e: &Entry| Condition {
        axis: Word { text: e.key.clone(), span: e.key_span.clone() },
        values: e.item.one_or_more().to_vec(),
    };
    table.entries.iter().map(condition).collect()
}
