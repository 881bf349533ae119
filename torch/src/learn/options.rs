//! [`FitOptions`]: how a run is trained.

use std::collections::BTreeMap;

use super::optim::OptimizerKind;
use super::schedule::ScheduleKind;

/// How to train. [`Trainer`](super::trainer::Trainer) reads all but `eval_every` and `checkpoint_every`, which are
/// [`fit`](super::fit::fit)'s.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Optimizer steps.
    pub steps: u64,
    /// The highest rate of the schedule.
    pub learning_rate: f64,
    /// The highest rates and the weight decay of tensors that have their own, by the name of the method's parameter
    /// that sets it.
    pub own_rates: BTreeMap<String, f64>,
    /// Which optimizer.
    pub optimizer: OptimizerKind,
    /// Its epsilon; `None`: that of [`default_epsilon`](super::optim::default_epsilon).
    pub epsilon: Option<f64>,
    /// The course of the rates after the warm-up.
    pub schedule: ScheduleKind,
    /// Decoupled weight decay of all trained tensors that the method does not exempt.
    pub weight_decay: f64,
    /// Steps until the highest rate is reached.
    pub warmup_steps: u64,
    /// Gradients are scaled to at most this 2-norm; 0: never.
    pub max_grad_norm: f64,
    /// Score after every so many steps, and after the last; 0: only after the last.
    pub eval_every: u64,
    /// Stop after so many scorings in a row without a better score; 0: never.
    pub patience: u64,
    /// Hand out a snapshot after every so many steps, and after the last; 0: only when interrupted.
    pub checkpoint_every: u64,
    /// Rate of dropout in the frozen backbone while training; 0: off.
    pub dropout: f64,
    /// Seeds dropout.
    pub seed: i64,
}
