//! MPT's target stage: a prompt times a product of two thin matrices, entry by entry.

use tch::Tensor;

use super::{Forward, Method, Trained, methods};

/// `[P ⊙ (C R) ; text]`.
pub(super) struct Mpt;

impl Forward for Mpt {
    fn method(&self) -> &'static Method {
        &methods::mpt::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let own = t.get("task_cols").matmul(t.get("task_rows")).squeeze_dim(0);
        vec![t.get("prompt") * own]
    }
}
