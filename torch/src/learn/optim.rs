//! [`AdamW`] (Loshchilov & Hutter, arXiv 1711.05101) with groups of parameters, and clipping, in the order of operations of
//! `torch.optim.AdamW` or `transformers.AdamW`, and of `torch.nn.utils.clip_grad_norm_`.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

pub use dpt::learn::OptimizerKind;

/// Decay of the mean of gradients.
const BETA1: f64 = 0.9;
/// Decay of the mean of their squares.
const BETA2: f64 = 0.999;
/// Added to the root of that mean.
const EPSILON: f64 = 1e-8;

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

/// The optimizer's state for some tensors.
pub struct AdamW {
    kind: OptimizerKind,
    groups: Vec<ParamGroup>,
    steps: i32,
    means: Vec<Tensor>,
    squares: Vec<Tensor>,
}

impl AdamW {
    /// Fresh state for `parameters`. Those that are in no group stay as they are.
    pub fn new(parameters: &[Tensor], groups: Vec<ParamGroup>, kind: OptimizerKind) -> Self {
        let zeros = || parameters.iter().map(|p| p.detach().zeros_like()).collect();
        Self { kind, groups, steps: 0, means: zeros(), squares: zeros() }
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
        for (group, rate) in self.groups.iter().zip(rates) {
            for &i in &group.members {
                let (parameter, gradient) = (&mut parameters[i], &gradients[i]);
                let (mean, square) = (&mut self.means[i], &mut self.squares[i]);
                let decay = group.weight_decay;
                match self.kind {
                    OptimizerKind::AdamW => {
                        if decay != 0.0 {
                            let _ = parameter.g_mul_scalar_(1.0 - rate * decay);
                        }
                        let _ = mean.lerp_(gradient, 1.0 - BETA1);
                        let _ = square.g_mul_scalar_(BETA2).g_add_(&((gradient * (1.0 - BETA2)) * gradient));
                        let root = square.sqrt() / correction2.sqrt() + EPSILON;
                        let _ = parameter.g_add_(&((&*mean * (-rate / correction1)) / root));
                    }
                    OptimizerKind::AdamWHf => {
                        let _ = mean.g_mul_scalar_(BETA1).g_add_(&(gradient * (1.0 - BETA1)));
                        let _ = square.g_mul_scalar_(BETA2).g_add_(&((gradient * (1.0 - BETA2)) * gradient));
                        let root = square.sqrt() + EPSILON;
                        let size = rate * correction2.sqrt() / correction1;
                        let _ = parameter.g_add_(&((&*mean * -size) / root));
                        if decay != 0.0 {
                            let decayed = &*parameter * (-rate * decay);
                            let _ = parameter.g_add_(&decayed);
                        }
                    }
                }
            }
        }
    }

    /// Its tensors under `exp_avg.<name>` and `exp_avg_sq.<name>`; `names` in the order of the parameters.
    pub fn tensors(&self, names: &[&str]) -> BTreeMap<String, Tensor> {
        let both = names.iter().zip(self.means.iter().zip(&self.squares));
        both.flat_map(|(name, (mean, square))| {
            [(format!("exp_avg.{name}"), mean.shallow_clone()), (format!("exp_avg_sq.{name}"), square.shallow_clone())]
        })
        .collect()
    }

    /// Goes on from `steps` steps with tensors named as [`tensors`](AdamW::tensors) names them. `None`: one is missing or of
    /// another shape.
    pub fn restore(&mut self, names: &[&str], steps: i32, tensors: &BTreeMap<String, Tensor>) -> Option<()> {
        for (prefix, states) in [("exp_avg", &mut self.means), ("exp_avg_sq", &mut self.squares)] {
            for (name, state) in names.iter().zip(states) {
                let stored = tensors.get(&format!("{prefix}.{name}")).filter(|t| t.size() == state.size())?;
                state.copy_(stored);
            }
        }
        self.steps = steps;
        Some(())
    }
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

    /// Three steps at rate 0.1 and weight decay 0.01 along fixed gradients, against the paper's formulas in double precision.
    #[test]
    fn steps_follow_the_formulas() {
        let gradients = [0.5f64, 0.1, -2.0];
        let (mut p, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
        let mut parameters = [Tensor::from_slice(&[1.0f32]).set_requires_grad(true)];
        let mut adam = AdamW::new(&parameters, vec![ParamGroup::all(&parameters, 0.01)], OptimizerKind::AdamW);
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

    /// The same for the AdamW of `transformers`, whose epsilon is beside the root before bias correction, and which decays last.
    #[test]
    fn adamw_of_transformers_follows_its_formulas() {
        // Small gradients, so that the place of epsilon shows.
        let gradients = [2e-7f64, -1e-7, 3e-7];
        let (mut p, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
        let mut parameters = [Tensor::from_slice(&[1.0f32])];
        let mut adam = AdamW::new(&parameters, vec![ParamGroup::all(&parameters, 0.01)], OptimizerKind::AdamWHf);
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

    #[test]
    fn each_group_has_its_rate_and_decay() {
        let start = || [Tensor::from_slice(&[1.0f32]), Tensor::from_slice(&[1.0f32]), Tensor::from_slice(&[1.0f32])];
        let mut parameters = start();
        let group = |member, weight_decay| ParamGroup { members: vec![member], weight_decay };
        let mut adam = AdamW::new(&parameters, vec![group(2, 0.5), group(0, 0.0)], OptimizerKind::AdamW);
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
