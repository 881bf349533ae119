//! Numbers and cells as text: scores in percent with one decimal, counts with thin spaces, a true minus sign.

use super::stats::Sample;
use super::table::{CellValue, Column};

/// Shown where a value should be.
pub const MISSING: &str = "missing";

/// Shown where there is no such value.
pub const ABSENT: &str = "–";

/// Returns a cell as text with typographic characters, not escaped. Marks have no text.
pub fn cell(column: &Column, value: &CellValue) -> String {
    let text = match value {
        CellValue::Text(text) | CellValue::Code(text) => text.clone(),
        CellValue::Percent(fraction) => percent(*fraction),
        CellValue::MeanSd(sample) => mean_sd(sample),
        CellValue::Count(n) => count(*n),
        CellValue::Integer(n) => n.to_string(),
        CellValue::SampleSize(n) => n.to_string(),
        CellValue::Figure(number) => figure(*number),
        CellValue::Range(least, most) => range(*least, *most),
        CellValue::Absent => return ABSENT.into(),
        CellValue::Missing => return MISSING.into(),
        CellValue::Marks(_) | CellValue::Blank => return String::new(),
    };
    match column.unit.filter(|_| column.unit_in_cells) {
        Some(unit) => format!("{text} {unit}"),
        None => text,
    }
}

/// Returns one count, or least and most: `4 to 10`.
pub fn range(least: u64, most: u64) -> String {
    if least == most { count(least) } else { format!("{} to {}", count(least), count(most)) }
}

/// `0.8731` as `87.3`.
pub fn percent(fraction: f64) -> String {
    let tenths = (fraction * 1000.0).round() / 10.0;
    format!("{:.1}", if tenths == 0.0 { 0.0 } else { tenths }).replace('-', "−")
}

/// `87.3 ± 0.4`, or `87.3` for a single value.
pub fn mean_sd(sample: &Sample) -> String {
    match sample.sd {
        Some(sd) => format!("{} ± {}", percent(sample.mean), percent(sd)),
        None => percent(sample.mean),
    }
}

/// `30 522` with narrow no-break spaces.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// Three significant digits, or `0`; scientific outside 0.001 to 100 000.
pub fn figure(x: f64) -> String {
    let size = x.abs();
    if size == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&size) {
        return format!("{x:.2e}").replace('-', "−");
    }
    let decimals = (2 - size.log10().floor() as i32).max(0) as usize;
    format!("{x:.decimals$}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_counts_and_figures() {
        assert_eq!((percent(0.8731), percent(1.0), percent(-0.00001)), ("87.3".into(), "100.0".into(), "0.0".into()));
        assert_eq!(percent(-0.123), "−12.3");
        assert_eq!(
            (count(7), count(1234), count(1234567)),
            ("7".into(), "1\u{202f}234".into(), "1\u{202f}234\u{202f}567".into())
        );
        assert_eq!(
            (figure(0.2635), figure(27.4321), figure(768.0), figure(0.0)),
            ("0.264".into(), "27.4".into(), "768".into(), "0".into())
        );
        assert_eq!((figure(1.5e-7), figure(-0.5)), ("1.50e−7".into(), "−0.500".into()));
        assert_eq!(mean_sd(&Sample::of(&[0.5, 0.6]).unwrap()), "55.0 ± 7.1");
        assert_eq!(mean_sd(&Sample::of(&[0.5]).unwrap()), "50.0");
    }
}
