//! `--set key=value`: changes the document before it is checked, so that what was set is checked like what was written.

use std::path::Path;

use crate::base::diag::{Class, Diag};

use crate::stages::stage::StageKind;

use super::doc::{self, Entry, Item, Node, Table};
use super::source::{Diags, Source, list, suggest, wrong};

/// Applies `--set KEY=VALUE` for each pair, in order, and returns the `axes` entries as the file had them where they were
/// replaced.
pub fn apply(
    document: &mut Table,
    sets: &[(String, String)],
    kinds: &[&'static StageKind],
    diags: &mut Diags,
) -> Table {
    let mut replaced = Table::default();
    for (key, value) in sets {
        let Some(param) = key.strip_prefix(EVERY) else {
            diags.ok(read(key, value).and_then(|path| set(document, &path, &mut replaced)));
            continue;
        };
        for key in diags.ok(everywhere(document, param, kinds)).into_iter().flatten() {
            diags.ok(read(&key, value).and_then(|path| set(document, &path, &mut replaced)));
        }
    }
    replaced
}

/// Before a parameter: of every stage that has it.
const EVERY: &str = "stage.*.";

/// The keys under which the stages of the document have the parameter `param`. Where it is an axis, that of the stages that have
/// the axis is the axis itself.
fn everywhere(document: &Table, param: &str, kinds: &[&'static StageKind]) -> Result<Vec<String>, Diag> {
    let name = param.split('.').next().unwrap_or(param);
    let table = |key: &str| document.get(key).and_then(|e| e.item.as_table());
    let is_axis = table("axes").is_some_and(|axes| axes.get(name).is_some());
    let (mut keys, mut known) = (Vec::new(), Vec::new());
    for stage in table("stage").map_or(&[][..], |stages| &stages.entries) {
        let of = |key: &str| stage.item.as_table().and_then(|t| t.get(key)).map(|e| &e.item);
        let kind = of("kind").and_then(Item::as_str).map_or_else(|| stage.key.replace('_', "-"), str::to_owned);
        let params = kinds.iter().find(|k| k.name == kind).map_or(&[][..], |k| k.params);
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

/// The entries from the outermost key to the last, whose item is the value.
fn read(key: &str, value: &str) -> Result<Vec<Entry>, Diag> {
    let source = Source::new(Path::new("--set"), format!("{key}={value}"));
    let (document, problems) = doc::read(&source);
    if problems.is_empty()
        && !value.contains('\n')
        && let Some(path) = chain(&document)
    {
        return Ok(path);
    }
    // Not TOML, so a text; the key must still be one.
    let quoted = Source::new(Path::new("--set"), format!("{key}=''"));
    let (document, problems) = doc::read(&quoted);
    let Some(mut path) = chain(&document).filter(|_| problems.is_empty()) else {
        let diag = wrong(&source.span(0..key.len()), format!("`{key}` is no key"));
        return Err(diag.help("write, for instance, `--set stage.train.learning_rate=0.1`"));
    };
    for entry in &mut path {
        entry.key_span = source.span(entry.key_span.range.clone());
    }
    if let Some(last) = path.last_mut() {
        let start = (key.len() + 1).min(source.text().len());
        last.item = Item { span: source.span(start..source.text().len()), node: Node::Str(value.to_owned()) };
    }
    Ok(path)
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

/// The table under `entry`'s key; an empty one is made where there is nothing.
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
