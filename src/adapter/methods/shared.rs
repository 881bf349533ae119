//! What several methods share: parameters, reasons, and the arithmetic of their folded prompts.

use crate::base::param::{Literal, Param, Type};
use crate::svd::matrix::{Matrix, dot};

use super::super::method::{Start, TensorSpec};

/// The parameter of methods that add numbers of their own to every position of a text.
pub(super) const POSITIONS: Param = Param::with_default(
    "positions",
    Type::Int(1, 65_536),
    Literal::Int(256),
    "positions of a text that have numbers of their own: no text may be longer",
);
/// The parameter that says the rate of what a method adds to the text.
const OFFSET_RATE: &str = "offset_rate";
/// Its weight decay.
pub(super) const OFFSET_DECAY: Param =
    decay("offset_decay", "weight decay of what is added to the text; default: `weight_decay`");

/// The parameter `name`: the highest learning rate of a group of tensors.
pub(super) const fn rate(name: &'static str, default: f64, doc: &'static str) -> Param {
    Param::with_default(name, Type::Float(0.0, 1e6), Literal::Float(default), doc)
}

/// The parameter `name`: the weight decay of a group of tensors.
pub(super) const fn decay(name: &'static str, doc: &'static str) -> Param {
    Param::optional(name, Type::Float(0.0, 1.0), doc)
}

/// The rate of what a method adds to the text.
pub(super) const fn offset_rate(default: f64) -> Param {
    rate(OFFSET_RATE, default, "the highest rate of what is added to the text")
}

/// The parameter `rank` of methods that add a low-rank matrix to the text.
pub(super) const fn offset_rank(default: i64) -> Param {
    Param::with_default(
        "rank",
        Type::Int(1, 4096),
        Literal::Int(default),
        "inner size of the matrix that is added to the text",
    )
}

/// A tensor of what a method adds to the text: it has the rate and the weight decay of those.
pub(super) fn offset(name: &'static str, shape: impl Into<Vec<i64>>, start: Start) -> TensorSpec {
    TensorSpec::new(name, shape, start).rate(OFFSET_RATE).decay(OFFSET_DECAY.name)
}

/// The parameter of methods whose prompt enters behind a block.
pub(super) const PROMPT_LAYER: Param = Param::optional(
    "prompt_layer",
    Type::Int(0, 1024),
    "how many blocks of the encoder see the text only, before the prompt enters; default: half of them",
);
/// Why PEFT cannot hold a method.
pub(super) const ADDS_TO_TEXT: &str = "it also adds to the text's embeddings";
/// Why PEFT cannot hold a method.
pub(super) const BEHIND_A_BLOCK: &str = "its prompt enters behind a block of the encoder";

/// `x Wᵀ + b`.
pub(super) fn linear(x: &Matrix, weight: &Matrix, bias: &[f64]) -> Matrix {
    let mut out = Matrix::zeros(x.rows, weight.rows);
    for i in 0..x.rows {
        for (j, y) in out.row_mut(i).iter_mut().enumerate() {
            *y = dot(x.row(i), weight.row(j)) + bias[j];
        }
    }
    out
}

/// The numbers above 0, and 0 in place of the others.
pub(super) fn relu(x: Matrix) -> Matrix {
    Matrix::new(x.rows, x.cols, x.data.iter().map(|x| x.max(0.0)).collect())
}
