//! The drawings for a terminal: a line a stage with rails at its left, or a line an instance.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::cli::render::{self, Align, BOLD, DIM, paint};
use crate::cli::status_kind::StatusKind;
use crate::engine::graph::NodeId;

use super::rails::Rails;
use super::states::States;
use super::view::View;

/// How wide lines may be, and with which characters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal {
    /// Columns; `None`: any number.
    pub columns: Option<usize>,
    /// Only letters that every terminal has.
    pub ascii: bool,
}

/// The drawing of `view`, its opened stages listed below.
pub(super) fn draw(view: &View, terminal: Terminal) -> String {
    let mut parts = Vec::new();
    if !view.open.iter().all(|open| *open) || view.open.is_empty() {
        parts.push(folded(view, terminal.columns));
    }
    let opened = view.open.iter().zip(&view.folded.groups).filter(|(open, _)| **open);
    parts.extend(opened.map(|(_, group)| list(view, &group.stage, &group.ids)));
    let text = parts.join("\n");
    if terminal.ascii { ascii(&text) } else { text }
}

/// A row of the folded drawing: rail, the rail that goes on below it, and the columns.
type Row = (String, String, Vec<String>);

fn folded(view: &View, columns: Option<usize>) -> String {
    let folded = &view.folded;
    let order = folded.order();
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(at, number)| place[*number] = at);
    // Where each stage is read last.
    let mut last = vec![0; order.len()];
    let mut reads = vec![Vec::new(); order.len()];
    for bundle in &folded.bundles {
        last[bundle.from] = last[bundle.from].max(place[bundle.to]);
        reads[bundle.to].push(bundle);
    }
    let mut rails = Rails::default();
    let mut rows: Vec<Row> = Vec::new();
    for (at, number) in order.iter().enumerate() {
        let later = |from: usize| last[from] > at;
        let producers: BTreeSet<usize> = reads[*number].iter().map(|b| b.from).collect();
        let rail = rails.row(*number, &producers, &later);
        let group = &folded.groups[*number];
        let read = |b: &&super::fold::Bundle| format!("{} = {}", b.role, folded.producer(b));
        let mut row = vec![
            paint(BOLD, &group.stage),
            format!("×{}", group.ids.len()),
            folded.axes(group),
            group.other_kind().to_owned(),
        ];
        if let Some(states) = &view.states {
            row.push(coloured(states, &group.ids));
        }
        row.push(faint(reads[*number].iter().map(read).collect::<Vec<_>>().join(", ")));
        rows.push((rail, rails.below(), row));
    }
    let whole = render::table(&rows.iter().map(|(rail, _, row)| with_rail(rail, row)).collect::<Vec<_>>(), ALIGN);
    match columns {
        Some(columns) if widest(&whole) > columns => narrow(&rows, columns),
        _ => whole,
    }
}

const ALIGN: &[Align] = &[Align::Left, Align::Left, Align::Right, Align::Left];

fn with_rail(rail: &str, row: &[String]) -> Vec<String> {
    [rail.to_owned()].into_iter().chain(row.iter().cloned()).collect()
}

/// Like the wide table, but with the inputs of a stage below it, beside the rails.
fn narrow(rows: &[Row], columns: usize) -> String {
    let lines: Vec<_> = rows.iter().map(|(rail, _, row)| with_rail(rail, &row[..row.len() - 1])).collect();
    let drawn = render::table(&lines, ALIGN);
    let margin = rows.iter().map(|(rail, ..)| rail.chars().count()).max().unwrap_or(0) + 4;
    let mut text = String::new();
    for (line, (_, below, row)) in drawn.lines().zip(rows) {
        let _ = writeln!(text, "{line}");
        let reads = anstream::adapter::strip_str(&row[row.len() - 1]).to_string();
        for part in wrapped(&reads, columns.saturating_sub(margin)) {
            let _ = writeln!(text, "{below}{}{}", " ".repeat(margin - below.chars().count()), faint(part));
        }
    }
    text
}

/// A list, broken behind its commas.
fn wrapped(list: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in list.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if line.chars().count() + item.trim_end().chars().count() <= columns => line.push_str(item),
            _ => lines.push(item.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn widest(text: &str) -> usize {
    use unicode_width::UnicodeWidthStr;
    text.lines().map(|line| anstream::adapter::strip_str(line).to_string().width()).max().unwrap_or(0)
}

/// Every instance of a stage, with what it reads.
fn list(view: &View, stage: &str, ids: &[NodeId]) -> String {
    let graph = &view.plan.graph;
    let mut rows = Vec::new();
    for id in ids {
        let mut row = vec![format!("  {}", graph.node(*id).short())];
        if let Some(states) = &view.states {
            let standing = states.of(*id);
            row.extend([coloured(states, &[*id]), faint(standing.why.clone())]);
        } else {
            row.push(faint(reads(view, *id)));
        }
        rows.push(row);
    }
    format!("{}\n{}", paint(BOLD, stage), render::table(&rows, &[]))
}

/// `data = tokenize[rte]  runs = eval[rte], … eval[wic] (4)`.
fn reads(view: &View, id: NodeId) -> String {
    let graph = &view.plan.graph;
    let mut reads: Vec<(&str, Vec<String>)> = Vec::new();
    for (producer, port) in graph.producers(id) {
        let name = graph.node(producer).short();
        match reads.last_mut() {
            Some((role, names)) if *role == port.role => names.push(name),
            _ => reads.push((&port.role, vec![name])),
        }
    }
    let read = |(role, names): &(&str, Vec<String>)| match names.len() {
        0..=2 => format!("{role} = {}", names.join(", ")),
        n => format!("{role} = {}, … {} ({n})", names[0], names[n - 1]),
    };
    reads.iter().map(read).collect::<Vec<_>>().join("  ")
}

/// `6 fresh · 2 stale`, each in its colour.
fn coloured(states: &States, ids: &[NodeId]) -> String {
    let one = |(state, n): (StatusKind, usize)| {
        let word = state.word();
        state.painted(if ids.len() == 1 { word.to_owned() } else { format!("{n} {word}") })
    };
    states.counts(ids).into_iter().map(one).collect::<Vec<_>>().join(" · ")
}

/// Returns secondary text, or an empty text without colour codes, so that no line ends in blanks.
pub(super) fn faint(text: String) -> String {
    if text.is_empty() { text } else { paint(DIM, text) }
}

/// Our own signs as letters that every terminal has.
pub(super) fn ascii(text: &str) -> String {
    let sign = |c: char| match c {
        '●' => "o",
        '│' => "|",
        '─' => "-",
        '├' | '┤' | '┼' | '┴' => "+",
        '╰' => "`",
        '╯' => "'",
        '×' => "x",
        '·' => "/",
        '…' => "...",
        _ => "?",
    };
    text.chars().map(|c| if c.is_ascii() { c.to_string() } else { sign(c).to_owned() }).collect()
}

/// What the terminal at stdout takes. The width is known of terminals alone, unless COLUMNS says one; letters follow
/// the locale, where one is set.
pub(super) fn terminal() -> Terminal {
    let set = |name: &str| crate::base::env::var(name).ok().filter(|value| !value.is_empty());
    let columns = set("COLUMNS").and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    let real = || terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    Terminal {
        columns: columns.or_else(real),
        ascii: ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|n| set(n)).is_some_and(|l| !is_utf8(&l)),
    }
}

/// Returns `true` if a locale's name says UTF-8: `en_US.UTF-8`, `C.utf8`.
fn is_utf8(locale: &str) -> bool {
    let lower = locale.to_ascii_lowercase();
    lower.contains("utf-8") || lower.contains("utf8")
}
