//! [`Optimizer`]: AdamW (Loshchilov & Hutter, arXiv 1711.05101) and Adafactor (Shazeer & Stern, arXiv 1804.04235) with
//! groups of parameters, and clipping, in the order of operations of `torch.optim.AdamW`, `transformers.AdamW` or
//! `transformers.Adafactor`, and of `torch.nn.utils.clip_grad_norm_`.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

pub use dpt::learn::OptimizerKind;

/// Decay of the mean of gradients.
const BETA1: f64 = 0.9;
/// Decay of the mean of their squares.
const BETA2: f64 = 0.999;
/// Adafactor: an update whose root mean square is above this is scaled down to it.
const CLIP_THRESHOLD: f64 = 1.0;
/// Adafactor: at step `t` the mean of squares keeps the share `1 - t^DECAY`.
const DECAY: f64 = -0.8;

/// Parameters with a learning rate of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamGroup {
    /// Which of the parameters.
    pub members: Vec<usize>,
    /// Decoupled: `parameter *= 1 - rate * weight_decay`.
    pub weight_decay: f64,
}

impl ParamGroup {
    /// All of `parameters`.
    pub fn all(parameters: &[Tensor], weight_decay: f64) -> Self {
        Self { members: (0..parameters.len()).collect(), weight_decay }
    }
}

/// What is added to the root of the mean of squares, or to the squares themselves, where a run does not say.
pub const fn default_epsilon(kind: OptimizerKind) -> f64 {
    match kind {
        OptimizerKind::AdamW | OptimizerKind::AdamWHf => 1e-8,
        OptimizerKind::Adafactor => 1e-30,
    }
}

/// What is kept of the gradients of one parameter.
enum State {
    /// AdamW: the means of the gradients and of their squares, both of the parameter's shape.
    Moments { mean: Tensor, square: Tensor },
    /// Adafactor, a parameter of fewer than two sizes: the mean of squares, of its shape.
    Square(Tensor),
    /// Adafactor, a parameter `[…, rows, columns]`: the means of squares over the columns `[…, rows]` and over the rows
    /// `[…, columns]`.
    Factored { rows: Tensor, columns: Tensor },
}

impl State {
    fn new(kind: OptimizerKind, parameter: &Tensor) -> Self {
        let zeros = || parameter.detach().zeros_like();
        match kind {
            OptimizerKind::AdamW | OptimizerKind::AdamWHf => State::Moments { mean: zeros(), square: zeros() },
            OptimizerKind::Adafactor if parameter.dim() < 2 => State::Square(zeros()),
            OptimizerKind::Adafactor => {
                let empty = zeros();
                State::Factored { rows: mean_over(&empty, -1, false), columns: mean_over(&empty, -2, false) }
            }
        }
    }

    /// Its tensors, each with what it is called.
    fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            State::Moments { mean, square } => vec![("exp_avg", mean), ("exp_avg_sq", square)],
            State::Square(square) => vec![("exp_avg_sq", square)],
            State::Factored { rows, columns } => vec![("exp_avg_sq_row", rows), ("exp_avg_sq_col", columns)],
        }
    }
}

/// The state of an optimizer for some tensors.
pub struct Optimizer {
    kind: OptimizerKind,
    epsilon: f64,
    groups: Vec<ParamGroup>,
    steps: i32,
    states: Vec<State>,
}

impl Optimizer {
    /// Fresh state for `parameters`. Those that are in no group stay as they are. `epsilon`: `None` for
    /// [`default_epsilon`].
    pub fn new(parameters: &[Tensor], groups: Vec<ParamGroup>, kind: OptimizerKind, epsilon: Option<f64>) -> Self {
        let states = parameters.iter().map(|parameter| State::new(kind, parameter)).collect();
        Self { kind, epsilon: epsilon.unwrap_or(default_epsilon(kind)), groups, steps: 0, states }
    }

    /// One step along `gradients` (in the order of `parameters`), with one rate a group.
    ///
    /// # Panics
    /// When there are not as many rates as groups.
    pub fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor], rates: &[f64]) {
        let _guard = tch::no_grad_guard();
        assert_eq!(rates.len(), self.groups.len(), "one rate a group");
        self.steps += 1;
        let correction1 = 1.0 - BETA1.powi(self.steps);
        let correction2 = 1.0 - BETA2.powi(self.steps);
        let epsilon = self.epsilon;
        for (group, rate) in self.groups.iter().zip(rates) {
            for &i in &group.members {
                let (parameter, gradient) = (&mut parameters[i], &gradients[i]);
                let decay = group.weight_decay;
                match (&mut self.states[i], self.kind) {
                    (State::Moments { mean, square }, OptimizerKind::AdamWHf) => {
                        let _ = mean.g_mul_scalar_(BETA1).g_add_(&(gradient * (1.0 - BETA1)));
                        let _ = square.g_mul_scalar_(BETA2).g_add_(&((gradient * (1.0 - BETA2)) * gradient));
                        let root = square.sqrt() + epsilon;
                        let size = rate * correction2.sqrt() / correction1;
                        let _ = parameter.g_add_(&((&*mean * -size) / root));
                        if decay != 0.0 {
                            let decayed = &*parameter * (-rate * decay);
                            let _ = parameter.g_add_(&decayed);
                        }
                    }
                    (State::Moments { mean, square }, _) => {
                        if decay != 0.0 {
                            let _ = parameter.g_mul_scalar_(1.0 - rate * decay);
                        }
                        let _ = mean.lerp_(gradient, 1.0 - BETA1);
                        let _ = square.g_mul_scalar_(BETA2).g_add_(&((gradient * (1.0 - BETA2)) * gradient));
                        let root = square.sqrt() / correction2.sqrt() + epsilon;
                        let _ = parameter.g_add_(&((&*mean * (-rate / correction1)) / root));
                    }
                    (state, _) => {
                        let keep = 1.0 - f64::from(self.steps).powf(DECAY);
                        let update = adafactor(state, gradient, keep, epsilon) * *rate;
                        if decay != 0.0 {
                            let decayed = &*parameter * (-rate * decay);
                            let _ = parameter.g_add_(&decayed);
                        }
                        let _ = parameter.g_sub_(&update);
                    }
                }
            }
        }
    }

    /// Its tensors under `exp_avg.<name>`, `exp_avg_sq.<name>`, `exp_avg_sq_row.<name>` and `exp_avg_sq_col.<name>`, as
    /// far as it has them; `names` in the order of the parameters.
    pub fn tensors(&self, names: &[&str]) -> BTreeMap<String, Tensor> {
        let named = names.iter().zip(&self.states);
        named
            .flat_map(|(name, state)| {
                state.tensors().into_iter().map(move |(part, t)| (format!("{part}.{name}"), t.shallow_clone()))
            })
            .collect()
    }

    /// Goes on from `steps` steps with tensors named as [`tensors`](Optimizer::tensors) names them. `None`: one is
    /// missing or of another shape.
    pub fn restore(&mut self, names: &[&str], steps: i32, tensors: &BTreeMap<String, Tensor>) -> Option<()> {
        for (name, state) in names.iter().zip(&self.states) {
            for (part, tensor) in state.tensors() {
                let stored = tensors.get(&format!("{part}.{name}")).filter(|t| t.size() == tensor.size())?;
                tensor.shallow_clone().copy_(stored);
            }
        }
        self.steps = steps;
        Some(())
    }
}

/// The update of Adafactor with rate 1, without a first moment: `gradient` over the root of the mean of squares, scaled
/// down to the root mean square [`CLIP_THRESHOLD`].
fn adafactor(state: &mut State, gradient: &Tensor, keep: f64, epsilon: f64) -> Tensor {
    let squares = gradient.square() + epsilon;
    let update = match state {
        State::Factored { rows, columns } => {
            let _ = rows.g_mul_scalar_(keep).g_add_(&(mean_over(&squares, -1, false) * (1.0 - keep)));
            let _ = columns.g_mul_scalar_(keep).g_add_(&(mean_over(&squares, -2, false) * (1.0 - keep)));
            let by_row = (&*rows / mean_over(rows, -1, true)).rsqrt().unsqueeze(-1);
            by_row * columns.unsqueeze(-2).rsqrt() * gradient
        }
        State::Square(square) | State::Moments { square, .. } => {
            let _ = square.g_mul_scalar_(keep).g_add_(&(squares * (1.0 - keep)));
            square.rsqrt() * gradient
        }
    };
    let size = update.norm() / (update.numel() as f64).sqrt();
    &update / (size / CLIP_THRESHOLD).clamp_min(1.0)
}

fn mean_over(tensor: &Tensor, dim: i64, keep: bool) -> Tensor {
    tensor.mean_dim([dim].as_slice(), keep, Kind::Float)
}

/// Scales `gradients` so that their common 2-norm is at most `max_norm` (0: leaves them) and returns the norm before.
pub fn clip(gradients: &mut [Tensor], max_norm: f64) -> f64 {
    let norms: Vec<_> = gradients.iter().map(Tensor::norm).collect();
    let total = Tensor::stack(&norms, 0).norm().to_kind(Kind::Double).double_value(&[]);
    if max_norm > 0.0 {
        let scale = (max_norm / (total + 1e-6)).min(1.0);
        for gradient in gradients {
            let _ = gradient.g_mul_scalar_(scale);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps at rate 0.1 and weight decay 0.01 along fixed gradients, against the paper's formulas in double
    /// precision.
    #[test]
    fn steps_follow_the_formulas() {
        let gradients = [0.5f64, 0.1, -2.0];
        let (mut p, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
        let mut parameters = [Tensor::from_slice(&[1.0f32]).set_requires_grad(true)];
        let mut adam =
            Optimizer::new(&parameters, vec![ParamGroup::all(&parameters, 0.01)], OptimizerKind::AdamW, None);
        for (g, n) in gradients.into_iter().zip(1..) {
            p *= 1.0 - 0.1 * 0.01;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mean, square) = (m / (1.0 - 0.9f64.powi(n)), v / (1.0 - 0.999f64.powi(n)));
            p -= 0.1 * mean / (square.sqrt() + 1e-8);
            adam.step(&mut parameters, &[Tensor::from_slice(&[g as f32])], &[0.1]);
            assert!((parameters[0].double_value(&[0]) - p).abs() < 1e-6);
        }
        assert!(parameters[0].requires_grad());
    }

    /// The same for the AdamW of `transformers`, whose epsilon is beside the root before bias correction, and which
    /// decays last.
    #[test]
    fn adamw_of_transformers_follows_its_formulas() {
        // Small gradients, so that the place of epsilon shows.
        let gradients = [2e-7f64, -1e-7, 3e-7];
        let (mut p, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
        let mut parameters = [Tensor::from_slice(&[1.0f32])];
        let mut adam =
            Optimizer::new(&parameters, vec![ParamGroup::all(&parameters, 0.01)], OptimizerKind::AdamWHf, None);
        for (g, n) in gradients.into_iter().zip(1..) {
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (first, second) = (1.0 - 0.9f64.powi(n), 1.0 - 0.999f64.powi(n));
            p -= 0.1 * second.sqrt() / first * m / (v.sqrt() + 1e-8);
            p -= 0.1 * 0.01 * p;
            adam.step(&mut parameters, &[Tensor::from_slice(&[g as f32])], &[0.1]);
            assert!((parameters[0].double_value(&[0]) - p).abs() < 1e-6, "step {n}");
        }
        // With epsilon beside the corrected root the first step alone would be 0.1 * 2e-7 / (2e-7 + 1e-8), nearly 0.1.
        assert!(p > 0.9, "{p}");
    }

    /// A matrix and a vector at rate 0.1 and weight decay 0.01, against the paper's formulas in double precision.
    #[test]
    fn adafactor_follows_its_formulas() {
        let gradients = [[0.5f64, -0.1, 2.0, 0.3], [-0.2, 0.4, 1.0, 0.7], [1e-3, 0.0, -3.0, 0.1]];
        let start = [1.0f64, -2.0, 0.5, 3.0];
        let tensor = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float);
        let mut parameters = [tensor(&start).view([2, 2]), tensor(&start)];
        let groups = vec![ParamGroup::all(&parameters, 0.01)];
        let mut optimizer = Optimizer::new(&parameters, groups, OptimizerKind::Adafactor, None);
        let (mut matrix, mut vector) = (start, start);
        let (mut rows, mut columns, mut squares) = ([0.0f64; 2], [0.0f64; 2], [0.0f64; 4]);
        let apply = |p: &mut [f64; 4], mut update: [f64; 4]| {
            let size = (update.iter().map(|u| u * u).sum::<f64>() / 4.0).sqrt().max(1.0);
            update.iter_mut().for_each(|u| *u /= size);
            for (p, u) in p.iter_mut().zip(update) {
                *p -= 0.1 * 0.01 * *p;
                *p -= 0.1 * u;
            }
        };
        for (g, t) in gradients.into_iter().zip(1..) {
            let keep = 1.0 - f64::from(t).powf(-0.8);
            let s = g.map(|g| g * g + 1e-30);
            for i in 0..2 {
                rows[i] = keep * rows[i] + (1.0 - keep) * (s[2 * i] + s[2 * i + 1]) / 2.0;
                columns[i] = keep * columns[i] + (1.0 - keep) * (s[i] + s[2 + i]) / 2.0;
            }
            for i in 0..4 {
                squares[i] = keep * squares[i] + (1.0 - keep) * s[i];
            }
            let mean = (rows[0] + rows[1]) / 2.0;
            let factored = [0, 1, 2, 3].map(|i| g[i] / (rows[i / 2] / mean * columns[i % 2]).sqrt());
            apply(&mut matrix, factored);
            apply(&mut vector, [0, 1, 2, 3].map(|i| g[i] / squares[i].sqrt()));
            optimizer.step(&mut parameters, &[tensor(&g).view([2, 2]), tensor(&g)], &[0.1]);
            for (parameter, wanted) in parameters.iter().zip([matrix, vector]) {
                let found = Vec::<f64>::try_from(parameter.to_kind(Kind::Double).view(-1)).unwrap();
                assert!(found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-5), "step {t}: {found:?} {wanted:?}");
            }
        }
        let kept = optimizer.tensors(&["m", "v"]);
        let names: Vec<_> = kept.iter().map(|(name, t)| (name.as_str(), t.size())).collect();
        let wanted = [("exp_avg_sq.v", vec![4]), ("exp_avg_sq_col.m", vec![2]), ("exp_avg_sq_row.m", vec![2])];
        assert_eq!(names, wanted);
    }

    #[test]
    fn restored_optimizer_goes_on_as_if_it_had_not_stopped() {
        for kind in [OptimizerKind::AdamW, OptimizerKind::AdamWHf, OptimizerKind::Adafactor] {
            let start = || [Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view([2, 2]), Tensor::from_slice(&[1.0f32])];
            let gradients = |step: i32| [start()[0].sin() * f64::from(step), start()[1].cos()];
            let fresh = |p: &[Tensor]| Optimizer::new(p, vec![ParamGroup::all(p, 0.1)], kind, Some(1e-6));
            let (mut whole, mut parts) = (start(), start());
            let (mut one, mut first) = (fresh(&whole), fresh(&parts));
            for step in 0..2 {
                one.step(&mut whole, &gradients(step), &[0.1]);
                first.step(&mut parts, &gradients(step), &[0.1]);
            }
            let names = ["a", "b"];
            let mut second = fresh(&parts);
            second.restore(&names, 2, &first.tensors(&names)).unwrap();
            one.step(&mut whole, &gradients(2), &[0.1]);
            second.step(&mut parts, &gradients(2), &[0.1]);
            assert_eq!(whole, parts, "{kind}");
            assert!(fresh(&parts).restore(&["a", "c"], 2, &first.tensors(&names)).is_none());
        }
    }

    #[test]
    fn each_group_has_its_rate_and_decay() {
        let start = || [Tensor::from_slice(&[1.0f32]), Tensor::from_slice(&[1.0f32]), Tensor::from_slice(&[1.0f32])];
        let mut parameters = start();
        let group = |member, weight_decay| ParamGroup { members: vec![member], weight_decay };
        let mut adam = Optimizer::new(&parameters, vec![group(2, 0.5), group(0, 0.0)], OptimizerKind::AdamW, None);
        let gradients = start();
        adam.step(&mut parameters, &gradients, &[0.2, 0.1]);
        let value = |i: usize| parameters[i].double_value(&[0]);
        // The first step of Adam is the rate.
        assert!((value(0) - 0.9).abs() < 1e-5 && (value(1) - 1.0).abs() < 1e-9);
        assert!((value(2) - (0.9 - 0.2)).abs() < 1e-5, "{}", value(2));
    }

    #[test]
    fn clipping_takes_all_gradients_together() {
        let mut gradients = [Tensor::from_slice(&[3.0f32]), Tensor::from_slice(&[0.0f32, 4.0])];
        assert!((clip(&mut gradients, 0.0) - 5.0).abs() < 1e-6);
        assert!((clip(&mut gradients, 1.0) - 5.0).abs() < 1e-6);
        assert!((gradients[1].double_value(&[1]) - 0.8).abs() < 1e-5);
        assert!((clip(&mut gradients, 2.0) - 1.0).abs() < 1e-5);
        assert!((gradients[1].double_value(&[1]) - 0.8).abs() < 1e-5);
    }
}
