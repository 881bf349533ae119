//! Reads values of an expected shape, or reports what is wrong with them.

use crate::base::diag::{Diag, Span};
use crate::base::name::is_name;
use crate::pipeline::doc::{Entry, Item, Node, Table};
use crate::pipeline::source::{Diags, suggest, wrong};
use crate::pipeline::spec::Word;

/// Returns the tables of a list of tables, or the one table in its place.
pub(super) fn tables<'a>(item: &'a Item, what: &str, diags: &mut Diags) -> std::vec::IntoIter<(Span, &'a Table)> {
    let mut found = Vec::new();
    for item in item.one_or_more() {
        match &item.node {
            Node::Table(table) => found.push((item.span.clone(), table)),
            _ => diags.push(mistyped(item, what, "a list of tables")),
        }
    }
    found.into_iter()
}

pub(super) fn words(item: &Item, what: &str, of: &str, diags: &mut Diags) -> Vec<Word> {
    let mut words = Vec::new();
    for item in item.one_or_more() {
        match item.as_str() {
            Some(text) => words.push(Word { text: text.to_owned(), span: item.span.clone() }),
            None => diags.push(mistyped(item, what, &format!("a list of {of}"))),
        }
    }
    words
}

pub(super) fn text_of(item: &Item, what: &str, diags: &mut Diags) -> Option<Word> {
    match item.as_str() {
        Some(text) => Some(Word { text: text.to_owned(), span: item.span.clone() }),
        None => {
            diags.push(mistyped(item, what, "a text"));
            None
        }
    }
}

pub(super) fn whole(item: &Item, what: &str, least: i64, most: i64, diags: &mut Diags) -> Option<i64> {
    match item.node {
        Node::Int(i) if (least..=most).contains(&i) => Some(i),
        Node::Int(i) => {
            let bound = if i < least { format!("at least {least}") } else { format!("at most {most}") };
            diags.push(wrong(&item.span, format!("{what} is out of range")).label(format!("must be {bound}")));
            None
        }
        _ => {
            diags.push(mistyped(item, what, "a whole number"));
            None
        }
    }
}

pub(super) fn table_of<'a>(entry: &'a Entry, what: &str, diags: &mut Diags) -> Option<&'a Table> {
    let table = entry.item.as_table();
    if table.is_none() {
        diags.push(mistyped(&entry.item, what, "a table"));
    }
    table
}

pub(super) fn named(entry: &Entry, what: &str, diags: &mut Diags) -> Option<Word> {
    if is_name(&entry.key) {
        return Some(Word { text: entry.key.clone(), span: entry.key_span.clone() });
    }
    diags.push(bad_name(&entry.key_span, &entry.key, what));
    None
}

/// "`x` must be …, not …".
pub fn mistyped(item: &Item, what: &str, expected: &str) -> Diag {
    wrong(&item.span, format!("{what} must be {expected}")).label(format!("this is {}", item.is_a()))
}

/// "`x` cannot be the name of …".
pub fn bad_name(span: &Span, name: &str, what: &str) -> Diag {
    wrong(span, format!("`{name}` cannot be the name of {what}"))
        .help("names are ASCII letters, digits, `_` and `-`, begin with a letter, and have at most 64 characters")
}

/// "unknown key `x` in …".
pub fn unknown_key<S: AsRef<str>>(entry: &Entry, place: &str, known: &[S]) -> Diag {
    let diag = wrong(&entry.key_span, format!("unknown key `{}` in {place}", entry.key));
    let known: Vec<_> = known.iter().map(AsRef::as_ref).collect();
    suggest(diag, &entry.key, "known keys", known)
}
