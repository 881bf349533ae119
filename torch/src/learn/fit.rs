//! The training loop: step, score now and then, keep the best, stop early, and be able to go on after a kill as if
//! nothing had happened. Where batches come from, how a prompt is scored and what is done with a snapshot are the
//! caller's: [`BatchSource`], [`Evaluator`], [`Observer`].
//!
//! A resumed run equals an uninterrupted one bit for bit on the same machine: a [`Snapshot`] holds every number that the
//! loop carries from step to step, batches are functions of the step, and the one use of libtorch's generator (dropout) is seeded
//! anew at every step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::base::diag::{Class, Diag};
use crate::base::digest::FieldHasher;
use crate::model::device;
use crate::model::t5::T5;
use crate::prompt::{Adapter, Decay, Folded, Rate, Step};

use super::batch::BatchSource;
use super::optim::{Optimizer, OptimizerKind, ParamGroup, clip};
use super::schedule::{Schedule, ScheduleKind};

/// How to train.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Optimizer steps.
    pub steps: u64,
    /// The highest rate of the schedule.
    pub learning_rate: f64,
    /// The highest rates and the weight decay of tensors that have their own, by the method's parameter that says it.
    pub own_rates: BTreeMap<String, f64>,
    /// What updates the trained tensors.
    pub optimizer: OptimizerKind,
    /// Its epsilon; `None`: that of [`default_epsilon`](super::optim::default_epsilon).
    pub epsilon: Option<f64>,
    /// How rates go after the warm-up.
    pub schedule: ScheduleKind,
    /// Decoupled weight decay, on all trained tensors that the method does not exempt.
    pub weight_decay: f64,
    /// Steps until the highest rate is reached.
    pub warmup_steps: u64,
    /// Gradients are scaled to at most this norm; 0: never.
    pub max_grad_norm: f64,
    /// Score after every so many steps, and after the last; 0: after the last alone.
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

/// A metric's name and value, a fraction.
pub type Score = (String, f64);

/// Scores a prompt.
pub trait Evaluator {
    /// The split that is scored on.
    fn split(&self) -> &str;

    /// The metrics of `adapter` on `t5`: the first decides which step is best, greater is better.
    ///
    /// # Errors
    /// When it cannot be scored.
    fn evaluate(&self, t5: &T5, adapter: &Folded) -> Result<Vec<Score>, Diag>;
}

/// Who watches a run. Nothing that it does changes the numbers.
pub trait Observer {
    /// Before each step; an error ends the run, after a snapshot.
    ///
    /// # Errors
    /// When the run is to end.
    fn check(&self) -> Result<(), Diag>;

    /// The run resumes after so many steps.
    fn resumed(&self, step: u64);

    /// The snapshot to resume from is of another run: it is not used, and the run starts at its first step.
    ///
    /// # Errors
    /// When the run is not to start again.
    fn refused(&self, why: Diag) -> Result<(), Diag>;

    /// After each step.
    fn step(&self, row: &CurveRow, examples: i64);

    /// After each scoring.
    fn scored(&self, step: u64, scores: &[Score], best: bool);

    /// Keep this: the run can go on from it.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn save(&self, snapshot: Snapshot) -> Result<(), Diag>;
}

/// What happened in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurveRow {
    /// Counted from 1.
    pub step: u64,
    /// Cross-entropy of the step's batch before the step, nats a label token.
    pub loss: f32,
    /// The rate used.
    pub learning_rate: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f32,
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

/// What training gave.
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
    /// Whether patience ran out before the last step.
    pub stopped_early: bool,
}

/// All that a run carries from step to step.
pub struct Snapshot {
    /// Tensors by name: the adapter, the optimizer's moments, the best adapter, the curves.
    pub tensors: BTreeMap<String, Tensor>,
    /// The rest.
    pub state: SnapshotState,
}

/// The part of a [`Snapshot`] that is no tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotState {
    /// Steps done.
    pub step: u64,
    /// The best scoring so far.
    pub best: Option<BestScore>,
    /// Scorings since then.
    pub without_gain: u64,
    /// Whether patience has run out.
    pub stopped_early: bool,
    /// All scorings so far.
    pub evals: Vec<EvalRow>,
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

/// Trains `adapter` in front of the frozen `t5`, from the start or from where `resume` stopped.
///
/// # Errors
/// A loss or gradient that is not finite, a snapshot of another run, and the errors of source, evaluator and observer.
pub fn fit(
    t5: &T5,
    adapter: Adapter,
    options: &FitOptions,
    source: &dyn BatchSource,
    evaluator: Option<&dyn Evaluator>,
    observer: &dyn Observer,
    resume: Option<Snapshot>,
) -> Result<Fitted, Diag> {
    let mut run = Run::new(adapter.copy(), options)?;
    if let Some(snapshot) = resume {
        match run.restore(snapshot) {
            Ok(()) => observer.resumed(run.state.step),
            Err(why) => {
                observer.refused(why)?;
                run = Run::new(adapter, options)?;
            }
        }
    }
    let training = if options.dropout > 0.0 { t5.with_dropout(options.dropout) } else { t5.shallow_clone() };
    while run.state.step < options.steps && !run.state.stopped_early {
        if let Err(interrupted) = observer.check() {
            observer.save(run.snapshot())?;
            return Err(interrupted);
        }
        let (row, examples) = run.step(&training, source)?;
        observer.step(&row, examples);
        let step = run.state.step;
        if let Some(evaluator) = evaluator.filter(|_| due(step, options.eval_every) || step == options.steps) {
            run.score(t5, evaluator, observer)?;
        }
        // The last one too: a run that is killed while its results are written need not train again.
        let ends = step == options.steps || run.state.stopped_early;
        if due(step, options.checkpoint_every) || (ends && options.checkpoint_every > 0) {
            observer.save(run.snapshot())?;
        }
    }
    Ok(run.finish())
}

fn due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

/// A run in progress.
struct Run<'a> {
    options: &'a FitOptions,
    /// One a group of the optimizer; the first has the main rate.
    schedules: Vec<Schedule>,
    adapter: Adapter,
    optimizer: Optimizer,
    best: Option<Adapter>,
    curves: Vec<CurveRow>,
    figures: Vec<(&'static str, Vec<f64>)>,
    state: SnapshotState,
}

impl<'a> Run<'a> {
    fn new(adapter: Adapter, options: &'a FitOptions) -> Result<Self, Diag> {
        let (rates, groups) = groups(&adapter, options)?;
        let schedule =
            |rate| Schedule { kind: options.schedule, rate, warmup: options.warmup_steps, total: options.steps };
        Ok(Self {
            options,
            schedules: rates.into_iter().map(schedule).collect(),
            optimizer: Optimizer::new(adapter.tensors(), groups, options.optimizer, options.epsilon),
            figures: adapter.figures().into_iter().map(|(name, value)| (name, vec![value])).collect(),
            adapter,
            best: None,
            curves: Vec::new(),
            state: SnapshotState { step: 0, best: None, without_gain: 0, stopped_early: false, evals: Vec::new() },
        })
    }

    /// Forward, backward, clip, update: the reference's order.
    fn step(&mut self, t5: &T5, source: &dyn BatchSource) -> Result<(CurveRow, i64), Diag> {
        let step = self.state.step;
        if self.options.dropout > 0.0 || self.adapter.forward().draws() {
            device::seed(dropout_seed(self.options.seed, step));
        }
        let batch = source.batch(step)?.to_device(t5.device());
        let kind = source.noise(step)?.map_or(Step::Training, Step::Given);
        let (states, mask) = t5.encode(self.adapter.fold().enter(t5, &batch.input_ids, &batch.mask, kind));
        let loss = t5.loss(&states, &mask, &batch.labels);
        let mut gradients = Tensor::run_backward(&[&loss], self.adapter.tensors(), false, false);
        let grad_norm = clip(&mut gradients, self.options.max_grad_norm);
        let rates: Vec<_> = self.schedules.iter().map(|schedule| schedule.at(step)).collect();
        let row = CurveRow {
            step: step + 1,
            loss: loss.double_value(&[]) as f32,
            learning_rate: rates[0],
            grad_norm: grad_norm as f32,
        };
        if !row.loss.is_finite() || !grad_norm.is_finite() {
            return Err(diverged(&row, self.curves.last()));
        }
        self.optimizer.step(self.adapter.tensors_mut(), &gradients, &rates);
        for ((_, values), (_, value)) in self.figures.iter_mut().zip(self.adapter.figures()) {
            values.push(value);
        }
        self.curves.push(row);
        self.state.step += 1;
        Ok((row, batch.rows()))
    }

    /// Scores the adapter as it is, and keeps it when it is the best so far. The first of equals stays.
    fn score(&mut self, t5: &T5, evaluator: &dyn Evaluator, observer: &dyn Observer) -> Result<(), Diag> {
        let scores = {
            let _guard = tch::no_grad_guard();
            evaluator.evaluate(t5, &self.adapter.fold())?
        };
        let step = self.state.step;
        let (metric, value) =
            scores.first().cloned().ok_or_else(|| Diag::error(Class::Bug, "a scoring gave nothing"))?;
        let better = self.state.best.as_ref().is_none_or(|best| value > best.value);
        if better {
            self.state.best = Some(BestScore { step, metric, value });
            self.state.without_gain = 0;
            self.best = Some(self.adapter.copy());
        } else {
            self.state.without_gain += 1;
        }
        let patience = self.options.patience;
        self.state.stopped_early = patience > 0 && self.state.without_gain >= patience && step < self.options.steps;
        observer.scored(step, &scores, better);
        let split = evaluator.split();
        let row = |(metric, value)| EvalRow { step, split: split.to_owned(), metric, value };
        self.state.evals.extend(scores.into_iter().map(row));
        Ok(())
    }

    fn names(&self) -> Vec<&'static str> {
        self.adapter.named().map(|(name, _)| name).collect()
    }

    fn snapshot(&self) -> Snapshot {
        let mut tensors = self.optimizer.tensors(&self.names());
        let mut put = |prefix: &str, adapter: &Adapter| {
            for (name, tensor) in adapter.named() {
                tensors.insert(format!("{prefix}.{name}"), tensor.detach());
            }
        };
        put("adapter", &self.adapter);
        if let Some(best) = &self.best {
            put("best", best);
        }
        let column =
            |value: fn(&CurveRow) -> f32| Tensor::from_slice(&self.curves.iter().map(value).collect::<Vec<_>>());
        tensors.insert("curves.loss".into(), column(|row| row.loss));
        let rates: Vec<_> = self.curves.iter().map(|row| row.learning_rate).collect();
        tensors.insert("curves.learning_rate".into(), Tensor::from_slice(&rates));
        tensors.insert("curves.grad_norm".into(), column(|row| row.grad_norm));
        for (name, values) in &self.figures {
            tensors.insert(format!("figures.{name}"), Tensor::from_slice(values));
        }
        Snapshot { tensors, state: self.state.clone() }
    }

    fn restore(&mut self, snapshot: Snapshot) -> Result<(), Diag> {
        let Snapshot { tensors, state } = snapshot;
        let strange = || Diag::error(Class::Stage, "the snapshot is of another run");
        let part = |prefix: &str| -> BTreeMap<String, Tensor> {
            let own = |name: &str| name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned);
            tensors.iter().filter_map(|(name, t)| Some((own(name)?, t.shallow_clone()))).collect()
        };
        self.adapter.set(&part("adapter"))?;
        self.best = match state.best {
            Some(_) => {
                let mut best = self.adapter.copy();
                best.set(&part("best"))?;
                Some(best)
            }
            None => None,
        };
        let steps = i32::try_from(state.step).map_err(|_| strange())?;
        let names = self.names();
        self.optimizer.restore(&names, steps, &tensors).ok_or_else(strange)?;
        let curves = part("curves");
        let column = |name: &str| curves.get(name).and_then(|t| Vec::<f32>::try_from(t).ok()).ok_or_else(strange);
        let (losses, norms) = (column("loss")?, column("grad_norm")?);
        let rates = curves.get("learning_rate").and_then(|t| Vec::<f64>::try_from(t).ok()).ok_or_else(strange)?;
        if [losses.len(), rates.len(), norms.len()] != [state.step as usize; 3] || state.step > self.options.steps {
            return Err(strange());
        }
        let kept = part("figures");
        for (name, values) in &mut self.figures {
            *values = kept.get(*name).and_then(|t| Vec::<f64>::try_from(t).ok()).ok_or_else(strange)?;
            if values.len() != state.step as usize + 1 {
                return Err(strange());
            }
        }
        let rows = losses.into_iter().zip(rates).zip(norms).zip(1..);
        self.curves = rows
            .map(|(((loss, learning_rate), grad_norm), step)| CurveRow { step, loss, learning_rate, grad_norm })
            .collect();
        self.state = state;
        Ok(())
    }

    fn finish(self) -> Fitted {
        let best = self.state.best;
        Fitted {
            best_step: best.as_ref().map_or(self.state.step, |b| b.step),
            best_score: best.map(|b| (b.metric, b.value)),
            adapter: self.best.unwrap_or(self.adapter),
            curves: self.curves,
            evals: self.state.evals,
            figures: self.figures,
            stopped_early: self.state.stopped_early,
        }
    }
}

/// The highest rate of each group of parameters, and the groups. The first has the main rate, also when it has no members.
fn groups(adapter: &Adapter, options: &FitOptions) -> Result<(Vec<f64>, Vec<ParamGroup>), Diag> {
    let group = |weight_decay| ParamGroup { members: Vec::new(), weight_decay };
    let mut keys = vec![(Rate::Main, Decay::Main)];
    let (mut rates, mut groups) = (vec![options.learning_rate], vec![group(options.weight_decay)]);
    for (i, spec) in adapter.specs().into_iter().enumerate() {
        let key = (spec.rate, spec.decay);
        let at = keys.iter().position(|known| *known == key).unwrap_or(keys.len());
        if at == keys.len() {
            keys.push(key);
            rates.push(match spec.rate {
                Rate::Main => options.learning_rate,
                Rate::Own(param) => *options.own_rates.get(param).ok_or_else(|| {
                    Diag::error(
                        Class::Bug,
                        format!("tensor `{}` has its rate from `{param}`, which is not given", spec.name),
                    )
                })?,
            });
            groups.push(group(match spec.decay {
                Decay::Main => options.weight_decay,
                Decay::Own(param) => options.own_rates.get(param).copied().unwrap_or(options.weight_decay),
                Decay::Never => 0.0,
            }));
        }
        groups[at].members.push(i);
    }
    Ok((rates, groups))
}

/// The seed of one step's dropout.
fn dropout_seed(seed: i64, step: u64) -> u64 {
    let digest = FieldHasher::new("dpt.dropout.1").field(&seed.to_le_bytes()).number(step).finish();
    u64::from_le_bytes(digest.0[..8].try_into().expect("eight bytes"))
}

fn diverged(row: &CurveRow, before: Option<&CurveRow>) -> Diag {
    let what = if row.loss.is_finite() { ("gradient norm", row.grad_norm) } else { ("loss", row.loss) };
    let diag =
        Diag::error(Class::Stage, format!("training diverged: at step {} the {} is {}", row.step, what.0, what.1));
    let diag = match before {
        Some(before) => {
            diag.note(format!("the step before had loss {} and gradient norm {}", before.loss, before.grad_norm))
        }
        None => diag.note("it was the first step: the backbone or the initial prompt already overflows"),
    };
    diag.help("lower `learning_rate`, or hold the backbone in `float32` or `bfloat16`")
}

/// Watches nothing and keeps nothing.
pub struct Unwatched;

impl Observer for Unwatched {
    fn check(&self) -> Result<(), Diag> {
        Ok(())
    }
    fn resumed(&self, _step: u64) {}
    fn refused(&self, why: Diag) -> Result<(), Diag> {
        Err(why)
    }
    fn step(&self, _row: &CurveRow, _examples: i64) {}
    fn scored(&self, _step: u64, _scores: &[Score], _best: bool) {}
    fn save(&self, _snapshot: Snapshot) -> Result<(), Diag> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::value::{Params, Value};
    use crate::learn::batch::Batch;
    use crate::model::config::T5Config;
    use crate::prompt::{Init, METHODS};
    use tch::{Device, Kind};

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
        let snapshot = Run::new(adapter(), &options).unwrap().snapshot();
        assert!(fit(&nano(1.0), adapter_of(4), &options, &One, None, &Unwatched, Some(snapshot)).is_err());
    }

    /// Sets snapshots aside, as a stage does.
    #[derive(Default)]
    struct SetsAside(std::cell::RefCell<Vec<String>>);

    impl Observer for SetsAside {
        fn check(&self) -> Result<(), Diag> {
            Ok(())
        }
        fn resumed(&self, step: u64) {
            self.0.borrow_mut().push(format!("resumed after {step}"));
        }
        fn refused(&self, why: Diag) -> Result<(), Diag> {
            self.0.borrow_mut().push(why.message);
            Ok(())
        }
        fn step(&self, _row: &CurveRow, _examples: i64) {}
        fn scored(&self, _step: u64, _scores: &[Score], _best: bool) {}
        fn save(&self, _snapshot: Snapshot) -> Result<(), Diag> {
            Ok(())
        }
    }

    #[test]
    fn refused_snapshot_leaves_no_trace_in_the_run() {
        let whole = fit(&nano(1.0), adapter(), &options(), &One, None, &Unwatched, None).unwrap();
        let options = options();
        let mut snapshot = Run::new(adapter(), &options).unwrap().snapshot();
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
