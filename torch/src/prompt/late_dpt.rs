//! Decomposed prompt tuning behind a block: the product of both factors enters there.

use tch::Tensor;

use crate::model::t5::{EncoderInput, T5};

use super::{Forward, Method, Shape, Text, Trained, methods};

/// `[A B ; blocks(text)]`.
pub(super) struct LateDpt;

impl Forward for LateDpt {
    fn method(&self) -> &'static Method {
        &methods::late_dpt::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        vec![t.get("factor_a").matmul(t.get("factor_b"))]
    }

    fn enter(&self, t5: &T5, shape: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        text.behind_block(t5, shape.optional_int("prompt_layer"), &parts[0])
    }
}
