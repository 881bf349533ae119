//! The report as one HTML page that needs nothing else: style and pictures inside, no scripts, no fonts, no network.
//!
//! The blank lines of the page are those of version 1 of the stage `report`, as its bytes are in keys and lock files.

mod escape;
mod gallery;
mod table;

use std::fmt::Write;

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment};
use serde_json::json;

use super::kind::{RenderedFile, Renderer, RendererFile, bug};
use crate::base::diag::Diag;
use crate::report::contents::{Report, ReportPart, ReportSection};
use crate::report::line_chart::COLOURS;
use crate::report::table::Medium;

/// Its row in the registry.
pub const RENDERER: Renderer = Renderer {
    name: "html",
    medium: Medium::Page,
    files: &[RendererFile { name: "report.html", about: "tables and pictures, one page that needs nothing else" }],
    render: |report| Ok(vec![RenderedFile::new("report.html", render(report)?)]),
};

/// The frame: style sheet, header and footer.
const PAGE: &str = include_str!("page.html");

fn render(report: &Report) -> Result<String, Diag> {
    let summary = report.summary;
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    env.add_template("page", PAGE).map_err(|e| bug("HTML", format_args!("{e:#}")))?;
    let mut sections = String::new();
    for section in &report.sections {
        write_section(&mut sections, report, section);
    }
    let backbone = |(backbone, runs): &(crate::report::records::Backbone, usize)| json!({ "name": backbone.name, "origin": backbone.origin_in_words(), "runs": runs });
    let nav = |s: &ReportSection| json!({ "id": s.section.id, "title": s.section.title, "shown": !s.is_empty() });
    let page = json!({
        "title": summary.title,
        "colours": COLOURS.iter().map(|c| format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2)).collect::<Vec<_>>(),
        "random": summary.random_backbones(),
        "backbones": summary.backbones.iter().map(backbone).collect::<Vec<_>>(),
        "scorings": summary.scorings.iter().map(|(s, n)| json!({ "words": s.in_words(), "runs": n })).collect::<Vec<_>>(),
        "missing": report.tables().flat_map(|(_, table)| &table.remarks.gaps).collect::<Vec<_>>(),
        "nav": report.sections.iter().map(nav).collect::<Vec<_>>(),
        "sections": sections,
        "json": report.formats.contains(&super::json::RENDERER.name),
    });
    env.get_template("page")
        .and_then(|template| template.render(Value::from(Serde(&page))))
        .map_err(|e| bug("HTML", format_args!("{e:#}")))
}

fn write_section(out: &mut String, report: &Report, section: &ReportSection) {
    let gallery = |part: &ReportPart| matches!(part, ReportPart::Gallery(_));
    let pictures = section.parts.iter().any(gallery);
    out.push_str(if section.parts.iter().all(gallery) { "\n\n\n\n" } else { "\n\n" });
    if section.is_empty() {
        return;
    }
    let (id, title) = (section.section.id, section.section.title);
    let blank = if pictures { "\n" } else { "" };
    let _ = writeln!(out, "{blank}<h2 id=\"{id}\">{title}</h2>");
    if let [part] = section.parts.as_slice() {
        write_part(out, report, part);
    } else {
        for part in &section.parts {
            if !part.is_empty() {
                out.push('\n');
                if let ReportPart::Table(kind, _) = part {
                    let _ = writeln!(out, "<h3>{}</h3>", kind.title);
                }
                write_part(out, report, part);
                out.push('\n');
            }
            out.push('\n');
        }
        return;
    }
    out.push_str(blank);
}

fn write_part(out: &mut String, report: &Report, part: &ReportPart) {
    match part {
        ReportPart::Table(_, Some(table)) => table::write(out, table),
        ReportPart::Table(_, None) => {}
        ReportPart::Gallery(charts) => gallery::write(out, report.summary, charts),
    }
}
