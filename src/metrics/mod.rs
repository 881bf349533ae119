//! L2: the metrics. To add one: its file, its `mod` line, its row in [`METRICS`]. A score is a fraction (correlations:
//! −1 to 1) until a report prints it. Knows no task: a task names its metrics, [`Suite`] resolves the names.

mod accuracy;
mod answers;
mod correlation;
mod f1;
mod macro_f1;
mod metric;
pub mod normalize;
mod question_em;
pub mod wsc;

use crate::base::diag::{Class, Diag};
use crate::base::suggest;

pub use metric::{Metric, ScoreRow};

/// Every metric.
pub const METRICS: &[&dyn Metric] = &[
    &accuracy::Accuracy,
    &f1::F1,
    &macro_f1::MacroF1,
    &macro_f1::MacroF1All,
    &question_em::QuestionEm,
    &answers::AnswerF1,
    &answers::AnswerEm,
    &wsc::WscMatch,
    &correlation::Matthews,
    &correlation::Pearson,
    &correlation::Spearman,
];

/// The name of the mean of several metrics.
pub const SCORE: &str = "score";

/// The metric called `name`.
pub fn find(name: &str) -> Option<&'static dyn Metric> {
    METRICS.iter().find(|metric| metric.name() == name).copied()
}

/// The metrics of a task, in the order in which they are reported. The first one counts.
pub struct Suite {
    /// `true` if [`SCORE`], the mean of all, is the first.
    mean: bool,
    metrics: Vec<&'static dyn Metric>,
}

impl Suite {
    /// From names, as a task or `tokens.json` has them: `score` may be the first and means the mean of the others.
    ///
    /// # Errors
    /// A name that no metric has; no metric at all.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self, Diag> {
        let mean = names.first().is_some_and(|name| name.as_ref() == SCORE);
        let metrics = names.iter().skip(usize::from(mean)).map(|name| {
            let name = name.as_ref();
            find(name).ok_or_else(|| {
                let diag = Diag::error(Class::Usage, format!("there is no metric `{name}`"));
                match suggest::nearest(name, METRICS.iter().map(|metric| metric.name())) {
                    Some(near) => diag.help(format!("did you mean `{near}`?")),
                    None => diag,
                }
            })
        });
        let metrics = metrics.collect::<Result<Vec<_>, _>>()?;
        if metrics.is_empty() {
            return Err(Diag::error(Class::Usage, "no metric is named"));
        }
        Ok(Self { mean, metrics })
    }

    /// The names, the one that counts first.
    pub fn names(&self) -> Vec<&'static str> {
        self.mean.then_some(SCORE).into_iter().chain(self.metrics.iter().map(|metric| metric.name())).collect()
    }

    /// The name of the one that counts.
    pub fn counting(&self) -> &'static str {
        if self.mean { SCORE } else { self.metrics[0].name() }
    }

    /// Every score by its name, as fractions, the one that counts first.
    ///
    /// # Errors
    /// No rows, or rows that one of the metrics cannot score.
    pub fn score(&self, rows: &[ScoreRow], classes: &[&str]) -> Result<Vec<(&'static str, f64)>, Diag> {
        if rows.is_empty() {
            return Err(Diag::error(Class::Stage, "there are no predictions to score"));
        }
        let scores = self.metrics.iter().map(|metric| Ok((metric.name(), metric.score(rows, classes)?)));
        let mut scores = scores.collect::<Result<Vec<_>, Diag>>()?;
        if self.mean {
            let mean = scores.iter().map(|(_, score)| score).sum::<f64>() / scores.len() as f64;
            scores.insert(0, (SCORE, mean));
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of prediction and target.
    pub fn rows<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<ScoreRow<'a>> {
        pairs.iter().map(|(prediction, target)| ScoreRow { prediction, target, ..ScoreRow::default() }).collect()
    }

    #[test]
    fn every_metric_has_a_name_of_its_own_and_a_line() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b"-1".contains(&b))));
        assert!(METRICS.iter().all(|metric| !metric.about().is_empty()) && !names.contains(&SCORE));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }

    #[test]
    fn two_metrics_count_by_their_mean() {
        let suite = Suite::new(&["score", "accuracy", "macro-f1"]).unwrap();
        assert_eq!((suite.names(), suite.counting()), (vec!["score", "accuracy", "macro-f1"], "score"));
        let scores = suite.score(&rows(&[("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")]), &["a", "b"]).unwrap();
        let (a, b) = (2.0 / 3.0, 0.8);
        assert_eq!(scores[1], ("accuracy", 0.75));
        assert!(
            (scores[2].1 - (a + b) / 2.0).abs() < 1e-12 && (scores[0].1 - (0.75 + scores[2].1) / 2.0).abs() < 1e-12
        );
        assert_eq!(Suite::new(&["accuracy"]).unwrap().counting(), "accuracy");
    }

    #[test]
    fn no_rows_and_unknown_names_are_errors() {
        assert!(Suite::new(&["accuracy"]).unwrap().score(&[], &[]).is_err());
        assert!(Suite::new::<&str>(&[]).is_err() && Suite::new(&["score"]).is_err());
        let e = Suite::new(&["acuracy"]).err().unwrap();
        assert_eq!(e.help.as_deref(), Some("did you mean `accuracy`?"));
    }
}
