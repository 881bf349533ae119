//! Residual prompt tuning (Razdaibiedina et al., Findings of ACL 2023, arXiv 2305.03937): every row of the prompt goes
//! through one small network with a skip connection, `P' = P + LN(relu(P Dᵀ + c) Uᵀ + e)`. `P` and the network are
//! trained; after training the network is run once, and `P'` is all that is needed.

use crate::base::param::{Literal, Param, Type};
use crate::svd::matrix::Matrix;

use super::super::method::{FromMatrix, Method, Peft, Shape, Start, TensorSpec, Values};
use super::shared::{linear, relu};

/// What PyTorch's `LayerNorm` adds to the variance.
pub const LAYER_NORM_EPSILON: f64 = 1e-5;

/// The declaration. The defaults are those of the authors' code, with the hidden size of the paper's tables.
pub const METHOD: Method = Method {
    name: "residual",
    about: "residual prompt tuning: each row of the prompt passes a small trained network with a skip connection",
    params: &[Param::with_default("hidden", Type::Int(1, 65_536), Literal::Int(400), "inner size of the network")],
    training: &[],
    defaults: &[
        ("optimizer", Literal::Str("adamw-hf")),
        ("schedule", Literal::Str("constant")),
        ("warmup", Literal::Float(0.0)),
        ("max_grad_norm", Literal::Float(0.0)),
    ],
    limits: &[],
    positions: None,
    tensors: |shape| {
        let (d, hidden) = (shape.d_model, shape.int("hidden"));
        vec![
            TensorSpec::new("prompt", [shape.virtual_tokens, d], Start::Vocabulary).chosen(),
            TensorSpec::new("down.weight", [hidden, d], Start::FanIn(d)),
            TensorSpec::new("down.bias", [hidden], Start::FanIn(d)),
            TensorSpec::new("up.weight", [d, hidden], Start::FanIn(hidden)),
            TensorSpec::new("up.bias", [d], Start::FanIn(hidden)),
            TensorSpec::new("norm.weight", [d], Start::Ones),
            TensorSpec::new("norm.bias", [d], Start::Zeros),
        ]
    },
    from_matrix: FromMatrix::Whole { tensor: "prompt", exact: false },
    prompt: Some(prompt),
    peft: Peft::Holds,
};

fn prompt(_: &Shape, t: &Values) -> Matrix {
    let hidden = linear(&t.matrix("prompt"), &t.matrix("down.weight"), t.vector("down.bias"));
    let mut out = linear(&relu(hidden), &t.matrix("up.weight"), t.vector("up.bias"));
    let (prompt, weight, bias) = (t.matrix("prompt"), t.vector("norm.weight"), t.vector("norm.bias"));
    for i in 0..out.rows {
        let row = out.row_mut(i);
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let scale = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
        for (j, x) in row.iter_mut().enumerate() {
            *x = prompt.row(i)[j] + (*x - mean) * scale * weight[j] + bias[j];
        }
    }
    out
}
