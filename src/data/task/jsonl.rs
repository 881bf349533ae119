//! SuperGLUE's jsonl into a task's table: reads every line, collects every problem with its line, and reports the first
//! ten. Where the file as a whole is something else, that one thing is said instead.

use std::cell::RefCell;

use arrow::record_batch::RecordBatch;
use rayon::prelude::*;
use serde_json::Value as Json;

use super::read::{ANSWERS, Cell, Fields, LABEL, NO_LABEL, shown};
use super::table::to_batch;
use super::{Task, UNLABELLED};
use crate::artifact::loose;
use crate::base::content::{Content, START};
use crate::base::diag::{Class, Diag};
use crate::data::verbalizer::quoted;

/// How many problems of a file are listed.
const TOLD: usize = 10;

/// The text of a file.
///
/// # Errors
/// When it is something else than text in UTF-8: says what.
pub fn text<'b>(bytes: &'b [u8], origin: &str) -> Result<&'b str, Diag> {
    let start = &bytes[..bytes.len().min(START)];
    if let Some(content) = Content::instead_of_text(start).filter(|content| *content != Content::Empty) {
        let diag = Diag::error(Class::Stage, format!("`{origin}` is no file of rows: {}", content.clause()));
        return Err(diag.help(match content {
            Content::Packed("gzip") => "unpack it with `gunzip`, or give it a name that ends in `.gz`",
            content => content.help(),
        }));
    }
    std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        let diag = Diag::error(Class::Stage, format!("`{origin}`, line {line}: not UTF-8"));
        diag.help("convert the file to UTF-8, such as with `iconv`")
    })
}

/// The rows of one line, or the line's problems.
struct Line {
    number: usize,
    rows: Vec<Vec<Cell>>,
    problems: Vec<String>,
    /// `true` if the line is no JSON object of its own.
    no_object: bool,
}

fn read_line(task: &dyn Task, number: usize, text: &str) -> Line {
    // Where files were put together, each begins with its own.
    let text = loose::without_mark(text);
    let problems = RefCell::new(Vec::new());
    let mut rows = Vec::new();
    let mut no_object = true;
    let mut read = |value: &Json| match value {
        Json::Object(map) => {
            no_object = false;
            let fields = Fields { map, at: String::new(), problems: &problems };
            task.read(&fields, &mut rows);
        }
        other => problems.borrow_mut().push(format!("{} where a JSON object should stand", shown(other))),
    };
    match serde_json::from_str::<Json>(text) {
        Ok(value) => read(&value),
        Err(e) => match without_odd_numbers(text) {
            // A task reads no such number: in a field of its own it is the same as `null`.
            Some((value, odd)) => {
                read(&value);
                for problem in problems.borrow_mut().iter_mut().filter(|problem| problem.contains("is `null`")) {
                    *problem += &format!(" (`null` stands here for `{odd}`, which JSON does not have)");
                }
            }
            None => {
                let what = e.to_string();
                let what = what.split(" at line ").next().unwrap_or(&what);
                problems.borrow_mut().push(format!("not JSON: {what} (column {})", e.column()));
            }
        },
    }
    Line { number, rows, problems: problems.into_inner(), no_object }
}

/// A line that is JSON but for numbers that are not finite, with `null` in their places; and the first of them.
fn without_odd_numbers(text: &str) -> Option<(Json, &str)> {
    let places = loose::not_finite(text);
    let first = &text[places.first()?.clone()];
    let value = serde_json::from_str(&loose::replaced(text, &places, |_| "null".to_owned())).ok()?;
    Some((value, first))
}

/// Reads a whole file.
///
/// # Errors
/// As `Task::read_jsonl` says.
pub fn parse(task: &dyn Task, text: &str, origin: &str, split: &str) -> Result<RecordBatch, Diag> {
    let text = loose::without_mark(text);
    let blank = |line: &str| loose::without_mark(line).trim().is_empty();
    let numbered: Vec<_> = text.lines().enumerate().filter(|(_, line)| !blank(line)).collect();
    let mut lines: Vec<Line> = numbered.par_iter().map(|(i, line)| read_line(task, i + 1, line)).collect();
    if lines.iter().any(|line| line.no_object)
        && let Some(diag) = whole(text, origin)
    {
        return Err(diag);
    }
    check_labels(task, split, &mut lines);

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

/// Describes a file whose text is JSON as a whole, and not line by line.
fn whole(text: &str, origin: &str) -> Option<Diag> {
    let finite = loose::replaced(text, &loose::not_finite(text), |_| "null".to_owned());
    let values: Vec<Json> = serde_json::Deserializer::from_str(&finite).into_iter().collect::<Result<_, _>>().ok()?;
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let (what, help) = match &values[..] {
        [Json::Array(items)] if items.iter().any(Json::is_object) => {
            let lines = if lines > 1 { "over several lines" } else { "in one line" };
            let what = format!("one JSON value {lines}, a list of {}", items.len());
            (what, "`jq -c '.[]' FILE` writes one object a line")
        }
        [_] if lines > 1 => ("one JSON value over several lines".to_owned(), "`jq -c . FILE` writes it in one line"),
        many if many.len() > 1 && lines > many.len() => {
            let what = format!("{} JSON values over several lines each", many.len());
            (what, "`jq -c . FILE` writes each in one line")
        }
        _ => return None,
    };
    let message = format!("`{origin}` is {what}: one object a line is expected");
    Some(Diag::error(Class::Stage, message).help(help))
}

/// A file has labels in all its rows or in none: a few missing ones are a mistake, not a test split. [`NO_LABEL`] in
/// all rows of a test split is the same as no field.
fn check_labels(task: &dyn Task, split: &str, lines: &mut [Line]) {
    let Some(label) = task.columns().iter().position(|c| *c == LABEL) else {
        return unanswered(task, split, lines);
    };
    let is = |cell: &Cell, line: &Line| line.rows.iter().any(|row| row[label] == *cell);
    let rows = || lines.iter().flat_map(|line| &line.rows);
    let labelled = rows().any(|row| ![Cell::Null, Cell::Int(NO_LABEL)].contains(&row[label]));
    let marked = rows().any(|row| row[label] == Cell::Int(NO_LABEL));
    if marked && !labelled && split == UNLABELLED {
        lines.iter_mut().flat_map(|line| &mut line.rows).for_each(|row| row[label] = Cell::Null);
        return;
    }
    for line in lines {
        if is(&Cell::Int(NO_LABEL), line) {
            line.problems.push("the row has no label (-1)".to_owned());
        } else if labelled && is(&Cell::Null, line) {
            line.problems.push("field `label` is missing, and other rows have it".to_owned());
        }
    }
}

/// A task without classes: no answers in all rows of a test split are the same as no field.
fn unanswered(task: &dyn Task, split: &str, lines: &mut [Line]) {
    let Some(answers) = task.columns().iter().position(|c| c.name == ANSWERS && c.nullable) else { return };
    let none = |row: &Vec<Cell>| match &row[answers] {
        Cell::Texts(texts) => texts.is_empty(),
        cell => *cell == Cell::Null,
    };
    if split == UNLABELLED && lines.iter().flat_map(|line| &line.rows).all(none) {
        lines.iter_mut().flat_map(|line| &mut line.rows).for_each(|row| row[answers] = Cell::Null);
    }
}

fn report(task: &dyn Task, origin: &str, problems: &[(usize, &str)]) -> Diag {
    let labels = problems.iter().any(|(_, p)| p.contains("not a label of"));
    let unlabelled = problems.iter().any(|(_, p)| p.contains("has no label (-1)"));
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
    if unlabelled {
        diag = diag.note(format!("only a split `{UNLABELLED}` may be without labels, and then all of its rows"));
    }
    diag
}
