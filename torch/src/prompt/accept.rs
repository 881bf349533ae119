//! ACCEPT: a prompt in front and a matrix on the text's positions, both made of codebooks.

use tch::Tensor;

use crate::model::t5::{EncoderInput, T5};

use super::{Forward, Method, Shape, Text, Trained, methods};

/// `[P ; E(x) + Q]`.
pub(super) struct Accept;

impl Forward for Accept {
    fn method(&self) -> &'static Method {
        &methods::accept::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let made = |weights, codes| codebook(t.get(weights), t.get(codes));
        vec![made("prompt_weights", "prompt_codes"), made("added_weights", "added_codes")]
    }

    fn enter(&self, _: &T5, _: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        text.with_offset(&parts[1]).behind(&parts[0])
    }
}

/// Of `weights` `[rows, blocks, vectors]` and `codes` `[blocks, vectors, width]`: `[rows, blocks · width]`.
fn codebook(weights: &Tensor, codes: &Tensor) -> Tensor {
    weights.transpose(0, 1).matmul(codes).transpose(0, 1).flatten(1, 2)
}
