//! Formats a [`Diff`] as text, Markdown or JSON.

use serde_json::json;

use crate::base::value::Value;
use crate::cli::patterns::few;
use crate::cli::render::{self, Align, BOLD, DIM, count, paint};
use crate::cli::values::apart;

use super::compare::{Diff, MeanSd};
use super::side::Side;

/// The number of node patterns in one line.
const PATTERNS: usize = 4;

/// A section of the output: a title, column heads, rows, and a line below.
struct Section {
    title: String,
    head: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
    below: Option<String>,
}

fn sections(diff: &Diff) -> Vec<Section> {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let mut all = Vec::new();
    for (in_key, title) in [(true, "parameters"), (false, "parameters that are not in the key")] {
        let value = |v: &Option<Value>| v.as_ref().map_or_else(|| "nothing".to_owned(), |v| v.to_string());
        let of = diff.params.iter().filter(|p| p.in_key == in_key);
        let rows: Vec<_> = of
            .map(|p| {
                let nodes = if p.count == 1 { String::new() } else { count(p.count, "node") };
                let (old, new) = apart(&value(&p.old), &value(&p.new));
                vec![few(&p.nodes, PATTERNS), p.name.clone(), format!("{old} -> {new}"), nodes]
            })
            .collect();
        let align = vec![Align::Left; 4];
        let head = words(&["nodes", "parameter", "change", ""]);
        all.push(Section { title: title.to_owned(), head, align, rows, below: None });
    }
    let nodes =
        [("added", &diff.added), ("removed", &diff.removed), ("new key", &diff.rekeyed), ("now fails", &diff.failed)];
    let rows = nodes.iter().filter(|(_, patterns)| !patterns.is_empty());
    let rows: Vec<_> = rows.map(|(what, patterns)| vec![(*what).to_owned(), few(patterns, 2 * PATTERNS)]).collect();
    let mut below = vec![format!("{} with the same key", count(diff.same_key, "node"))];
    if diff.no_key > 0 {
        below.push(format!("{} whose key is not known on one side", diff.no_key));
    }
    let below = Some(below.join(", "));
    let (align, head) = (vec![Align::Left; 2], words(&["what", "nodes"]));
    all.push(Section { title: "nodes".to_owned(), head, align, rows, below });
    all.push(metrics(diff));
    all
}

fn metrics(diff: &Diff) -> Section {
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in diff.metrics.iter().flat_map(|m| &m.axes) {
        if !axes.contains(&axis.as_str()) {
            axes.push(axis);
        }
    }
    let shown = |stat: Option<MeanSd>| stat.map_or_else(|| "–".to_owned(), |s| s.to_string());
    let row = |m: &super::compare::MetricChange| {
        let mut row = vec![m.stage.clone()];
        let value = |axis: &&str| m.axes.iter().find(|(a, _)| a == axis).map(|(_, v)| v.clone()).unwrap_or_default();
        row.extend(axes.iter().map(value));
        let change = match (m.old, m.new) {
            _ if m.same => "same".to_owned(),
            (Some(old), Some(new)) => format!("{:+.4}", new.mean - old.mean),
            _ => String::new(),
        };
        row.extend([m.name.clone(), shown(m.old), shown(m.new), change]);
        row
    };
    let rows: Vec<_> = diff.metrics.iter().map(row).collect();
    let mut head = vec!["stage".to_owned()];
    head.extend(axes.iter().map(|axis| (*axis).to_owned()));
    head.extend(["metric", "before", "now", "change"].map(str::to_owned));
    let mut align = vec![Align::Left; axes.len() + 2];
    align.extend([Align::Right; 3]);
    let title = format!("metrics: mean ± standard deviation over {} (number of values)", diff.over);
    let more = [(diff.same_metrics, "unchanged"), (diff.lone_metrics, "on one side only")];
    let more: Vec<_> = more.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let below = (!more.is_empty()).then(|| format!("and {}; `--all` lists them", more.join(", ")));
    Section { title, head, align, rows, below }
}

pub(super) fn text(old: &Side, new: &Side, diff: &Diff) -> String {
    let mut out = format!("{}  {}\n{}  {}\n", paint(BOLD, "before"), old.title, paint(BOLD, "now   "), new.title);
    for note in old.notes.iter().chain(&new.notes) {
        out += &format!("note: {note}\n");
    }
    if diff.is_empty() {
        out += "nothing differs\n";
    }
    for section in sections(diff) {
        if section.rows.is_empty() && section.below.is_none() {
            continue;
        }
        out += &format!("\n{}\n", paint(BOLD, &section.title));
        let mut rows = section.rows;
        if section.align.len() > 4 && !rows.is_empty() {
            rows.insert(0, section.head.into_iter().map(|title| paint(DIM, title)).collect());
        }
        out += &render::table(&rows, &section.align).lines().map(|line| format!("  {line}\n")).collect::<String>();
        out += &section.below.map(|line| format!("  {}\n", paint(DIM, line))).unwrap_or_default();
    }
    out
}

pub(super) fn markdown(old: &Side, new: &Side, diff: &Diff) -> String {
    let cell = |text: &String| text.replace('|', "\\|");
    let mut out = format!("**before** {}  \n**now** {}\n", old.title, new.title);
    for note in old.notes.iter().chain(&new.notes) {
        out += &format!("\n_{note}_\n");
    }
    if diff.is_empty() {
        out += "\nNothing differs.\n";
    }
    for section in sections(diff) {
        if section.rows.is_empty() && section.below.is_none() {
            continue;
        }
        out += &format!("\n### {}\n", section.title);
        if !section.rows.is_empty() {
            let line = |cells: &[String]| format!("| {} |\n", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
            out += "\n";
            out += &line(&section.head);
            let rule = section.align.iter().map(|a| if *a == Align::Right { "---:" } else { "---" });
            out += &format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
            section.rows.iter().for_each(|row| out += &line(row));
        }
        out += &section.below.map(|line| format!("\n{line}\n")).unwrap_or_default();
    }
    out
}

pub(super) fn json(old: &Side, new: &Side, diff: &Diff) -> String {
    let notes: Vec<_> = old.notes.iter().chain(&new.notes).collect();
    let value = json!({ "schema": 1, "before": old.title, "now": new.title, "notes": notes, "diff": diff });
    format!("{value}\n")
}
