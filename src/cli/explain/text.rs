//! The output of `dpt explain` as text.

use std::fmt::Write as _;

use super::explained::Explained;
use crate::base::value::Value;
use crate::cache::StaleReason;
use crate::cache::recipe::{Field, FieldContent, FieldName};
use crate::cli::patterns::{Names, few};
use crate::cli::progress::figure;
use crate::cli::render::{self, BOLD, DIM, count, paint};
use crate::cli::status_kind::StatusKind;
use crate::cli::status_table::{self, brief};
use crate::cli::values::{self, cut};
use crate::engine::explain::{Cause, Change, CompareWith, Explanation};
use crate::engine::freshness::Freshness;
use crate::engine::graph::{Accept, NodeId};
use crate::engine::history::NodeFate;
use crate::engine::journal::date;
use crate::pipeline::Plan;

pub(super) fn text(explained: &Explained) -> String {
    let Explained { plan, node, .. } = explained;
    let state = StatusKind::of(&node.freshness);
    let name = plan.graph.node(node.id).short();
    let mut out = format!("{} is {}: {}\n", paint(BOLD, &name), state.painted(state.word()), sentence(explained));
    let mut rows = vec![];
    rows.extend(keys(explained));
    rows.extend(made(explained));
    out += &labelled(&rows);
    if matches!(node.freshness, Freshness::Damaged { .. }) {
        for change in &node.changes {
            let _ = writeln!(out, "  {}", change.reason);
        }
    } else {
        out += &indented(&changes(plan, node.id, &node.changes), 2);
    }
    out += &indented(&first(plan, &node.first), 2);
    out += &labelled(&rest(explained));
    if let (true, Some(recipe)) = (explained.recipe, &node.recipe) {
        out += "  recipe\n";
        recipe.to_string().lines().for_each(|line| out += &format!("    {}\n", cut(line)));
    }
    out
}

/// Formats rows of a label and a text.
fn labelled(rows: &[Vec<String>]) -> String {
    let below = format!("\n{:14}", "");
    rows.iter().map(|row| format!("  {:<12}{}\n", row[0], row[1].replace('\n', &below))).collect()
}

/// Says in a sentence what a run would do with the node.
fn sentence(explained: &Explained) -> String {
    let node = explained.node;
    match &node.freshness {
        Freshness::Fresh { .. } => "the store has a result for its recipe, which a run will use".to_owned(),
        Freshness::Stale { .. } => match StatusKind::of(&node.freshness) {
            StatusKind::Missing => {
                format!(
                    "{}; the next run makes it",
                    node.changes.first().map_or_else(String::new, |c| c.reason.to_string())
                )
            }
            _ => "the next run makes it again".to_owned(),
        },
        Freshness::Damaged { .. } => "the next run moves its result to quarantine and makes it again".to_owned(),
        Freshness::Broken { .. } => "its key cannot be made".to_owned(),
        Freshness::Blocked { by } => {
            let by: Vec<_> = by.iter().map(|id| id.index()).collect();
            let by = Names::of(&explained.plan.graph).line(&by);
            let then = match (&node.old, node.changes.is_empty()) {
                (Some((_, Some(_))), true) => "it runs again only if their results change",
                (Some((_, Some(_))), false) => "it will run in any case, since its own recipe has changed",
                _ => "it has no result, so it will run after them",
            };
            format!("by {by}; {then}")
        }
    }
}

fn keys(explained: &Explained) -> Vec<Vec<String>> {
    let node = explained.node;
    let row = |label: &str, text: String| vec![label.to_owned(), text];
    let now = node.key.map_or_else(|| "not known yet".to_owned(), |key| key.to_string());
    let mut rows = vec![match &node.old {
        Some((old, _)) if Some(*old) != node.key => row("key", format!("{old} -> {now}")),
        _ => row("key", now),
    }];
    match (&node.old, explained.against) {
        (Some((_, None)), _) => rows.push(row("old", "no longer in the store".to_owned())),
        (Some((_, Some(entry))), against) => {
            let made = &entry.made[0];
            let what = match against {
                CompareWith::Run(run) => format!("run {}", run.id),
                CompareWith::Key(_) => "the entry".to_owned(),
                CompareWith::Last => "the last result".to_owned(),
            };
            rows.push(row(
                "against",
                format!("{what}, made {} in {}", date(made.at as f64), render::seconds(made.seconds)),
            ));
        }
        (None, CompareWith::Run(run)) => {
            let had = run.nodes.contains_key(&explained.plan.graph.node(node.id).to_string());
            let why = if had { "in which the node got no key" } else { "which did not include this node" };
            rows.push(row("against", format!("run {}, {why}", run.id)));
        }
        (None, _) => {}
    }
    rows
}

/// For a fresh node, returns when, where and why its result was made.
fn made(explained: &Explained) -> Vec<Vec<String>> {
    let node = explained.node;
    let (Freshness::Fresh { stored }, Some(entry)) = (&node.freshness, &node.entry) else { return vec![] };
    let made = entry.made.iter().find(|made| made.numerics == stored.numerics).unwrap_or(&entry.made[0]);
    let row = |label: &str, text: String| vec![label.to_owned(), text];
    let whose = if made.node == explained.plan.graph.node(node.id).to_string() {
        String::new()
    } else {
        format!(" for {}", made.node)
    };
    let mut rows = vec![row(
        "made",
        format!("{} in {}, by run {}{whose}", date(made.at as f64), render::seconds(made.seconds), made.run),
    )];
    if let Some((_, seen)) = explained.made.filter(|(_, seen)| !seen.reasons.is_empty()) {
        rows.push(row("because", brief(&seen.reasons)));
    }
    if !made.numerics.is_empty() {
        let numerics: Vec<_> = made.numerics.iter().map(|(name, value)| format!("{name} {value}")).collect();
        rows.push(row("on", numerics.join(", ")));
    }
    let files: Vec<_> = made.files.keys().cloned().collect();
    let size = render::bytes(stored.size());
    rows.push(row("files", format!("{} in {}: {}", size, count(files.len(), "file"), few(&files, 6))));
    if !made.metrics.is_empty() {
        let figures: Vec<_> = made.metrics.iter().map(|(name, value)| format!("{name} {}", figure(*value))).collect();
        rows.push(row("metrics", few(&figures, 6)));
    }
    rows
}

/// Formats a row for each difference. Below a changed input, it shows where the change comes from.
fn changes(plan: &Plan, id: NodeId, changes: &[Change]) -> String {
    let mut out = String::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for change in changes {
        let role = match field(&change.reason) {
            Some(FieldName::Input { role, .. } | FieldName::Producer { role, .. } | FieldName::Named { role, .. }) => {
                role
            }
            _ => {
                rows.extend(differences(plan, id, &change.reason));
                continue;
            }
        };
        if done.contains(&role.as_str()) {
            continue;
        }
        done.push(role);
        let of = |change: &&Change| match field(&change.reason) {
            Some(
                FieldName::Input { role: of, .. }
                | FieldName::Producer { role: of, .. }
                | FieldName::Named { role: of, .. },
            ) => of == role,
            _ => false,
        };
        let all: Vec<&Change> = changes.iter().filter(of).collect();
        out += &render::table(&std::mem::take(&mut rows), &[]);
        out += &input(plan, role, &all);
    }
    out + &render::table(&rows, &[])
}

/// Returns the field of a reason.
fn field(reason: &StaleReason) -> Option<&FieldName> {
    match reason {
        StaleReason::Changed { field, .. } | StaleReason::Added { field, .. } | StaleReason::Dropped { field, .. } => {
            Some(field)
        }
        _ => None,
    }
}

/// Returns rows of name, `old -> new`, and place in the pipeline file. A table has a row for each key that differs.
fn differences(plan: &Plan, id: NodeId, reason: &StaleReason) -> Vec<Vec<String>> {
    let (name, place) = match field(reason) {
        Some(FieldName::Param(param)) => {
            let place = plan.origin(id, param).map(|origin| paint(DIM, origin)).unwrap_or_default();
            (format!("param {param}"), place)
        }
        Some(FieldName::File(file)) => (format!("file {file}"), String::new()),
        Some(name) => (name.to_string(), String::new()),
        None => return vec![vec![reason.to_string()]],
    };
    let value = |content: &FieldContent| match content {
        FieldContent::Value(value) => value.clone(),
        other => Value::Str(other.to_string()),
    };
    let plain = |content: &FieldContent| matches!(content, FieldContent::Value(_));
    match reason {
        StaleReason::Changed { old, new, .. } if plain(old) && plain(new) => {
            let row = |(name, old, new)| vec![name, format!("{old} -> {new}"), place.clone()];
            values::changes(&name, &value(old), &value(new)).into_iter().map(row).collect()
        }
        StaleReason::Changed { old, new, .. } => vec![vec![name, format!("{old} -> {new}"), place]],
        StaleReason::Added { new, .. } => vec![vec![name, format!("is new: {}", cut(&new.to_string())), place]],
        StaleReason::Dropped { old, .. } => vec![vec![name, format!("was removed: {}", cut(&old.to_string())), place]],
        _ => vec![vec![reason.to_string()]],
    }
}

/// Formats the differences of one role, and the causes in its producers.
fn input(plan: &Plan, role: &str, changes: &[&Change]) -> String {
    let files: Vec<_> = changes
        .iter()
        .filter(|c| matches!(c.reason, StaleReason::Changed { field: FieldName::Input { .. }, .. }))
        .collect();
    let mut rows = Vec::new();
    if let Some(first) = files.first()
        && let StaleReason::Changed { field: FieldName::Input { file, at, .. }, old, new } = &first.reason
    {
        let more =
            if files.len() > 1 { format!(", and {}", count(files.len() - 1, "other file")) } else { String::new() };
        let at = if at.is_empty() { String::new() } else { format!(" of [{at}]") };
        rows.push(vec![format!("input {role}"), format!("{old} -> {new}"), paint(DIM, format!("{file}{at}{more}"))]);
    }
    let others: Vec<_> = changes
        .iter()
        .filter(|c| !matches!(c.reason, StaleReason::Changed { field: FieldName::Input { .. }, .. }))
        .collect();
    rows.extend(others.iter().take(4).map(|c| vec![format!("input {role}"), c.reason.to_string()]));
    if others.len() > 4 {
        rows.push(vec![format!("input {role}"), format!("and {} more", others.len() - 4)]);
    }
    let causes: Vec<&Cause> = changes.iter().flat_map(|c| &c.causes).collect();
    render::table(&rows, &[]) + &indented(&all_causes(plan, &causes), 2)
}

/// Formats the causes. Producers with the same changes are grouped, with the causes of the first one.
fn all_causes(plan: &Plan, causes: &[&Cause]) -> String {
    let mut groups: Vec<(String, Vec<&Cause>)> = Vec::new();
    for cause in causes {
        let reasons: Vec<_> = cause.changes.iter().map(|c| c.reason.clone()).collect();
        let alike = format!("{} {} {}", plan.graph.node(cause.id).stage, brief(&reasons), cause.same_key);
        match groups.iter_mut().find(|(other, _)| *other == alike) {
            Some((_, group)) => group.push(cause),
            None => groups.push((alike, vec![cause])),
        }
    }
    let names = Names::of(&plan.graph);
    let mut out = String::new();
    for (_, group) in groups {
        let first = group[0];
        let ids: Vec<_> = group.iter().map(|c| c.id.index()).collect();
        let run = first.run.as_ref().map(|run| paint(DIM, format!("  run {run}"))).unwrap_or_default();
        let many = if ids.len() == 1 { String::new() } else { format!(" ({})", count(ids.len(), "node")) };
        let who = names.line(&ids) + &many;
        let _ = match (&first.changes[..], first.same_key) {
            ([], true) => writeln!(out, "<- {who} ran again with the same key and gave a different result{run}"),
            ([], false) => writeln!(out, "<- {who} ran again; its old result is no longer in the store{run}"),
            _ => writeln!(out, "<- {who} ran again{run}"),
        };
        out += &indented(&changes(plan, first.id, &first.changes), 3);
    }
    out
}

/// Formats the first causes of a blocked node.
fn first(plan: &Plan, first: &[Explanation]) -> String {
    let mut groups: Vec<(String, Vec<&Explanation>)> = Vec::new();
    for one in first {
        let reasons: Vec<_> = one.changes.iter().map(|c| c.reason.clone()).collect();
        let alike =
            format!("{} {:?} {}", plan.graph.node(one.id).stage, StatusKind::of(&one.freshness), brief(&reasons));
        match groups.iter_mut().find(|(other, _)| *other == alike) {
            Some((_, group)) => group.push(one),
            None => groups.push((alike, vec![one])),
        }
    }
    let names = Names::of(&plan.graph);
    let mut out = String::new();
    for (_, group) in groups {
        let one = group[0];
        let state = StatusKind::of(&one.freshness);
        let ids: Vec<_> = group.iter().map(|one| one.id.index()).collect();
        let many = if ids.len() == 1 { String::new() } else { format!(" ({})", count(ids.len(), "node")) };
        let _ = write!(out, "<- {}{many} is {}", names.line(&ids), state.painted(state.word()));
        match &one.freshness {
            Freshness::Broken { error } => drop(writeln!(out, ": {}", error.message)),
            _ if state == StatusKind::Missing => drop(writeln!(out, ": {}", status_table::why(plan, &one.freshness))),
            _ => {
                out.push('\n');
                out += &indented(&changes(plan, one.id, &one.changes), 3);
            }
        }
    }
    out
}

/// Returns the last rows: unchanged fields, values that are not in the key, and the last attempt.
fn rest(explained: &Explained) -> Vec<Vec<String>> {
    let Explained { plan, node, last, .. } = explained;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |label: &str, text: String| rows.push(vec![label.to_owned(), text]);
    if let (Some((_, Some(old))), Some(now)) = (&node.old, &node.recipe) {
        let is_same = |f: &&Field| old.recipe.get(&f.name) == Some(&f.content);
        let mut names: Vec<String> = Vec::new();
        for field in now.fields().iter().filter(is_same) {
            match &field.name {
                FieldName::Param(name) => names.push(name.clone()),
                FieldName::File(name) => names.push(format!("file {name}")),
                FieldName::Input { role, .. } => {
                    let of = |f: &&Field| matches!(&f.name, FieldName::Input { role: r, .. } if r == role);
                    let whole = now.fields().iter().filter(of).all(|f| is_same(&f));
                    let name = format!("input {role}");
                    if whole && !names.contains(&name) {
                        names.insert(0, name);
                    }
                }
                _ => {}
            }
        }
        row("unchanged", few(&names, 6));
    }
    let it = plan.graph.node(node.id);
    let loose = it.kind.all_params().into_iter().filter(|param| !param.in_key);
    let mut free: Vec<_> = loose.filter_map(|p| Some(format!("{} {}", p.name, it.params.get(p.name)?))).collect();
    free.push(format!("cpu {}, gpu {}, retries {}", it.resources.cpu, it.resources.gpu, it.resources.retries));
    free.extend(it.resources.timeout.map(|s| format!("timeout {s} s")));
    if it.accept != Accept::Any {
        free.push("accept".to_owned());
    }
    row("not in key", free.join(", "));
    if let Some((run, seen)) = last {
        let when = format!("run {}, {}", run.id, date(seen.at));
        match &seen.fate {
            NodeFate::Failed(error) => {
                row("last try", format!("failed: {}  ({when})", error.message));
                error.notes.iter().for_each(|note| row("", format!("note: {note}")));
                error.help.iter().for_each(|help| row("", format!("help: {help}")));
            }
            NodeFate::Begun => row("last try", format!("the run ended before the node did  ({when})")),
            NodeFate::Skipped(because) => {
                // Either a sentence on how the run stopped, or the name of the node that failed.
                let sentence = because.starts_with('`') || because.starts_with("the run ");
                let cause = if sentence { because.clone() } else { format!("`{because}` failed") };
                row("last try", format!("ended without a result, because {cause}  ({when})"));
            }
            NodeFate::Hit(_) | NodeFate::Made { .. } => {}
        }
    }
    rows
}

fn indented(text: &str, by: usize) -> String {
    let pad = " ".repeat(by);
    text.lines().map(|line| format!("{pad}{line}\n")).collect()
}
