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
        let alpha = methods::dept::ALPHA / (t.shape.int("rank") as f64).sqrt();
        vec![t.get("prompt").shallow_clone(), t.get("lora_a").matmul(t.get("lora_b")) * alpha]
    }

    fn enter(&self, _: &T5, _: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        text.with_offset(&parts[1]).behind(&parts[0])
    }
}
