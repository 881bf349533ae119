//! [`LineChart`]: lines over an axis, as SVG text inside a page: no size beyond a view box, no fonts but the page's.
//! Ink and grid have one fixed colour each ([`INK`], [`GRID`]). The page's style sheet replaces both, so that pictures
//! follow a dark page. Series have the colours of [`COLOURS`], in order; the page draws the legend.

use plotters::coord::Shift;
use plotters::prelude::*;

/// Text and axes.
pub const INK: RGBColor = RGBColor(51, 51, 51);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(221, 221, 221);

/// Colours of series, distinct on white and on black, and to most colour-blind readers.
pub const COLOURS: [RGBColor; 8] = [
    RGBColor(0x3b, 0x7d, 0xc4),
    RGBColor(0xd9, 0x6b, 0x27),
    RGBColor(0x2f, 0x9e, 0x77),
    RGBColor(0xb4, 0x57, 0xa8),
    RGBColor(0xc8, 0x9b, 0x1e),
    RGBColor(0x58, 0xa9, 0xd6),
    RGBColor(0xc9, 0x4f, 0x5d),
    RGBColor(0x84, 0x88, 0x8f),
];

/// Width and height of the view box.
const SIZE: (u32, u32) = (460, 280);
/// Size of tick labels and axis names, in units of the view box.
const TEXT: i32 = 13;
/// A line has at most this many points: more cannot be seen.
const POINTS: usize = 160;

/// Some lines of one colour: the runs of one column.
#[derive(Clone, Debug)]
pub struct Series {
    /// Index into [`COLOURS`] (wrapping).
    pub colour: usize,
    /// Drawn with dashes: a reference, not a result.
    pub dashed: bool,
    /// Points of each line, by x.
    pub lines: Vec<Vec<(f64, f64)>>,
}

/// A chart of lines.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// Name of the x axis.
    pub x: String,
    /// Name of the y axis.
    pub y: String,
    /// The y axis is in percent of 1.
    pub percent: bool,
    /// The y axis begins at 0.
    pub from_zero: bool,
    /// A dashed upright line at this x.
    pub mark: Option<f64>,
    /// The lines.
    pub series: Vec<Series>,
}

impl LineChart {
    /// Returns the chart as SVG text, or `None` if it has no finite point.
    pub fn svg(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|s| s.lines.iter().flatten()).filter(is_finite);
        let (x, y) = (range(points().map(|p| p.0))?, range(points().map(|p| p.1))?);
        let x = (x.0, if x.1 > x.0 { x.1 } else { x.0 + 1.0 });
        let y = self.padded(y);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            // A string takes any drawing; only files can fail.
            self.draw(&area, x, y).expect("drawing into a string");
            area.present().expect("drawing into a string");
        }
        Some(inline(&svg, &format!("{} by {}", self.y, self.x)))
    }

    fn padded(&self, (low, high): (f64, f64)) -> (f64, f64) {
        let room = if high > low { (high - low) * 0.06 } else { high.abs().max(1.0) * 0.1 };
        let low = if self.from_zero { 0.0f64.min(low) } else { low - room };
        let high = high + room;
        if self.percent { (low.max(0.0), high.min(1.04)) } else { (low, high) }
    }

    fn draw(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        x: (f64, f64),
        y: (f64, f64),
    ) -> Result<(), Box<dyn std::error::Error + '_>> {
        let text = ("sans-serif", TEXT).into_font().color(&INK);
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(40)
            .y_label_area_size(54)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)
            .map_err(|e| e.to_string())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(1))
            .axis_style(INK.stroke_width(1))
            .label_style(text.clone())
            .axis_desc_style(text)
            .x_desc(self.x.clone())
            .y_desc(self.y.clone())
            .x_labels(6)
            .y_labels(5)
            .x_label_formatter(&|v| tick(*v))
            .y_label_formatter(&|v| if self.percent { tick(v * 100.0) } else { tick(*v) })
            .draw()
            .map_err(|e| e.to_string())?;
        if let Some(at) = self.mark.filter(|at| (x.0..=x.1).contains(at)) {
            chart
                .draw_series(DashedLineSeries::new([(at, y.0), (at, y.1)], 3, 3, INK.stroke_width(1)))
                .map_err(|e| e.to_string())?;
        }
        for series in &self.series {
            let colour = COLOURS[series.colour % COLOURS.len()];
            for line in &series.lines {
                let line = thinned(line);
                let style = colour.stroke_width(2);
                if series.dashed {
                    chart.draw_series(DashedLineSeries::new(line, 6, 4, style)).map_err(|e| e.to_string())?;
                } else if line.len() == 1 {
                    let dot = Circle::new(line[0], 3, colour.filled());
                    chart.draw_series([dot]).map_err(|e| e.to_string())?;
                } else {
                    chart.draw_series(LineSeries::new(line, style)).map_err(|e| e.to_string())?;
                }
            }
        }
        Ok(())
    }
}

fn is_finite(p: &&(f64, f64)) -> bool {
    p.0.is_finite() && p.1.is_finite()
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, v| {
        let (low, high) = range.unwrap_or((v, v));
        Some((low.min(v), high.max(v)))
    })
}

/// At most [`POINTS`] points: the means of as many equal stretches. Points that are not finite are left out.
fn thinned(line: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let line: Vec<_> = line.iter().filter(is_finite).copied().collect();
    if line.len() <= POINTS {
        return line;
    }
    (0..POINTS)
        .map(|i| {
            let part = &line[i * line.len() / POINTS..(i + 1) * line.len() / POINTS];
            let n = part.len() as f64;
            (part.iter().map(|p| p.0).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
        })
        .collect()
}

/// A tick's label: no more digits than it has, thousands as `k`.
fn tick(v: f64) -> String {
    let text = if v.abs() >= 10_000.0 && v % 100.0 == 0.0 {
        format!("{}k", v / 1000.0)
    } else {
        let text = format!("{v:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if text == "-0" { "0".into() } else { text.replace('-', "−") }
}

/// The drawing without its fixed size, named for those who cannot see it.
fn inline(svg: &str, name: &str) -> String {
    let body = svg.find("<svg").and_then(|start| svg[start..].find('>').map(|end| &svg[start + end + 1..]));
    let (width, height) = SIZE;
    let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let body = body.unwrap_or_default().trim_end();
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{name}\">{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: Vec<Vec<(f64, f64)>>) -> LineChart {
        LineChart {
            x: "step".into(),
            y: "loss".into(),
            percent: false,
            from_zero: false,
            mark: Some(1.0),
            series: vec![Series { colour: 9, dashed: false, lines }],
        }
    }

    #[test]
    fn same_points_same_bytes_and_no_fixed_size() {
        let line = vec![(0.0, 3.0), (1.0, 2.0), (2.0, 1.5)];
        let svg = chart(vec![line.clone()]).svg().unwrap();
        assert_eq!(svg, chart(vec![line]).svg().unwrap());
        assert!(svg.starts_with("<svg viewBox=\"0 0 460 280\"") && svg.ends_with("</svg>"));
        assert!(svg.contains("#D96B27"), "the second colour, ten being more than there are");
        assert!(svg.contains(">step<") || svg.contains("step\n"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_and_odd_points() {
        assert_eq!(chart(vec![]).svg(), None);
        assert_eq!(chart(vec![vec![(0.0, f64::NAN)]]).svg(), None);
        assert!(chart(vec![vec![(5.0, 1.0)]]).svg().is_some(), "one point");
        assert!(chart(vec![vec![(0.0, 1.0), (1.0, f64::INFINITY), (2.0, 1.0)]]).svg().is_some(), "a flat line");
    }

    #[test]
    fn long_lines_are_thinned_by_their_means() {
        let line: Vec<_> = (0..1600).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let thin = thinned(&line);
        assert_eq!(thin.len(), POINTS);
        assert!(thin.iter().all(|p| p.1 == 0.5) && thin[0].0 == 4.5);
    }

    #[test]
    fn ticks() {
        assert_eq!([0.0, -0.5, 20_000.0, 0.1 + 0.2].map(tick), ["0", "−0.5", "20k", "0.3"]);
    }
}
