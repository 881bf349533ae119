//! Decomposed prompt tuning (Xiao et al., Findings of EMNLP 2023, arXiv 2310.10094): `P = A B`, no bias, no
//! non-linearity, no scaling. `rank · (virtual_tokens + d_model)` numbers are trained.

use tch::Tensor;

use super::{Dims, Method};

/// `P = A B`.
pub(super) struct Dpt;

impl Method for Dpt {
    fn name(&self) -> &'static str {
        "dpt"
    }

    fn about(&self) -> &'static str {
        "decomposed prompt tuning: the prompt is a product of two thin trained matrices, `rank` between them"
    }

    fn has_rank(&self) -> bool {
        true
    }

    fn tensors(&self, dims: Dims) -> Vec<(&'static str, [i64; 2])> {
        vec![("factor_a", [dims.virtual_tokens, dims.rank]), ("factor_b", [dims.rank, dims.d_model])]
    }

    fn prompt(&self, tensors: &[Tensor]) -> Tensor {
        tensors[0].matmul(&tensors[1])
    }

    fn hold(&self, _prompt: &Tensor) -> Option<Vec<Tensor>> {
        None
    }
}
