//! LoPT-2 (arXiv 2406.19486): `P = σ(X₀ U) V`, with `X₀` an initial prompt that is not trained. `2 · rank · d_model`
//! numbers are trained, whatever the length. `X₀` is stored with them. (LoPT-1 is `dpt`.) The paper's σ, `X₀` and rates
//! are not known to us: relu, sampled vocabulary rows and PyTorch's default start stand in.

use std::f64::consts::PI;

use crate::base::choice::choice;
use crate::base::param::{Literal, Param, Type};
use crate::svd::matrix::Matrix;

use super::super::method::{FromMatrix, Limit, Method, Peft, Shape, Size, Start, TensorSpec, Values};
use super::shared::relu;

choice! {
    /// What stands between the two matrices.
    pub enum Activation {
        /// relu.
        Relu = "relu",
        /// gelu in its tanh form.
        Gelu = "gelu",
    }
}

/// The declaration.
pub const METHOD: Method = Method {
    name: "lopt2",
    about: "LoPT-2: a frozen initial prompt goes through two trained thin matrices with a relu between them",
    params: &[
        Param::with_default("rank", Type::Int(1, 4096), Literal::Int(5), "inner size of the product"),
        Param::with_default(
            "activation",
            Type::Choice(Activation::NAMES),
            Literal::Str(Activation::Relu.name()),
            "what stands between the two matrices; gelu in its tanh form",
        ),
    ],
    training: &[],
    defaults: &[
        ("virtual_tokens", Literal::Int(20)),
        ("weight_decay", Literal::Float(0.0)),
        ("frozen_dropout", Literal::Str("config")),
    ],
    limits: &[Limit::AtMost("rank", Size::ModelWidth)],
    positions: None,
    tensors: |shape| {
        let (d, rank) = (shape.d_model, shape.int("rank"));
        vec![
            TensorSpec::new("x0", [shape.virtual_tokens, d], Start::Vocabulary).frozen().chosen(),
            TensorSpec::new("u", [d, rank], Start::FanIn(rank)),
            TensorSpec::new("v", [rank, d], Start::FanIn(d)),
        ]
    },
    from_matrix: FromMatrix::Whole { tensor: "x0", exact: false },
    prompt: Some(prompt),
    peft: Peft::Holds,
};

fn prompt(shape: &Shape, t: &Values) -> Matrix {
    let inner = t.matrix("x0").times(&t.matrix("u"));
    let inner = match shape.choice("activation") {
        Activation::Gelu => {
            let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh());
            Matrix::new(inner.rows, inner.cols, inner.data.iter().map(|x| gelu(*x)).collect())
        }
        Activation::Relu => relu(inner),
    };
    inner.times(&t.matrix("v"))
}
