//! Decomposed prompt tuning behind a block: `P = A B` enters behind one of the encoder's blocks, and the blocks before
//! it see the text only. There is no publication of it that we know.

use crate::base::param::{Literal, Param, Type};

use super::super::method::{FromMatrix, Limit, Method, Peft, Size, Start, TensorSpec};
use super::shared::{BEHIND_A_BLOCK, PROMPT_LAYER};

/// The declaration.
pub const METHOD: Method = Method {
    name: "late-dpt",
    about: "decomposed prompt tuning whose prompt enters behind a block of the encoder",
    params: &[
        PROMPT_LAYER,
        Param::with_default("rank", Type::Int(1, 4096), Literal::Int(10), "inner size of the product"),
    ],
    training: &[],
    defaults: &[],
    limits: &[Limit::AtMost("rank", Size::ModelWidth), Limit::Below("prompt_layer", Size::EncoderBlocks)],
    positions: None,
    tensors: |shape| {
        let rank = shape.int("rank");
        let factor = |name, size| TensorSpec::new(name, size, Start::Uniform(0.5)).chosen();
        vec![factor("factor_a", [shape.virtual_tokens, rank]), factor("factor_b", [rank, shape.d_model])]
    },
    from_matrix: FromMatrix::Factors { a: "factor_a", b: "factor_b", rank: "rank" },
    prompt: None,
    peft: Peft::Refuses(BEHIND_A_BLOCK),
};
