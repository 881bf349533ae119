//! The drawing as DOT (Graphviz) and as Mermaid.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::cli::status_kind::StatusKind;

use super::states::look;
use super::view::{Link, Unit, View};

/// Returns the lines of a box: name, axes and status.
fn label(view: &View, unit: &Unit) -> Vec<String> {
    let group = &view.folded.groups[unit.group];
    let mut lines = match unit.node {
        Some(id) => vec![view.plan.graph.node(id).short()],
        None => vec![group.counted(), view.folded.axes(group)],
    };
    lines.extend(view.states.as_ref().map(|states| states.words(view.ids(unit))));
    lines.retain(|line| !line.is_empty());
    lines
}

fn state(view: &View, unit: &Unit) -> Option<StatusKind> {
    view.states.as_ref().map(|states| states.worst(view.ids(unit)))
}

/// Boxes by stage: an opened stage's are drawn together, under its name.
fn clusters<'u>(view: &View, units: &'u [Unit]) -> Vec<(Option<String>, Vec<(usize, &'u Unit)>)> {
    let mut clusters: Vec<(Option<String>, Vec<(usize, &Unit)>)> = Vec::new();
    for (number, unit) in units.iter().enumerate() {
        let group = &view.folded.groups[unit.group];
        let named = (unit.node.is_some() && group.ids.len() > 1).then(|| group.counted());
        match clusters.last_mut() {
            Some((name, list)) if named.is_some() && *name == named => list.push((number, unit)),
            _ => clusters.push((named, vec![(number, unit)])),
        }
    }
    clusters
}

/// Which lines an arrow has.
fn style(link: &Link) -> (bool, bool) {
    (link.gathers, link.optional)
}

pub(super) fn dot(view: &View) -> String {
    let (units, links) = view.units(&view.open);
    let mut text = format!("digraph {} {{\n  rankdir = LR;\n", quoted(&view.plan.name));
    text.push_str("  node [shape = box, style = \"rounded,filled\", fillcolor = white, fontname = \"sans-serif\"];\n");
    text.push_str("  edge [fontname = \"sans-serif\", fontsize = 10];\n");
    for (number, (name, members)) in clusters(view, &units).into_iter().enumerate() {
        let indent = if name.is_some() { "    " } else { "  " };
        if let Some(name) = &name {
            let _ = writeln!(text, "  subgraph cluster_{number} {{\n    label = {};", quoted(name));
        }
        for (number, unit) in members {
            let lines: Vec<String> = label(view, unit).iter().map(|line| dot_escape(line)).collect();
            let _ = write!(text, "{indent}n{number} [label = \"{}\"", lines.join("\\n"));
            if let Some(state) = state(view, unit) {
                let font = if matches!(state, StatusKind::Fresh | StatusKind::Damaged | StatusKind::Unknown) {
                    "white"
                } else {
                    "black"
                };
                let tooltip = quoted(&view.tooltip(unit.group, view.ids(unit)));
                let (fill, line) = (look(state).fill[0], look(state).line[0]);
                let _ = write!(
                    text,
                    ", fillcolor = \"{fill}\", color = \"{line}\", fontcolor = {font}, tooltip = {tooltip}"
                );
            }
            text.push_str("];\n");
        }
        if name.is_some() {
            text.push_str("  }\n");
        }
    }
    for link in &links {
        let mut with = vec![format!("label = {}", quoted(&link.roles.join(", ")))];
        match style(link) {
            (true, _) => with.push("penwidth = 2".to_owned()),
            (_, true) => with.push("style = dashed".to_owned()),
            _ => {}
        }
        if units[link.from].node.is_some() && units[link.to].node.is_some() {
            // Between instances the roles are clear, and would hide the drawing.
            with.remove(0);
        }
        let with = if with.is_empty() { String::new() } else { format!(" [{}]", with.join(", ")) };
        let _ = writeln!(text, "  n{} -> n{}{with};", link.from, link.to);
    }
    text.push_str("}\n");
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", dot_escape(text))
}

/// For between the quotes of a DOT text. Graphviz reads entities of HTML even there.
fn dot_escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn mermaid(view: &View) -> String {
    let (units, links) = view.units(&view.open);
    let mut text = String::from("flowchart LR\n");
    let mut used: BTreeSet<StatusKind> = BTreeSet::new();
    for (number, (name, members)) in clusters(view, &units).into_iter().enumerate() {
        let indent = if name.is_some() { "    " } else { "  " };
        if let Some(name) = &name {
            let _ = writeln!(text, "  subgraph s{number}[\"{}\"]", entities(name));
        }
        for (number, unit) in members {
            let lines: Vec<String> = label(view, unit).iter().map(|line| entities(line)).collect();
            let class = state(view, unit).map(|state| {
                used.insert(state);
                format!(":::{}", state.word())
            });
            let _ = writeln!(text, "{indent}n{number}[\"{}\"]{}", lines.join("<br/>"), class.unwrap_or_default());
        }
        if name.is_some() {
            text.push_str("  end\n");
        }
    }
    for link in &links {
        let arrow = match style(link) {
            (true, _) => "==>",
            (_, true) => "-.->",
            _ => "-->",
        };
        let both = units[link.from].node.is_some() && units[link.to].node.is_some();
        let label = if both { String::new() } else { format!("|{}|", entities(&link.roles.join(", "))) };
        let _ = writeln!(text, "  n{} {arrow}{label} n{}", link.from, link.to);
    }
    for state in used {
        let look = look(state);
        let ink = if matches!(state, StatusKind::Fresh | StatusKind::Damaged | StatusKind::Unknown) {
            "#fff"
        } else {
            "#111"
        };
        let _ = writeln!(text, "  classDef {} fill:{},stroke:{},color:{ink}", look.word, look.fill[0], look.line[0]);
    }
    text
}

/// For between the quotes of a Mermaid text: whatever could end it or mean something to it, as a numbered entity.
fn entities(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || " _-.,:=+/()[]×·…".contains(c) => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => {
                let _ = write!(out, "#{};", c as u32);
            }
        }
    }
    out
}
