//! The drawing as SVG: a figure for pages and papers, on light and on dark ground. Needs no other program.

use std::fmt::Write;

use crate::base::diag::Diag;
use crate::cli::status_kind::StatusKind;

use super::card::{BAR, BOLD, Body, Card, PAD, SMALL};
use super::grid::{GAP, HEAD, ROW};
use super::layout::{Layout, MOST_CELLS, role_text, too_many};
use super::measure::width;
use super::place::n;
use super::states::look;
use super::style::{TITLE, style};
use super::view::{Link, Unit, View};

/// The least width of a part of a bar.
pub(super) const LEAST: f64 = 3.0;
const MARGIN: f64 = 22.0;
const HEADING: f64 = 46.0;
const LEGEND: f64 = 34.0;

/// Returns why nodes that should be boxes are drawn as cells: there would be too many boxes or arrows.
pub(super) fn folds(view: &View) -> Option<String> {
    let (units, links) = view.units(&view.open);
    too_many(&units, &links).filter(|_| view.open.contains(&true))
}

/// The whole file.
///
/// # Errors
/// Fails if there are too many stages for a picture.
pub(super) fn svg(view: &View) -> Result<String, Vec<Diag>> {
    let few = |group: usize| view.folded.groups[group].ids.len() <= MOST_CELLS;
    let layout = match folds(view) {
        None => Layout::new(view, &view.open, few)?,
        Some(_) => Layout::new(view, &vec![false; view.open.len()], |group| view.open[group] || few(group))?,
    };
    let counts = view.states.as_ref().map(|states| states.counts(view.nodes)).unwrap_or_default();
    let (heading, legend) = (heading(view), legend(&counts));
    let (wide, high) = layout.size();
    let title = width(&view.plan.name, TITLE * BOLD) + 14.0 + width(&heading, 11.5);
    let wide = wide.max(title).max(legend.1) + 2.0 * MARGIN;
    let high = high + HEADING + 2.0 * MARGIN - 8.0 + if counts.is_empty() { 0.0 } else { LEGEND };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\" \
         aria-labelledby=\"dpt-title dpt-desc\">\n<title id=\"dpt-title\">{}</title>\n<desc id=\"dpt-desc\">{}</desc>\n",
        xml(&format!("Pipeline {}", view.plan.name)),
        xml(&described(view)),
        w = n(wide.ceil()),
        h = n(high.ceil()),
    );
    text.push_str(&style());
    let _ = writeln!(
        text,
        "<rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"10\"/>",
        n(wide.ceil() - 1.0),
        n(high.ceil() - 1.0)
    );
    let _ = writeln!(
        text,
        "<text class=\"title\" x=\"{}\" y=\"34\">{} <tspan class=\"soft\" dx=\"6\">{}</tspan></text>",
        n(MARGIN),
        xml(&view.plan.name),
        xml(&heading)
    );
    let _ = writeln!(text, "<g transform=\"translate({} {})\">", n(MARGIN), n(MARGIN + HEADING - 10.0));
    for (number, link) in layout.links.iter().enumerate() {
        arrow(&mut text, &layout, number, link);
    }
    for (number, unit) in layout.units.iter().enumerate() {
        card(&mut text, view, &layout, number, unit);
    }
    // Drawn after the boxes, because a role is on its arrow.
    for (number, link) in layout.links.iter().enumerate() {
        role(&mut text, view, &layout, number, link);
    }
    text.push_str("</g>\n");
    if !counts.is_empty() {
        let _ = writeln!(text, "<g transform=\"translate({} {})\">\n{}</g>", n(MARGIN), n(high - LEGEND), legend.0);
    }
    text.push_str("</svg>\n");
    Ok(text)
}

/// `27 nodes in 7 stages`.
pub(super) fn heading(view: &View) -> String {
    use crate::cli::render::count;
    format!("{} in {}", count(view.nodes.len(), "node"), count(view.folded.groups.len(), "stage"))
}

/// Returns a description of the drawing for screen readers.
fn described(view: &View) -> String {
    let folded = &view.folded;
    let stage = |number: usize| {
        let group = &folded.groups[number];
        let reads: Vec<_> = folded.bundles.iter().filter(|b| b.to == number).map(|b| folded.producer(b)).collect();
        let reads = if reads.is_empty() { String::new() } else { format!(" reads {}", reads.join(", ")) };
        let states = view.states.as_ref().map(|s| format!(" ({})", s.words(&group.ids))).unwrap_or_default();
        format!("{}{reads}{states}", group.counted())
    };
    let stages: Vec<_> = folded.order().into_iter().take(40).map(stage).collect();
    let more = if folded.groups.len() > 40 { "; …" } else { "" };
    format!("{}: {}{more}.", heading(view), stages.join("; "))
}

fn arrow(text: &mut String, layout: &Layout, number: usize, link: &Link) {
    let sizes: Vec<_> = layout.cards.iter().map(|card| card.size).collect();
    let (path, (x, y)) = layout.placed.path(number, (link.from, link.to), &sizes);
    let class = match (link.gathers, link.optional) {
        (true, _) => "edge gather",
        (_, true) => "edge maybe",
        _ => "edge",
    };
    let down = link.from == link.to;
    let back = layout.placed.spots[link.to].column < layout.placed.spots[link.from].column;
    let head = match (down, back) {
        (true, _) => format!("M{} {}l-3.5 -8h7z", n(x), n(y)),
        (_, true) => format!("M{} {}l8 -3.8v7.6z", n(x), n(y)),
        _ => format!("M{} {}l-8 -3.8v7.6z", n(x), n(y)),
    };
    let _ = writeln!(text, "<path class=\"{class}\" d=\"{path}\"/><path class=\"head\" d=\"{head}\"/>");
}

fn role(text: &mut String, view: &View, layout: &Layout, number: usize, link: &Link) {
    let told = role_text(view, &layout.units[link.from], &layout.units[link.to], link);
    if told.is_empty() || link.from == link.to {
        return;
    }
    let (x, _) = layout.corner(link.to);
    let y = layout.placed.spots[link.to].y + layout.placed.routes[number].enters;
    let back = layout.placed.spots[link.to].column < layout.placed.spots[link.from].column;
    let (x, anchor) = if back { (x + layout.cards[link.to].size.0 + 11.0, "start") } else { (x - 11.0, "end") };
    let _ = writeln!(
        text,
        "<text class=\"role\" text-anchor=\"{anchor}\" x=\"{}\" y=\"{}\">{}</text>",
        n(x),
        n(y - 4.0),
        xml(&told)
    );
}

fn card(text: &mut String, view: &View, layout: &Layout, number: usize, unit: &Unit) {
    let card = &layout.cards[number];
    let ((x, y), (width, height)) = (layout.corner(number), card.size);
    let ids = view.ids(unit);
    let state = view.states.as_ref().map(|states| states.worst(ids));
    let _ = writeln!(
        text,
        "<g transform=\"translate({} {})\"><title>{}</title>",
        n(x),
        n(y),
        xml(&view.tooltip(unit.group, ids))
    );
    let _ = writeln!(text, "<rect class=\"box\" width=\"{}\" height=\"{}\" rx=\"7\"/>", n(width), n(height));
    if let Some(state) = state {
        let _ = writeln!(
            text,
            "<rect class=\"{}\" x=\"0\" y=\"7\" width=\"4\" height=\"{}\"/>",
            state.word(),
            n(height - 14.0)
        );
    }
    let count = if card.count.is_empty() {
        String::new()
    } else {
        format!("<tspan class=\"soft\" dx=\"6\">{}</tspan>", card.count)
    };
    let _ = writeln!(text, "<text class=\"name\" x=\"{}\" y=\"23\">{}{count}</text>", n(PAD), xml(&card.name));
    if !card.sub.is_empty() {
        let _ = writeln!(text, "<text class=\"soft\" x=\"{}\" y=\"38.5\">{}</text>", n(PAD), xml(&card.sub));
    }
    match &card.body {
        Body::None => {}
        Body::Bar => bar(text, view, card, ids),
        Body::Grid(_) => cells(text, view, card, unit),
    }
    if !card.footer.is_empty() {
        let _ = writeln!(
            text,
            "<text class=\"soft\" x=\"{}\" y=\"{}\">{}</text>",
            n(PAD),
            n(height - 11.0),
            xml(&card.footer)
        );
    }
    text.push_str("</g>\n");
}

/// All instances as one bar, a part for each state.
fn bar(text: &mut String, view: &View, card: &Card, ids: &[crate::engine::graph::NodeId]) {
    let whole = card.size.0 - 2.0 * PAD;
    let parts = match &view.states {
        Some(states) => states.counts(ids).into_iter().map(|(s, n)| (s.word(), n)).collect::<Vec<_>>(),
        None => vec![("cell", ids.len())],
    };
    let rest = whole - LEAST * parts.len() as f64;
    let mut at = PAD;
    for (class, count) in parts {
        let wide = LEAST + rest * count as f64 / ids.len() as f64;
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            n(at),
            n(card.top()),
            n(wide),
            n(BAR)
        );
        at += wide;
    }
}

fn cells(text: &mut String, view: &View, card: &Card, unit: &Unit) {
    let Body::Grid(grid) = &card.body else { return };
    let (left, top) = (PAD + grid.left, card.top() + grid.heads.len() as f64 * HEAD);
    for (level, heads) in grid.heads.iter().enumerate() {
        for head in heads {
            let x = left + (head.from as f64 + head.span as f64 / 2.0) * grid.pitch - GAP / 2.0;
            let y = card.top() + (level as f64 + 1.0) * HEAD - 4.0;
            let _ = writeln!(
                text,
                "<text class=\"label\" text-anchor=\"middle\" x=\"{}\" y=\"{}\">{}</text>",
                n(x),
                n(y),
                xml(&head.text)
            );
        }
    }
    for (row, name) in grid.rows.iter().enumerate() {
        let y = top + row as f64 * ROW + (ROW - GAP) / 2.0 + 3.6;
        let _ = writeln!(text, "<text class=\"label\" x=\"{}\" y=\"{}\">{}</text>", n(PAD), n(y), xml(name));
    }
    for (id, (row, column)) in view.folded.groups[unit.group].ids.iter().zip(&grid.cells) {
        let (x, y) = (left + *column as f64 * grid.pitch, top + *row as f64 * ROW);
        let state = view.states.as_ref().map(|states| states.of(*id).state);
        let class = state.map_or("cell", |state| state.word());
        let tooltip = match &view.states {
            Some(states) => format!("{}\n{}: {}", view.plan.graph.node(*id), class, states.of(*id).why),
            None => view.plan.graph.node(*id).to_string(),
        };
        let (wide, high) = (grid.pitch - GAP, ROW - GAP);
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"2.5\"><title>{}</title></rect>",
            n(x),
            n(y),
            n(wide),
            n(high),
            xml(&tooltip)
        );
        if let Some(mark) = state.and_then(|state| mark(state, x + wide / 2.0, y + high / 2.0)) {
            let _ = writeln!(text, "<path class=\"mark\" d=\"{mark}\"/>");
        }
    }
}

/// A sign for states that ask for a look, readable without colour.
fn mark(state: StatusKind, x: f64, y: f64) -> Option<String> {
    match state {
        StatusKind::Fresh | StatusKind::Blocked | StatusKind::Missing => None,
        StatusKind::Stale => Some(format!("M{} {}h6", n(x - 3.0), n(y))),
        StatusKind::Damaged => Some(format!("M{} {}l6 6m0 -6l-6 6", n(x - 3.0), n(y - 3.0))),
        StatusKind::Unknown => Some(format!("M{} {}v4m0 1.5v1", n(x), n(y - 3.0))),
    }
}

/// The states that occur, and how wide that is.
fn legend(counts: &[(StatusKind, usize)]) -> (String, f64) {
    let mut text = String::new();
    let mut at = 0.0;
    for (state, count) in counts {
        let words = format!("{count} {}: {}", state.word(), look(*state).means);
        let _ = writeln!(
            text,
            "<rect class=\"{}\" x=\"{}\" y=\"3\" width=\"13\" height=\"13\" rx=\"2.5\"/>",
            state.word(),
            n(at)
        );
        if let Some(mark) = mark(*state, at + 6.5, 9.5) {
            let _ = writeln!(text, "<path class=\"mark\" d=\"{mark}\"/>");
        }
        let _ = writeln!(text, "<text class=\"soft\" x=\"{}\" y=\"13.5\">{}</text>", n(at + 19.0), xml(&words));
        at += 19.0 + width(&words, SMALL) + 22.0;
    }
    (text, (at - 22.0).max(0.0))
}

/// Escapes a text for SVG and replaces characters that XML does not allow.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
