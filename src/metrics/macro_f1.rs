//! Macro F1: the mean of the F1 of each class. Two definitions, which differ where a class does not occur.

use super::metric::{Metric, ScoreRow, f1_of};
use crate::base::diag::{Class, Diag};

/// As SuperGLUE scores CB: the mean over the classes that occur among targets or predictions. A prediction that is no
/// class is a miss for its target and adds no class.
pub struct MacroF1;

/// As the DPT paper's code scores CB: the mean over all classes, one that does not occur counting as 0 (so that a
/// perfect answer on two of three classes gives two thirds).
pub struct MacroF1All;

impl Metric for MacroF1 {
    fn name(&self) -> &'static str {
        "macro-f1"
    }

    fn about(&self) -> &'static str {
        "mean F1 of the classes that occur"
    }

    fn score(&self, rows: &[ScoreRow], classes: &[&str]) -> Result<f64, Diag> {
        let occurring: Vec<_> = classes
            .iter()
            .copied()
            .filter(|class| rows.iter().any(|row| row.target == *class || row.prediction == *class))
            .collect();
        mean_f1(rows, &occurring)
    }
}

impl Metric for MacroF1All {
    fn name(&self) -> &'static str {
        "macro-f1-all"
    }

    fn about(&self) -> &'static str {
        "mean F1 of all classes, 0 for one that does not occur"
    }

    fn score(&self, rows: &[ScoreRow], classes: &[&str]) -> Result<f64, Diag> {
        mean_f1(rows, classes)
    }
}

fn mean_f1(rows: &[ScoreRow], classes: &[&str]) -> Result<f64, Diag> {
    if classes.is_empty() {
        return Err(Diag::error(Class::Usage, "macro F1 needs classes, there are none"));
    }
    let of = |class: &str| {
        let count = |said: bool, wanted: bool| {
            rows.iter().filter(|row| (row.prediction == class) == said && (row.target == class) == wanted).count()
        };
        f1_of(count(true, true), count(true, false), count(false, true))
    };
    Ok(classes.iter().map(|class| of(class)).sum::<f64>() / classes.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn by_hand() {
        let classes = ["0", "1", "2"];
        let perfect_on_two = rows(&[("0", "0"), ("1", "1")]);
        assert_eq!(MacroF1.score(&perfect_on_two, &classes).unwrap(), 1.0);
        assert!((MacroF1All.score(&perfect_on_two, &classes).unwrap() - 2.0 / 3.0).abs() < 1e-12);
        let constant = rows(&[("0", "0"), ("0", "1"), ("0", "2")]);
        assert!((MacroF1.score(&constant, &classes).unwrap() - 0.5 / 3.0).abs() < 1e-12);
        let invalid = rows(&[("x", "0"), ("1", "1")]);
        assert_eq!(MacroF1.score(&invalid, &classes).unwrap(), 0.5);
        assert!(MacroF1.score(&invalid, &[]).is_err());
    }
}
