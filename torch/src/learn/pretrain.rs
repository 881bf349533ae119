//! Pretraining of a small backbone on lessons: the same input under different signs, a skill each. A sign is a run of
//! vectors before the input, at the positions where a soft prompt goes: rows of the embedding table, clean at first, later
//! mixed with noise, scaled and in part replaced. So the backbone reads a wide neighbourhood of each sign, and a soft prompt that
//! starts at random can be drawn into one by gradients.
//!
//! A batch is a function of the step, and so is its noise: a run can go on from any step.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::base::diag::{Class, Diag};
use crate::base::draw::Draws;
use crate::data::synth::skills::{Lesson, Skill};
use crate::model::config::{T5Config, TensorInit, TensorSpec};
use crate::model::t5::{IGNORED, T5};

use super::batch::{MULTIPLE, pad};
use super::fit::CurveRow;
use super::optim::{Optimizer, OptimizerKind, ParamGroup, clip};
use super::schedule::Linear;

/// The longest sign, in vectors.
const LONGEST_SIGN: u64 = 10;

/// How often each of [`Skill::ALL`] is asked for, in percent: under clean signs, and under noisy ones. Right and wrong
/// answers are as frequent as each other in the end, so that half a sign does not lean to one of them.
const SHARES: [[u64; 5]; 2] = [[55, 5, 30, 5, 5], [32, 32, 20, 8, 8]];

/// Of a hundred inputs under noisy signs, so many stand behind noise alone. Half of them want [`Skill::First`], half an answer
/// picked blindly, right or wrong: a prompt that says nothing should tell nothing.
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
    /// The first share of the steps, under clean signs.
    pub clean: f64,
    /// The sign of each of [`Skill::ALL`]: a row of the token table.
    pub signs: [i64; 5],
    /// Draws initial weights, batches and noise.
    pub seed: i64,
}

/// What is learnt of one task.
#[derive(Clone, Debug)]
pub struct Course {
    /// Its part of all batches, against those of the other courses.
    pub share: u64,
    /// At least one.
    pub lessons: Vec<Lesson>,
}

/// A fresh model of this shape: each tensor from a stream of its own, as T5 draws them, but for the output matrix of an
/// untied model, which starts as small as a tied one's scaled output: at T5's own size the first loss would be some 25 nats.
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

/// A pretraining run: the model, and where it is.
pub struct Pretraining<'a> {
    options: PretrainOptions,
    courses: &'a [Course],
    t5: T5,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    adam: Optimizer,
    step: u64,
    /// One row a step, of this run and of those that it goes on from.
    pub curves: Vec<CurveRow>,
}

/// One step's examples: sources and targets, and the signs before them.
struct Signed<'a> {
    sources: Vec<&'a [i32]>,
    targets: Vec<&'a [i32]>,
    /// Vectors in each sign.
    length: usize,
    /// The sign's token, one a row.
    signs: Vec<i64>,
    /// What of the sign is in each vector and what is added to it, `[B, length]` and `[B, length, d]`; `None`: clean.
    noise: Option<(Vec<f32>, Vec<f32>)>,
}

impl<'a> Pretraining<'a> {
    /// At step 0, with fresh weights on `device`.
    ///
    /// # Errors
    /// A course without lessons, or none at all.
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
        let adam = Optimizer::new(
            &parameters,
            vec![ParamGroup::all(&parameters, options.weight_decay)],
            OptimizerKind::AdamW,
            None,
        );
        let t5 = T5::from_tensors(config, tensors);
        Ok(Self { options, courses, t5, names, parameters, adam, step: 0, curves: Vec::new() })
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The weights as they are, by Hugging Face's names.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        self.names.iter().cloned().zip(self.parameters.iter().map(Tensor::detach)).collect()
    }

    /// Weights and the optimizer's moments: with the step and the curves, all that [`resume`](Self::resume) needs.
    pub fn snapshot(&self) -> BTreeMap<String, Tensor> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        self.weights().into_iter().chain(self.adam.tensors(&names)).collect()
    }

    /// Goes on after `curves.len()` steps. `None`: the snapshot is of another run.
    pub fn resume(&mut self, snapshot: &BTreeMap<String, Tensor>, curves: Vec<CurveRow>) -> Option<()> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let stored: Vec<&Tensor> = names.iter().map(|name| snapshot.get(*name)).collect::<Option<_>>()?;
        if stored.iter().zip(&self.parameters).any(|(s, p)| s.size() != p.size()) {
            return None;
        }
        self.adam.restore(&names, i32::try_from(curves.len()).ok()?, snapshot)?;
        let _guard = tch::no_grad_guard();
        for (parameter, stored) in self.parameters.iter_mut().zip(stored) {
            parameter.copy_(stored);
        }
        self.step = curves.len() as u64;
        self.curves = curves;
        Some(())
    }

    /// One step.
    ///
    /// # Errors
    /// A loss or gradient that is not finite.
    pub fn advance(&mut self) -> Result<CurveRow, Diag> {
        let o = &self.options;
        let signed = signed(self.courses, o, self.step, self.t5.config().d_model as usize);
        let input_ids = pad(signed.sources.iter().copied(), self.t5.config().pad_token_id, MULTIPLE);
        let mask = input_ids.ne(self.t5.config().pad_token_id).to_kind(Kind::Int64);
        let labels = pad(signed.targets.iter().copied(), IGNORED, 1);
        let input = self.t5.text(&input_ids, &mask).with_prefix(&self.prompt(&signed));
        let (states, mask) = self.t5.encode(input);
        let loss = self.t5.loss(&states, &mask, &labels);
        let mut gradients = Tensor::run_backward(&[&loss], &self.parameters, false, false);
        let norm = clip(&mut gradients, o.max_grad_norm);
        let rate = Linear { rate: o.learning_rate, warmup: o.warmup_steps, total: o.steps }.at(self.step);
        let loss = loss.double_value(&[]);
        if !loss.is_finite() || !norm.is_finite() {
            return Err(Diag::error(Class::Stage, format!("the loss at step {} is {loss}", self.step + 1))
                .note(format!("the norm of its gradients is {norm}, the learning rate {rate}"))
                .help("try a lower `learning_rate`"));
        }
        self.adam.step(&mut self.parameters, &gradients, &[rate]);
        self.step += 1;
        let row = CurveRow { step: self.step, loss: loss as f32, learning_rate: rate, grad_norm: norm as f32 };
        self.curves.push(row);
        Ok(row)
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

/// The examples of `step`: of one task.
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
        let told = !noisy || draws.below(100) >= NO_SIGN;
        let shares = &SHARES[usize::from(noisy)];
        let skill = if told { Skill::ALL[by_share(&mut draws, shares)] } else { Skill::First };
        let targets: Vec<&Vec<i32>> = if !told && draws.below(2) == 0 {
            lesson.targets[Skill::Answer as usize].iter().chain(&lesson.targets[Skill::Wrong as usize]).collect()
        } else {
            lesson.targets[skill as usize].iter().collect()
        };
        out.sources.push(&lesson.source);
        out.targets.push(targets[draws.below(targets.len() as u64) as usize]);
        out.signs.push(o.signs[skill as usize]);
        if let Some((shares, noise)) = &mut out.noise {
            blur(&mut draws, told, length, d, shares, noise);
        }
    }
    out
}

/// An index of `shares`, each as likely as its share says.
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

/// Noise for one sign of `length` vectors of width `d`. A vector is `scale * (share * sign + (1 - share) * g)`, the sign at
/// root mean square 1: `share` mostly near 1 and the same in all vectors but for those that are noise alone, `g` normal,
/// in half of the cases along one direction (as in a prompt of rank 1), `scale` log-uniform
/// in 1/8..8 for all and log-normal about that for each.
fn blur(draws: &mut Draws, told: bool, length: usize, d: usize, shares: &mut Vec<f32>, noise: &mut Vec<f32>) {
    let share = if told { 1.0 - 0.8 * draws.unit().powi(2) } else { 0.0 };
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
                let copies = whole.snapshot().into_iter().map(|(name, t)| (name, t.copy())).collect::<BTreeMap<_, _>>();
                snapshot = Some((copies, whole.curves.clone()));
            }
            whole.advance().unwrap();
        }
        let (tensors, curves) = snapshot.unwrap();
        let mut resumed = Pretraining::new(config(), &courses, options(), device).unwrap();
        resumed.resume(&tensors, curves).unwrap();
        assert_eq!(resumed.step(), 4);
        resumed.advance().unwrap();
        resumed.advance().unwrap();
        assert_eq!(resumed.weights(), whole.weights());
        assert_eq!(resumed.curves, whole.curves);
        assert!(resumed.resume(&BTreeMap::new(), Vec::new()).is_none());
    }

    #[test]
    fn every_tensor_is_trained() {
        let courses = courses();
        let mut run = Pretraining::new(config(), &courses, options(), tch::Device::Cpu).unwrap();
        let before: BTreeMap<_, _> = run.weights().into_iter().map(|(name, t)| (name, t.copy())).collect();
        while run.step() < 6 {
            run.advance().unwrap();
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
