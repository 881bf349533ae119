//! `[stage.NAME]`: the keys that every stage has, and its `by` rows.

use crate::base::diag::Span;
use crate::engine::graph::Accept;
use crate::pipeline::doc::{Entry, Item, Node, Table};
use crate::pipeline::source::{Diags, suggest};
use crate::pipeline::spec::{ByRow, Need, ResourcesSpec, StageSpec, Word};

use super::axes::conditions;
use super::shape::{mistyped, named, table_of, tables, text_of, unknown_key, whole, words};

/// The keys of `resources`.
pub const RESOURCE_KEYS: &[&str] = &["cpu", "gpu", "retries", "backoff", "timeout"];

pub(super) fn stage(entry: &Entry, diags: &mut Diags) -> Option<StageSpec> {
    let name = named(entry, "a stage", diags)?;
    let of = format!("stage `{}`", name.text);
    let table = table_of(entry, &of, diags)?;
    let kind = Word { text: name.text.replace('_', "-"), span: name.span.clone() };
    let mut stage = StageSpec {
        needs_span: name.span.clone(),
        needs_broken: false,
        name,
        kind,
        axes: Vec::new(),
        when: Vec::new(),
        needs: Vec::new(),
        resources: ResourcesSpec::default(),
        accept: None,
        description: None,
        settings: Vec::new(),
        by: Vec::new(),
    };
    for e in &table.entries {
        let what = format!("`{}` of {of}", e.key);
        match e.key.as_str() {
            "kind" => stage.kind = text_of(&e.item, &what, diags).unwrap_or(stage.kind),
            "axes" => stage.axes = words(&e.item, &what, "axis names", diags),
            "when" => stage.when = table_of(e, &what, diags).map_or_else(Vec::new, conditions),
            "needs" => {
                stage.needs_span = e.key_span.clone();
                let roles = table_of(e, &what, diags).map_or(&[][..], |t| &t.entries);
                stage.needs = roles.iter().filter_map(|e| need(e, &of, diags)).collect();
                stage.needs_broken = e.item.as_table().is_none() || stage.needs.len() < roles.len();
            }
            "resources" => stage.resources = resources(e, &what, diags),
            "accept" => stage.accept = accept(&e.item, &what, diags),
            "description" => stage.description = text_of(&e.item, &what, diags).map(|w| w.text),
            "by" => stage.by = tables(&e.item, &what, diags).map(|(s, t)| by_row(s, t, &of, diags)).collect(),
            _ => stage.settings.push(e.clone()),
        }
    }
    Some(stage)
}

fn need(entry: &Entry, of: &str, diags: &mut Diags) -> Option<Need> {
    let role = Word { text: entry.key.clone(), span: entry.key_span.clone() };
    let items = entry.item.one_or_more();
    if let Some(bad) = items.iter().find(|i| i.as_str().is_none()) {
        diags.push(mistyped(bad, &format!("role `{}` of {of}", role.text), "the name of a stage"));
        return None;
    }
    Some(Need { role, producers: items.to_vec() })
}

fn by_row(span: Span, table: &Table, of: &str, diags: &mut Diags) -> ByRow {
    let mut row = ByRow { span, entries: Vec::new(), resources: ResourcesSpec::default(), accept: None };
    for e in &table.entries {
        let what = format!("`{}` in a `by` row of {of}", e.key);
        match e.key.as_str() {
            "resources" => row.resources = resources(e, &what, diags),
            "accept" => row.accept = accept(&e.item, &what, diags),
            _ => row.entries.push(e.clone()),
        }
    }
    row
}

fn resources(entry: &Entry, what: &str, diags: &mut Diags) -> ResourcesSpec {
    let mut resources = ResourcesSpec::default();
    for e in table_of(entry, what, diags).map_or(&[][..], |t| &t.entries) {
        let of = what;
        let what = format!("`{}` in {of}", e.key);
        match e.key.as_str() {
            "cpu" => resources.cpu = whole(&e.item, &what, 1, 4096, diags).map(|n| n as usize),
            "gpu" => resources.gpu = whole(&e.item, &what, 0, 64, diags).map(|n| n as usize),
            "retries" => resources.retries = whole(&e.item, &what, 0, 1000, diags).map(|n| n as u32),
            "backoff" => resources.backoff = seconds(&e.item, &what, 0, diags),
            "timeout" => resources.timeout = seconds(&e.item, &what, 1, diags),
            _ => diags.push(unknown_key(e, of, RESOURCE_KEYS)),
        }
    }
    resources
}

/// Seconds, or a text such as `90s`, `40m`, `2h`.
fn seconds(item: &Item, what: &str, least: u32, diags: &mut Diags) -> Option<u64> {
    let Node::Str(text) = &item.node else {
        return whole(item, what, i64::from(least), i64::from(u32::MAX), diags).map(|n| n as u64);
    };
    let seconds = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)].iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*seconds).filter(|n| *n >= u64::from(least) && *n <= u64::from(u32::MAX))
    });
    if seconds.is_none() {
        diags.push(mistyped(item, what, "seconds, or a text such as `90s`, `40m` or `2h`"));
    }
    seconds
}

fn accept(item: &Item, what: &str, diags: &mut Diags) -> Option<Accept> {
    const WORDS: &[(&str, Accept)] =
        &[("exact", Accept::Exact), ("same-device", Accept::SameDevice), ("any", Accept::Any)];
    let found = item.as_str().and_then(|s| WORDS.iter().find(|(word, _)| *word == s));
    if found.is_none() {
        let typed = item.as_str().unwrap_or_default();
        let diag = mistyped(item, what, "`exact`, `same-device` or `any`");
        diags.push(suggest(diag, typed, "it is one of", WORDS.iter().map(|(w, _)| *w)));
    }
    found.map(|(_, accept)| *accept)
}
