//! How much each variant trains: the parameters of its method, and the numbers that training changes.

use crate::report::format;
use crate::report::summary::Summary;
use crate::report::summary::collect::distinct;
use crate::report::summary::grid::Variant;
use crate::report::summary::method_parameters::ParameterValues;
use crate::report::table::{Cell, CellValue, Column, Holds, Medium, Prose, Remarks, Table, TableKind, TableStyle};

/// Its row in the registry.
pub const KIND: TableKind = TableKind {
    id: "parameters",
    title: "Trained parameters",
    section: None,
    adds_figures: false,
    make: |summary| Some(make(summary)),
};

fn make(summary: &Summary) -> Table {
    let variants = &summary.variants;
    let names = distinct(variants.iter().flat_map(|v| v.parameters.0.iter().map(|(name, _)| name.as_str())));
    // A parameter with values other than whole numbers is a column of text for every variant.
    let holds = |name: &str| {
        let words = variants.iter().any(|v| matches!(v.parameters.get(name), Some(ParameterValues::Words(_))));
        if words { Holds::Text } else { Holds::Range }
    };
    let parameters: Vec<(&str, Holds)> = names.into_iter().map(|name| (name, holds(name))).collect();
    let mut columns = vec![Column::new("method", Holds::Text)];
    columns.extend(parameters.iter().map(|(name, holds)| Column::new(name.replace('_', " "), *holds)));
    columns.push(Column::new("trained", Holds::Range));
    columns.push(Column::new("of prompt tuning", Holds::Percent).with_unit_in_cells());
    Table {
        style: TableStyle::Grid,
        groups: Vec::new(),
        columns,
        rows: variants.iter().map(|variant| row(variant, &parameters)).collect(),
        totals: Vec::new(),
        prose: vec![Prose::after(
            &[Medium::Page, Medium::Paper],
            vec![
                "Only tensors that training changes; the backbone is frozen. Prompt tuning trains virtual tokens × d_model \
                 numbers."
                    .into(),
            ],
        )],
        remarks: Remarks::default(),
    }
}

fn row(variant: &Variant, parameters: &[(&str, Holds)]) -> Vec<Cell> {
    let mut row = vec![CellValue::text(&variant.name)];
    row.extend(parameters.iter().map(|(name, holds)| match (variant.parameters.get(name), holds) {
        (None, _) => CellValue::Absent,
        (Some(ParameterValues::Range(least, most)), Holds::Range) => CellValue::Range(*least, *most),
        (Some(ParameterValues::Range(least, most)), _) => CellValue::Text(format::range(*least, *most)),
        (Some(ParameterValues::Words(words)), _) => CellValue::Text(words.join(", ")),
    }));
    let (least, most) = variant.trainable_parameters;
    row.push(CellValue::Range(least, most));
    let share = match variant.prompt_tuning_parameters.1 {
        0 => None,
        whole => Some(most as f64 / whole as f64),
    };
    row.push(CellValue::percent(share));
    row.into_iter().map(Cell::from).collect()
}
