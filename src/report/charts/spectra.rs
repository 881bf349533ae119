//! Singular values of the trained prompts: a picture for each variant, a colour for each task.

use rayon::prelude::*;

use super::by_variant::variant_of;
use crate::report::inputs::{Inputs, Trained};
use crate::report::line_chart::{LineChart, Series};
use crate::report::picture::{ChartKind, LegendItem, Picture};
use crate::report::section::PROMPTS;
use crate::report::summary::Summary;
use crate::svd::decompose::Svd;

/// Its row in the registry.
pub const KIND: ChartKind =
    ChartKind { id: "spectra", section: PROMPTS, after: "starts", variants_legend: false, note: "", make };

/// Singular values of one trained prompt.
struct Spectrum {
    variant: Option<usize>,
    task: Option<usize>,
    /// k and σ(k), as far as f32 can tell from zero.
    sigma: Vec<(f64, f64)>,
}

/// `None` for a method without a single prompt.
fn spectrum(trained: &Trained, summary: &Summary) -> Option<Spectrum> {
    let svd = Svd::of(trained.prompt.as_ref()?);
    let kept = svd.numerical_rank();
    Some(Spectrum {
        variant: variant_of(trained, summary),
        task: summary.tasks.iter().position(|row| row.task == trained.task),
        sigma: svd.sigma.iter().take(kept).enumerate().map(|(k, s)| ((k + 1) as f64, *s)).collect(),
    })
}

fn make(inputs: &Inputs, summary: &Summary) -> Vec<Picture> {
    let spectra: Vec<Spectrum> = inputs.trainings.par_iter().filter_map(|t| spectrum(t, summary)).collect();
    summary
        .variants
        .iter()
        .enumerate()
        .filter_map(|(i, variant)| {
            let lines = |task: usize| {
                spectra
                    .iter()
                    .filter(|s| s.variant == Some(i) && s.task == Some(task))
                    .map(|s| s.sigma.clone())
                    .collect::<Vec<_>>()
            };
            let series: Vec<_> = (0..summary.tasks.len())
                .map(|task| Series { colour: task, dashed: false, lines: lines(task) })
                .filter(|s| !s.lines.is_empty())
                .collect();
            let legend = series
                .iter()
                .map(|s| LegendItem { colour: s.colour, name: summary.tasks[s.colour].task.clone(), dashed: false })
                .collect();
            let chart = LineChart {
                x: "k".into(),
                y: "singular value σ(k)".into(),
                percent: false,
                from_zero: true,
                mark: None,
                series,
            };
            Some(Picture {
                row: String::new(),
                title: format!("{}: trained prompts", variant.name),
                caption: "Singular values of the soft prompt after training, a line for each run.".into(),
                svg: chart.svg()?,
                legend,
            })
        })
        .collect()
}
