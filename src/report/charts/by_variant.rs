//! Which variant a training belongs to, and series with a colour for each variant.

use crate::report::inputs::Trained;
use crate::report::line_chart::Series;
use crate::report::summary::Summary;

/// Returns the index of the variant of a training: that of a run which it feeds.
pub fn variant_of(trained: &Trained, summary: &Summary) -> Option<usize> {
    let run = summary.runs.iter().find(|r| {
        trained.origin.feeds(&r.origin) && r.record.task == trained.task && r.record.method == trained.method
    })?;
    summary.variants.iter().position(|v| v.name == run.variant)
}

/// Makes a series for each variant; `of` gives the line of a training.
pub fn by_variant<'a>(
    trainings: &[&'a Trained],
    summary: &Summary,
    of: impl Fn(&'a Trained) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    (0..summary.variants.len())
        .map(|colour| Series {
            colour,
            dashed: false,
            lines: trainings.iter().filter(|t| variant_of(t, summary) == Some(colour)).map(|t| of(t)).collect(),
        })
        .collect()
}
