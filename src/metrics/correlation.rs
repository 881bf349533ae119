//! Matthews, Pearson and Spearman correlation over numbers written as text (GLUE's CoLA and STS-B, SuperGLUE's AX-b). A
//! prediction that is no number counts as −1, as in the DPT paper's code; where a correlation is undefined, because one
//! side is constant, it is 0.

use std::collections::BTreeMap;

use super::metric::{Metric, ScoreRow};
use crate::base::diag::{Class, Diag};

/// Matthews' correlation of classes; more than two are taken by the general formula.
pub struct Matthews;

/// Pearson's correlation.
pub struct Pearson;

/// Spearman's correlation: Pearson's of the ranks, equal values sharing their mean rank.
pub struct Spearman;

impl Metric for Matthews {
    fn name(&self) -> &'static str {
        "matthews"
    }

    fn about(&self) -> &'static str {
        "Matthews correlation of classes"
    }

    fn score(&self, rows: &[ScoreRow], _: &[&str]) -> Result<f64, Diag> {
        let (predictions, targets) = numbers(rows);
        if let Some(x) = predictions.iter().chain(&targets).find(|x| x.fract() != 0.0) {
            return Err(Diag::error(Class::Stage, format!("`matthews` compares whole numbers, {x} is none")));
        }
        let mut counts: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        let mut right = 0.0;
        for (p, t) in predictions.iter().zip(&targets) {
            counts.entry(*p as i64).or_default().0 += 1.0;
            counts.entry(*t as i64).or_default().1 += 1.0;
            right += f64::from(u8::from(p == t));
        }
        let n = rows.len() as f64;
        let sum = |of: fn(&(f64, f64)) -> f64| counts.values().map(of).sum::<f64>();
        let covariance = right * n - sum(|(p, t)| p * t);
        let spread = (n * n - sum(|(p, _)| p * p)) * (n * n - sum(|(_, t)| t * t));
        Ok(if spread > 0.0 { covariance / spread.sqrt() } else { 0.0 })
    }
}

impl Metric for Pearson {
    fn name(&self) -> &'static str {
        "pearson"
    }

    fn about(&self) -> &'static str {
        "Pearson correlation of numbers"
    }

    fn score(&self, rows: &[ScoreRow], _: &[&str]) -> Result<f64, Diag> {
        let (predictions, targets) = numbers(rows);
        pearson(&predictions, &targets)
    }
}

impl Metric for Spearman {
    fn name(&self) -> &'static str {
        "spearman"
    }

    fn about(&self) -> &'static str {
        "Spearman correlation of numbers"
    }

    fn score(&self, rows: &[ScoreRow], _: &[&str]) -> Result<f64, Diag> {
        let (predictions, targets) = numbers(rows);
        pearson(&ranks(&predictions), &ranks(&targets))
    }
}

fn numbers(rows: &[ScoreRow]) -> (Vec<f64>, Vec<f64>) {
    (rows.iter().map(|row| number(row.prediction)).collect(), rows.iter().map(|row| number(row.target)).collect())
}

/// Python's `float()`, −1 where that fails.
fn number(text: &str) -> f64 {
    let text = text.trim_matches(super::normalize::is_space);
    let digits_around = |at: usize| {
        let digit = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_digit());
        digit(at.checked_sub(1).map(|i| text.as_bytes()[i])) && digit(text.as_bytes().get(at + 1).copied())
    };
    if text.match_indices('_').any(|(at, _)| !digits_around(at)) {
        return -1.0;
    }
    text.replace('_', "").parse().unwrap_or(-1.0)
}

fn pearson(x: &[f64], y: &[f64]) -> Result<f64, Diag> {
    if x.len() < 2 {
        return Err(Diag::error(Class::Stage, "a correlation needs two rows or more"));
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        xy += (a - mx) * (b - my);
        xx += (a - mx) * (a - mx);
        yy += (b - my) * (b - my);
    }
    let r = xy / (xx.sqrt() * yy.sqrt());
    Ok(if r.is_nan() { 0.0 } else { r.clamp(-1.0, 1.0) })
}

/// Ranks from 1, equal values sharing the mean of theirs.
fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*a].total_cmp(&x[*b]));
    let mut ranks = vec![0.0; x.len()];
    for run in order.chunk_by(|a, b| x[*a] == x[*b]) {
        let before = order.iter().position(|i| *i == run[0]).expect("a run is a part of the order");
        let rank = before as f64 + (run.len() as f64 + 1.0) / 2.0;
        run.iter().for_each(|i| ranks[*i] = rank);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn by_hand() {
        let score = |m: &dyn Metric, pairs: &[(&str, &str)]| {
            let r = m.score(&rows(pairs), &[]).unwrap();
            (r * 1e9).round() / 1e9
        };
        assert_eq!(score(&Matthews, &[("1", "1"), ("0", "0"), ("1", "0"), ("0", "1")]), 0.0);
        assert_eq!(score(&Matthews, &[("1", "1"), ("0.0", " 0 ")]), 1.0);
        assert_eq!(score(&Matthews, &[("1", "1"), ("1", "1")]), 0.0, "constant");
        assert_eq!(score(&Pearson, &[("1", "2"), ("2", "4"), ("3", "6")]), 1.0);
        assert_eq!(score(&Pearson, &[("x", "2"), ("", "4")]), 0.0, "all −1");
        assert_eq!(score(&Spearman, &[("1", "1"), ("10", "2"), ("100", "3")]), 1.0);
        assert!(Pearson.score(&rows(&[("1", "1")]), &[]).is_err());
        assert!(Matthews.score(&rows(&[("1.5", "1")]), &[]).is_err());
    }

    #[test]
    fn numbers_as_python_reads_them() {
        for (text, value) in [(" 2e0 ", 2.0), ("+3", 3.0), (".5", 0.5), ("5.", 5.0), ("1_000", 1000.0)] {
            assert_eq!(number(text), value, "{text}");
        }
        for text in ["", "1.0.0", "_1", "1__0", "0 1", "one"] {
            assert_eq!(number(text), -1.0, "{text}");
        }
    }

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }
}
