//! LIPT, as reconstructed from its abstract: a prompt made by parallel small networks enters behind a block.

use tch::Tensor;

use crate::model::t5::{EncoderInput, T5};

use super::{Forward, Method, Shape, Text, Trained, methods};

/// `[P₀ + Σ relu(P₀ D + c) U + e ; blocks(text)]`.
pub(super) struct Lipt;

impl Forward for Lipt {
    fn method(&self) -> &'static Method {
        &methods::lipt::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let start = t.get("prompt");
        let branches = methods::lipt::BRANCHES.iter().take(t.shape.ints("branches").len());
        vec![branches.fold(start.shallow_clone(), |sum, names| {
            let [down, c, up, e] = names.map(|name| t.get(name));
            sum + (start.matmul(down) + c).relu().matmul(up) + e
        })]
    }

    fn enter(&self, t5: &T5, shape: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        text.behind_block(t5, shape.optional_int("prompt_layer"), &parts[0])
    }
}
