//! The main table: a row for each task, a group of columns for each variant of a method, and the mean below.

use crate::report::format;
use crate::report::summary::Summary;
use crate::report::summary::grid::TaskRow;
use crate::report::table::{
    Cell, CellFlag, CellValue, Column, Emphasis, Holds, Mark, MarkKind, Medium, Notes, Prose, Remarks, Span, Table,
    TableKind, TableStyle,
};

/// Its row in the registry.
pub const KIND: TableKind = TableKind {
    id: "results",
    title: "Results",
    section: None,
    adds_figures: false,
    make: |summary| Some(make(summary)),
};

fn make(summary: &Summary) -> Table {
    let before = summary.cells.iter().any(|cell| cell.untrained.is_some());
    let uneven = summary.cells.iter().any(|cell| !cell.lacks.is_empty()) || !summary.missing.is_empty();
    let (mean_name, mean_note) = summary.mean_row();
    let has_mean = summary.tasks.len() > 1;
    let mut rows: Vec<_> = summary.tasks.iter().map(|task| task_row(summary, task)).collect();
    let mut totals: Vec<_> = has_mean.then(|| mean_row(summary, mean_name)).into_iter().collect();
    let columns = columns(summary.variants.len(), before, uneven);
    for row in rows.iter_mut().chain(&mut totals) {
        flag_best(&columns, row);
    }
    Table {
        style: TableStyle::Grid,
        groups: summary.variants.iter().map(|variant| variant.name.clone()).collect(),
        columns,
        rows,
        totals,
        prose: vec![in_short(summary), in_full(summary, before, uneven)],
        remarks: Remarks {
            notes: Some(Notes {
                notes: mean_note.filter(|_| has_mean).into_iter().collect(),
                cautions: summary.cautions.clone(),
            }),
            gaps: summary.missing.clone(),
            warnings: None,
        },
    }
}

/// `before`: some score was measured before training. `uneven`: not all cells have the same number of runs.
fn columns(variants: usize, before: bool, uneven: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::new("task", Holds::Text),
        Column::new("measure", Holds::Text).folded("", ""),
        Column::new("examples", Holds::Count).folded("", " examples"),
        Column::new("0 to 100", Holds::Marks),
        Column::new("constant", Holds::Percent),
        Column::new("constant answer", Holds::Text).folded("“", "”").only_on(&[Medium::Page, Medium::Data]),
    ];
    for group in 0..variants {
        columns.extend([
            Column::new("before", Holds::MeanSd).in_group(group).emphasis(Emphasis::Soft).only_on(if before {
                Medium::ALL
            } else {
                &[Medium::Data]
            }),
            Column::new("trained", Holds::MeanSd).in_group(group).emphasis(Emphasis::Main),
            Column::new("n", Holds::Integer).in_group(group).flagged().only_on(if uneven {
                Medium::ALL
            } else {
                &[Medium::Text, Medium::Data]
            }),
        ]);
    }
    columns
}

fn task_row(summary: &Summary, task: &TaskRow) -> Vec<Cell> {
    let constant = task.majority.as_ref();
    let mut row: Vec<Cell> = vec![
        CellValue::text(&task.task).into(),
        CellValue::text(&task.measure).into(),
        CellValue::Count(task.examples).into(),
        CellValue::Marks(task_marks(summary, task)).into(),
        CellValue::percent(constant.map(|(score, _)| *score)).into(),
        constant.map_or(CellValue::Blank, |(_, answer)| CellValue::text(answer)).into(),
    ];
    for variant in &summary.variants {
        let cell = summary.cell(&task.task, &variant.name);
        let short = cell.is_some_and(|cell| !cell.lacks.is_empty());
        row.extend([
            CellValue::mean_sd(cell.and_then(|cell| cell.untrained.as_ref())).into(),
            CellValue::wanted_mean_sd(cell.map(|cell| &cell.score)).into(),
            Cell::from(CellValue::SampleSize(cell.map_or(0, |cell| cell.score.n))).flag_if(short, CellFlag::Short),
        ]);
    }
    row
}

fn task_marks(summary: &Summary, task: &TaskRow) -> Vec<Mark> {
    let mut marks = Vec::new();
    marks.extend(task.majority.as_ref().map(|(score, _)| constant_mark("constant answer", *score)));
    for (group, variant) in summary.variants.iter().enumerate() {
        let untrained = summary.cell(&task.task, &variant.name).and_then(|cell| cell.untrained.as_ref());
        marks.extend(untrained.map(|before| before_mark(group, &variant.name, before.mean)));
        for run in summary.runs.iter().filter(|r| r.variant == variant.name && r.record.task == task.task) {
            let what = format!("{}, {} {}", variant.name, summary.over, run.over);
            marks.push(after_mark(group, &what, run.score));
        }
    }
    marks
}

fn mean_row(summary: &Summary, name: String) -> Vec<Cell> {
    let first = summary.means.first().and_then(|mean| mean.majority);
    let constant = first.filter(|score| summary.means.iter().all(|mean| mean.majority == Some(*score)));
    let mut marks: Vec<_> = constant.map(|score| constant_mark("constant answers", score)).into_iter().collect();
    for (group, mean) in summary.means.iter().enumerate() {
        marks.extend(mean.untrained.as_ref().map(|before| before_mark(group, &mean.variant, before.mean)));
        marks.extend(mean.score.as_ref().map(|score| after_mark(group, &mean.variant, score.mean)));
    }
    let mut row: Vec<Cell> = vec![
        CellValue::Text(name).into(),
        CellValue::Blank.into(),
        CellValue::Blank.into(),
        CellValue::Marks(marks).into(),
        CellValue::percent(constant).into(),
        CellValue::Blank.into(),
    ];
    for mean in &summary.means {
        row.extend([
            CellValue::mean_sd(mean.untrained.as_ref()).into(),
            CellValue::wanted_mean_sd(mean.score.as_ref()).into(),
            CellValue::SampleSize(mean.score.as_ref().map_or(0, |score| score.n)).into(),
        ]);
    }
    row
}

fn constant_mark(what: &str, score: f64) -> Mark {
    Mark { kind: MarkKind::Constant, group: None, at: score, title: titled(what, score) }
}

fn before_mark(group: usize, variant: &str, score: f64) -> Mark {
    let title = titled(&format!("{variant} before training"), score);
    Mark { kind: MarkKind::Before, group: Some(group), at: score, title }
}

fn after_mark(group: usize, what: &str, score: f64) -> Mark {
    Mark { kind: MarkKind::After, group: Some(group), at: score, title: titled(what, score) }
}

fn titled(what: &str, score: f64) -> String {
    format!("{what}: {}", format::percent(score))
}

/// Flags the best main cells of a row, if it has several to choose from. Equal are cells that print the same mean.
fn flag_best(columns: &[Column], row: &mut [Cell]) {
    let main = |i: &usize| columns[*i].emphasis == Emphasis::Main;
    let mean = |cell: &Cell| match &cell.value {
        CellValue::MeanSd(sample) => Some(format::percent(sample.mean)).zip(Some(sample.mean)),
        _ => None,
    };
    let means: Vec<_> = (0..row.len()).filter(main).filter_map(|i| mean(&row[i]).map(|mean| (i, mean))).collect();
    let best = means.iter().max_by(|(_, a), (_, b)| a.1.total_cmp(&b.1)).map(|(_, (shown, _))| shown.clone());
    for (i, (shown, _)) in means.iter().filter(|_| means.len() > 1) {
        if Some(shown) == best.as_ref() {
            row[*i].flags.push(CellFlag::Best);
        }
    }
}

fn over_and_values(summary: &Summary) -> [Span; 4] {
    [Span::Name(summary.over.clone()), " (".into(), Span::Name(summary.over_values.join(", ")), ")".into()]
}

fn in_short(summary: &Summary) -> Prose {
    let mut text = vec!["Scores in percent; mean ± sample standard deviation over ".into()];
    text.extend(over_and_values(summary));
    text.extend([
        ". ".into(),
        Span::Term("Constant"),
        " is the best that one constant answer reaches; ".into(),
        Span::Term("before"),
        " is the same prompt before training, scored alike.".into(),
    ]);
    Prose::before(&[Medium::Text], text)
}

fn in_full(summary: &Summary, before: bool, uneven: bool) -> Prose {
    let mut text = vec!["Scores in percent; mean ± sample standard deviation over ".into()];
    text.extend(over_and_values(summary));
    let runs = if uneven {
        ", with the number of runs n".into()
    } else {
        format!(", n = {} in every cell", summary.over_values.len())
    };
    text.extend([
        Span::Words(runs.into()),
        ".\n".into(),
        Span::Strong("Constant"),
        " is the best that one constant answer reaches.".into(),
    ]);
    if before {
        text.extend([" ".into(), Span::Strong("Before"), " is the same prompt before training, scored alike.".into()]);
    }
    Prose::before(&[Medium::Page, Medium::Paper], text)
}
