//! DePT: a prompt in front, and a low-rank matrix on the text's positions.

use tch::Tensor;

use crate::model::t5::{EncoderInput, T5};

use super::{Forward, Method, Shape, Text, Trained, methods};

/// `[P ; E(x) + α A B]`.
pub(super) struct Dept;

impl Forward for Dept {
    fn method(&self) -> &'static Method {
        &methods::dept::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        vec![t.get("prompt").shallow_clone(), offset(t, "lora_a", "lora_b")]
    }

    fn enter(&self, _: &T5, _: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        text.with_offset(&parts[1]).behind(&parts[0])
    }
}

/// What is added to the text by position, `α A B` with `α = 8/√rank`: `[positions, d_model]`.
pub(super) fn offset(t: &Trained, a: &str, b: &str) -> Tensor {
    t.get(a).matmul(t.get(b)) * (methods::dept::ALPHA / (t.shape.int("rank") as f64).sqrt())
}
