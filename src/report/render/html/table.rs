//! A table on a page.

use std::fmt::Write;

use super::escape::escaped;
use super::gallery::write_legend_item;
use crate::report::format;
use crate::report::line_chart::COLOURS;
use crate::report::table::{
    Align, Cell, CellValue, Column, Emphasis, Holds, Mark, MarkKind, Medium, Prose, ProsePlace, Remarks, Span, Table,
    TableStyle,
};

/// Writes a table with its text and remarks.
pub fn write(out: &mut String, table: &Table) {
    let page = PageTable::new(table);
    for prose in table.prose_at(ProsePlace::Before, Medium::Page) {
        write_prose(out, prose);
        out.push('\n');
    }
    if table.columns.iter().any(|column| column.holds == Holds::Marks) {
        page.write_marks_legend(out);
    }
    let class = if table.style == TableStyle::List { " class=\"small\"" } else { "" };
    let _ = writeln!(out, "<div class=\"scroll\">\n<table{class}>");
    if table.groups.is_empty() {
        page.write_flat(out);
    } else {
        page.write_grouped(out);
    }
    out.push_str("</table>\n</div>");
    for prose in table.prose_at(ProsePlace::After, Medium::Page) {
        out.push('\n');
        write_prose(out, prose);
    }
    write_remarks(out, &table.remarks);
}

fn write_prose(out: &mut String, prose: &Prose) {
    let span = |span: &Span| match span {
        Span::Words(words) => words.to_string(),
        Span::Name(name) => escaped(name).to_string(),
        Span::Term(term) => (*term).to_owned(),
        Span::Strong(term) => format!("<b>{term}</b>"),
        Span::Code(code) => format!("<code>{}</code>", escaped(code)),
    };
    let _ = write!(out, "<p class=\"soft\">{}</p>", prose.text.iter().map(span).collect::<String>());
}

/// Gaps are left to the banner at the top of the page.
fn write_remarks(out: &mut String, remarks: &Remarks) {
    if let Some(warnings) = &remarks.warnings {
        out.push('\n');
        for warning in warnings {
            let _ = write!(
                out,
                "<p><span class=\"flag\">note</span> <code>{}</code>: {}</p>",
                escaped(&warning.node),
                escaped(&warning.text)
            );
        }
    }
    if let Some(notes) = &remarks.notes {
        out.push('\n');
        let items = |items: &[String]| items.iter().map(|i| format!("<li>{}</li>", escaped(i))).collect::<String>();
        if !notes.notes.is_empty() || !notes.cautions.is_empty() {
            let (notes, cautions) = (items(&notes.notes), items(&notes.cautions));
            let _ = writeln!(out, "\n<ul class=\"notes soft\">\n{notes}\n{cautions}\n</ul>");
        }
    }
}

/// A column of the page, with those that are folded below it.
struct PageColumn<'a> {
    index: usize,
    column: &'a Column,
    folded: Vec<usize>,
}

impl PageColumn<'_> {
    fn is_left(&self) -> bool {
        self.column.page.align.unwrap_or(self.column.align) == Align::Left
    }

    fn head(&self) -> String {
        let head = self.column.page.head.map_or_else(|| self.column.head.replace('`', ""), str::to_owned);
        escaped(&head).to_string()
    }
}

/// A table as a page shows it.
struct PageTable<'a> {
    table: &'a Table,
    columns: Vec<PageColumn<'a>>,
}

impl<'a> PageTable<'a> {
    fn new(table: &'a Table) -> Self {
        let mut columns: Vec<PageColumn> = Vec::new();
        for index in table.shown_on(Medium::Page) {
            let column = &table.columns[index];
            match columns.last_mut() {
                Some(above) if column.page.fold.is_some() => above.folded.push(index),
                _ => columns.push(PageColumn { index, column, folded: Vec::new() }),
            }
        }
        Self { table, columns }
    }

    /// The columns without a group.
    fn leading(&self) -> impl Iterator<Item = &PageColumn<'a>> {
        self.columns.iter().filter(|column| column.column.group.is_none())
    }

    fn of_group(&self, group: usize) -> impl Iterator<Item = &PageColumn<'a>> {
        self.columns.iter().filter(move |column| column.column.group == Some(group))
    }

    fn write_flat(&self, out: &mut String) {
        out.push_str("<thead><tr>");
        for column in &self.columns {
            let class = if column.is_left() { " class=\"text\"" } else { "" };
            let _ = write!(out, "<th{class}>{}</th>", column.head());
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        let rows = self.table.rows.iter().map(|row| ("<tr>", row));
        for (tag, row) in rows.chain(self.table.totals.iter().map(|row| ("<tr class=\"mean\">", row))) {
            out.push_str(tag);
            for column in &self.columns {
                self.write_cell(out, column, row, false);
            }
            out.push_str("</tr>\n");
        }
        out.push_str("\n</tbody>\n");
    }

    fn write_grouped(&self, out: &mut String) {
        out.push_str("<thead>\n<tr>");
        for column in self.leading() {
            let class = if column.is_left() { " class=\"text\"" } else { "" };
            let _ = write!(out, "<th{class} rowspan=\"2\">{}</th>", column.head());
        }
        out.push('\n');
        for (group, name) in self.table.groups.iter().enumerate() {
            let span = self.of_group(group).count();
            let _ = write!(out, "<th class=\"group\" colspan=\"{span}\">{}</th>", escaped(name));
        }
        out.push_str("</tr>\n<tr>");
        for group in 0..self.table.groups.len() {
            for (i, column) in self.of_group(group).enumerate() {
                let class = if i == 0 { " class=\"first\"" } else { "" };
                let _ = write!(out, "<th{class}>{}</th>", column.head());
            }
        }
        out.push_str("</tr>\n</thead>\n<tbody>\n");
        for row in &self.table.rows {
            self.write_grouped_row(out, "<tr>", row);
        }
        out.push('\n');
        for row in &self.table.totals {
            self.write_grouped_row(out, "<tr class=\"mean\">", row);
        }
        out.push_str("\n</tbody>\n");
    }

    /// Each leading cell has a line, and so has the soft cell of each group, even where there is none.
    fn write_grouped_row(&self, out: &mut String, tag: &str, row: &[Cell]) {
        let _ = write!(out, "\n{tag}");
        for column in self.leading() {
            self.write_cell(out, column, row, false);
            out.push('\n');
        }
        for group in 0..self.table.groups.len() {
            out.push('\n');
            let soft = |column: &PageColumn<'_>| column.column.emphasis == Emphasis::Soft;
            if !self.of_group(group).any(soft) {
                out.push('\n');
            }
            for (i, column) in self.of_group(group).enumerate() {
                self.write_cell(out, column, row, i == 0);
                if soft(column) {
                    out.push('\n');
                }
            }
            out.push('\n');
        }
        out.push_str("</tr>\n");
    }

    fn write_cell(&self, out: &mut String, column: &PageColumn, row: &[Cell], first: bool) {
        let cell = &row[column.index];
        let body = self.cell_body(column, row);
        if column.index == 0 && self.table.style == TableStyle::Grid {
            let _ = write!(out, "<th scope=\"row\">{body}</th>");
            return;
        }
        let missing = cell.value == CellValue::Missing;
        let classes = match column.column.emphasis {
            _ if column.is_left() => vec!["text"],
            Emphasis::Soft if first => vec!["first", "before"],
            Emphasis::Soft => vec!["before"],
            Emphasis::Main | Emphasis::Plain if missing => vec!["missing"],
            Emphasis::Main => vec!["main"],
            Emphasis::Plain => vec![],
        };
        let first = (first && !classes.contains(&"first")).then_some("first");
        let classes: Vec<_> = classes.into_iter().chain(first).collect();
        let class = if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) };
        let _ = write!(out, "<td{class}>{body}</td>");
    }

    fn cell_body(&self, column: &PageColumn, row: &[Cell]) -> String {
        let cell = &row[column.index];
        let mut body = self.value(column.column, &cell.value);
        let mut small = Vec::new();
        for index in &column.folded {
            let folded = &self.table.columns[*index];
            let (before, after) = folded.page.fold.unwrap_or_default();
            match &row[*index].value {
                CellValue::Blank => {}
                CellValue::Text(text) if text.is_empty() => {}
                value if folded.holds == Holds::Hash => body.push_str(&self.value(folded, value)),
                value => small.push(format!("{before}{}{after}", self.value(folded, value))),
            }
        }
        if !small.is_empty() {
            let _ = write!(body, "<span class=\"sub\">{}</span>", small.join(", "));
        }
        for flag in cell.flags_on(Medium::Page) {
            let _ = write!(body, " <span class=\"flag\">{}</span>", flag.word());
        }
        body
    }

    fn value(&self, column: &Column, value: &CellValue) -> String {
        match value {
            CellValue::Code(code) if column.holds == Holds::Hash => {
                format!("<code class=\"full\">{}</code>", escaped(code))
            }
            CellValue::Code(code) => format!("<code>{}</code>", escaped(code)),
            CellValue::MeanSd(sample) if column.emphasis == Emphasis::Soft => format::percent(sample.mean),
            CellValue::SampleSize(0) => String::new(),
            CellValue::Marks(marks) => self.strip(marks),
            value => escaped(&format::cell(column, value)).to_string(),
        }
    }

    /// A line from 0 to 100 with a lane for each group.
    fn strip(&self, marks: &[Mark]) -> String {
        let lanes = self.table.groups.len() as f64;
        let mut strip = format!("<div class=\"strip\" style=\"height:{:.1}rem\">", 1.0 + 0.5 * lanes);
        for mark in marks {
            let kind = match mark.kind {
                MarkKind::Constant => "constant",
                MarkKind::Before => "before",
                MarkKind::After => "after",
            };
            let top = mark.group.map_or(50.0, |group| 100.0 * (group as f64 + 1.0) / (lanes + 1.0));
            let left = mark.at.clamp(0.0, 1.0) * 100.0;
            let colour = mark.group.unwrap_or(0) % COLOURS.len();
            let _ = write!(
                strip,
                "<i class=\"{kind} c{colour}\" style=\"left:{left:.2}%;top:{top:.1}%\" title=\"{}\"></i>",
                escaped(&mark.title)
            );
        }
        strip + "</div>"
    }

    fn write_marks_legend(&self, out: &mut String) {
        out.push_str("<ul class=\"legend key\">\n");
        for (group, name) in self.table.groups.iter().enumerate() {
            write_legend_item(out, group, false, name);
        }
        out.push_str("\n<li><i class=\"constant\"></i>constant answer</li>\n");
        if self.columns.iter().any(|column| column.column.emphasis == Emphasis::Soft) {
            out.push_str("<li><i class=\"before\"></i>before training</li>");
        }
        out.push_str("\n<li><i class=\"after\"></i>trained, a dot for each run</li>\n</ul>\n");
    }
}
