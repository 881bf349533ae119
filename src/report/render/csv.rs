//! The report as CSV (RFC 4180), a file for each table, for programs: every column, numbers unrounded and without
//! units, scores as fractions of 1. A value that is absent or missing is an empty field.

use ::csv::{Terminator, WriterBuilder};

use super::kind::{RenderedFile, Renderer, RendererFile, bug};
use crate::base::diag::Diag;
use crate::report::table::{Cell, CellValue, Column, Holds, Medium, Table};

/// Its row in the registry.
pub const RENDERER: Renderer = Renderer {
    name: "csv",
    medium: Medium::Data,
    files: &[RendererFile { name: "tables/*.csv", about: "each table, unrounded, as comma-separated values" }],
    render: |report| {
        let file = |(kind, table): (&crate::report::table::TableKind, &Table)| {
            Ok(RenderedFile::new(format!("tables/{}.csv", kind.id), render(table)?))
        };
        report.tables().map(file).collect()
    },
};

/// Returns a table as CSV.
///
/// # Errors
/// Fails if a row has another number of cells than there are columns: a bug.
pub fn render(table: &Table) -> Result<String, Diag> {
    let shown = table.shown_on(Medium::Data);
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    let heads = shown.iter().flat_map(|i| heads(table, &table.columns[*i]));
    writer.write_record(heads).map_err(|e| bug("CSV", e))?;
    for row in table.all_rows() {
        let fields = shown.iter().flat_map(|i| fields(&table.columns[*i], &row[*i]));
        writer.write_record(fields).map_err(|e| bug("CSV", e))?;
    }
    let bytes = writer.into_inner().map_err(|e| bug("CSV", e))?;
    String::from_utf8(bytes).map_err(|e| bug("CSV", e))
}

/// The heads of a column's fields: of a mean also its spread, of a range its two ends, of flagged cells the flags.
fn heads(table: &Table, column: &Column) -> Vec<String> {
    let head = column.head.replace('`', "");
    let head = match column.group {
        Some(group) => format!("{}: {head}", table.groups[group]),
        None => head,
    };
    let mut heads = match column.holds {
        Holds::MeanSd => vec![format!("{head} mean"), format!("{head} sd")],
        Holds::Range => vec![format!("{head} min"), format!("{head} max")],
        _ => vec![head.clone()],
    };
    if column.flagged {
        heads.push(format!("{head} flags"));
    }
    heads
}

fn fields(column: &Column, cell: &Cell) -> Vec<String> {
    let two = matches!(column.holds, Holds::MeanSd | Holds::Range);
    let mut fields = match &cell.value {
        CellValue::Text(text) | CellValue::Code(text) => vec![text.clone()],
        CellValue::Percent(number) | CellValue::Figure(number) => vec![number.to_string()],
        CellValue::MeanSd(sample) => {
            vec![sample.mean.to_string(), sample.sd.map(|sd| sd.to_string()).unwrap_or_default()]
        }
        CellValue::Count(n) => vec![n.to_string()],
        CellValue::Integer(n) => vec![n.to_string()],
        CellValue::SampleSize(n) => vec![n.to_string()],
        CellValue::Range(least, most) => vec![least.to_string(), most.to_string()],
        CellValue::Marks(_) | CellValue::Absent | CellValue::Missing | CellValue::Blank => {
            vec![String::new(); if two { 2 } else { 1 }]
        }
    };
    if column.flagged {
        fields.push(cell.flags_on(Medium::Data).map(|flag| flag.word()).collect::<Vec<_>>().join(" "));
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::stats::Sample;
    use crate::report::table::CellFlag;

    fn table(texts: &[String]) -> Table {
        Table {
            groups: vec!["a, \"b\"".into()],
            columns: vec![
                Column::new("name of `x`", Holds::Text),
                Column::new("0 to 100", Holds::Marks),
                Column::new("score", Holds::MeanSd).in_group(0),
                Column::new("size", Holds::Range),
                Column::new("modal", Holds::Percent).flagged(),
            ],
            rows: texts
                .iter()
                .map(|text| {
                    vec![
                        CellValue::text(text).into(),
                        CellValue::Marks(Vec::new()).into(),
                        CellValue::MeanSd(Sample { n: 1, mean: 0.1 + 0.2, sd: None }).into(),
                        CellValue::Range(1000, 2000).into(),
                        Cell::from(CellValue::Percent(0.99)).flag_if(true, CellFlag::Collapsed),
                    ]
                })
                .collect(),
            totals: vec![vec![
                CellValue::text("all").into(),
                CellValue::Blank.into(),
                CellValue::Missing.into(),
                CellValue::Absent.into(),
                CellValue::Absent.into(),
            ]],
            ..Table::default()
        }
    }

    #[test]
    fn fields_are_quoted_and_numbers_are_unrounded() {
        let text = render(&table(&["a,b".into(), "say \"x\"\nno".into(), " = 1".into()])).unwrap();
        assert_eq!(
            text,
            "name of x,\"a, \"\"b\"\": score mean\",\"a, \"\"b\"\": score sd\",size min,size max,modal,modal flags\r\n\
             \"a,b\",0.30000000000000004,,1000,2000,0.99,collapsed\r\n\
             \"say \"\"x\"\"\nno\",0.30000000000000004,,1000,2000,0.99,collapsed\r\n \
             = 1,0.30000000000000004,,1000,2000,0.99,collapsed\r\n\
             all,,,,,,\r\n"
        );
    }

    proptest! {
        #[test]
        fn any_text_reads_back(texts in prop::collection::vec(any::<String>(), 0..6)) {
            let text = render(&table(&texts)).unwrap();
            let mut reader = ::csv::ReaderBuilder::new().from_reader(text.as_bytes());
            prop_assert_eq!(reader.headers().unwrap().len(), 7);
            let read: Vec<String> = reader.records().map(|record| record.unwrap()[0].to_owned()).collect();
            let written: Vec<String> = texts.into_iter().chain(["all".to_owned()]).collect();
            prop_assert_eq!(read, written);
        }
    }
}
