//! The target stage of MPT (Wang et al., ICLR 2023, arXiv 2303.02861), as Hugging Face PEFT has it for one task: a
//! prompt times, entry by entry, a product of two thin matrices of the task, `P ⊙ (C R)`. To go on from a source stage
//! give both as `init`.

use crate::base::param::{Literal, Param, Type};
use crate::svd::matrix::Matrix;

use super::super::method::{FromMatrix, Limit, Method, Peft, Shape, Size, Start, TensorSpec, Values};
use super::shared::{decay, rate};

/// The declaration. Both factors start near 0, and so does the prompt. Rates are ours: the paper trains the task's
/// factors at another rate than the prompt.
pub const METHOD: Method = Method {
    name: "mpt",
    about: "MPT's target stage: a prompt times a product of two thin matrices of the task, entry by entry",
    params: &[Param::with_default("rank", Type::Int(1, 4096), Literal::Int(1), "inner size of the task's product")],
    training: &[
        rate("task_rate", 5e-3, "the highest rate of the task's factors"),
        decay("task_decay", "weight decay of the task's factors; default: `weight_decay`"),
    ],
    defaults: &[],
    limits: &[Limit::AtMost("rank", Size::VirtualTokens), Limit::AtMost("rank", Size::ModelWidth)],
    positions: None,
    tensors: |shape| {
        let (length, d, rank) = (shape.virtual_tokens, shape.d_model, shape.int("rank"));
        let task = |name, size: [i64; 3]| {
            TensorSpec::new(name, size, Start::Gaussian(0.02)).rate("task_rate").decay("task_decay")
        };
        vec![
            TensorSpec::new("prompt", [length, d], Start::Gaussian(1.0)).chosen(),
            task("task_cols", [1, length, rank]),
            task("task_rows", [1, rank, d]),
        ]
    },
    from_matrix: FromMatrix::Whole { tensor: "prompt", exact: false },
    prompt: Some(prompt),
    peft: Peft::Holds,
};

fn prompt(_: &Shape, t: &Values) -> Matrix {
    let flat = |name: &str| {
        let array = t.get(name);
        Matrix::new(array.shape[1], array.shape[2], array.data.clone())
    };
    let (shared, own) = (t.matrix("prompt"), flat("task_cols").times(&flat("task_rows")));
    Matrix::new(own.rows, own.cols, shared.data.iter().zip(&own.data).map(|(a, b)| a * b).collect())
}
