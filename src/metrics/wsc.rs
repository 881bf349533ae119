//! WSC as writing the noun that a pronoun means (the DPT paper's protocol, after T5's): a loose match of word sets.

use std::collections::BTreeSet;

use super::metric::{Metric, ScoreRow, share};
use super::normalize;
use crate::base::diag::Diag;

const DETERMINERS: &[&str] = &[
    "a", "an", "few", "her", "his", "each", "every", "many", "much", "my", "our", "some", "that", "the", "their",
    "these", "this", "those", "which", "whose", "your",
];

/// The comparison of a written noun with the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// One's words are among the other's.
    Yes,
    /// They are not.
    No,
    /// Without determiners nothing is left of what was written.
    Empty,
}

/// Compares without case and determiners. Where exactly one side has an ASCII apostrophe (`Bob's hat`, `Bob`) there is
/// no match.
pub fn compare(written: &str, right: &str) -> Match {
    let (written, right) = (clean(written), clean(right));
    if written.is_empty() {
        return Match::Empty;
    }
    if written.contains('\'') != right.contains('\'') {
        return Match::No;
    }
    let (written, right): (BTreeSet<_>, BTreeSet<_>) = (written.split(' ').collect(), right.split(' ').collect());
    if written.is_subset(&right) || right.is_subset(&written) { Match::Yes } else { Match::No }
}

fn clean(text: &str) -> String {
    let text = text.trim_matches(normalize::is_space).to_lowercase();
    text.split(' ').filter(|word| !DETERMINERS.contains(word)).collect::<Vec<_>>().join(" ")
}

/// See the module.
pub struct WscMatch;

impl Metric for WscMatch {
    fn name(&self) -> &'static str {
        "wsc-match"
    }

    fn about(&self) -> &'static str {
        "share of written nouns that match (WSC as the DPT paper's code has it)"
    }

    fn score(&self, rows: &[ScoreRow], _: &[&str]) -> Result<f64, Diag> {
        Ok(share(rows, |row| compare(row.prediction, row.target) == Match::Yes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(compare("The trophy", "trophy"), Match::Yes);
        assert_eq!(compare("bunny", "the fuzzy bunny"), Match::Yes);
        assert_eq!(compare("the dog", "cat"), Match::No);
        assert_eq!(compare("Bob", "Bob's hat"), Match::No);
        assert_eq!(compare("which", "this"), Match::Empty);
        let score = WscMatch.score(&rows(&[("a dog", "the dog"), ("cat", "dog"), ("the", "dog"), ("x", "y")]), &[]);
        assert_eq!(score.unwrap(), 0.25);
    }
}
