//! [`AdamW`] (Loshchilov & Hutter, arXiv 1711.05101) and clipping, in the order of operations of `torch.optim.AdamW` and
//! `torch.nn.utils.clip_grad_norm_`.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

/// Decay of the mean of gradients.
const BETA1: f64 = 0.9;
/// Decay of the mean of their squares.
const BETA2: f64 = 0.999;
/// Added to the root of that mean.
const EPSILON: f64 = 1e-8;

/// The optimizer's state for some tensors.
pub struct AdamW {
    /// Decoupled: `parameter *= 1 - rate * weight_decay`.
    pub weight_decay: f64,
    steps: i32,
    means: Vec<Tensor>,
    squares: Vec<Tensor>,
}

impl AdamW {
    /// Fresh state for `parameters`.
    pub fn new(parameters: &[Tensor], weight_decay: f64) -> Self {
        let zeros = || parameters.iter().map(|p| p.detach().zeros_like()).collect();
        Self { weight_decay, steps: 0, means: zeros(), squares: zeros() }
    }

    /// One step at `rate` along `gradients` (in the order of `parameters`).
    pub fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor], rate: f64) {
        let _guard = tch::no_grad_guard();
        self.steps += 1;
        let correction1 = 1.0 - BETA1.powi(self.steps);
        let correction2 = 1.0 - BETA2.powi(self.steps);
        let states = self.means.iter_mut().zip(&mut self.squares);
        for ((parameter, gradient), (mean, square)) in parameters.iter_mut().zip(gradients).zip(states) {
            if self.weight_decay != 0.0 {
                let _ = parameter.g_mul_scalar_(1.0 - rate * self.weight_decay);
            }
            let _ = mean.lerp_(gradient, 1.0 - BETA1);
            let _ = square.g_mul_scalar_(BETA2).g_add_(&((gradient * (1.0 - BETA2)) * gradient));
            let root = square.sqrt() / correction2.sqrt() + EPSILON;
            let _ = parameter.g_add_(&((&*mean * (-rate / correction1)) / root));
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
        let mut adam = AdamW::new(&parameters, 0.01);
        for (g, n) in gradients.into_iter().zip(1..) {
            p *= 1.0 - 0.1 * 0.01;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mean, square) = (m / (1.0 - 0.9f64.powi(n)), v / (1.0 - 0.999f64.powi(n)));
            p -= 0.1 * mean / (square.sqrt() + 1e-8);
            adam.step(&mut parameters, &[Tensor::from_slice(&[g as f32])], 0.1);
            assert!((parameters[0].double_value(&[0]) - p).abs() < 1e-6);
        }
        assert!(parameters[0].requires_grad());
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
