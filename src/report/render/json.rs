//! The report as JSON: the whole summary, and the rows of tables whose figures it lacks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::kind::{RenderedFile, Renderer, RendererFile, bug};
use crate::artifact::json;
use crate::base::diag::Diag;
use crate::report::contents::Report;
use crate::report::summary::Summary;
use crate::report::table::{Cell, CellValue, Medium, Table};

/// Its row in the registry.
pub const RENDERER: Renderer = Renderer {
    name: "json",
    medium: Medium::Data,
    files: &[RendererFile { name: "report.json", about: "every figure, for programs" }],
    render: |report| Ok(vec![RenderedFile::new("report.json", render(report)?)]),
};

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tables: BTreeMap<&'static str, Value>,
}

fn render(report: &Report) -> Result<String, Diag> {
    let further = report.tables().filter(|(kind, _)| kind.adds_figures);
    let tables = further.map(|(kind, table)| (kind.id, table_value(table))).collect();
    let text = json::to_text(&Document { summary: report.summary, tables }).map_err(|e| bug("JSON", e))?;
    Ok(text + "\n")
}

fn table_value(table: &Table) -> Value {
    let shown = table.shown_on(Medium::Data);
    let columns: Vec<_> = shown
        .iter()
        .map(|i| &table.columns[*i])
        .map(|column| json!({ "head": column.head, "group": column.group.map(|group| &table.groups[group]) }))
        .collect();
    let row = |row: &Vec<Cell>| shown.iter().map(|i| cell_value(&row[*i])).collect::<Vec<_>>();
    let rows = |rows: &[Vec<Cell>]| rows.iter().map(row).collect::<Vec<_>>();
    json!({ "columns": columns, "rows": rows(&table.rows), "totals": rows(&table.totals) })
}

/// Returns a value, with its flags if it has any.
fn cell_value(cell: &Cell) -> Value {
    let value = match &cell.value {
        CellValue::Text(text) | CellValue::Code(text) => json!(text),
        CellValue::Percent(number) | CellValue::Figure(number) => json!(number),
        CellValue::MeanSd(sample) => json!(sample),
        CellValue::Count(n) => json!(n),
        CellValue::Integer(n) => json!(n),
        CellValue::SampleSize(n) => json!(n),
        CellValue::Range(least, most) => json!([least, most]),
        CellValue::Marks(_) | CellValue::Absent | CellValue::Missing | CellValue::Blank => Value::Null,
    };
    let flags: Vec<_> = cell.flags_on(Medium::Data).map(|flag| flag.word()).collect();
    if flags.is_empty() { value } else { json!({ "value": value, "flags": flags }) }
}
