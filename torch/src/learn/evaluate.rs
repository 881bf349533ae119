//! Scoring a prompt: by the log-likelihood of each candidate answer, or by greedy decoding.

use tch::{Kind, Tensor};

use crate::base::diag::{Class, Diag};
use crate::base::draw::Draws;
use crate::data::encoded::{Encoded, Tokens};
use crate::metrics::{ScoreRow, Suite};
use crate::model::t5::{IGNORED, Memory, T5};
use crate::prompt::Folded;

use super::batch::{by_length, collate, pad};
use super::selection::{Evaluator, Score};

/// Scores prompts on a split while they are trained. If the task has classes, or a row its own candidates, the answer
/// is the candidate of the greatest log-likelihood, scored by the task's metrics. Free text is decoded greedily and
/// scored by [`EXACT`].
pub struct SplitEvaluator<'a> {
    split: String,
    examples: Vec<Encoded>,
    tokens: &'a Tokens,
    suite: Suite,
    /// The classes' target ids; empty where rows have their own candidates or targets are free text.
    classes: Vec<Vec<i32>>,
    batches: Vec<Vec<usize>>,
}

/// The metric of free text: the share of rows whose decoded ids equal the target's.
pub const EXACT: &str = "exact-match";

impl<'a> SplitEvaluator<'a> {
    /// Scores on about `limit` of the `examples` of `split` (0: all). The draw does not depend on the run, and keeps
    /// groups of examples that are scored together.
    ///
    /// # Errors
    /// A split that is empty or has no targets; unknown metrics.
    pub fn new(
        split: &str,
        examples: Vec<Encoded>,
        tokens: &'a Tokens,
        limit: usize,
        batch_size: usize,
    ) -> Result<Self, Diag> {
        if examples.is_empty() {
            return Err(Diag::error(
                Class::Stage,
                format!("there is nothing to score on: the split `{split}` is empty"),
            ));
        }
        if let Some(example) = examples.iter().find(|e| e.target_ids.is_empty()) {
            let message = format!("example `{}` of split `{split}` has no target to score against", example.example_id);
            return Err(Diag::error(Class::Stage, message));
        }
        let examples = draw(examples, limit);
        let batches = by_length(&examples, batch_size);
        Ok(Self {
            split: split.to_owned(),
            examples,
            tokens,
            suite: Suite::new(&tokens.metrics)?,
            classes: tokens.verbalizer.iter().map(|class| class.ids.clone()).collect(),
            batches,
        })
    }

    /// The number of examples that are scored.
    pub fn examples(&self) -> usize {
        self.examples.len()
    }

    /// How many tokens the longest text has.
    pub fn longest(&self) -> usize {
        self.examples.iter().map(|example| example.input_ids.len()).max().unwrap_or(0)
    }

    /// The candidates of a row; none for free text.
    fn candidates<'e>(&'e self, example: &'e Encoded) -> &'e [Vec<i32>] {
        example.choices.as_deref().unwrap_or(&self.classes)
    }

    /// The text of candidate `index` of a row.
    fn text<'e>(&'e self, example: &'e Encoded, index: usize) -> &'e str {
        match &example.choice_texts {
            Some(texts) => texts.get(index).map_or("", String::as_str),
            None => self.tokens.verbalizer.get(index).map_or("", |class| &class.text),
        }
    }

    /// The text chosen for each example; `None` for free text that is not the target.
    fn predict(&self, t5: &T5, adapter: &Folded) -> Vec<Option<&str>> {
        let mut predictions = vec![None; self.examples.len()];
        for indices in &self.batches {
            let examples: Vec<_> = indices.iter().map(|&i| &self.examples[i]).collect();
            let batch = collate(&examples, self.tokens.pad_id).to_device(t5.device());
            let (states, mask) = adapter.encode(t5, &batch.input_ids, &batch.mask);
            let memory = t5.memory(&states, &mask);
            let candidates: Vec<_> = examples.iter().map(|e| self.candidates(e)).collect();
            if candidates.iter().any(|c| !c.is_empty()) {
                for (&i, scores) in indices.iter().zip(log_likelihoods(t5, &memory, &candidates)) {
                    predictions[i] = best(&scores).map(|choice| self.text(&self.examples[i], choice));
                }
                continue;
            }
            let longest = examples.iter().map(|e| e.target_ids.len()).max().unwrap_or(0);
            for (&i, ids) in indices.iter().zip(t5.greedy_from(&memory, longest)) {
                let example = &self.examples[i];
                let same = ids.iter().copied().eq(example.target_ids.iter().map(|&id| i64::from(id)));
                predictions[i] = same.then_some(example.target.as_str());
            }
        }
        predictions
    }
}

impl Evaluator for SplitEvaluator<'_> {
    fn split(&self) -> &str {
        &self.split
    }

    fn evaluate(&self, t5: &T5, adapter: &Folded) -> Result<Vec<Score>, Diag> {
        let _guard = tch::no_grad_guard();
        let predictions = self.predict(t5, adapter);
        if self.examples.iter().all(|e| self.candidates(e).is_empty()) {
            let right = predictions.iter().flatten().count();
            return Ok(vec![(EXACT.to_owned(), right as f64 / predictions.len() as f64)]);
        }
        let rows: Vec<_> = self
            .examples
            .iter()
            .zip(&predictions)
            .map(|(example, prediction)| ScoreRow {
                prediction: prediction.unwrap_or_default(),
                target: &example.target,
                answers: example.answers.as_deref().unwrap_or_default(),
                group: example.group.as_deref(),
            })
            .collect();
        let classes: Vec<_> = self.tokens.verbalizer.iter().map(|class| class.text.as_str()).collect();
        let scores = self.suite.score(&rows, &classes)?;
        Ok(scores.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// About `limit` of the examples (0: all), in their order. Whole groups are drawn until there are enough.
fn draw(examples: Vec<Encoded>, limit: usize) -> Vec<Encoded> {
    if limit == 0 || limit >= examples.len() {
        return examples;
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut of_group = std::collections::HashMap::new();
    for (i, example) in examples.iter().enumerate() {
        let at = match &example.group {
            Some(group) => *of_group.entry(group.as_str()).or_insert(groups.len()),
            None => groups.len(),
        };
        if at == groups.len() {
            groups.push(Vec::new());
        }
        groups[at].push(i);
    }
    let mut kept = vec![false; examples.len()];
    let mut count = 0;
    for group in Draws::new("train.eval", 0).sample(groups.len(), groups.len()) {
        if count >= limit {
            break;
        }
        count += groups[group].len();
        groups[group].iter().for_each(|&i| kept[i] = true);
    }
    examples.into_iter().zip(kept).filter_map(|(example, kept)| kept.then_some(example)).collect()
}

/// The log-likelihood (nats, summed over its tokens, `</s>` included) of every candidate of every row:
/// `candidates[row]` are the row's candidates as ids, `memory` the decoder's view of the rows. Rows may have different
/// numbers of candidates.
pub fn log_likelihoods(t5: &T5, memory: &Memory, candidates: &[&[Vec<i32>]]) -> Vec<Vec<f64>> {
    let _guard = tch::no_grad_guard();
    let mut scores: Vec<Vec<f64>> = candidates.iter().map(|c| Vec::with_capacity(c.len())).collect();
    let most = candidates.iter().map(|c| c.len()).max().unwrap_or(0);
    for nth in 0..most {
        let rows: Vec<usize> = (0..candidates.len()).filter(|&row| candidates[row].len() > nth).collect();
        let targets = pad(rows.iter().map(|&row| candidates[row][nth].as_slice()), IGNORED, 1).to_device(t5.device());
        let sums = if rows.len() == candidates.len() {
            target_log_likelihoods(t5, memory, &targets)
        } else {
            let index: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
            let index = Tensor::from_slice(&index).to_device(t5.device());
            target_log_likelihoods(t5, &memory.select(&index), &targets)
        };
        for (row, sum) in rows.into_iter().zip(sums) {
            scores[row].push(sum);
        }
    }
    scores
}

/// The log-likelihood of one target a row, `[B, T]` padded with [`IGNORED`].
fn target_log_likelihoods(t5: &T5, memory: &Memory, targets: &Tensor) -> Vec<f64> {
    let hidden = t5.decode_hidden(memory, &t5.shift_right(targets));
    let flat = targets.flatten(0, 1);
    let counted = flat.ne(IGNORED).nonzero().squeeze_dim(1);
    let logits = t5.logits(&hidden.flatten(0, 1).index_select(0, &counted));
    let ids = flat.index_select(0, &counted).unsqueeze(1);
    let each = logits.log_softmax(-1, Kind::Float).gather(1, &ids, false).squeeze_dim(1);
    let all = Tensor::zeros(flat.size(), (Kind::Float, t5.device())).index_copy(0, &counted, &each);
    let sums = all.view_as(targets).sum_dim_intlist(1, false, Kind::Double);
    Vec::try_from(sums).expect("one number a row")
}

/// The index of the greatest score, the first of equals; `None` if there are no scores.
pub fn best(scores: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, score) in scores.iter().enumerate() {
        if best.is_none_or(|b| *score > scores[b]) {
            best = Some(i);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_keeps_groups_whole_and_the_order() {
        let examples: Vec<_> = (0..40)
            .map(|i| Encoded { example_id: i.to_string(), group: Some((i % 10).to_string()), ..Encoded::default() })
            .collect();
        let kept = draw(examples.clone(), 9);
        assert_eq!(kept.len(), 12);
        let ids: Vec<usize> = kept.iter().map(|e| e.example_id.parse().unwrap()).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| ids.iter().filter(|other| *other % 10 == id % 10).count() == 4));
        assert_eq!(draw(examples.clone(), 9), kept);
        assert_eq!(draw(examples.clone(), 0), examples);
        let single: Vec<_> = examples.iter().cloned().map(|e| Encoded { group: None, ..e }).collect();
        assert_eq!(draw(single, 9).len(), 9);
    }

    #[test]
    fn the_first_of_equals_is_best() {
        assert_eq!(best(&[-2.0, -1.0, -1.0]), Some(1));
        assert_eq!(best(&[]), None);
    }
}
