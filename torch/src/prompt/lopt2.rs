//! LoPT-2: a frozen prompt through two trained thin matrices.

use tch::Tensor;

use super::{Forward, Method, Trained, methods};

/// `[σ(X₀ U) V ; text]`.
pub(super) struct Lopt2;

impl Forward for Lopt2 {
    fn method(&self) -> &'static Method {
        &methods::lopt2::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let inner = t.get("x0").matmul(t.get("u"));
        let inner = if t.shape.word("activation") == "gelu" { inner.gelu("tanh") } else { inner.relu() };
        vec![inner.matmul(t.get("v"))]
    }
}
