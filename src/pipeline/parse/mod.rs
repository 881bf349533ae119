//! Parses a document into a [`Spec`], and reports every problem of its shape: unknown keys, wrong types, malformed
//! names. Names are looked up later (`expand.rs`, `edges/`, `plan.rs`).

mod axes;
mod shape;
mod sources;
mod stages;

use std::path::Path;

use crate::base::name::is_name;

use super::doc::{Item, Node, Table};
use super::source::{Diags, Source, wrong};
use super::spec::Spec;
use super::tolerance::{Tolerance, tolerance};

pub use axes::{axis_value, same_type};
pub use shape::{bad_name, mistyped, unknown_key};
pub use stages::RESOURCE_KEYS;

use axes::axes;
use shape::{table_of, text_of, words};
use sources::source_spec;
use stages::stage;

/// The version of the pipeline file's form.
pub const SCHEMA: i64 = 1;

const TOP_KEYS: &[&str] = &["schema", "pipeline", "axes", "params", "source", "stage", "tolerance"];
const PIPELINE_KEYS: &[&str] = &["name", "targets", "description"];
/// Returns the spec of `document`; what is wrong goes to `diags` and is left out of it. `replaced` holds the axes as
/// the file had them before `--set`.
pub fn parse(source: &Source, path: &Path, document: &Table, replaced: &Table, diags: &mut Diags) -> Spec {
    let stem = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let stem = folder_name(&stem);
    let mut spec = Spec {
        name: stem,
        targets: None,
        axes: Vec::new(),
        exclude: Vec::new(),
        include: Vec::new(),
        params: Table::default(),
        sources: Vec::new(),
        stages: Vec::new(),
        tolerance: Tolerance::default(),
    };
    check_schema(source, document, diags);
    for entry in &document.entries {
        if !TOP_KEYS.contains(&entry.key.as_str()) {
            diags.push(unknown_key(entry, "the pipeline file", TOP_KEYS));
        } else if entry.key != "schema"
            && let Some(table) = table_of(entry, &format!("`{}`", entry.key), diags)
        {
            match entry.key.as_str() {
                "pipeline" => pipeline(table, &mut spec, diags),
                "axes" => axes(table, replaced, &mut spec, diags),
                "params" => params(table, &mut spec, diags),
                "tolerance" => spec.tolerance = tolerance(table, &stage_names(document), diags),
                "source" => spec.sources = table.entries.iter().filter_map(|e| source_spec(e, diags)).collect(),
                _ => spec.stages = table.entries.iter().filter_map(|e| stage(e, diags)).collect(),
            }
        }
    }
    if spec.stages.is_empty() && document.get("stage").is_none() {
        let end = source.text().len();
        let diag = wrong(&source.span(end..end), "the pipeline has no stage");
        diags.push(diag.help("add one, such as `[stage.download]`"));
    }
    spec
}

/// Returns a file's name as the name of a folder: what could lead elsewhere, hide it, or drive a terminal is replaced
/// by `-`.
fn folder_name(stem: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ') { c } else { '-' };
    let name: String = stem.chars().map(plain).take(64).collect();
    let name = name.trim_start_matches('.').trim();
    if name.is_empty() { "pipeline".to_owned() } else { name.to_owned() }
}

/// Returns the names of the stages, wherever in the file they are.
fn stage_names(document: &Table) -> Vec<&str> {
    let stages = document.get("stage").and_then(|entry| entry.item.as_table());
    stages.into_iter().flat_map(|table| &table.entries).map(|entry| entry.key.as_str()).collect()
}

fn check_schema(source: &Source, document: &Table, diags: &mut Diags) {
    match document.get("schema").map(|e| &e.item) {
        None => {
            let diag = wrong(&source.span(0..0), "the pipeline file lacks its schema version");
            diags.push(diag.help(format!("begin it with `schema = {SCHEMA}`")));
        }
        Some(Item { node: Node::Int(SCHEMA), .. }) => {}
        Some(item) => {
            let diag = wrong(&item.span, format!("this `dpt` reads pipeline files of schema {SCHEMA} only"));
            diags.push(diag.label(format!("found `{}`", item.to_value())));
        }
    }
}

fn pipeline(table: &Table, spec: &mut Spec, diags: &mut Diags) {
    for entry in &table.entries {
        match entry.key.as_str() {
            "name" => {
                if let Some(word) = text_of(&entry.item, "`name` of the pipeline", diags) {
                    if is_name(&word.text) {
                        spec.name = word.text;
                    } else {
                        diags.push(bad_name(&word.span, &word.text, "a pipeline"));
                    }
                }
            }
            "targets" => spec.targets = Some(words(&entry.item, "`targets` of the pipeline", "targets", diags)),
            "description" => drop(text_of(&entry.item, "`description` of the pipeline", diags)),
            _ => diags.push(unknown_key(entry, "`[pipeline]`", PIPELINE_KEYS)),
        }
    }
}

fn params(table: &Table, spec: &mut Spec, diags: &mut Diags) {
    for entry in &table.entries {
        if !is_name(&entry.key) {
            diags.push(bad_name(&entry.key_span, &entry.key, "a parameter"));
        }
    }
    spec.params = table.clone();
}
