//! [`Selection`]: scores an adapter now and then, keeps the best one, and says when patience has run out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::base::diag::{Class, Diag};
use crate::model::t5::T5;
use crate::prompt::{Adapter, Folded};

/// A metric's name and value, a fraction.
pub type Score = (String, f64);

/// Scores a prompt.
pub trait Evaluator {
    /// The name of the split that it scores on.
    fn split(&self) -> &str;

    /// The metrics of `adapter` on `t5`: the first decides which step is best, greater is better.
    ///
    /// # Errors
    /// When it cannot be scored.
    fn evaluate(&self, t5: &T5, adapter: &Folded) -> Result<Vec<Score>, Diag>;
}

/// One metric of one scoring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// After so many steps.
    pub step: u64,
    /// The split.
    pub split: String,
    /// The metric's name.
    pub metric: String,
    /// Its value, a fraction.
    pub value: f64,
}

/// Which scoring was best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestScore {
    /// After how many steps.
    pub step: u64,
    /// The metric that counts.
    pub metric: String,
    /// Its value.
    pub value: f64,
}

/// The part of a [`Selection`] that is not tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelectionState {
    /// The best scoring so far.
    pub best: Option<BestScore>,
    /// Scorings since then.
    pub without_gain: u64,
    /// Patience has run out.
    pub stopped_early: bool,
    /// All scorings so far, one row a metric.
    pub evals: Vec<EvalRow>,
}

/// The result of one scoring.
#[derive(Clone, Debug, PartialEq)]
pub struct Scoring {
    /// After how many steps.
    pub step: u64,
    /// The metrics; the first counts.
    pub scores: Vec<Score>,
    /// It is better than all before it.
    pub best: bool,
}

/// All scorings of one run, and the adapter of the best.
pub struct Selection {
    patience: u64,
    state: SelectionState,
    adapter: Option<Adapter>,
}

impl Selection {
    /// Without any scoring. It stops after `patience` scorings in a row without a better score; 0: never.
    pub fn new(patience: u64) -> Self {
        Self { patience, state: SelectionState::default(), adapter: None }
    }

    /// All but the best adapter.
    pub fn state(&self) -> &SelectionState {
        &self.state
    }

    /// The adapter of the best scoring; `None` before the first.
    pub fn best(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// Scores `adapter` as it is after `step` of `steps` steps, and keeps a copy if it is the best so far; the first of
    /// equals stays. After the last step patience does not count.
    ///
    /// # Errors
    /// Those of the evaluator; a scoring without metrics.
    pub fn score(
        &mut self,
        t5: &T5,
        adapter: &Adapter,
        evaluator: &dyn Evaluator,
        step: u64,
        steps: u64,
    ) -> Result<Scoring, Diag> {
        let scores = {
            let _guard = tch::no_grad_guard();
            evaluator.evaluate(t5, &adapter.fold())?
        };
        let (metric, value) =
            scores.first().cloned().ok_or_else(|| Diag::error(Class::Bug, "a scoring has no metric"))?;
        let state = &mut self.state;
        let better = state.best.as_ref().is_none_or(|best| value > best.value);
        if better {
            state.best = Some(BestScore { step, metric, value });
            state.without_gain = 0;
            self.adapter = Some(adapter.copy());
        } else {
            state.without_gain += 1;
        }
        state.stopped_early = self.patience > 0 && state.without_gain >= self.patience && step < steps;
        let split = evaluator.split();
        let row =
            |(metric, value): &Score| EvalRow { step, split: split.to_owned(), metric: metric.clone(), value: *value };
        state.evals.extend(scores.iter().map(row));
        Ok(Scoring { step, scores, best: better })
    }

    /// The tensors of the best adapter as `best.NAME`.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let named = self.adapter.iter().flat_map(Adapter::named);
        named.map(|(name, tensor)| (format!("best.{name}"), tensor.detach())).collect()
    }

    /// The same selection at `state`, with `best` as its best adapter, by name. `adapter` is any of the same method and
    /// shape.
    ///
    /// # Errors
    /// Tensors of other names or shapes than those of `adapter`.
    pub fn restored(
        &self,
        adapter: &Adapter,
        state: SelectionState,
        best: &BTreeMap<String, Tensor>,
    ) -> Result<Self, Diag> {
        let adapter = match state.best {
            Some(_) => {
                let mut kept = adapter.copy();
                kept.set(best)?;
                Some(kept)
            }
            None => None,
        };
        Ok(Self { patience: self.patience, state, adapter })
    }

    /// The adapter and the scoring that were best, and all scorings.
    pub fn finish(self) -> (Option<Adapter>, SelectionState) {
        (self.adapter, self.state)
    }
}
