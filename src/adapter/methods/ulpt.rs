//! ULPT (arXiv 2502.04501): `P = (Z R) ⊙ s + t`, with `Z [virtual_tokens, rank]` trained, `R [rank, d_model]` drawn
//! once and never trained, and one scale and one shift a dimension. `R` is stored with the trained tensors.

use crate::base::choice::choice;
use crate::base::param::{Literal, Param, Type};
use crate::svd::matrix::Matrix;

use super::super::method::{FromMatrix, Limit, Method, Peft, Shape, Size, Start, TensorSpec, Values};

choice! {
    /// How the frozen matrix is drawn.
    pub enum FrozenInit {
        /// Uniform by Xavier's rule, as in the authors' code.
        Xavier = "xavier",
        /// Standard normal, as in the paper.
        Normal = "normal",
    }
}

/// The declaration. The defaults are those of the authors' code; the paper draws `R` from a normal distribution
/// instead.
pub const METHOD: Method = Method {
    name: "ulpt",
    about: "ULPT: a trained low-dimensional prompt times a frozen random matrix, with a scale and a shift a dimension",
    params: &[
        Param::with_default("rank", Type::Int(1, 4096), Literal::Int(64), "columns of the trained matrix"),
        Param::with_default(
            "frozen_init",
            Type::Choice(FrozenInit::NAMES),
            Literal::Str(FrozenInit::Xavier.name()),
            "the frozen matrix: uniform by Xavier's rule, as in the authors' code, or standard normal, as in the paper",
        ),
    ],
    training: &[],
    defaults: &[
        ("optimizer", Literal::Str("adamw-hf")),
        ("epsilon", Literal::Float(1e-6)),
        ("learning_rate", Literal::Float(0.6)),
        ("weight_decay", Literal::Float(0.0)),
        ("warmup", Literal::Float(500.0)),
        ("frozen_dropout", Literal::Str("config")),
    ],
    limits: &[Limit::AtMost("rank", Size::ModelWidth)],
    positions: None,
    tensors: |shape| {
        let (d, rank) = (shape.d_model, shape.int("rank"));
        let frozen = match shape.choice("frozen_init") {
            FrozenInit::Normal => Start::Gaussian(1.0),
            FrozenInit::Xavier => {
                let bound = (6.0 / (rank + d) as f64).sqrt();
                Start::Between(-bound, bound)
            }
        };
        vec![
            TensorSpec::new("z", [shape.virtual_tokens, rank], Start::Gaussian(1.0)).chosen(),
            TensorSpec::new("scale", [d], Start::Ones),
            TensorSpec::new("shift", [d], Start::Zeros),
            TensorSpec::new("random_projection", [rank, d], frozen).frozen(),
        ]
    },
    from_matrix: FromMatrix::Nothing,
    prompt: Some(prompt),
    peft: Peft::Holds,
};

fn prompt(_: &Shape, t: &Values) -> Matrix {
    let mut out = t.matrix("z").times(&t.matrix("random_projection"));
    let (scale, shift) = (t.vector("scale"), t.vector("shift"));
    for i in 0..out.rows {
        out.row_mut(i).iter_mut().enumerate().for_each(|(j, x)| *x = *x * scale[j] + shift[j]);
    }
    out
}
