//! Exact match and word F1 of a free-text answer (SQuAD's metrics, ReCoRD's EM and F1): each the best over the right
//! answers, for itself, after [`super::normalize::squad`].

use std::collections::HashMap;

use super::metric::{Metric, ScoreRow};
use super::normalize;
use crate::base::diag::{Class, Diag};

/// The share of predictions that equal one of their answers.
pub struct AnswerEm;

/// The mean F1 of the words shared with the best answer. Two texts of which normalisation leaves nothing have F1 0.
pub struct AnswerF1;

impl Metric for AnswerEm {
    fn name(&self) -> &'static str {
        "answer-em"
    }

    fn about(&self) -> &'static str {
        "share of texts that equal a right answer (ReCoRD: EM)"
    }

    fn score(&self, rows: &[ScoreRow], _: &[&str]) -> Result<f64, Diag> {
        mean_of_best(rows, |prediction, answer| f64::from(u8::from(prediction == answer)))
    }
}

impl Metric for AnswerF1 {
    fn name(&self) -> &'static str {
        "answer-f1"
    }

    fn about(&self) -> &'static str {
        "F1 of the words shared with the best right answer (ReCoRD: F1)"
    }

    fn score(&self, rows: &[ScoreRow], _: &[&str]) -> Result<f64, Diag> {
        mean_of_best(rows, word_f1)
    }
}

fn mean_of_best(rows: &[ScoreRow], of: impl Fn(&str, &str) -> f64) -> Result<f64, Diag> {
    let mut sum = 0.0;
    for row in rows {
        let prediction = normalize::squad(row.prediction);
        let scores = row.answers.iter().map(|answer| of(&prediction, &normalize::squad(answer)));
        sum += scores.reduce(f64::max).ok_or_else(|| {
            Diag::error(Class::Stage, "a row has no right answer to compare with")
                .note(format!("its prediction is {:?}", row.prediction))
        })?;
    }
    Ok(sum / rows.len() as f64)
}

fn word_f1(prediction: &str, answer: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    let (mut said, mut wanted, mut shared) = (0usize, 0usize, 0usize);
    for word in normalize::words(answer) {
        *left.entry(word).or_default() += 1;
        wanted += 1;
    }
    for word in normalize::words(prediction) {
        said += 1;
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    super::metric::f1_of(shared, said - shared, wanted - shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let answers = ["the big dog".to_owned(), "a cat".to_owned()];
        let row = |prediction| [ScoreRow { prediction, answers: &answers, ..ScoreRow::default() }];
        assert_eq!(AnswerEm.score(&row("Cat."), &[]).unwrap(), 1.0);
        assert_eq!(AnswerEm.score(&row("dog"), &[]).unwrap(), 0.0);
        assert!((AnswerF1.score(&row("dog"), &[]).unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert!((AnswerF1.score(&row("dog dog"), &[]).unwrap() - 0.5).abs() < 1e-12, "a word counts once");
        assert!(AnswerF1.score(&[ScoreRow::default()], &[]).is_err());
    }

    #[test]
    fn nothing_left_on_both_sides_matches_but_shares_nothing() {
        let answers = ["the".to_owned()];
        let row = [ScoreRow { prediction: "a", answers: &answers, ..ScoreRow::default() }];
        assert_eq!(AnswerEm.score(&row, &[]).unwrap(), 1.0);
        assert_eq!(AnswerF1.score(&row, &[]).unwrap(), 0.0);
    }
}
