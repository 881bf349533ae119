//! ADePT (Tang, Hu & Liu, ICLR 2025, arXiv 2501.03291): a short prompt in front of the text, and a small network that
//! adds to the embedding of every token, `[P ; e + relu(e W₁ + b₁) W₂ + b₂]`. What is added depends on the token only.

use crate::base::param::{Literal, Param, Type};

use super::super::method::{FromMatrix, Limit, Method, Peft, Size, Start, TensorSpec};
use super::shared::{ADDS_TO_TEXT, OFFSET_DECAY, offset, offset_rate};

/// The declaration. The defaults are those of the authors' code: their AdamW has no weight decay, whatever the flag
/// says.
pub const METHOD: Method = Method {
    name: "adept",
    about: "ADePT: a short prompt, and a small network that adds to the embedding of every token",
    params: &[
        Param::with_default("rank", Type::Int(1, 4096), Literal::Int(19), "inner size of the network"),
        Param::with_default(
            "offset_dropout",
            Type::Float(0.0, 0.99),
            Literal::Float(0.1),
            "dropout inside of the network while training, before its relu",
        ),
    ],
    training: &[offset_rate(1e-4), OFFSET_DECAY],
    defaults: &[
        ("virtual_tokens", Literal::Int(60)),
        ("optimizer", Literal::Str("adamw-hf")),
        ("epsilon", Literal::Float(1e-6)),
        ("weight_decay", Literal::Float(0.0)),
        ("warmup", Literal::Float(500.0)),
        ("frozen_dropout", Literal::Str("config")),
    ],
    limits: &[Limit::AtMost("rank", Size::ModelWidth)],
    positions: None,
    tensors: |shape| {
        let (d, rank) = (shape.d_model, shape.int("rank"));
        vec![
            TensorSpec::new("prompt", [shape.virtual_tokens, d], Start::Vocabulary).chosen(),
            offset("w1", [d, rank], Start::FanIn(rank)),
            offset("b1", [rank], Start::Zeros),
            offset("w2", [rank, d], Start::Zeros),
            offset("b2", [d], Start::Zeros),
        ]
    },
    from_matrix: FromMatrix::Whole { tensor: "prompt", exact: false },
    prompt: None,
    peft: Peft::Refuses(ADDS_TO_TEXT),
};
