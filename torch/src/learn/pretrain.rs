//! Pretraining of a small backbone on lessons: the same input under different signs, one a skill. A sign is a sequence
//! of vectors before the input, at the positions of a soft prompt: rows of the embedding table, clean at first, later
//! mixed with noise, scaled and partly replaced. So the backbone learns to read a wide neighbourhood of each sign, and
//! gradients can pull a random soft prompt into one.
//!
//! A batch and its noise are functions of the step: a run can go on from any step.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::base::diag::{Class, Diag};
use crate::base::draw::Draws;
use crate::data::synth::skills::{Lesson, Skill};
use crate::model::config::{T5Config, TensorInit, TensorSpec};
use crate::model::t5::{IGNORED, T5};

use super::batch::{MULTIPLE, pad};
use super::descent::{CurveRow, Descent, DescentOptions, DescentState};
use super::optim::{OptimizerKind, ParamGroup};
use super::run::{Observer, Run};
use super::schedule::{Schedule, ScheduleKind};
use super::snapshot::Snapshot;

/// The longest sign, in vectors.
const LONGEST_SIGN: u64 = 10;

/// The share of each of [`Skill::ALL`], in percent: under clean signs, and under noisy ones. Right and wrong answers
/// are equally frequent in the end, so that half a sign is not biased towards one of them.
const SHARES: [[u64; 5]; 2] = [[55, 5, 30, 5, 5], [32, 32, 20, 8, 8]];

/// Of a hundred inputs under noisy signs, so many have only noise before them. Half of these have the target of
/// [`Skill::First`], half a random answer, right or wrong: a prompt without information should give none.
const NO_SIGN: u64 = 16;

/// How to pretrain.
#[derive(Clone, Debug)]
pub struct PretrainOptions {
    /// Optimizer steps.
    pub steps: u64,
    /// Lessons in a step, all of one task.
    pub batch_size: usize,
    /// The highest rate.
    pub learning_rate: f64,
    /// Steps until it is reached.
    pub warmup_steps: u64,
    /// Decoupled, on every tensor.
    pub weight_decay: f64,
    /// Gradients are scaled to at most this norm; 0: never.
    pub max_grad_norm: f64,
    /// The share of the steps, from the first, that has clean signs.
    pub clean: f64,
    /// The sign of each of [`Skill::ALL`]: a row of the token table.
    pub signs: [i64; 5],
    /// Draws initial weights, batches and noise.
    pub seed: i64,
}

/// The lessons of one task.
#[derive(Clone, Debug)]
pub struct Course {
    /// Its weight in the draw of a step's task.
    pub share: u64,
    /// At least one lesson.
    pub lessons: Vec<Lesson>,
}

/// A fresh model of this shape. Each tensor has its own stream of draws, with T5's initial sizes. Only the output
/// matrix of an untied model starts smaller, like the scaled output of a tied one: at T5's size the first loss would be
/// some 25 nats.
pub fn fresh(config: &T5Config, seed: i64) -> BTreeMap<String, Tensor> {
    let head = (config.d_model as f64).powf(-0.5);
    let draw = |spec: TensorSpec| {
        let n = spec.shape.iter().product::<i64>() as usize;
        let values: Vec<f32> = match spec.init {
            TensorInit::Constant(value) => vec![value as f32; n],
            TensorInit::Normal(std) => {
                let std = if spec.name == "lm_head.weight" { std * head } else { std };
                let mut draws = Draws::new(&format!("pretrain.init.{}", spec.name), seed);
                (0..n).map(|_| (draws.gaussian() * std) as f32).collect()
            }
        };
        (spec.name, Tensor::from_slice(&values).view(spec.shape.as_slice()))
    };
    config.tensors().into_iter().map(draw).collect()
}

/// A pretraining run: the model, and where it is. [`drive`](super::run::drive) takes it to its end.
pub struct Pretraining<'a> {
    options: PretrainOptions,
    courses: &'a [Course],
    t5: T5,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    descent: Descent,
}

/// One step's examples: sources and targets, and the signs before them.
struct Signed<'a> {
    sources: Vec<&'a [i32]>,
    targets: Vec<&'a [i32]>,
    /// Vectors in each sign.
    length: usize,
    /// The sign's token, one a row.
    signs: Vec<i64>,
    /// The factor on the sign in each vector, `[B, length]`, and the noise added to it, `[B, length, d]`; `None`:
    /// clean.
    noise: Option<(Vec<f32>, Vec<f32>)>,
}

impl<'a> Pretraining<'a> {
    /// At step 0, with fresh weights on `device`.
    ///
    /// # Errors
    /// No courses, or one without lessons.
    pub fn new(
        config: T5Config,
        courses: &'a [Course],
        options: PretrainOptions,
        device: tch::Device,
    ) -> Result<Self, Diag> {
        if courses.iter().map(|c| c.share).sum::<u64>() == 0 || courses.iter().any(|c| c.lessons.is_empty()) {
            return Err(Diag::error(Class::Stage, "there is nothing to pretrain on"));
        }
        let tensors = fresh(&config, options.seed);
        let tensors: BTreeMap<String, Tensor> =
            tensors.into_iter().map(|(name, t)| (name, t.to_device(device).set_requires_grad(true))).collect();
        let names: Vec<String> = tensors.keys().cloned().collect();
        let parameters: Vec<Tensor> = tensors.values().map(Tensor::shallow_clone).collect();
        let schedule = Schedule {
            kind: ScheduleKind::Linear,
            rate: options.learning_rate,
            warmup: options.warmup_steps,
            total: options.steps,
        };
        let descent = DescentOptions {
            optimizer: OptimizerKind::AdamW,
            epsilon: None,
            groups: vec![ParamGroup::all(&parameters, options.weight_decay)],
            schedules: vec![schedule],
            max_grad_norm: options.max_grad_norm,
        };
        let descent = Descent::new(&parameters, descent);
        let t5 = T5::from_tensors(config, tensors);
        Ok(Self { options, courses, t5, names, parameters, descent })
    }

    /// The current weights, by Hugging Face's names.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        self.names.iter().cloned().zip(self.parameters.iter().map(Tensor::detach)).collect()
    }

    /// One row a step, of this run and of those that it goes on from.
    pub fn curves(&self) -> &[CurveRow] {
        self.descent.curves()
    }

    /// One step.
    ///
    /// # Errors
    /// A loss or gradient that is not finite.
    pub fn step(&mut self) -> Result<CurveRow, Diag> {
        let signed = signed(self.courses, &self.options, self.steps_done(), self.t5.config().d_model as usize);
        let input_ids = pad(signed.sources.iter().copied(), self.t5.config().pad_token_id, MULTIPLE);
        let mask = input_ids.ne(self.t5.config().pad_token_id).to_kind(Kind::Int64);
        let labels = pad(signed.targets.iter().copied(), IGNORED, 1);
        let input = self.t5.text(&input_ids, &mask).with_prefix(&self.prompt(&signed));
        let (states, mask) = self.t5.encode(input);
        let loss = self.t5.loss(&states, &mask, &labels);
        let gradients = Tensor::run_backward(&[&loss], &self.parameters, false, false);
        let row = self.descent.apply(&mut self.parameters, &loss, gradients);
        row.map_err(|diag| diag.help("lower `learning_rate`"))
    }

    fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// The signs as vectors, `[B, length, d]`.
    fn prompt(&self, signed: &Signed) -> Tensor {
        let (rows, length, d) = (signed.signs.len() as i64, signed.length as i64, self.t5.config().d_model);
        let device = self.t5.device();
        let sign = self.t5.embed(&Tensor::from_slice(&signed.signs).view([rows, 1]));
        match &signed.noise {
            None => sign.expand([rows, length, d], false),
            Some((shares, noise)) => {
                let size = (sign.square().mean_dim(-1, true, Kind::Float) + 1e-6).sqrt();
                let shares = Tensor::from_slice(shares).view([rows, length, 1]).to_device(device);
                let noise = Tensor::from_slice(noise).view([rows, length, d]).to_device(device);
                shares * (sign / size) + noise
            }
        }
    }
}

impl Run for Pretraining<'_> {
    type State = DescentState;

    fn steps_done(&self) -> u64 {
        self.descent.state().step
    }

    fn ended(&self) -> bool {
        self.steps_done() >= self.options.steps
    }

    fn advance(&mut self, observer: &dyn Observer<DescentState>) -> Result<(), Diag> {
        observer.step(&self.step()?, self.options.batch_size as i64);
        Ok(())
    }

    /// Its tensors are the weights as `model.NAME`, the optimizer's and the curves.
    fn snapshot(&self) -> Snapshot<DescentState> {
        let mut tensors = self.descent.tensors(&self.names());
        tensors.extend(self.weights().into_iter().map(|(name, tensor)| (format!("model.{name}"), tensor)));
        Snapshot { tensors, state: self.descent.state().clone() }
    }

    fn restore(&mut self, snapshot: Snapshot<DescentState>) -> Result<(), Diag> {
        let other_run = || Diag::error(Class::Stage, "the snapshot is of another run");
        let model = snapshot.part("model");
        let stored: Vec<&Tensor> =
            self.names.iter().map(|name| model.get(name)).collect::<Option<_>>().ok_or_else(other_run)?;
        let fits = stored.iter().zip(&self.parameters).all(|(stored, parameter)| stored.size() == parameter.size());
        let descent = self.descent.restored(&self.parameters, &self.names(), &snapshot.state, &snapshot.tensors);
        self.descent = descent.filter(|d| fits && d.state().step <= self.options.steps).ok_or_else(other_run)?;
        let _guard = tch::no_grad_guard();
        for (parameter, stored) in self.parameters.iter_mut().zip(stored) {
            parameter.copy_(stored);
        }
        Ok(())
    }
}

/// The examples of `step`, all of one task.
fn signed<'a>(courses: &'a [Course], o: &PretrainOptions, step: u64, d: usize) -> Signed<'a> {
    let mut draws = Draws::new(&format!("pretrain.step.{step}"), o.seed);
    let noisy = step as f64 >= o.clean * o.steps as f64;
    let shares: Vec<u64> = courses.iter().map(|course| course.share).collect();
    let task = &courses[by_share(&mut draws, &shares)].lessons;
    let length = 1 + draws.below(LONGEST_SIGN) as usize;
    let mut out =
        Signed { sources: vec![], targets: vec![], length, signs: vec![], noise: noisy.then(|| (vec![], vec![])) };
    for _ in 0..o.batch_size {
        let lesson = &task[draws.below(task.len() as u64) as usize];
        let signed = !noisy || draws.below(100) >= NO_SIGN;
        let shares = &SHARES[usize::from(noisy)];
        let skill = if signed { Skill::ALL[by_share(&mut draws, shares)] } else { Skill::First };
        let targets: Vec<&Vec<i32>> = if !signed && draws.below(2) == 0 {
            lesson.targets[Skill::Answer as usize].iter().chain(&lesson.targets[Skill::Wrong as usize]).collect()
        } else {
            lesson.targets[skill as usize].iter().collect()
        };
        out.sources.push(&lesson.source);
        out.targets.push(targets[draws.below(targets.len() as u64) as usize]);
        out.signs.push(o.signs[skill as usize]);
        if let Some((shares, noise)) = &mut out.noise {
            blur(&mut draws, signed, length, d, shares, noise);
        }
    }
    out
}

/// Draws an index of `shares`, with probabilities in proportion to them.
fn by_share(draws: &mut Draws, shares: &[u64]) -> usize {
    let mut at = draws.below(shares.iter().sum());
    for (i, share) in shares.iter().enumerate() {
        if at < *share {
            return i;
        }
        at -= share;
    }
    unreachable!("`at` is below the sum of the shares")
}

/// Noise for one sign of `length` vectors of width `d`. A vector is `scale * (share * sign + (1 - share) * g)`, the
/// sign at root mean square 1: `share` mostly near 1 and the same in all vectors except those of pure noise, `g`
/// normal, in half of the cases along one direction (as in a prompt of rank 1), `scale` log-uniform in 1/8..8 for all
/// and log-normal about that for each.
fn blur(draws: &mut Draws, signed: bool, length: usize, d: usize, shares: &mut Vec<f32>, noise: &mut Vec<f32>) {
    let share = if signed { 1.0 - 0.8 * draws.unit().powi(2) } else { 0.0 };
    let size = 8f64.powf(2.0 * draws.unit() - 1.0);
    let dropped = 0.4 * draws.unit();
    let direction: Option<Vec<f64>> = (draws.below(2) == 0).then(|| (0..d).map(|_| draws.gaussian()).collect());
    for i in 0..length {
        let share = if i > 0 && draws.unit() < dropped { 0.0 } else { share };
        let scale = size * (0.5 * draws.gaussian()).exp();
        shares.push((scale * share) as f32);
        let along = draws.gaussian();
        for j in 0..d {
            let g = direction.as_ref().map_or_else(|| draws.gaussian(), |direction| along * direction[j]);
            noise.push((scale * (1.0 - share) * g) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> T5Config {
        T5Config { d_model: 16, d_kv: 8, d_ff: 24, num_heads: 2, num_layers: 1, vocab_size: 40, ..T5Config::default() }
    }

    fn options() -> PretrainOptions {
        PretrainOptions {
            steps: 6,
            batch_size: 4,
            learning_rate: 0.01,
            warmup_steps: 1,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            clean: 0.5,
            signs: [35, 36, 37, 38, 39],
            seed: 7,
        }
    }

    fn courses() -> Vec<Course> {
        let lesson = |i: i32| Lesson {
            source: vec![10 + i; 3 + i as usize],
            targets: [0, 1, 2, 3, 4].map(|skill| vec![vec![20 + i + skill, 1]]),
        };
        vec![
            Course { share: 1, lessons: (0..5).map(lesson).collect() },
            Course { share: 2, lessons: (5..9).map(lesson).collect() },
        ]
    }

    #[test]
    fn a_resumed_run_ends_with_the_same_bits() {
        let (courses, device) = (courses(), tch::Device::Cpu);
        let mut whole = Pretraining::new(config(), &courses, options(), device).unwrap();
        let mut snapshot = None;
        for step in 0..6 {
            if step == 4 {
                snapshot = Some(whole.snapshot().copy());
            }
            whole.step().unwrap();
        }
        let mut resumed = Pretraining::new(config(), &courses, options(), device).unwrap();
        resumed.restore(snapshot.unwrap()).unwrap();
        assert_eq!(resumed.steps_done(), 4);
        resumed.step().unwrap();
        resumed.step().unwrap();
        assert_eq!(resumed.weights(), whole.weights());
        assert_eq!(resumed.curves(), whole.curves());
        assert!(resumed.restore(Snapshot { tensors: BTreeMap::new(), state: DescentState::default() }).is_err());
        assert_eq!(
            (resumed.weights(), resumed.curves()),
            (whole.weights(), whole.curves()),
            "a refusal changes nothing"
        );
    }

    #[test]
    fn every_tensor_is_trained() {
        let courses = courses();
        let mut run = Pretraining::new(config(), &courses, options(), tch::Device::Cpu).unwrap();
        let before: BTreeMap<_, _> = run.weights().into_iter().map(|(name, t)| (name, t.copy())).collect();
        while !run.ended() {
            run.step().unwrap();
        }
        for (name, tensor) in run.weights() {
            assert_ne!(tensor, before[&name], "{name}");
        }
    }

    #[test]
    fn signs_are_clean_first_and_noisy_later() {
        let courses = courses();
        assert!(signed(&courses, &options(), 2, 16).noise.is_none());
        let later = signed(&courses, &options(), 3, 16);
        let (shares, noise) = later.noise.unwrap();
        assert_eq!((shares.len(), noise.len()), (4 * later.length, 4 * later.length * 16));
        assert!(shares.iter().chain(&noise).all(|x| x.is_finite()));
    }

    #[test]
    fn nothing_to_learn_is_an_error() {
        assert!(Pretraining::new(config(), &[], options(), tch::Device::Cpu).is_err());
    }
}
