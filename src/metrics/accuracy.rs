//! Accuracy: the share of predictions that are exactly their target.

use super::metric::{Metric, ScoreRow, share};
use crate::base::diag::Diag;

/// See the module.
pub struct Accuracy;

impl Metric for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn about(&self) -> &'static str {
        "share of predictions that equal their target"
    }

    fn score(&self, rows: &[ScoreRow], _: &[&str]) -> Result<f64, Diag> {
        Ok(share(rows, |row| row.prediction == row.target))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn by_hand() {
        let score = |pairs: &[(&str, &str)]| Accuracy.score(&rows(pairs), &[]).unwrap();
        assert_eq!(score(&[("a", "a"), ("a", "b"), ("b ", "b"), ("b", "b")]), 0.5);
        assert_eq!(score(&[("", "a")]), 0.0);
    }
}
