//! Which pictures a report has: training curves by task, spectra of what training started from and of what it gave.

use rayon::prelude::*;
use serde::Serialize;

use super::figures::{Chart, Series};
use super::material::{Initialised, Material, Trained};
use super::summary::Summary;
use crate::svd::decompose::Svd;

/// One picture.
#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// The SVG text.
    pub svg: String,
    /// Names of its colours, where they are not those of the columns: index of the colour, name, dashed.
    pub legend: Vec<(usize, String, bool)>,
}

/// The pictures of one task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskPictures {
    /// The task.
    pub task: String,
    /// Loss and score by step.
    pub pictures: Vec<Picture>,
}

/// Loss and score during training, a pair for each task. Colours are those of the columns, in order.
pub fn training(material: &Material, summary: &Summary) -> Vec<TaskPictures> {
    summary
        .tasks
        .iter()
        .filter_map(|row| {
            let of: Vec<_> = material.trainings.iter().filter(|t| t.task == row.task).collect();
            let pictures: Vec<_> =
                [loss(&row.task, &of, summary), score(&row.task, &of, summary)].into_iter().flatten().collect();
            (!pictures.is_empty()).then(|| TaskPictures { task: row.task.clone(), pictures })
        })
        .collect()
}

/// The column that a training belongs to: that of a run which it feeds.
fn column(trained: &Trained, summary: &Summary) -> Option<usize> {
    let run = summary.runs.iter().find(|r| {
        trained.origin.feeds(&r.origin) && r.record.task == trained.task && r.record.method == trained.method
    })?;
    summary.variants.iter().position(|v| v.name == run.variant)
}

/// One series a column: the lines that `of` gives of its trainings.
fn by_column<'a>(
    trainings: &[&'a Trained],
    summary: &Summary,
    of: impl Fn(&'a Trained) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    (0..summary.variants.len())
        .map(|colour| Series {
            colour,
            dashed: false,
            lines: trainings.iter().filter(|t| column(t, summary) == Some(colour)).map(|t| of(t)).collect(),
        })
        .collect()
}

fn loss(task: &str, trainings: &[&Trained], summary: &Summary) -> Option<Picture> {
    let svg = Chart {
        x: "step".into(),
        y: "training loss".into(),
        percent: false,
        from_zero: true,
        mark: None,
        series: by_column(trainings, summary, |t| t.loss.clone()),
    }
    .svg()?;
    Some(Picture { title: format!("{task}: training loss"), caption: String::new(), svg, legend: Vec::new() })
}

fn score(task: &str, trainings: &[&Trained], summary: &Summary) -> Option<Picture> {
    // What steps were chosen by; else whatever was measured first.
    let (split, metric) = trainings.iter().find_map(|t| t.select.clone()).or_else(|| {
        let point = trainings.iter().find_map(|t| t.scores.iter().find(|p| p.metric != "loss"))?;
        Some((point.split.clone(), point.metric.clone()))
    })?;
    let svg = Chart {
        x: "step".into(),
        y: format!("{metric}, % ({split})"),
        percent: true,
        from_zero: false,
        mark: None,
        series: by_column(trainings, summary, |t| {
            t.scores.iter().filter(|p| p.split == split && p.metric == metric).map(|p| (p.step, p.value)).collect()
        }),
    }
    .svg()?;
    Some(Picture { title: format!("{task}: {metric} on {split}"), caption: String::new(), svg, legend: Vec::new() })
}

/// At most this many pictures of starts: those of other seeds look alike.
const STARTS: usize = 4;

/// Energy of what training started from: the first few. The table has the figures of all.
pub fn starts(material: &Material) -> Vec<Picture> {
    let mut pictures: Vec<_> = material.inits.iter().take(STARTS).filter_map(start).collect();
    if let (Some(last), true) = (pictures.last_mut(), material.inits.len() > STARTS) {
        last.caption.push_str(&format!(" {} more are in the table alone.", material.inits.len() - STARTS));
    }
    pictures
}

fn start(init: &Initialised) -> Option<Picture> {
    let line = |energy: &[f64]| energy.iter().enumerate().map(|(k, e)| ((k + 1) as f64, *e)).collect::<Vec<_>>();
    let rank = init.record.figures.as_ref().map(|f| f.rank as f64);
    let svg = Chart {
        x: "first k directions".into(),
        y: "share of energy, %".into(),
        percent: true,
        from_zero: true,
        mark: rank,
        series: vec![
            Series { colour: 0, dashed: false, lines: vec![line(&init.energy)] },
            Series { colour: 1, dashed: false, lines: vec![line(&init.centred)] },
            Series { colour: 7, dashed: true, lines: vec![line(&init.gaussian)] },
        ],
    }
    .svg()?;
    let mark = rank.map(|r| format!(" The upright line is at the rank that was kept, {r}.")).unwrap_or_default();
    Some(Picture {
        title: format!("{}: source matrix", init.origin.node),
        caption: format!(
            "Share of the squared singular values of the {} source in its first k directions, as it is and less its mean row, against a Gaussian matrix of the same shape.{mark}",
            init.record.source
        ),
        svg,
        legend: vec![(0, "source".into(), false), (1, "centred".into(), false), (7, "Gaussian".into(), true)],
    })
}

/// Singular values of one trained prompt.
struct Spectrum {
    column: Option<usize>,
    task: Option<usize>,
    /// k and σ(k), as far as f32 can tell from zero.
    sigma: Vec<(f64, f64)>,
}

fn spectrum(trained: &Trained, summary: &Summary) -> Option<Spectrum> {
    let svd = Svd::of(trained.prompt.as_ref()?);
    let kept = svd.numerical_rank();
    Some(Spectrum {
        column: column(trained, summary),
        task: summary.tasks.iter().position(|row| row.task == trained.task),
        sigma: svd.sigma.iter().take(kept).enumerate().map(|(k, s)| ((k + 1) as f64, *s)).collect(),
    })
}

/// Singular values of the trained prompts, a picture for each column, a colour for each task.
pub fn trained(material: &Material, summary: &Summary) -> Vec<Picture> {
    let spectra: Vec<Spectrum> = material.trainings.par_iter().filter_map(|t| spectrum(t, summary)).collect();
    summary
        .variants
        .iter()
        .enumerate()
        .filter_map(|(i, variant)| {
            let lines = |task: usize| {
                spectra
                    .iter()
                    .filter(|s| s.column == Some(i) && s.task == Some(task))
                    .map(|s| s.sigma.clone())
                    .collect::<Vec<_>>()
            };
            let series: Vec<_> = (0..summary.tasks.len())
                .map(|task| Series { colour: task, dashed: false, lines: lines(task) })
                .filter(|s| !s.lines.is_empty())
                .collect();
            let legend = series.iter().map(|s| (s.colour, summary.tasks[s.colour].task.clone(), false)).collect();
            let chart = Chart {
                x: "k".into(),
                y: "singular value σ(k)".into(),
                percent: false,
                from_zero: true,
                mark: None,
                series,
            };
            Some(Picture {
                title: format!("{}: trained prompts", variant.name),
                caption: "Singular values of the soft prompt after training, a line for each run.".into(),
                svg: chart.svg()?,
                legend,
            })
        })
        .collect()
}
