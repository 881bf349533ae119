//! From answers to scores: the text of a prediction, the metrics of one kind of answer, and the baselines that need no
//! model. Knows no libtorch.

use std::collections::BTreeMap;

use crate::base::diag::Diag;
use crate::data::encoded::{Encoded, Tokens};
use crate::metrics::{SCORE, ScoreRow, Suite};
use crate::report::records::{Constant, Modal, Scored};

/// A split, and everything to score answers to it.
pub(super) struct Scorer<'a> {
    pub examples: &'a [Encoded],
    tokens: &'a Tokens,
    suite: Suite,
    /// Target ids of the classes; empty where rows have their own candidates or targets are free text.
    classes: Vec<Vec<i32>>,
}

impl<'a> Scorer<'a> {
    pub fn new(examples: &'a [Encoded], tokens: &'a Tokens) -> Result<Self, Diag> {
        let classes = tokens.verbalizer.iter().map(|class| class.ids.clone()).collect();
        Ok(Self { examples, tokens, suite: Suite::new(&tokens.metrics)?, classes })
    }

    /// Returns `true` if every row has a right answer.
    pub fn labelled(&self) -> bool {
        self.examples.iter().all(|e| !e.target_ids.is_empty() || e.label.is_some() || e.answers.is_some())
    }

    /// The candidates of row `i` as ids; none for free text.
    pub fn candidates(&self, i: usize) -> &[Vec<i32>] {
        self.examples[i].choices.as_deref().unwrap_or(&self.classes)
    }

    /// Returns `true` if any row has candidates.
    pub fn has_candidates(&self) -> bool {
        (0..self.examples.len()).any(|i| !self.candidates(i).is_empty())
    }

    /// The text of candidate `index` of row `i`, in the form of targets.
    pub fn text(&self, i: usize, index: usize) -> &str {
        match &self.examples[i].choice_texts {
            Some(texts) => texts.get(index).map_or("", String::as_str),
            None => self.tokens.verbalizer.get(index).map_or("", |class| class.text.as_str()),
        }
    }

    /// The candidate that generated text names: the one whose ids `decode` to that text.
    pub fn named(&self, i: usize, generated: &str, decode: impl Fn(&[i32]) -> String) -> Option<usize> {
        match &self.examples[i].choices {
            Some(choices) => choices.iter().position(|ids| decode(ids) == generated),
            None => self.tokens.verbalizer.iter().position(|class| class.decoded == generated),
        }
    }

    /// The names of the metrics that make up the score.
    pub fn counts(&self) -> Vec<String> {
        let names = self.suite.names();
        match names.split_first() {
            Some((&SCORE, rest)) => rest.iter().map(|n| (*n).to_owned()).collect(),
            _ => names.first().map(|n| (*n).to_owned()).into_iter().collect(),
        }
    }

    /// Scores one text a row.
    pub fn score(&self, texts: &[&str]) -> Result<Scored, Diag> {
        let rows: Vec<_> = self
            .examples
            .iter()
            .zip(texts)
            .map(|(example, prediction)| ScoreRow {
                prediction,
                target: &example.target,
                answers: example.answers.as_deref().unwrap_or_default(),
                group: example.group.as_deref(),
            })
            .collect();
        let classes: Vec<_> = self.tokens.verbalizer.iter().map(|class| class.text.as_str()).collect();
        let scores = self.suite.score(&rows, &classes)?;
        Ok(Scored {
            score: scores[0].1,
            metrics: scores.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        })
    }

    /// The best score of a constant answer, the first of equals; `None` if there are no classes.
    pub fn constant(&self) -> Result<Option<Constant>, Diag> {
        let mut best: Option<Constant> = None;
        for class in &self.tokens.verbalizer {
            let Scored { score, metrics } = self.score(&vec![class.text.as_str(); self.examples.len()])?;
            if best.as_ref().is_none_or(|b| score > b.score) {
                best = Some(Constant { answer: class.text.clone(), score, metrics });
            }
        }
        Ok(best)
    }
}

/// The most frequent of `texts` (the first in order of text, of equals) and its share.
pub(super) fn modal(texts: &[&str]) -> Modal {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0);
    let answer = counts.iter().find(|(_, n)| **n == most).map_or("", |(text, _)| text);
    Modal { answer: answer.to_owned(), share: most as f64 / texts.len().max(1) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::encoded::ClassTokens;

    fn class(label: &str, ids: &[i32]) -> ClassTokens {
        ClassTokens { label: label.into(), text: label.into(), ids: ids.into(), decoded: format!("{label}.") }
    }

    pub fn tokens(metrics: &[&str]) -> Tokens {
        Tokens {
            task: "rte".into(),
            template: "plain".into(),
            verbalizer: vec![class("yes", &[5, 1]), class("no", &[6, 1])],
            metrics: metrics.iter().map(|m| (*m).to_owned()).collect(),
            metric_mode: "official".into(),
            vocab_size: 10,
            pad_id: 0,
            eos_id: 1,
            max_source_length: 16,
            max_target_length: 4,
            splits: BTreeMap::new(),
            tokenizer_digest: String::new(),
        }
    }

    fn rows(labels: &[&str]) -> Vec<Encoded> {
        let row = |(i, label): (usize, &&str)| Encoded {
            example_id: i.to_string(),
            target: (*label).into(),
            label: Some(i32::from(*label == "no")),
            target_ids: vec![5, 1],
            ..Encoded::default()
        };
        labels.iter().enumerate().map(row).collect()
    }

    #[test]
    fn the_best_constant_answer_by_hand() {
        let (examples, tokens) = (rows(&["yes", "yes", "no"]), tokens(&["accuracy"]));
        let constant = Scorer::new(&examples, &tokens).unwrap().constant().unwrap().unwrap();
        assert_eq!((constant.answer.as_str(), constant.score), ("yes", 2.0 / 3.0));
    }

    #[test]
    fn a_mean_of_metrics_is_told_by_its_parts() {
        let (examples, tokens) = (rows(&["yes", "no"]), tokens(&["score", "accuracy", "macro-f1"]));
        let scorer = Scorer::new(&examples, &tokens).unwrap();
        assert_eq!(scorer.counts(), ["accuracy", "macro-f1"]);
        let scored = scorer.score(&["yes", "yes"]).unwrap();
        assert_eq!(scored.metrics["accuracy"], 0.5);
        assert_eq!(scored.score, (scored.metrics["accuracy"] + scored.metrics["macro-f1"]) / 2.0);
    }

    #[test]
    fn generated_text_is_compared_as_decoded() {
        let (mut examples, tokens) = (rows(&["yes", "no"]), tokens(&["accuracy"]));
        examples[1].choices = Some(vec![vec![7, 1], vec![8, 1]]);
        examples[1].choice_texts = Some(vec!["Bob".into(), "Zoë".into()]);
        let scorer = Scorer::new(&examples, &tokens).unwrap();
        let decode = |ids: &[i32]| format!("<{}>", ids[0]);
        assert_eq!(scorer.named(0, "no.", decode), Some(1));
        assert_eq!(scorer.named(0, "no", decode), None);
        assert_eq!(scorer.named(1, "<8>", decode), Some(1));
        assert_eq!((scorer.text(0, 1), scorer.text(1, 1)), ("no", "Zoë"));
        assert_eq!(scorer.candidates(1).len(), 2);
    }

    #[test]
    fn the_most_frequent_answer() {
        assert_eq!(modal(&["b", "a", "b", "c"]), Modal { answer: "b".into(), share: 0.5 });
        assert_eq!(modal(&["b", "a"]).answer, "a");
    }
}
