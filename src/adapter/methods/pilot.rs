//! The experiment that comes before decomposed prompt tuning in its paper: `P = U diag(relu(σ)) V`, all three trained,
//! and how many entries of σ are above 0 as training goes on. relu has no slope below 0, so an entry that falls below
//! it cannot come back: a falling count is partly built in. The other gates, a random walk of equal steps and the
//! prompt's true singular values are there to hold it against.

use crate::base::choice::choice;
use crate::base::param::{Literal, Param, Type};
use crate::svd::matrix::Matrix;

use super::super::method::{FromMatrix, Method, Peft, Shape, Start, TensorSpec, Values};

choice! {
    /// What the entries of sigma pass before they count.
    pub enum Gate {
        /// No slope below 0.
        Relu = "relu",
        /// A control without a dead end.
        Softplus = "softplus",
        /// A control: nothing.
        Plain = "plain",
    }
}

/// The declaration. Initial values are ours: the paper's are not known.
pub const METHOD: Method = Method {
    name: "pilot",
    about: "the pilot experiment: a prompt as U diag(relu(sigma)) V, and how many entries of sigma stay above 0",
    params: &[Param::with_default(
        "gate",
        Type::Choice(Gate::NAMES),
        Literal::Str(Gate::Relu.name()),
        "what the entries of sigma pass; the two others are controls without a dead end",
    )],
    training: &[],
    defaults: &[],
    limits: &[],
    positions: None,
    tensors: |shape| {
        let (length, d) = (shape.virtual_tokens, shape.d_model);
        let inner = length.min(d);
        vec![
            TensorSpec::new("u", [length, inner], Start::Orthonormal),
            TensorSpec::new("sigma", [inner], Start::Between(0.0, 1.0)),
            TensorSpec::new("v", [inner, d], Start::Orthonormal),
        ]
    },
    from_matrix: FromMatrix::Nothing,
    prompt: Some(prompt),
    peft: Peft::Holds,
};

fn prompt(shape: &Shape, t: &Values) -> Matrix {
    let gate = shape.choice("gate");
    let gate = |x: f64| match gate {
        Gate::Relu => x.max(0.0),
        Gate::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Gate::Plain => x,
    };
    let (mut u, sigma) = (t.matrix("u"), t.vector("sigma"));
    for i in 0..u.rows {
        u.row_mut(i).iter_mut().zip(sigma).for_each(|(x, s)| *x *= gate(*s));
    }
    u.times(&t.matrix("v"))
}
