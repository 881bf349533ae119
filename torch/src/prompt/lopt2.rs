//! LoPT-2: a frozen prompt through two trained thin matrices.

use tch::Tensor;

use super::methods::lopt2::Activation;
use super::{Forward, Method, Trained, methods};

/// `[σ(X₀ U) V ; text]`.
pub(super) struct Lopt2;

impl Forward for Lopt2 {
    fn method(&self) -> &'static Method {
        &methods::lopt2::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let inner = t.get("x0").matmul(t.get("u"));
        let inner = match t.shape.choice("activation") {
            Activation::Relu => inner.relu(),
            Activation::Gelu => inner.gelu("tanh"),
        };
        vec![inner.matmul(t.get("v"))]
    }
}
