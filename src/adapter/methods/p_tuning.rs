//! P-tuning with a network (Liu et al. 2021, arXiv 2103.10385), as Hugging Face PEFT has it: every row of a trained
//! table passes three linear layers with relu between them. After training the network is run once.

use crate::base::param::{Param, Type};
use crate::svd::matrix::Matrix;

use super::super::method::{FromMatrix, Method, Peft, Shape, Start, TensorSpec, Values};
use super::shared::{linear, relu};

/// The declaration.
pub const METHOD: Method = Method {
    name: "p-tuning",
    about: "P-tuning: each row of the prompt comes out of a network of three layers, trained with it",
    params: &[Param::optional("hidden", Type::Int(1, 65_536), "inner size of the network; default: the model's width")],
    training: &[],
    defaults: &[],
    limits: &[],
    positions: None,
    tensors: |shape| {
        let d = shape.d_model;
        let hidden = shape.optional_int("hidden").unwrap_or(d);
        vec![
            TensorSpec::new("embedding", [shape.virtual_tokens, d], Start::Gaussian(1.0)).chosen(),
            TensorSpec::new("mlp.0.weight", [hidden, d], Start::FanIn(d)),
            TensorSpec::new("mlp.0.bias", [hidden], Start::FanIn(d)),
            TensorSpec::new("mlp.2.weight", [hidden, hidden], Start::FanIn(hidden)),
            TensorSpec::new("mlp.2.bias", [hidden], Start::FanIn(hidden)),
            TensorSpec::new("mlp.4.weight", [d, hidden], Start::FanIn(hidden)),
            TensorSpec::new("mlp.4.bias", [d], Start::FanIn(hidden)),
        ]
    },
    from_matrix: FromMatrix::Whole { tensor: "embedding", exact: false },
    prompt: Some(prompt),
    peft: Peft::Holds,
};

fn prompt(_: &Shape, t: &Values) -> Matrix {
    let layer =
        |x: &Matrix, i: usize| linear(x, &t.matrix(&format!("mlp.{i}.weight")), t.vector(&format!("mlp.{i}.bias")));
    layer(&relu(layer(&relu(layer(&t.matrix("embedding"), 0)), 2)), 4)
}
