//! Pictures on a page, side by side, with their legends.

use std::fmt::Write;

use super::escape::escaped;
use crate::report::line_chart::COLOURS;
use crate::report::picture::{ChartKind, Picture};
use crate::report::summary::Summary;

/// Writes the pictures of one or more kinds.
pub fn write(out: &mut String, summary: &Summary, charts: &[(&'static ChartKind, Vec<Picture>)]) {
    if charts.iter().any(|(kind, _)| kind.variants_legend) {
        out.push_str("<ul class=\"legend\">\n");
        for (i, variant) in summary.variants.iter().enumerate() {
            write_legend_item(out, i, false, &variant.name);
        }
        out.push_str("\n</ul>\n\n");
    }
    let rows: Vec<String> = rows(charts).iter().map(|row| grid(row)).collect();
    out.push_str(&rows.join("\n\n"));
    for (kind, _) in charts.iter().filter(|(kind, pictures)| !kind.note.is_empty() && !pictures.is_empty()) {
        let _ = write!(out, "\n\n<p class=\"soft\">{}</p>", escaped(kind.note));
    }
}

/// Writes a colour with its name.
pub fn write_legend_item(out: &mut String, colour: usize, dashed: bool, name: &str) {
    let dashed = if dashed { " dashed" } else { "" };
    let _ = write!(out, "<li><span class=\"swatch c{}{dashed}\"></span>{}</li>", colour % COLOURS.len(), escaped(name));
}

/// Pictures of one row, by kind.
type Row<'a> = (&'a str, Vec<Vec<&'a Picture>>);

fn rows<'a>(charts: &'a [(&'static ChartKind, Vec<Picture>)]) -> Vec<Vec<Vec<&'a Picture>>> {
    let mut rows: Vec<Row> = Vec::new();
    for (_, pictures) in charts {
        let mut begun = None;
        if pictures.is_empty() {
            match rows.last_mut() {
                Some((_, kinds)) => kinds.push(Vec::new()),
                None => rows.push(("", vec![Vec::new()])),
            }
        }
        for picture in pictures {
            let same = rows.last().is_some_and(|(name, _)| *name == picture.row);
            if !same {
                rows.push((&picture.row, Vec::new()));
            }
            let (name, kinds) = rows.last_mut().expect("just pushed");
            if begun != Some(*name) {
                kinds.push(Vec::new());
                begun = Some(*name);
            }
            kinds.last_mut().expect("just pushed").push(picture);
        }
    }
    rows.into_iter().map(|(_, kinds)| kinds).collect()
}

fn grid(kinds: &[Vec<&Picture>]) -> String {
    let kinds: Vec<String> = kinds.iter().map(|pictures| pictures.iter().map(|p| figure(p)).collect()).collect();
    format!("<div class=\"pictures\">\n{}\n</div>", kinds.join("\n"))
}

fn figure(picture: &Picture) -> String {
    let mut out = format!("\n<figure><b>{}</b>\n", escaped(&picture.title));
    if !picture.legend.is_empty() {
        out.push_str("<ul class=\"legend\">");
        for item in &picture.legend {
            write_legend_item(&mut out, item.colour, item.dashed, &item.name);
        }
        out.push_str("</ul>");
    }
    let _ = write!(out, "\n{}\n", picture.svg);
    if !picture.caption.is_empty() {
        let _ = write!(out, "<figcaption>{}</figcaption>", escaped(&picture.caption));
    }
    out.push_str("\n</figure>\n");
    out
}
