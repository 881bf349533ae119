//! P-tuning: each row of a table passes three linear layers.

use tch::Tensor;

use super::{Forward, Method, Trained, linear, methods};

/// `[MLP(E) ; text]`.
pub(super) struct PTuning;

impl Forward for PTuning {
    fn method(&self) -> &'static Method {
        &methods::p_tuning::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let layer = |x: &Tensor, weight, bias| linear(x, t.get(weight), t.get(bias));
        let first = layer(t.get("embedding"), "mlp.0.weight", "mlp.0.bias").relu();
        let second = layer(&first, "mlp.2.weight", "mlp.2.bias").relu();
        vec![layer(&second, "mlp.4.weight", "mlp.4.bias")]
    }
}
