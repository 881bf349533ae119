//! Every run with its scores.

use crate::report::records::Scored;
use crate::report::summary::Summary;
use crate::report::summary::runs::ScoredRun;
use crate::report::table::{
    Align, Cell, CellFlag, CellValue, Column, Emphasis, Holds, Medium, Prose, Remarks, Span, Table, TableKind,
    TableStyle,
};

/// Its row in the registry.
pub const KIND: TableKind =
    TableKind { id: "runs", title: "Runs", section: None, adds_figures: false, make: |summary| Some(make(summary)) };

fn make(summary: &Summary) -> Table {
    Table {
        style: TableStyle::List,
        groups: Vec::new(),
        columns: vec![
            Column::new("task", Holds::Text),
            Column::new("method", Holds::Text),
            Column::new(&summary.over, Holds::Text).page_align(Align::Right),
            Column::new("score", Holds::Percent).emphasis(Emphasis::Main),
            Column::new("verbalizer", Holds::Percent),
            Column::new("greedy", Holds::Percent),
            Column::new("before", Holds::Percent),
            Column::new("constant", Holds::Percent),
            Column::new("outside labels", Holds::Percent),
            Column::new("modal", Holds::Percent).flagged(),
            Column::new("best step", Holds::Integer),
        ],
        rows: summary.runs.iter().map(row).collect(),
        totals: Vec::new(),
        prose: vec![Prose::after(
            &[Medium::Page, Medium::Text, Medium::Paper],
            vec![
                "In percent. ".into(),
                Span::Term("Outside labels"),
                ": greedy answers that are none of the candidates. ".into(),
                Span::Term("Modal"),
                ": share of the most frequent answer.".into(),
            ],
        )],
        remarks: Remarks::default(),
    }
}

fn row(run: &ScoredRun) -> Vec<Cell> {
    let record = &run.record;
    let score = |scored: &Option<Scored>| CellValue::percent(scored.as_ref().map(|scored| scored.score));
    vec![
        CellValue::text(&record.task).into(),
        CellValue::text(&run.variant).into(),
        CellValue::text(&run.over).into(),
        CellValue::Percent(run.score).into(),
        score(&record.metrics.verbalizer).into(),
        score(&record.metrics.greedy).into(),
        score(&record.baselines.untrained).into(),
        CellValue::percent(record.baselines.majority.as_ref().map(|majority| majority.score)).into(),
        CellValue::Percent(record.invalid as f64 / record.examples.max(1) as f64).into(),
        Cell::from(CellValue::Percent(record.modal.share)).flag_if(run.collapsed, CellFlag::Collapsed),
        CellValue::integer(record.best_step).into(),
    ]
}
