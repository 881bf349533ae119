//! [`Trainer`]: one adapter in training, driven from outside step by step. It owns the adapter, the optimizer, the
//! schedules, the curves and the choice of the best step; the caller decides where batches come from, when to score,
//! and what to do with a snapshot. [`fit`](super::fit::fit) drives one to its end. Others may drive several in turn
//! over one backbone, set their tensors in between, or make their gradients in one pass ([`Trainer::apply`]).
//!
//! A restored trainer equals an undisturbed one bit for bit on the same machine: a snapshot holds every number that is
//! carried from step to step, batches are functions of the step, and the one use of libtorch's generator (dropout,
//! noise of a method) is seeded anew at every step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::base::diag::{Class, Diag};
use crate::base::digest::FieldHasher;
use crate::model::device;
use crate::model::t5::T5;
use crate::prompt::{self, Adapter, Decay, Rate};

use super::batch::BatchSource;
use super::descent::{CurveRow, Descent, DescentOptions, DescentState};
use super::optim::ParamGroup;
use super::options::FitOptions;
use super::schedule::Schedule;
use super::selection::{Evaluator, Scoring, Selection, SelectionState};
use super::snapshot::Snapshot;

/// The part of a trainer's snapshot that is not tensors. The tensors are `adapter.NAME`, `best.NAME`, the optimizer's,
/// the curves, and `figures.NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Steps done.
    #[serde(flatten)]
    pub descent: DescentState,
    /// Scorings.
    #[serde(flatten)]
    pub selection: SelectionState,
}

/// A step that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its row of the curves.
    pub row: CurveRow,
    /// Examples in its batch.
    pub examples: i64,
}

/// The result of a trainer.
pub struct Trained {
    /// The tensors of the best scoring, or of the last step when nothing was scored.
    pub adapter: Adapter,
    /// All scorings.
    pub selection: SelectionState,
    /// One row a step.
    pub curves: Vec<CurveRow>,
    /// The figures of the method, by name: before the first step, and after each.
    pub figures: Vec<(&'static str, Vec<f64>)>,
}

/// One adapter in training in front of a frozen backbone.
pub struct Trainer {
    /// Without dropout, for scoring.
    t5: T5,
    /// With the dropout of the options.
    training: T5,
    adapter: Adapter,
    descent: Descent,
    /// The figures of the method, by name: before the first step, and after each.
    figures: Vec<(&'static str, Vec<f64>)>,
    selection: Selection,
    steps: u64,
    /// Seeds libtorch's generator together with the step; `None`: nothing draws from it.
    seed: Option<i64>,
}

impl Trainer {
    /// A trainer of `adapter` at step 0. It keeps handles on the weights of `t5`, no copies.
    ///
    /// # Errors
    /// A tensor's own rate that `options` lacks.
    pub fn new(t5: &T5, adapter: Adapter, options: &FitOptions) -> Result<Self, Diag> {
        let descent = Descent::new(adapter.tensors(), descent_options(&adapter, options)?);
        let draws = options.dropout > 0.0 || adapter.forward().draws();
        Ok(Self {
            t5: t5.shallow_clone(),
            training: t5.with_dropout(options.dropout),
            figures: adapter.figures().into_iter().map(|(name, value)| (name, vec![value])).collect(),
            adapter,
            descent,
            selection: Selection::new(options.patience),
            steps: options.steps,
            seed: draws.then_some(options.seed),
        })
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.descent.state().step
    }

    /// Returns `true` when all steps are done, or patience has run out.
    pub fn ended(&self) -> bool {
        self.steps_done() >= self.steps || self.selection.state().stopped_early
    }

    /// The rates used at `step`, counted from 0: first the main one, then those of tensors that have their own.
    pub fn rates_at(&self, step: u64) -> Vec<f64> {
        self.descent.rates_at(step)
    }

    /// The adapter as it is.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// One row a step.
    pub fn curves(&self) -> &[CurveRow] {
        self.descent.curves()
    }

    /// All scorings.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// One step on the batch that `source` has for it.
    ///
    /// # Errors
    /// A batch that cannot be had; a loss or gradient that is not finite.
    pub fn step(&mut self, source: &dyn BatchSource) -> Result<Step, Diag> {
        let (loss, examples) = self.loss(source)?;
        let gradients = Tensor::run_backward(&[&loss], self.adapter.tensors(), false, false);
        Ok(Step { row: self.apply(&loss, gradients)?, examples })
    }

    /// The loss of the next step, a differentiable scalar, and the examples in its batch.
    ///
    /// # Errors
    /// A batch that cannot be had.
    pub fn loss(&self, source: &dyn BatchSource) -> Result<(Tensor, i64), Diag> {
        let step = self.steps_done();
        if let Some(seed) = self.seed {
            device::seed(dropout_seed(seed, step));
        }
        let batch = source.batch(step)?.to_device(self.training.device());
        let kind = source.noise(step)?.map_or(prompt::Step::Training, prompt::Step::Given);
        let input = self.adapter.fold().enter(&self.training, &batch.input_ids, &batch.mask, kind);
        let (states, mask) = self.training.encode(input);
        Ok((self.training.loss(&states, &mask, &batch.labels), batch.rows()))
    }

    /// Makes a step of a loss (a scalar) and its gradients, one for each of the adapter's tensors, wherever they come
    /// from.
    ///
    /// # Errors
    /// A loss or gradient that is not finite.
    pub fn apply(&mut self, loss: &Tensor, gradients: Vec<Tensor>) -> Result<CurveRow, Diag> {
        let row = self.descent.apply(self.adapter.tensors_mut(), loss, gradients);
        let row =
            row.map_err(|diag| diag.help("lower `learning_rate`, or hold the backbone in `float32` or `bfloat16`"))?;
        for ((_, values), (_, value)) in self.figures.iter_mut().zip(self.adapter.figures()) {
            values.push(value);
        }
        Ok(row)
    }

    /// Scores the adapter as it is, and keeps a copy if it is the best so far.
    ///
    /// # Errors
    /// Those of the evaluator.
    pub fn score(&mut self, evaluator: &dyn Evaluator) -> Result<Scoring, Diag> {
        let step = self.descent.state().step;
        self.selection.score(&self.t5, &self.adapter, evaluator, step, self.steps)
    }

    /// Puts `values` (by name) in place of the adapter's tensors, such as an average over several trainers. The
    /// optimizer keeps its state.
    ///
    /// # Errors
    /// Values of other names or shapes.
    pub fn set(&mut self, values: &BTreeMap<String, Tensor>) -> Result<(), Diag> {
        self.adapter.set(values)
    }

    /// Gives the optimizer a fresh state. Steps, schedules and curves go on.
    pub fn reset_optimizer(&mut self) {
        self.descent.reset_optimizer(self.adapter.tensors());
    }

    /// Everything that [`restore`](Trainer::restore) needs to go on from here.
    pub fn snapshot(&self) -> Snapshot<TrainerState> {
        let mut tensors = self.descent.tensors(&self.names());
        let named = self.adapter.named().map(|(name, tensor)| (format!("adapter.{name}"), tensor.detach()));
        tensors.extend(named.chain(self.selection.tensors()));
        let figures = self.figures.iter();
        tensors.extend(figures.map(|(name, values)| (format!("figures.{name}"), Tensor::from_slice(values))));
        let state = TrainerState { descent: self.descent.state().clone(), selection: self.selection.state().clone() };
        Snapshot { tensors, state }
    }

    /// Goes on from `snapshot`.
    ///
    /// # Errors
    /// A snapshot of another run; the trainer is then as it was.
    pub fn restore(&mut self, snapshot: Snapshot<TrainerState>) -> Result<(), Diag> {
        let other_run = || Diag::error(Class::Stage, "the snapshot is of another run");
        let mut adapter = self.adapter.copy();
        adapter.set(&snapshot.part("adapter"))?;
        let best = snapshot.part("best");
        let kept = snapshot.part("figures");
        let Snapshot { tensors, state } = snapshot;
        let selection = self.selection.restored(&adapter, state.selection, &best)?;
        let fits = state.descent.step <= self.steps;
        let descent = self.descent.restored(adapter.tensors(), &self.names(), &state.descent, &tensors);
        let descent = descent.filter(|_| fits).ok_or_else(other_run)?;
        let mut figures = self.figures.clone();
        for (name, values) in &mut figures {
            *values = kept.get(*name).and_then(|t| Vec::<f64>::try_from(t).ok()).ok_or_else(other_run)?;
            if values.len() as u64 != descent.state().step + 1 {
                return Err(other_run());
            }
        }
        (self.adapter, self.descent, self.figures, self.selection) = (adapter, descent, figures, selection);
        Ok(())
    }

    /// Ends the training.
    pub fn finish(self) -> Trained {
        let curves = self.descent.into_curves();
        let (best, selection) = self.selection.finish();
        Trained { adapter: best.unwrap_or(self.adapter), selection, curves, figures: self.figures }
    }

    fn names(&self) -> Vec<&'static str> {
        self.adapter.named().map(|(name, _)| name).collect()
    }
}

/// How `adapter` is updated: a group of parameters for each pair of rate and decay. The first has the main rate, even
/// if no tensor is in it.
fn descent_options(adapter: &Adapter, options: &FitOptions) -> Result<DescentOptions, Diag> {
    let group = |weight_decay| ParamGroup { members: Vec::new(), weight_decay };
    let schedule = |rate| Schedule { kind: options.schedule, rate, warmup: options.warmup_steps, total: options.steps };
    let mut keys = vec![(Rate::Main, Decay::Main)];
    let (mut schedules, mut groups) = (vec![schedule(options.learning_rate)], vec![group(options.weight_decay)]);
    for (i, spec) in adapter.specs().into_iter().enumerate() {
        let key = (spec.rate, spec.decay);
        let at = keys.iter().position(|known| *known == key).unwrap_or(keys.len());
        if at == keys.len() {
            keys.push(key);
            schedules.push(schedule(match spec.rate {
                Rate::Main => options.learning_rate,
                Rate::Own(param) => *options.own_rates.get(param).ok_or_else(|| {
                    Diag::error(
                        Class::Bug,
                        format!("tensor `{}` has its rate from `{param}`, which is not given", spec.name),
                    )
                })?,
            }));
            groups.push(group(match spec.decay {
                Decay::Main => options.weight_decay,
                Decay::Own(param) => options.own_rates.get(param).copied().unwrap_or(options.weight_decay),
                Decay::Never => 0.0,
            }));
        }
        groups[at].members.push(i);
    }
    let FitOptions { optimizer, epsilon, max_grad_norm, .. } = *options;
    Ok(DescentOptions { optimizer, epsilon, groups, schedules, max_grad_norm })
}

/// The seed of one step's dropout.
fn dropout_seed(seed: i64, step: u64) -> u64 {
    let digest = FieldHasher::new("dpt.dropout.1").field(&seed.to_le_bytes()).number(step).finish();
    u64::from_le_bytes(digest.0[..8].try_into().expect("eight bytes"))
}
