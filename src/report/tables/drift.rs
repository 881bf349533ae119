//! How far training took each prompt from its start.

use crate::report::section::PROMPTS;
use crate::report::summary::Summary;
use crate::report::summary::prompts::PromptDrift;
use crate::report::table::{Cell, CellValue, Column, Holds, Medium, Prose, Remarks, Table, TableKind, TableStyle};

/// Its row in the registry.
pub const KIND: TableKind = TableKind {
    id: "drift",
    title: "How far training went",
    section: Some(PROMPTS),
    adds_figures: false,
    make: |summary| (!summary.drifts.is_empty()).then(|| make(summary)),
};

fn make(summary: &Summary) -> Table {
    Table {
        style: TableStyle::List,
        groups: Vec::new(),
        columns: vec![
            Column::new("training", Holds::Code),
            Column::new("start", Holds::Text),
            Column::new("relative change", Holds::Figure),
            Column::new("cosine with the start", Holds::Figure),
            Column::new("smallest shared direction", Holds::Figure),
            Column::new("rms after", Holds::Figure),
        ],
        rows: summary.drifts.iter().map(row).collect(),
        totals: Vec::new(),
        prose: vec![Prose::after(
            &[Medium::Page, Medium::Text, Medium::Paper],
            vec![
                "Relative change: ‖P − P₀‖ / ‖P₀‖. The smallest shared direction is the cosine of the largest principal \
                 angle between the row spaces at start and end: 1 when the start's directions survived, 0 when one of them \
                 is gone."
                    .into(),
            ],
        )],
        remarks: Remarks::default(),
    }
}

fn row(change: &PromptDrift) -> Vec<Cell> {
    let drift = &change.drift;
    [
        CellValue::code(&change.training),
        CellValue::text(&change.init),
        CellValue::Figure(drift.relative_change),
        CellValue::Figure(drift.cosine),
        CellValue::figure(drift.angle_cosines.last().copied()),
        CellValue::Figure(drift.rms),
    ]
    .map(Cell::from)
    .into()
}
