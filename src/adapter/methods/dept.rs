//! DePT (Shi & Lipani, ICLR 2024, arXiv 2309.05173): a short prompt in front of the text, and a low-rank matrix that is
//! added to the text's embeddings by position, `[P ; E(x) + α A B]` with `α = 8/√rank`. `virtual_tokens` is the length
//! of the short prompt, `positions` the rows of `A`.

use crate::base::param::Literal;

use super::super::method::{FromMatrix, Limit, Method, Peft, Size, Start, TensorSpec};
use super::shared::{ADDS_TO_TEXT, OFFSET_DECAY, POSITIONS, offset, offset_rank, offset_rate};

/// What the product is multiplied with, times √rank, as in the authors' code.
pub const ALPHA: f64 = 8.0;

/// The declaration. The defaults are those of the authors' code: their AdamW has no weight decay, whatever the flag
/// says.
pub const METHOD: Method = Method {
    name: "dept",
    about: "DePT: a short prompt, and a low-rank matrix added to the text's embeddings by position",
    params: &[POSITIONS, offset_rank(30)],
    training: &[offset_rate(5e-3), OFFSET_DECAY],
    defaults: &[
        ("virtual_tokens", Literal::Int(60)),
        ("optimizer", Literal::Str("adamw-hf")),
        ("epsilon", Literal::Float(1e-6)),
        ("weight_decay", Literal::Float(0.0)),
        ("warmup", Literal::Float(500.0)),
        ("frozen_dropout", Literal::Str("config")),
    ],
    limits: &[Limit::AtMost("rank", Size::Param("positions")), Limit::AtMost("rank", Size::ModelWidth)],
    positions: Some("positions"),
    tensors: |shape| {
        let (positions, rank) = (shape.int("positions"), shape.int("rank"));
        vec![
            TensorSpec::new("prompt", [shape.virtual_tokens, shape.d_model], Start::Vocabulary).chosen(),
            offset("lora_a", [positions, rank], Start::FanIn(rank)),
            offset("lora_b", [rank, shape.d_model], Start::Zeros),
        ]
    },
    from_matrix: FromMatrix::Whole { tensor: "prompt", exact: false },
    prompt: None,
    peft: Peft::Refuses(ADDS_TO_TEXT),
};
