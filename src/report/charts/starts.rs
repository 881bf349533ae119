//! Energy of the matrices that trainings started from.

use crate::report::inputs::{Initialised, Inputs};
use crate::report::line_chart::{LineChart, Series};
use crate::report::picture::{ChartKind, LegendItem, Picture};
use crate::report::section::PROMPTS;
use crate::report::summary::Summary;

/// Its row in the registry.
pub const KIND: ChartKind =
    ChartKind { id: "starts", section: PROMPTS, after: "starts", variants_legend: false, note: "", make };

/// At most this many pictures of starts: those of other seeds look alike.
const STARTS: usize = 4;

fn make(inputs: &Inputs, _: &Summary) -> Vec<Picture> {
    let mut pictures: Vec<_> = inputs.inits.iter().take(STARTS).filter_map(start).collect();
    if let (Some(last), true) = (pictures.last_mut(), inputs.inits.len() > STARTS) {
        last.caption.push_str(&format!(" {} more are in the table alone.", inputs.inits.len() - STARTS));
    }
    pictures
}

fn start(init: &Initialised) -> Option<Picture> {
    let line = |energy: &[f64]| energy.iter().enumerate().map(|(k, e)| ((k + 1) as f64, *e)).collect::<Vec<_>>();
    let rank = init.record.figures.as_ref().map(|f| f.rank as f64);
    let svg = LineChart {
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
        row: String::new(),
        title: format!("{}: source matrix", init.origin.node),
        caption: format!(
            "Share of the squared singular values of the {} source in its first k directions, as it is and less its mean row, against a Gaussian matrix of the same shape.{mark}",
            init.record.source
        ),
        svg,
        legend: vec![legend(0, "source"), legend(1, "centred"), LegendItem { dashed: true, ..legend(7, "Gaussian") }],
    })
}

fn legend(colour: usize, name: &str) -> LegendItem {
    LegendItem { colour, name: name.into(), dashed: false }
}
