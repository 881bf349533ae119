//! Where each number was read from: node, key and digest.

use crate::report::summary::Summary;
use crate::report::summary::runs::ScoredRun;
use crate::report::table::{
    Cell, CellValue, Column, Holds, Medium, Prose, Remarks, Span, Table, TableKind, TableStyle,
};

/// Its row in the registry.
pub const KIND: TableKind = TableKind {
    id: "provenance",
    title: "Where the numbers come from",
    section: None,
    adds_figures: false,
    make: |summary| Some(make(summary)),
};

/// A full digest is too wide for a paper.
const WITH_ROOM: &[Medium] = &[Medium::Page, Medium::Text, Medium::Data];

fn make(summary: &Summary) -> Table {
    Table {
        style: TableStyle::List,
        groups: Vec::new(),
        columns: vec![
            Column::new("node", Holds::Code),
            Column::new("split, scoring", Holds::Text).page_head("scored"),
            Column::new("key", Holds::Code),
            Column::new("full key", Holds::Hash).folded("", "").only_on(WITH_ROOM),
            Column::new("digest of `eval.json`", Holds::Hash).only_on(WITH_ROOM),
        ],
        rows: summary.runs.iter().map(row).collect(),
        totals: Vec::new(),
        prose: vec![Prose::before(
            &[Medium::Page],
            vec![
                "Each score was read from the ".into(),
                Span::Code("eval.json"),
                " of one node. The key names everything that determined it; the digest is that of the file's contents."
                    .into(),
            ],
        )],
        remarks: Remarks::default(),
    }
}

fn row(run: &ScoredRun) -> Vec<Cell> {
    [
        CellValue::code(&run.origin.node),
        CellValue::Text(run.scoring.in_words()),
        CellValue::code(run.origin.key.to_string()),
        CellValue::code(run.origin.key.hex()),
        CellValue::code(run.origin.digest.hex()),
    ]
    .map(Cell::from)
    .into()
}
