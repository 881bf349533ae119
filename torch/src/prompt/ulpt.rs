//! ULPT: a trained matrix times a frozen one, with a scale and a shift a dimension.

use tch::Tensor;

use super::{Forward, Method, Trained, methods};

/// `[(Z R) ⊙ s + t ; text]`.
pub(super) struct Ulpt;

impl Forward for Ulpt {
    fn method(&self) -> &'static Method {
        &methods::ulpt::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let low = t.get("z").matmul(t.get("random_projection"));
        vec![low * t.get("scale") + t.get("shift")]
    }
}
