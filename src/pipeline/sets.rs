//! `--set key=value`: changes the document before it is checked, so that set values are checked like written ones.

use std::path::Path;

use crate::base::diag::{Class, Diag};

use crate::stages::stage::StageKind;

use super::doc::{self, Entry, Item, Node, Table};
use super::source::{Diags, Source, list, place, suggest, wrong};

/// Applies `--set KEY=VALUE` for each pair, in order, and returns the `axes` entries as the file had them where they
/// were replaced.
pub fn apply(
    document: &mut Table,
    sets: &[(String, String)],
    kinds: &[&'static StageKind],
    diags: &mut Diags,
) -> Table {
    let mut replaced = Table::default();
    for (key, value) in sets {
        let Some(param) = key.strip_prefix(EVERY) else {
            one(document, key, value, &mut replaced, diags);
            continue;
        };
        for key in diags.ok(everywhere(document, param, kinds)).into_iter().flatten() {
            one(document, &key, value, &mut replaced, diags);
        }
    }
    replaced
}

/// Applies `--set KEY=VALUE`.
fn one(document: &mut Table, key: &str, value: &str, replaced: &mut Table, diags: &mut Diags) {
    let Some(typed) = diags.ok(read(document, key, value)) else { return };
    let before = typed.bare.then(|| at(document, &typed.path)).flatten().and_then(|old| odd_text(value, old, &typed));
    if diags.ok(set(document, &typed.path, replaced)).is_some() {
        before.into_iter().for_each(|note| diags.push(note));
    }
}

/// Returns what the document has at a path.
fn at<'t>(document: &'t Table, path: &[Entry]) -> Option<&'t Item> {
    let (last, above) = path.split_last()?;
    let table = above.iter().try_fold(document, |table, entry| table.get(&entry.key)?.item.as_table())?;
    Some(&table.get(&last.key)?.item)
}

/// Returns a note on a text without quotes that takes the place of something else than a text: it was perhaps meant as
/// that.
fn odd_text(value: &str, old: &Item, typed: &Typed) -> Option<Diag> {
    let was = match &old.node {
        Node::Str(_) => return None,
        Node::List(items) if items.is_empty() || items.iter().any(|item| item.as_str().is_some()) => return None,
        _ => old.is_a(),
    };
    let numbers = |item: &Item| matches!(item.node, Node::Int(_) | Node::Float(_));
    let written = match &old.node {
        Node::Bool(_) => match value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some("; a boolean is written `true`".to_owned()),
            "false" | "no" | "off" => Some("; a boolean is written `false`".to_owned()),
            _ => None,
        },
        Node::List(items) if !items.iter().all(numbers) => None,
        _ => number(value).map(|number| format!("; a number is written `{number}`")),
    };
    let message = format!("`{value}` is taken as a text{}", written.unwrap_or_default());
    let mut diag = Diag::warning(message).at(typed.path.last()?.item.span.clone());
    diag.class = Class::Usage;
    diag = diag.note(format!("the file has {was} there, at {}", place(&old.span)));
    Some(diag.help(format!("if it is meant as a text, put it in quotes: `--set '{}=\"…\"'`", keys(&typed.path))))
}

/// `.5`, `5.`, `01` or `0,5` as TOML writes that number.
fn number(text: &str) -> Option<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits(unsigned) {
        return text.parse::<i64>().ok().map(|number| number.to_string());
    }
    // `1,000` may be a thousand or one.
    let point = match unsigned.split_once(',') {
        Some((whole, part)) if digits(whole) && digits(part) && part.len() != 3 => text.replace(',', "."),
        Some(_) => return None,
        None => text.to_owned(),
    };
    let number =
        point.parse::<f64>().ok().filter(|number| number.is_finite() && unsigned.contains(char::is_numeric))?;
    Some(format!("{number:?}"))
}

/// `params.lr`.
fn keys(path: &[Entry]) -> String {
    path.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>().join(".")
}

/// Before a parameter: of every stage that has it.
const EVERY: &str = "stage.*.";

/// Returns the keys under which the stages of the document have the parameter `param`. Where it is an axis, that of the
/// stages that have the axis is the axis itself.
fn everywhere(document: &Table, param: &str, kinds: &[&'static StageKind]) -> Result<Vec<String>, Diag> {
    let name = param.split('.').next().unwrap_or(param);
    let table = |key: &str| document.get(key).and_then(|e| e.item.as_table());
    let is_axis = table("axes").is_some_and(|axes| axes.get(name).is_some());
    let (mut keys, mut known) = (Vec::new(), Vec::new());
    for stage in table("stage").map_or(&[][..], |stages| &stages.entries) {
        let of = |key: &str| stage.item.as_table().and_then(|t| t.get(key)).map(|e| &e.item);
        let kind = of("kind").and_then(Item::as_str).map_or_else(|| stage.key.replace('_', "-"), str::to_owned);
        let params = kinds.iter().find(|k| k.name == kind).map_or(Vec::new(), |k| k.all_params());
        if params.iter().any(|p| p.name == name) {
            let swept = is_axis && of("axes").is_some_and(|a| a.one_or_more().iter().any(|a| a.as_str() == Some(name)));
            let key = if swept { format!("axes.{name}") } else { format!("stage.\"{}\".{param}", stage.key) };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        known.extend(params.iter().map(|p| p.name));
    }
    if !keys.is_empty() {
        return Ok(keys);
    }
    let source = Source::new(Path::new("--set"), format!("{EVERY}{param}"));
    let diag = wrong(&source.span(EVERY.len()..source.text().len()), format!("no stage has a parameter `{name}`"));
    Err(suggest(diag, name, "they have", known))
}

/// What `--set` says.
struct Typed {
    /// The entries from the outermost key to the last, whose item is the value.
    path: Vec<Entry>,
    /// `true` if the value is no TOML, and so a text without quotes.
    bare: bool,
}

/// Reads a key and its value.
///
/// # Errors
/// The key is none, or the value is TOML that no pipeline may have: a number that is not finite or does not fit. A date
/// is taken as a text: a pipeline has no other use for it, and on the command line a text needs no quotes. So is such a
/// number in the place of a text: `nan` may be a name.
fn read(document: &Table, key: &str, value: &str) -> Result<Typed, Diag> {
    let source = Source::new(Path::new("--set"), format!("{key}={value}"));
    let (typed, problems) = doc::read(&source);
    if problems.is_empty()
        && !value.contains('\n')
        && let Some(path) = chain(&typed)
    {
        return Ok(Typed { path, bare: false });
    }
    // Not TOML, so a text; the key must still be one.
    let quoted = Source::new(Path::new("--set"), format!("{key}=''"));
    let (typed, problems) = doc::read(&quoted);
    let path = chain(&typed).filter(|_| problems.is_empty());
    let is_text = |old: &Item| match &old.node {
        Node::Str(_) => true,
        Node::List(items) => items.iter().any(|item| item.as_str().is_some()),
        _ => false,
    };
    let in_place_of_text =
        !value.starts_with(['[', '{']) && path.as_ref().and_then(|path| at(document, path)).is_some_and(is_text);
    let is_date = value.parse::<toml::value::Datetime>().is_ok();
    if !is_date
        && !in_place_of_text
        && !value.contains('\n')
        && let Some(problem) = doc::wrong_values(&source).and_then(|problems| problems.into_iter().next())
    {
        return Err(problem);
    }
    let Some(mut path) = path else {
        let diag = wrong(&source.span(0..key.len()), format!("`{key}` is not a key"));
        return Err(diag.help("write, for instance, `--set stage.train.learning_rate=0.1`"));
    };
    for entry in &mut path {
        entry.key_span = source.span(entry.key_span.range.clone());
    }
    if let Some(last) = path.last_mut() {
        let start = (key.len() + 1).min(source.text().len());
        last.item = Item { span: source.span(start..source.text().len()), node: Node::Str(value.to_owned()) };
    }
    Ok(Typed { path, bare: true })
}

/// `a.b.c = value` as its three entries; `None` when the document holds anything else.
fn chain(document: &Table) -> Option<Vec<Entry>> {
    let mut path: Vec<Entry> = Vec::new();
    let mut table = document;
    loop {
        let [entry] = &table.entries[..] else { return None };
        path.push(entry.clone());
        match &entry.item.node {
            // A dotted key's tables begin with the key; a value's own braces come after the `=`.
            Node::Table(t) if !entry.item.span.source.text[entry.item.span.range.clone()].starts_with('{') => table = t,
            _ => return Some(path),
        }
    }
}

fn set(document: &mut Table, path: &[Entry], replaced: &mut Table) -> Result<(), Diag> {
    const ROOTS: &[&str] = &["params", "axes", "stage", "source", "pipeline"];
    let (root, rest) = path.split_first().expect("a chain has an entry");
    let unknown = |entry: &Entry, message: String| wrong(&entry.key_span, message);
    if !ROOTS.contains(&root.key.as_str()) {
        let diag = unknown(root, format!("`--set` cannot change `{}`", root.key));
        return Err(suggest(diag, &root.key, "it changes keys below", ROOTS.iter().copied()));
    }
    let Some(last) = rest.last() else {
        return Err(unknown(root, format!("`--set {}=…` would replace the whole table", root.key))
            .help(format!("name a key in it, such as `{}.NAME`", root.key)));
    };
    // Where the path must already be there: everything of params and axes, the names of stages and sources.
    let must_exist = match root.key.as_str() {
        "params" => rest.len(),
        "axes" | "stage" | "source" => 1,
        _ => 0,
    };
    let mut table = child(document, root)?;
    let mut walked = root.key.clone();
    for (depth, entry) in rest.iter().enumerate() {
        let reserved = root.key == "axes" && ["exclude", "include"].contains(&entry.key.as_str());
        if depth < must_exist && (reserved || table.get(&entry.key).is_none()) {
            let known: Vec<String> = table.keys().filter(|k| !reserved || *k != entry.key).map(str::to_owned).collect();
            let diag = unknown(entry, format!("`--set`: `{walked}` has no `{}`", entry.key));
            if root.key == "params" && known.is_empty() {
                let help = format!("write `stage.NAME.{}` to set the parameter of a stage", entry.key);
                return Err(diag.help(help));
            }
            return Err(suggest(diag, &entry.key, "it has", known.iter().map(String::as_str)));
        }
        walked = format!("{walked}.{}", entry.key);
        if depth + 1 < rest.len() {
            table = child(table, entry)?;
        }
    }
    if root.key == "axes" && rest.len() == 1 && replaced.get(&last.key).is_none() {
        replaced.entries.extend(table.get(&last.key).cloned());
    }
    put(table, last);
    if root.key == "stage" && rest.len() > 1 {
        let stage = child(child(document, root)?, &rest[0])?;
        clear_rows(stage, &rest[1..]);
    }
    Ok(())
}

/// Returns the table under `entry`'s key; an empty one is made where there is nothing.
fn child<'t>(table: &'t mut Table, entry: &Entry) -> Result<&'t mut Table, Diag> {
    if table.get(&entry.key).is_none() {
        let item = Item { span: entry.item.span.clone(), node: Node::Table(Table::default()) };
        table.entries.push(Entry { key: entry.key.clone(), key_span: entry.key_span.clone(), item });
    }
    let item = &mut table.get_mut(&entry.key).expect("just made").item;
    match &mut item.node {
        Node::Table(t) => Ok(t),
        other => {
            let is = if matches!(other, Node::List(_)) { "a list" } else { "no table" };
            let diag = wrong(&entry.key_span, format!("`--set` cannot reach into `{}`, which is {is}", entry.key));
            Err(diag.help("set the whole of it, or the key that it overrides"))
        }
    }
}

fn put(table: &mut Table, entry: &Entry) {
    match table.get_mut(&entry.key) {
        Some(old) => *old = entry.clone(),
        None => table.entries.push(entry.clone()),
    }
}

/// What is set on the command line wins over `by` rows: takes `path` out of every row of the stage.
fn clear_rows(stage: &mut Table, path: &[Entry]) {
    let Some(by) = stage.get_mut("by") else { return };
    let rows = match &mut by.item.node {
        Node::List(rows) => &mut rows[..],
        _ => std::slice::from_mut(&mut by.item),
    };
    for row in rows {
        let mut item = Some(row);
        let (last, above) = path.split_last().expect("a path has an entry");
        for entry in above {
            item = match item.map(|i| &mut i.node) {
                Some(Node::Table(t)) => t.get_mut(&entry.key).map(|e| &mut e.item),
                _ => None,
            };
        }
        if let Some(Item { node: Node::Table(table), .. }) = item {
            table.entries.retain(|e| e.key != last.key);
        }
    }
}

/// `key=value` as typed after `--set`, cut in two.
///
/// # Errors
/// There is no `=`.
pub fn split(argument: &str) -> Result<(String, String), Diag> {
    match argument.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => {
            let diag = Diag::error(Class::Usage, format!("`--set {argument}` has no `=`"));
            Err(diag.help(format!("write {}", list(&["--set key=value"]))))
        }
    }
}
