//! Loss and score during training: a pair for each task, a colour for each variant.

use super::by_variant::by_variant;
use crate::report::inputs::{Inputs, Trained};
use crate::report::line_chart::LineChart;
use crate::report::picture::{ChartKind, Picture};
use crate::report::section::TRAINING;
use crate::report::summary::Summary;

/// Its row in the registry.
pub const KIND: ChartKind = ChartKind {
    id: "training",
    section: TRAINING,
    after: "parameters",
    variants_legend: true,
    note: "A line for each run. Long curves are drawn as means over equal stretches of steps.",
    make,
};

fn make(inputs: &Inputs, summary: &Summary) -> Vec<Picture> {
    let pictures = |task: &str| {
        let of_task: Vec<_> = inputs.trainings.iter().filter(|t| t.task == task).collect();
        [loss(task, &of_task, summary), score(task, &of_task, summary)].into_iter().flatten()
    };
    summary.tasks.iter().flat_map(|row| pictures(&row.task)).collect()
}

fn loss(task: &str, trainings: &[&Trained], summary: &Summary) -> Option<Picture> {
    let svg = LineChart {
        x: "step".into(),
        y: "training loss".into(),
        percent: false,
        from_zero: true,
        mark: None,
        series: by_variant(trainings, summary, |t| t.loss.clone()),
    }
    .svg()?;
    Some(Picture {
        row: task.to_owned(),
        title: format!("{task}: training loss"),
        caption: String::new(),
        svg,
        legend: Vec::new(),
    })
}

fn score(task: &str, trainings: &[&Trained], summary: &Summary) -> Option<Picture> {
    // What steps were chosen by; else whatever was measured first.
    let (split, metric) = trainings.iter().find_map(|t| t.select.clone()).or_else(|| {
        let point = trainings.iter().find_map(|t| t.scores.iter().find(|p| p.metric != "loss"))?;
        Some((point.split.clone(), point.metric.clone()))
    })?;
    let svg = LineChart {
        x: "step".into(),
        y: format!("{metric}, % ({split})"),
        percent: true,
        from_zero: false,
        mark: None,
        series: by_variant(trainings, summary, |t| {
            t.scores.iter().filter(|p| p.split == split && p.metric == metric).map(|p| (p.step, p.value)).collect()
        }),
    }
    .svg()?;
    Some(Picture {
        row: task.to_owned(),
        title: format!("{task}: {metric} on {split}"),
        caption: String::new(),
        svg,
        legend: Vec::new(),
    })
}
