//! SMoP (Choi et al., EMNLP 2023): several short prompts, of which a linear router picks by the mean of a text's
//! embeddings. The prompt of a row is the sum of its `top_k` most likely prompts, each times its probability.
//! `virtual_tokens` is the length of each. Every row has its own prompt, so nothing can be folded. While training,
//! noise moves the router's scores in proportion to their size; no gradient passes that move. The released code lets a
//! row's prompt depend on the other rows of its batch when one prompt is picked; here it does not.

use crate::base::param::{Literal, Param, Type};

use super::super::method::{FromMatrix, Limit, Method, Peft, Size, Start, TensorSpec};

/// The declaration. The defaults are those of the authors' code.
pub const METHOD: Method = Method {
    name: "smop",
    about: "SMoP: a router picks among several short prompts, for every text its own",
    params: &[
        Param::with_default("prompts", Type::Int(1, 4096), Literal::Int(4), "how many prompts there are"),
        Param::with_default("top_k", Type::Int(1, 4096), Literal::Int(1), "how many of them a text takes"),
        Param::with_default(
            "router_noise",
            Type::Float(0.0, 1e3),
            Literal::Float(1.0),
            "standard deviation of the noise of the router while training: each score moves by score * noise",
        ),
    ],
    training: &[],
    defaults: &[
        ("virtual_tokens", Literal::Int(5)),
        ("optimizer", Literal::Str("adafactor")),
        ("learning_rate", Literal::Float(0.5)),
        ("warmup", Literal::Float(0.06)),
        ("max_grad_norm", Literal::Float(0.0)),
        ("frozen_dropout", Literal::Str("config")),
    ],
    limits: &[Limit::AtMost("top_k", Size::Param("prompts"))],
    positions: None,
    tensors: |shape| {
        let (prompts, d) = (shape.int("prompts"), shape.d_model);
        vec![
            TensorSpec::new("prompts", [prompts * shape.virtual_tokens, d], Start::Gaussian(1.0)).chosen(),
            TensorSpec::new("router", [prompts, d], Start::Orthonormal),
        ]
    },
    from_matrix: FromMatrix::Nothing,
    prompt: None,
    peft: Peft::Refuses("every text has a prompt of its own"),
};
