//! MultiRC's exact match: the share of questions all of whose answers are judged right.

use std::collections::BTreeMap;

use super::metric::{Metric, ScoreRow};
use crate::base::diag::{Class, Diag};

/// See the module.
pub struct QuestionEm;

impl Metric for QuestionEm {
    fn name(&self) -> &'static str {
        "question-em"
    }

    fn about(&self) -> &'static str {
        "share of questions with every answer judged right (MultiRC: EM)"
    }

    fn score(&self, rows: &[ScoreRow], _: &[&str]) -> Result<f64, Diag> {
        let mut questions: BTreeMap<&str, bool> = BTreeMap::new();
        for row in rows {
            let Some(group) = row.group else {
                return Err(Diag::error(Class::Usage, "`question-em` needs to know each answer's question")
                    .note("the split has rows without a group"));
            };
            *questions.entry(group).or_insert(true) &= row.prediction == row.target;
        }
        Ok(questions.values().filter(|right| **right).count() as f64 / questions.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn by_hand() {
        let mut rows = rows(&[("1", "1"), ("1", "1"), ("0", "0"), ("0", "1")]);
        assert!(QuestionEm.score(&rows, &[]).is_err(), "no groups");
        for (row, group) in rows.iter_mut().zip(["a", "b", "a", "b"]) {
            row.group = Some(group);
        }
        assert_eq!(QuestionEm.score(&rows, &[]).unwrap(), 0.5);
    }
}
