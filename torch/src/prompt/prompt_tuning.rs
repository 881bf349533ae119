//! Prompt tuning: the prompt in front of the text.

use tch::Tensor;

use super::{Forward, Method, Trained, methods};

/// `[P ; text]`.
pub(super) struct PromptTuning;

impl Forward for PromptTuning {
    fn method(&self) -> &'static Method {
        &methods::prompt_tuning::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        vec![t.get("prompt").shallow_clone()]
    }
}
