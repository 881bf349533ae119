//! The report as Markdown: its tables, for a terminal or a pull request. No pictures.

use std::fmt::Write;

use super::kind::{RenderedFile, Renderer, RendererFile};
use crate::report::contents::Report;
use crate::report::format;
use crate::report::summary::Summary;
use crate::report::table::{
    Align, Cell, CellValue, Column, Emphasis, Medium, Prose, ProsePlace, Remarks, Span, Table, TableKind,
};

/// Its row in the registry.
pub const RENDERER: Renderer = Renderer {
    name: "md",
    medium: Medium::Text,
    files: &[RendererFile { name: "report.md", about: "the tables, as Markdown" }],
    render: |report| Ok(vec![RenderedFile::new("report.md", render(report))]),
};

fn render(report: &Report) -> String {
    let mut out = format!("# {}\n", plain(&report.summary.title));
    backbones(&mut out, report.summary);
    for (kind, table) in report.tables() {
        write_table(&mut out, kind, table);
    }
    out
}

/// Escapes what means something else to Markdown.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '[' | ']' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Returns text as code; a back quote in it becomes a plain quote.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

fn backbones(out: &mut String, summary: &Summary) {
    for (backbone, _) in summary.backbones.iter().filter(|(b, _)| b.origin == "random") {
        let _ = writeln!(
            out,
            "\n> **Random backbone.** {} was never trained: its weights are random draws. Scores near the constant answer \
             are what is to be expected, and say nothing about a method.",
            plain(&backbone.name)
        );
    }
    for (backbone, runs) in &summary.backbones {
        let _ =
            writeln!(out, "\nBackbone: **{}** ({}), {runs} runs.", plain(&backbone.name), backbone.origin_in_words());
    }
    for (scoring, runs) in &summary.scorings {
        let _ = writeln!(out, "\nScored: {}, {runs} runs.", scoring.in_words());
    }
}

fn write_table(out: &mut String, kind: &TableKind, table: &Table) {
    let _ = writeln!(out, "\n## {}", kind.title);
    write_prose(out, table.prose_at(ProsePlace::Before, Medium::Text));
    let shown = table.shown_on(Medium::Text);
    let columns: Vec<_> = shown.iter().map(|i| &table.columns[*i]).collect();
    let heads: Vec<_> = columns.iter().map(|column| head(table, column)).collect();
    let rules: Vec<_> = columns.iter().map(|c| if c.align == Align::Left { "---" } else { "---:" }).collect();
    let _ = writeln!(out, "\n| {} |", heads.join(" | "));
    let _ = writeln!(out, "| {} |", rules.join(" | "));
    for row in &table.rows {
        let cells: Vec<_> = shown.iter().map(|i| cell(&table.columns[*i], &row[*i])).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    for row in &table.totals {
        let mut cells: Vec<_> = shown.iter().map(|i| cell(&table.columns[*i], &row[*i])).collect();
        if let Some(name) = cells.first_mut() {
            *name = format!("**{name}**");
        }
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    write_prose(out, table.prose_at(ProsePlace::After, Medium::Text));
    write_remarks(out, &table.remarks);
}

/// Markdown has one line of heads: the main column of a group takes the group's name, a soft one has it in front.
fn head(table: &Table, column: &Column) -> String {
    match (column.group.map(|group| plain(&table.groups[group])), column.emphasis) {
        (Some(group), Emphasis::Main) => group,
        (Some(group), Emphasis::Soft) => format!("{group}, {}", column.head),
        _ => column.head.clone(),
    }
}

fn cell(column: &Column, cell: &Cell) -> String {
    let mut text = match &cell.value {
        CellValue::Text(text) => plain(text),
        CellValue::Code(text) => code(text),
        value => format::cell(column, value),
    };
    for flag in cell.flags_on(Medium::Text) {
        let _ = write!(text, " ({})", flag.word());
    }
    text
}

fn write_prose<'a>(out: &mut String, prose: impl Iterator<Item = &'a Prose>) {
    for prose in prose {
        let span = |span: &Span| match span {
            Span::Words(words) => words.to_string(),
            Span::Name(name) => plain(name),
            Span::Term(term) | Span::Strong(term) => format!("*{term}*"),
            Span::Code(text) => code(text),
        };
        let _ = writeln!(out, "\n{}", prose.text.iter().map(span).collect::<String>());
    }
}

fn write_remarks(out: &mut String, remarks: &Remarks) {
    for note in remarks.notes.iter().flat_map(|notes| &notes.notes) {
        let _ = writeln!(out, "\n{note}");
    }
    for caution in remarks.notes.iter().flat_map(|notes| &notes.cautions) {
        let _ = writeln!(out, "\n> {}", caution.replace('\n', " "));
    }
    if !remarks.gaps.is_empty() {
        let _ = writeln!(out, "\nMissing:\n");
        for gap in &remarks.gaps {
            let _ = writeln!(out, "- {}", plain(gap));
        }
    }
    for warning in remarks.warnings.iter().flatten() {
        let _ = writeln!(out, "\n> {}: {}", code(&warning.node), plain(&warning.text));
    }
}
