//! `[source.NAME]` and its files.

use crate::base::name::is_relative_file;
use crate::pipeline::doc::{Entry, Item, Node};
use crate::pipeline::source::{Diags, wrong};
use crate::pipeline::spec::{FileSpec, SourceSpec, Word};

use super::shape::{mistyped, named, table_of, text_of, unknown_key, whole};

const SOURCE_KEYS: &[&str] = &["url", "verify", "files", "description"];
const FILE_KEYS: &[&str] = &["path", "sha256", "bytes"];
pub(super) fn source_spec(entry: &Entry, diags: &mut Diags) -> Option<SourceSpec> {
    let name = named(entry, "a source", diags)?;
    let of = format!("source `{}`", name.text);
    let table = table_of(entry, &of, diags)?;
    let (mut url, mut verify, mut files) = (None, true, Vec::new());
    for e in &table.entries {
        match e.key.as_str() {
            "url" => url = text_of(&e.item, &format!("`url` of {of}"), diags).map(|_| e.item.clone()),
            "verify" => match &e.item.node {
                Node::Bool(b) => verify = *b,
                _ => diags.push(mistyped(&e.item, &format!("`verify` of {of}"), "`true` or `false`")),
            },
            "files" => {
                if let Some(table) = table_of(e, &format!("`files` of {of}"), diags) {
                    files = table.entries.iter().filter_map(|e| file(e, &of, diags)).collect();
                }
            }
            "description" => drop(text_of(&e.item, &format!("`description` of {of}"), diags)),
            _ => diags.push(unknown_key(e, &of, SOURCE_KEYS)),
        }
    }
    match url {
        Some(url) => Some(SourceSpec { name, url, verify, files }),
        None if table.get("url").is_some() => None,
        None => {
            let diag = wrong(&name.span, format!("{of} lacks its `url`"));
            diags.push(diag.help("write `url = \"https://…\"` or `url = \"file:relative/folder\"`"));
            None
        }
    }
}

/// `KEY = { path = …, sha256 = …, bytes = … }`, or `KEY = "path"`.
fn file(entry: &Entry, of: &str, diags: &mut Diags) -> Option<FileSpec> {
    let key = Word { text: entry.key.clone(), span: entry.key_span.clone() };
    let of = format!("file `{}` of {of}", key.text);
    if entry.item.as_str().is_some() {
        check_file_path(&entry.item, &of, diags);
        return Some(FileSpec { key, path: entry.item.clone(), sha256: None, bytes: None });
    }
    let table = table_of(entry, &of, diags)?;
    let (mut path, mut sha256, mut bytes) = (None, None, None);
    for e in &table.entries {
        let what = format!("`{}` of {of}", e.key);
        match e.key.as_str() {
            "path" => path = text_of(&e.item, &what, diags).map(|_| e.item.clone()),
            "sha256" => sha256 = text_of(&e.item, &what, diags).filter(|w| check_sha256(w, &of, diags)),
            "bytes" => bytes = whole(&e.item, &what, 0, i64::MAX, diags).map(|b| (b as u64, e.item.span.clone())),
            _ => diags.push(unknown_key(e, &of, FILE_KEYS)),
        }
    }
    // Without a path, the key is one.
    let path = path.unwrap_or_else(|| Item { span: key.span.clone(), node: Node::Str(key.text.clone()) });
    check_file_path(&path, &of, diags);
    Some(FileSpec { key, path, sha256, bytes })
}

fn check_file_path(path: &Item, of: &str, diags: &mut Diags) {
    if path.as_str().is_some_and(|p| !p.contains('{') && !is_relative_file(p)) {
        let diag = wrong(&path.span, format!("the path of {of} must be relative, without `..`"));
        diags.push(diag.help("it is looked for below the `url` of its source"));
    }
}

fn check_sha256(word: &Word, of: &str, diags: &mut Diags) -> bool {
    let fits = word.text.len() == 64 && word.text.bytes().all(|b| b.is_ascii_hexdigit());
    if !fits {
        let diag = wrong(&word.span, format!("`sha256` of {of} must be 64 hex digits"));
        diags.push(diag.label(format!("{} characters", word.text.chars().count())));
    }
    fits
}
