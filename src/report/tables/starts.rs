//! The initial prompts: the spectrum of each source matrix, and how much of it the factors keep.

use crate::report::section::PROMPTS;
use crate::report::summary::prompts::PromptStart;
use crate::report::table::{
    Cell, CellValue, Column, Holds, Medium, NodeWarning, Prose, Remarks, Table, TableKind, TableStyle,
};
use crate::svd::figures::Figures;

/// Its row in the registry.
pub const KIND: TableKind = TableKind {
    id: "starts",
    title: "Where training started",
    section: Some(PROMPTS),
    adds_figures: false,
    make: |summary| (!summary.inits.is_empty()).then(|| make(&summary.inits)),
};

fn make(starts: &[PromptStart]) -> Table {
    Table {
        style: TableStyle::List,
        groups: Vec::new(),
        columns: vec![
            Column::new("node", Holds::Code),
            Column::new("source", Holds::Text),
            Column::new("rank", Holds::Integer),
            Column::new("energy", Holds::Percent),
            Column::new("centred", Holds::Percent),
            Column::new("Gaussian", Holds::Percent),
            Column::new("relative error", Holds::Figure),
            Column::new("effective rank", Holds::Figure),
            Column::new("rms of source", Holds::Figure).only_on(&[Medium::Page, Medium::Paper, Medium::Data]),
            Column::new("rms of the prompt", Holds::Figure).page_head("rms of prompt"),
        ],
        rows: starts.iter().map(row).collect(),
        totals: Vec::new(),
        prose: vec![Prose::after(
            &[Medium::Page, Medium::Text, Medium::Paper],
            vec![
                "Energy: share of the squared singular values kept, in percent; of the source as it is, less its mean row, \
                 and of a Gaussian matrix of the same shape."
                    .into(),
            ],
        )],
        remarks: Remarks { warnings: Some(starts.iter().flat_map(warnings).collect()), ..Remarks::default() },
    }
}

fn row(start: &PromptStart) -> Vec<Cell> {
    let figures = start.record.figures.as_ref();
    let number = |of: fn(&Figures) -> f64| figures.map(of);
    [
        CellValue::code(&start.origin.node),
        CellValue::text(&start.record.source),
        CellValue::integer(figures.and_then(|f| i64::try_from(f.rank).ok())),
        CellValue::percent(number(|f| f.spectrum.energy)),
        CellValue::percent(number(|f| f.centred.energy)),
        CellValue::percent(number(|f| f.gaussian.energy)),
        CellValue::figure(number(|f| f.relative_error)),
        CellValue::figure(number(|f| f.spectrum.effective_rank)),
        CellValue::figure(number(|f| f.rms_source)),
        CellValue::figure(number(|f| f.rms_product)),
    ]
    .map(Cell::from)
    .into()
}

fn warnings(start: &PromptStart) -> impl Iterator<Item = NodeWarning> + '_ {
    let warning = |text: &String| NodeWarning { node: start.origin.node.clone(), text: text.clone() };
    start.record.warnings.iter().map(warning)
}
