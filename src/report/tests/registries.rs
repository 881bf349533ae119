//! Tables, pictures and formats are rows of registries: rows are well formed, and a new one needs no other change.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::bytes::cases;
use super::sample::{evaluated, inputs, options};
use crate::base::glob;
use crate::base::value::{Params, Value};
use crate::report::charts::CHARTS;
use crate::report::contents::Report;
use crate::report::inputs::Inputs;
use crate::report::picture::{ChartKind, Picture};
use crate::report::render::kind::{RenderedFile, Renderer, RendererFile};
use crate::report::render::{RENDERERS, csv, render};
use crate::report::section::TRAINING;
use crate::report::summary::{ReportOptions, Summary};
use crate::report::table::{Cell, CellValue, Column, Holds, Medium, Table, TableKind};
use crate::report::tables::TABLES;

fn is_kebab_case(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

#[test]
fn rows_are_unique_and_well_formed() {
    for ids in [
        TABLES.iter().map(|table| table.id).collect::<Vec<_>>(),
        CHARTS.iter().map(|chart| chart.id).collect(),
        RENDERERS.iter().map(|renderer| renderer.name).collect(),
    ] {
        assert!(ids.iter().all(|id| is_kebab_case(id)), "{ids:?}");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    }
    for chart in CHARTS {
        assert!(TABLES.iter().any(|table| table.id == chart.after), "{} stands after no table", chart.id);
    }
    let files: Vec<_> = RENDERERS.iter().flat_map(|renderer| renderer.files).collect();
    assert!(files.iter().all(|file| !file.about.is_empty()));
    assert_eq!(files.iter().map(|file| file.name).collect::<BTreeSet<_>>().len(), files.len());
}

#[test]
fn every_file_of_a_folder_has_its_row() {
    let files = |folder: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report").join(folder);
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !["mod.rs", "kind.rs", "by_variant.rs"].contains(&name.as_str())).count()
    };
    assert_eq!(files("tables"), TABLES.len());
    assert_eq!(files("charts"), CHARTS.len());
    assert_eq!(files("render"), RENDERERS.len());
}

#[test]
fn cells_fit_their_columns_and_heads_are_unique() {
    for (name, inputs, options) in cases() {
        let summary = Summary::of(&inputs, &options).unwrap();
        let report = Report::of(&summary, None, Vec::new());
        for (kind, table) in report.tables() {
            for row in table.all_rows() {
                assert_eq!(row.len(), table.columns.len(), "{name}, {}", kind.id);
                for (column, cell) in table.columns.iter().zip(row) {
                    assert!(cell.value.fits(column.holds), "{name}, {}, {}: {cell:?}", kind.id, column.head);
                    assert!(cell.flags_on(Medium::Data).next().is_none() || column.flagged, "{}", column.head);
                }
            }
            let text = csv::render(table).unwrap();
            let mut reader = ::csv::Reader::from_reader(text.as_bytes());
            let heads = reader.headers().unwrap();
            assert_eq!(heads.iter().collect::<BTreeSet<_>>().len(), heads.len(), "{name}, {}: {heads:?}", kind.id);
            assert_eq!(reader.records().map(Result::unwrap).count(), table.all_rows().count());
        }
    }
}

#[test]
fn renderers_write_only_the_files_that_they_declare() {
    let summary = Summary::of(&inputs(), &options()).unwrap();
    let report = Report::of(&summary, Some(&inputs()), Vec::new());
    for renderer in RENDERERS {
        for file in (renderer.render)(&report).unwrap() {
            let declared = renderer.files.iter().any(|declared| glob::matches(declared.name, &file.name));
            assert!(declared, "{} writes {}", renderer.name, file.name);
        }
    }
}

/// A table that no other file of the report knows of.
static STUB_TABLE: TableKind = TableKind {
    id: "stub",
    title: "Stub table",
    section: None,
    adds_figures: true,
    make: |summary| {
        let cell = |value: CellValue| Cell::from(value);
        Some(Table {
            columns: vec![Column::new("what", Holds::Text), Column::new("stub head", Holds::Figure)],
            rows: vec![vec![
                cell(CellValue::text("stub row")),
                cell(CellValue::Figure(summary.runs.len() as f64 + 0.25)),
            ]],
            ..Table::default()
        })
    },
};

static STUB_CHART: ChartKind = ChartKind {
    id: "stub",
    section: TRAINING,
    after: "stub",
    variants_legend: false,
    note: "",
    make: |_, _| {
        vec![Picture {
            row: String::new(),
            title: "stub picture".into(),
            caption: String::new(),
            svg: "<svg></svg>".into(),
            legend: Vec::new(),
        }]
    },
};

static STUB_RENDERER: Renderer = Renderer {
    name: "stub",
    medium: Medium::Text,
    files: &[RendererFile { name: "report.stub", about: "titles" }],
    render: |report| {
        let titles: Vec<_> = report.tables().map(|(kind, _)| kind.title).collect();
        Ok(vec![RenderedFile::new("report.stub", titles.join("\n"))])
    },
};

#[test]
fn new_table_chart_and_renderer_need_only_their_rows() {
    let tables: Vec<_> = TABLES.iter().copied().chain([&STUB_TABLE]).collect();
    let charts: Vec<_> = CHARTS.iter().copied().chain([&STUB_CHART]).collect();
    let summary = Summary::of(&inputs(), &options()).unwrap();
    let report = Report::with(&summary, Some(&inputs()), Vec::new(), &tables, &charts);
    for renderer in RENDERERS.iter().copied().chain([&STUB_RENDERER]) {
        let files = (renderer.render)(&report).unwrap();
        let text: String = files.into_iter().map(|file| file.text).collect();
        let wanted: &[&str] = match renderer.medium {
            Medium::Data => &["stub head", "stub row", "16.25"],
            _ if renderer.name == "stub" => &["Stub table"],
            Medium::Page => &["Stub table", "stub head", "stub row", ">16.2<", "stub picture"],
            _ => &["Stub table", "stub head", "stub row", "16.2"],
        };
        for part in wanted {
            assert!(text.contains(part), "{}: no `{part}`", renderer.name);
        }
    }
}

#[test]
fn parameters_of_a_method_are_columns_in_every_format() {
    let mut runs = vec![evaluated("rte", "dpt", 1, 0.5), evaluated("rte", "residual", 1, 0.5)];
    runs[1].record.rank = None;
    runs[1].record.params = Params::from([("hidden".to_owned(), Value::Int(20))]);
    let inputs = Inputs { runs, ..Inputs::default() };
    let summary = Summary::of(&inputs, &ReportOptions { complete: false, ..options() }).unwrap();
    let files = render(&summary, &inputs, RENDERERS).unwrap();
    let text = |name: &str| files.iter().find(|file| file.name == name).expect("every renderer writes").text.clone();
    let markdown = text("report.md");
    assert!(
        markdown.contains("| method | virtual tokens | rank | hidden | trained | of prompt tuning |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| dpt | 100 | 10 | – |") && markdown.contains("| residual | 100 | – | 20 |"),
        "{markdown}"
    );
    assert!(text("report.html").contains("<th>rank</th><th>hidden</th>"));
    let csv = text("tables/parameters.csv");
    assert!(csv.lines().next().is_some_and(|head| head.contains("rank") && head.contains("hidden")), "{csv}");
}
