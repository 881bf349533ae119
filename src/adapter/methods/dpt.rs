//! Decomposed prompt tuning (Xiao et al., Findings of EMNLP 2023, arXiv 2310.10094): `P = A B`, no bias, no non-linearity, no
//! scaling. `rank · (virtual_tokens + d_model)` numbers are trained.

use crate::base::param::{Literal, Param, Type};

use super::super::method::{FromMatrix, Method, Peft, Start, TensorSpec};

/// The declaration.
pub const METHOD: Method = Method {
    name: "dpt",
    about: "decomposed prompt tuning: the prompt is a product of two thin trained matrices, `rank` between them",
    params: &[Param::with_default(
        "rank",
        Type::Int(1, 4096),
        Literal::Int(10),
        "inner size of the product (the paper's bottleneck)",
    )],
    training: &[],
    defaults: &[],
    tensors: |shape| {
        let rank = shape.int("rank");
        let factor = |name, size| TensorSpec::new(name, size, Start::Uniform(0.5)).chosen();
        vec![factor("factor_a", [shape.virtual_tokens, rank]), factor("factor_b", [rank, shape.d_model])]
    },
    from_matrix: FromMatrix::Factors { a: "factor_a", b: "factor_b", rank: "rank" },
    prompt: Some(|t| t.matrix("factor_a").times(&t.matrix("factor_b"))),
    peft: Peft::Holds,
};
