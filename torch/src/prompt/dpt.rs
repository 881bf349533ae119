//! Decomposed prompt tuning: the product of both factors in front of the text.

use tch::Tensor;

use super::{Forward, Method, Trained, methods};

/// `[A B ; text]`.
pub(super) struct Dpt;

impl Forward for Dpt {
    fn method(&self) -> &'static Method {
        &methods::dpt::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        vec![t.get("factor_a").matmul(t.get("factor_b"))]
    }
}
