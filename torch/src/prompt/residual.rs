//! Residual prompt tuning: every row of the prompt passes a small network with a skip connection.

use tch::Tensor;

use super::{Forward, Method, Trained, linear, methods};

/// `[P + LN(relu(P Dᵀ + c) Uᵀ + e) ; text]`.
pub(super) struct Residual;

impl Forward for Residual {
    fn method(&self) -> &'static Method {
        &methods::residual::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let prompt = t.get("prompt");
        let inner = linear(prompt, t.get("down.weight"), t.get("down.bias")).relu();
        let outer = linear(&inner, t.get("up.weight"), t.get("up.bias"));
        let (weight, bias) = (t.get("norm.weight"), t.get("norm.bias"));
        let epsilon = methods::residual::LAYER_NORM_EPSILON;
        vec![prompt + outer.layer_norm([t.shape.d_model], Some(weight), Some(bias), epsilon, false)]
    }
}
