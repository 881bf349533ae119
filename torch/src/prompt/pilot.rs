//! The pilot experiment: `U diag(gate(σ)) V`, and how many entries of σ stay above 0.

use tch::{Kind, Tensor};

use crate::base::draw::Draws;

use super::methods::pilot::Gate;
use super::{Forward, Method, Trained, methods};

/// An entry of σ below this part of the largest counts as gone.
const SMALL: f64 = 1e-3;

/// `[U diag(gate(σ)) V ; text]`.
pub(super) struct Pilot;

impl Forward for Pilot {
    fn method(&self) -> &'static Method {
        &methods::pilot::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let sigma = t.get("sigma");
        let sigma = match t.shape.choice("gate") {
            Gate::Relu => sigma.relu(),
            Gate::Softplus => sigma.softplus(),
            Gate::Plain => sigma.shallow_clone(),
        };
        vec![(t.get("u") * sigma).matmul(t.get("v"))]
    }

    fn figures(&self, t: &Trained) -> Vec<(&'static str, f64)> {
        let sigma = numbers(t.get("sigma"));
        let most = sigma.iter().fold(0.0f64, |most, s| most.max(*s));
        let (_, singular, _) = self.fold(t)[0].to_kind(Kind::Double).to_device(tch::Device::Cpu).svd(true, false);
        let singular = numbers(&singular);
        let largest = singular.iter().fold(0.0f64, |most, s| most.max(*s));
        let sum: f64 = singular.iter().sum();
        let entropy: f64 = singular.iter().map(|s| s / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        vec![
            ("positive_sigma", count(&sigma, 0.0)),
            ("sigma_above_a_thousandth", count(&sigma, SMALL * most)),
            ("singular_values_above_a_thousandth", count(&singular, SMALL * largest)),
            ("effective_rank", if sum > 0.0 { entropy.exp() } else { 0.0 }),
        ]
    }

    /// σ with every entry moved up or down by the step's rate, by chance, and stopped where it falls to 0 or below.
    fn controls(&self, start: &Trained, rates: &[f64], seed: i64) -> Vec<(&'static str, Vec<f64>)> {
        let mut sigma = numbers(start.get("sigma"));
        let mut draws = Draws::new("pilot.walk", seed);
        let mut counts = vec![count(&sigma, 0.0)];
        for rate in rates {
            for entry in sigma.iter_mut() {
                let up = draws.unit() < 0.5;
                if *entry > 0.0 {
                    *entry += if up { *rate } else { -rate };
                }
            }
            counts.push(count(&sigma, 0.0));
        }
        vec![("positive_sigma_of_a_random_walk", counts)]
    }
}

fn count(values: &[f64], above: f64) -> f64 {
    values.iter().filter(|value| **value > above).count() as f64
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).contiguous().view(-1)).expect("numbers")
}
