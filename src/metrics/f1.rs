//! Binary F1 of the last class (`true`, `1`): over all answers of MultiRC this is its F1a.

use super::metric::{Metric, ScoreRow, f1_of};
use crate::base::diag::{Class, Diag};

/// See the module. A prediction that is no class counts as the wrong one of the two: a false alarm where the target is
/// the first class, a miss where it is the second.
pub struct F1;

impl Metric for F1 {
    fn name(&self) -> &'static str {
        "f1"
    }

    fn about(&self) -> &'static str {
        "F1 of the second of two classes (MultiRC: F1a)"
    }

    fn score(&self, rows: &[ScoreRow], classes: &[&str]) -> Result<f64, Diag> {
        let [negative, positive] = classes else {
            let message = format!("`f1` needs two classes, there are {}", classes.len());
            return Err(Diag::error(Class::Usage, message));
        };
        let (mut hits, mut alarms, mut misses) = (0, 0, 0);
        for row in rows {
            let wanted = row.target == *positive;
            let said =
                if [*negative, *positive].contains(&row.prediction) { row.prediction == *positive } else { !wanted };
            match (said, wanted) {
                (true, true) => hits += 1,
                (true, false) => alarms += 1,
                (false, true) => misses += 1,
                (false, false) => {}
            }
        }
        Ok(f1_of(hits, alarms, misses))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn by_hand() {
        let score = |pairs: &[(&str, &str)]| F1.score(&rows(pairs), &["0", "1"]).unwrap();
        assert_eq!(score(&[("1", "1"), ("1", "0"), ("0", "1"), ("0", "0")]), 0.5);
        assert_eq!(score(&[("0", "0")]), 0.0, "nothing to find");
        assert_eq!(score(&[("1", "1"), ("x", "1"), ("x", "0")]), 0.5, "an invalid one is wrong either way");
        assert!(F1.score(&rows(&[("a", "a")]), &["a", "b", "c"]).is_err());
    }
}
