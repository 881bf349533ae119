//! Prompt tuning (Lester et al. 2021, arXiv 2104.08691): the prompt itself is trained, `virtual_tokens · d_model`
//! numbers.

use tch::Tensor;

use super::{Dims, Method};

/// `P`, as it is.
pub(super) struct PromptTuning;

impl Method for PromptTuning {
    fn name(&self) -> &'static str {
        "prompt-tuning"
    }

    fn about(&self) -> &'static str {
        "vanilla prompt tuning: every number of the prompt is trained"
    }

    fn has_rank(&self) -> bool {
        false
    }

    fn tensors(&self, dims: Dims) -> Vec<(&'static str, [i64; 2])> {
        vec![("prompt", [dims.virtual_tokens, dims.d_model])]
    }

    fn prompt(&self, tensors: &[Tensor]) -> Tensor {
        tensors[0].shallow_clone()
    }

    fn hold(&self, prompt: &Tensor) -> Option<Vec<Tensor>> {
        Some(vec![prompt.shallow_clone()])
    }
}
