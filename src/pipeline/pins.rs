//! Pins: the sizes and digests of downloaded files, recorded beside the pipeline by `dpt pin`. A later download must
//! bring the same bytes. `superglue_full.toml` has `superglue_full.pins.toml`:
//!
//! ```toml
//! [source.superglue.files."BoolQ.zip"]
//! path = "BoolQ.zip"
//! sha256 = "853fbe79…"
//! bytes = 4118001
//! ```
//!
//! A pin in the pipeline itself must agree with the one recorded here.

use std::path::{Path, PathBuf};

use crate::base::diag::Diag;
use crate::base::fs;

use super::doc::{self, Entry, Item, Node, Table};
use super::source::{Diags, Source, place, wrong};

pub use crate::fetch::record::{Record as Pin, Records as Pins};

/// Returns where the pins of the pipeline at `pipeline` lie.
pub fn path_of(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("pins.toml")
}

/// Returns the text of a pins file, in name order: two runs that pin the same files write the same bytes.
pub fn to_text(pins: &Pins) -> String {
    let mut text =
        String::from("# Written by `dpt pin`: what the sources of the pipeline beside this file held. Commit it.\n");
    for (source, files) in pins {
        for (key, pin) in files {
            let quoted = |s: &str| toml::Value::from(s).to_string();
            text.push_str(&format!(
                "\n[source.{source}.files.{}]\npath = {}\nsha256 = {}\nbytes = {}\n",
                quoted(key),
                quoted(&pin.path),
                quoted(&pin.sha256.to_string()),
                pin.bytes
            ));
        }
    }
    text
}

/// Returns the pins recorded for `pipeline`; none when there is no such file.
///
/// # Errors
/// The file cannot be read or is malformed.
pub fn read(pipeline: &Path) -> Result<Pins, Vec<Diag>> {
    let path = path_of(pipeline);
    let Some(table) = read_document(&path)? else { return Ok(Pins::new()) };
    let mut pins = Pins::new();
    for (name, key, entry) in files(&table) {
        let text = |k: &str| entry.item.as_table()?.get(k)?.item.as_str().map(str::to_owned);
        let bytes = entry.item.as_table().and_then(|t| t.get("bytes")).and_then(|e| match e.item.node {
            Node::Int(i) => u64::try_from(i).ok(),
            _ => None,
        });
        let sha256 = text("sha256").and_then(|hex| hex.parse().ok());
        let (Some(sha256), Some(bytes)) = (sha256, bytes) else {
            return Err(vec![wrong(
                &entry.key_span,
                format!("the pin of `{key}` lacks its `bytes`, or a `sha256` of 64 hex digits"),
            )]);
        };
        let path = text("path").unwrap_or_else(|| key.to_owned());
        pins.entry(name.to_owned()).or_default().insert(key.to_owned(), Pin { path, sha256, bytes });
    }
    Ok(pins)
}

/// Adds `found` to the pins recorded for `pipeline`: what is pinned already and is not in `found` stays.
///
/// # Errors
/// The file cannot be read or written, or is malformed.
pub fn record(pipeline: &Path, found: Pins) -> Result<(), Vec<Diag>> {
    let mut pins = read(pipeline)?;
    for (source, files) in found {
        pins.entry(source).or_default().extend(files);
    }
    write(pipeline, &pins).map_err(|diag| vec![diag])
}

/// Writes the pins of `pipeline`, atomically.
///
/// # Errors
/// The file cannot be written.
pub fn write(pipeline: &Path, pins: &Pins) -> Result<(), Diag> {
    Ok(fs::write_atomic(&path_of(pipeline), to_text(pins).as_bytes())?)
}

fn read_document(path: &Path) -> Result<Option<Table>, Vec<Diag>> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| vec![e.into()])?,
    };
    parsed(path, text).map(Some)
}

fn parsed(path: &Path, text: String) -> Result<Table, Vec<Diag>> {
    let (table, problems) = doc::read(&Source::new(path, text));
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

/// Returns every `[source.NAME.files.KEY]`.
fn files(document: &Table) -> Vec<(&str, &str, &Entry)> {
    let mut found = Vec::new();
    let sources = document.get("source").and_then(|e| e.item.as_table());
    for source in sources.map_or(&[][..], |t| &t.entries) {
        let files = source.item.as_table().and_then(|t| t.get("files")).and_then(|e| e.item.as_table());
        for file in files.map_or(&[][..], |t| &t.entries) {
            found.push((source.key.as_str(), file.key.as_str(), file));
        }
    }
    found
}

/// Adds the pins recorded beside the pipeline to the `[source]` tables of `document`; with `text`, those that it has.
pub fn merge(pipeline: &Path, text: Option<&str>, document: &mut Table, diags: &mut Diags) {
    let recorded = match text {
        None => read_document(&path_of(pipeline)),
        Some(text) => parsed(&path_of(pipeline), text.to_owned()).map(Some),
    };
    let recorded = match recorded {
        Ok(Some(table)) => table,
        Ok(None) => return,
        Err(problems) => return problems.into_iter().for_each(|d| diags.push(d)),
    };
    for (name, key, pin) in files(&recorded) {
        let source = document.get_mut("source").and_then(|e| table_mut(&mut e.item)).and_then(|t| t.get_mut(name));
        // A source that the pipeline no longer has: its old pins do no harm.
        let Some(source) = source.and_then(|e| table_mut(&mut e.item)) else { continue };
        merge_file(source, key, pin, diags);
    }
}

fn merge_file(source: &mut Table, key: &str, pin: &Entry, diags: &mut Diags) {
    let empty = |span| Item { span, node: Node::Table(Table::default()) };
    if source.get("files").is_none() {
        let (key_span, span) = (pin.key_span.clone(), pin.item.span.clone());
        source.entries.push(Entry { key: "files".into(), key_span, item: empty(span) });
    }
    let Some(files) = source.get_mut("files").and_then(|e| table_mut(&mut e.item)) else { return };
    let Some(file) = files.get_mut(key) else {
        files.entries.push(pin.clone());
        return;
    };
    if let Node::Str(_) = file.item.node {
        // `KEY = "path"`: open it up.
        let path = std::mem::replace(&mut file.item, empty(file.key_span.clone()));
        let entry = Entry { key: "path".into(), key_span: file.key_span.clone(), item: path };
        table_mut(&mut file.item).expect("just made").entries.push(entry);
    }
    let (Some(file), Some(pin)) = (table_mut(&mut file.item), pin.item.as_table()) else { return };
    for entry in pin.entries.iter().filter(|e| e.key == "sha256" || e.key == "bytes") {
        match file.get(&entry.key) {
            None => file.entries.push(entry.clone()),
            Some(own) if own.item.to_value() == entry.item.to_value() => {}
            Some(own) => {
                let diag = wrong(&own.item.span, format!("`{}` of `{key}` is not what was pinned", entry.key));
                let diag = diag.note(format!("pinned as {} at {}", entry.item.to_value(), place(&entry.item.span)));
                diags.push(diag.help("correct the one that is wrong; `dpt pin` records the files as they are now"));
            }
        }
    }
}

fn table_mut(item: &mut Item) -> Option<&mut Table> {
    match &mut item.node {
        Node::Table(table) => Some(table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn pins_are_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let pipeline = dir.path().join("x.toml");
        assert!(read(&pipeline).unwrap().is_empty());
        let pin = Pin { path: "a b/BoolQ.zip".into(), sha256: "ab".repeat(32).parse().unwrap(), bytes: 12 };
        let pins = Pins::from([("superglue".into(), BTreeMap::from([("BoolQ.zip".into(), pin)]))]);
        write(&pipeline, &pins).unwrap();
        record(&pipeline, Pins::from([("superglue".into(), BTreeMap::new())])).unwrap();
        assert_eq!(path_of(&pipeline), dir.path().join("x.pins.toml"));
        assert_eq!(read(&pipeline).unwrap(), pins);
    }
}
