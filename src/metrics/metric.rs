//! [`Metric`], the rows that it scores, and arithmetic that several metrics share.

use crate::base::diag::Diag;

/// One prediction beside what it should have been. Classes are compared by their texts: give as `prediction` the text
/// that was generated (`Tokenizer::decode_clean`), or the text of the class that was chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScoreRow<'a> {
    /// The text of the model.
    pub prediction: &'a str,
    /// The right text.
    pub target: &'a str,
    /// All right answers, where targets are free text.
    pub answers: &'a [String],
    /// The group of rows that are scored together. Rows of a group need not be neighbours.
    pub group: Option<&'a str>,
}

/// A way of scoring a split.
pub trait Metric: Sync {
    /// As in a pipeline and in `eval.json`: kebab-case.
    fn name(&self) -> &'static str;

    /// One line for help texts.
    fn about(&self) -> &'static str;

    /// The score of `rows` (at least one), as a fraction. `classes` are the target texts of the classes, in class
    /// order.
    ///
    /// # Errors
    /// Rows that this metric cannot score: too few, no answers, no groups, not numbers.
    fn score(&self, rows: &[ScoreRow], classes: &[&str]) -> Result<f64, Diag>;
}

/// The share of rows for which `right` holds.
pub(super) fn share(rows: &[ScoreRow], right: impl Fn(&ScoreRow) -> bool) -> f64 {
    rows.iter().filter(|row| right(row)).count() as f64 / rows.len() as f64
}

/// 2·TP / (2·TP + FP + FN); 0 where there is nothing to find and nothing was found.
pub(super) fn f1_of(true_positives: usize, false_positives: usize, false_negatives: usize) -> f64 {
    let wrong = false_positives + false_negatives;
    if true_positives == 0 { 0.0 } else { 2.0 * true_positives as f64 / (2 * true_positives + wrong) as f64 }
}
