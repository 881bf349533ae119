//! [`fit`]: drives a [`Trainer`] to its end, scoring it now and then, with patience and snapshots.

use crate::base::diag::Diag;
use crate::model::t5::T5;
use crate::prompt::Adapter;

use super::batch::BatchSource;
use super::descent::CurveRow;
use super::run::{Observer, Run, drive, due, resume};
use super::selection::EvalRow;
use super::snapshot::Snapshot;
use super::trainer::{Trainer, TrainerState};

pub use super::options::FitOptions;
pub use super::run::Unwatched;
pub use super::selection::{Evaluator, Score};

/// The result of a training.
pub struct Fitted {
    /// The tensors of the best scoring, or of the last step when nothing was scored.
    pub adapter: Adapter,
    /// After how many steps those were.
    pub best_step: u64,
    /// The score that made them best.
    pub best_score: Option<Score>,
    /// One row a step.
    pub curves: Vec<CurveRow>,
    /// One row a metric and scoring.
    pub evals: Vec<EvalRow>,
    /// The figures of the method, by name: before the first step, and after each.
    pub figures: Vec<(&'static str, Vec<f64>)>,
    /// Patience ran out before the last step.
    pub stopped_early: bool,
}

/// Trains `adapter` in front of the frozen `t5`, from the start or from where `snapshot` stopped.
///
/// # Errors
/// A loss or gradient that is not finite, a snapshot of another run, and the errors of source, evaluator and observer.
pub fn fit(
    t5: &T5,
    adapter: Adapter,
    options: &FitOptions,
    source: &dyn BatchSource,
    evaluator: Option<&dyn Evaluator>,
    observer: &dyn Observer<TrainerState>,
    snapshot: Option<Snapshot<TrainerState>>,
) -> Result<Fitted, Diag> {
    let mut run = Fit { trainer: Trainer::new(t5, adapter, options)?, options, source, evaluator };
    resume(&mut run, snapshot, observer)?;
    drive(&mut run, options.checkpoint_every, observer)?;
    Ok(Fitted::new(run.trainer))
}

/// A trainer with its batches and its scorings.
struct Fit<'a> {
    trainer: Trainer,
    options: &'a FitOptions,
    source: &'a dyn BatchSource,
    evaluator: Option<&'a dyn Evaluator>,
}

impl Run for Fit<'_> {
    type State = TrainerState;

    fn steps_done(&self) -> u64 {
        self.trainer.steps_done()
    }

    fn ended(&self) -> bool {
        self.trainer.ended()
    }

    fn advance(&mut self, observer: &dyn Observer<TrainerState>) -> Result<(), Diag> {
        let step = self.trainer.step(self.source)?;
        observer.step(&step.row, step.examples);
        let scores = due(step.row.step, self.options.eval_every) || step.row.step == self.options.steps;
        if let Some(evaluator) = self.evaluator.filter(|_| scores) {
            observer.scored(&self.trainer.score(evaluator)?);
        }
        Ok(())
    }

    fn snapshot(&self) -> Snapshot<TrainerState> {
        self.trainer.snapshot()
    }

    fn restore(&mut self, snapshot: Snapshot<TrainerState>) -> Result<(), Diag> {
        self.trainer.restore(snapshot)
    }
}

impl Fitted {
    fn new(trainer: Trainer) -> Self {
        let steps = trainer.steps_done();
        let trained = trainer.finish();
        let best = trained.selection.best;
        Self {
            best_step: best.as_ref().map_or(steps, |b| b.step),
            best_score: best.map(|b| (b.metric, b.value)),
            adapter: trained.adapter,
            curves: trained.curves,
            evals: trained.selection.evals,
            figures: trained.figures,
            stopped_early: trained.selection.stopped_early,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::base::value::{Params, Value};
    use crate::learn::batch::Batch;
    use crate::learn::optim::OptimizerKind;
    use crate::learn::schedule::ScheduleKind;
    use crate::model::config::T5Config;
    use crate::prompt::{Init, METHODS};
    use tch::{Device, Kind, Tensor};

    fn nano(scale: f64) -> T5 {
        let config = T5Config {
            d_model: 8,
            d_kv: 4,
            d_ff: 12,
            num_layers: 1,
            num_heads: 2,
            vocab_size: 20,
            ..T5Config::default()
        };
        let wave = |shape: &[i64]| {
            let n = shape.iter().product::<i64>();
            (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 0.7).sin().view(shape) * scale
        };
        let tensors = config.tensors().into_iter().map(|spec| (spec.name, wave(&spec.shape).set_requires_grad(true)));
        let tensors = tensors.collect();
        T5::from_tensors(config, tensors).frozen()
    }

    struct One;

    impl BatchSource for One {
        fn batch(&self, _step: u64) -> Result<Batch, Diag> {
            Ok(Batch {
                input_ids: Tensor::from_slice(&[3i64, 4, 5, 1, 6, 1, 0, 0]).view([2, 4]),
                mask: Tensor::from_slice(&[1i64, 1, 1, 1, 1, 1, 0, 0]).view([2, 4]),
                labels: Tensor::from_slice(&[7i64, 1, 8, -100]).view([2, 2]),
            })
        }
    }

    fn options() -> FitOptions {
        FitOptions {
            steps: 3,
            learning_rate: 0.1,
            own_rates: BTreeMap::new(),
            optimizer: OptimizerKind::AdamW,
            epsilon: None,
            schedule: ScheduleKind::Linear,
            weight_decay: 1e-5,
            warmup_steps: 0,
            max_grad_norm: 1.0,
            eval_every: 0,
            patience: 0,
            checkpoint_every: 0,
            dropout: 0.0,
            seed: 1,
        }
    }

    fn adapter_of(virtual_tokens: i64) -> Adapter {
        let params = Params::from([("rank".to_owned(), Value::Int(2))]);
        let shape = METHODS[0].method().shape(virtual_tokens, 8, &params).unwrap();
        Adapter::init(METHODS[0], shape, &Init::Uniform { scale: 0.5 }, 1, Device::Cpu).unwrap()
    }

    fn adapter() -> Adapter {
        adapter_of(3)
    }

    #[test]
    fn the_adapter_alone_is_trained() {
        let t5 = nano(1.0);
        let before: Vec<_> = t5.tensors().values().map(Tensor::copy).collect();
        let start = adapter().copy();
        let fitted = fit(&t5, adapter(), &options(), &One, None, &Unwatched, None).unwrap();
        for ((name, tensor), before) in t5.tensors().iter().zip(&before) {
            assert!(!tensor.requires_grad() && !tensor.grad().defined() && tensor == before, "{name}");
        }
        for ((name, tensor), start) in fitted.adapter.named().zip(start.tensors()) {
            assert_ne!(tensor, start, "{name}");
        }
        assert_eq!((fitted.best_step, fitted.curves.len()), (3, 3));
    }

    #[test]
    fn a_loss_that_is_not_finite_ends_the_run() {
        let error = fit(&nano(f64::MAX), adapter(), &options(), &One, None, &Unwatched, None).err().unwrap();
        assert_eq!(error.message, "training diverged: at step 1 the loss is NaN");
        assert!(error.notes[0].starts_with("it was the first step"));
    }

    #[test]
    fn a_snapshot_of_another_run_is_refused() {
        let options = options();
        let snapshot = Trainer::new(&nano(1.0), adapter(), &options).unwrap().snapshot();
        assert!(fit(&nano(1.0), adapter_of(4), &options, &One, None, &Unwatched, Some(snapshot)).is_err());
    }

    /// Sets snapshots aside, as a stage does.
    #[derive(Default)]
    struct SetsAside(std::cell::RefCell<Vec<String>>);

    impl Observer<TrainerState> for SetsAside {
        fn resumed(&self, step: u64) {
            self.0.borrow_mut().push(format!("resumed after {step}"));
        }
        fn refused(&self, why: Diag) -> Result<(), Diag> {
            self.0.borrow_mut().push(why.message);
            Ok(())
        }
        fn save(&self, _snapshot: Snapshot<TrainerState>) -> Result<(), Diag> {
            Ok(())
        }
    }

    #[test]
    fn refused_snapshot_leaves_no_trace_in_the_run() {
        let whole = fit(&nano(1.0), adapter(), &options(), &One, None, &Unwatched, None).unwrap();
        let options = options();
        let mut snapshot = Trainer::new(&nano(1.0), adapter(), &options).unwrap().snapshot();
        for (name, tensor) in &mut snapshot.tensors {
            if name.starts_with("adapter.") {
                *tensor = tensor.ones_like();
            }
        }
        snapshot.tensors.remove("curves.loss");
        let watch = SetsAside::default();
        let fitted = fit(&nano(1.0), adapter(), &options, &One, None, &watch, Some(snapshot)).unwrap();
        assert_eq!(watch.0.into_inner(), ["the snapshot is of another run"]);
        assert_eq!(fitted.curves, whole.curves);
        for ((name, tensor), wanted) in fitted.adapter.named().zip(whole.adapter.tensors()) {
            assert_eq!(tensor, wanted, "{name}");
        }
    }
}
