//! Prompt tuning (Lester et al. 2021, arXiv 2104.08691): the prompt itself is trained, `virtual_tokens · d_model`
//! numbers.

use super::super::method::{FromMatrix, Method, Peft, Start, TensorSpec};

/// The declaration.
pub const METHOD: Method = Method {
    name: "prompt-tuning",
    about: "vanilla prompt tuning: every number of the prompt is trained",
    params: &[],
    training: &[],
    defaults: &[],
    limits: &[],
    positions: None,
    tensors: |shape| {
        vec![TensorSpec::new("prompt", [shape.virtual_tokens, shape.d_model], Start::Uniform(0.5)).chosen()]
    },
    from_matrix: FromMatrix::Whole { tensor: "prompt", exact: true },
    prompt: Some(|_, t| t.matrix("prompt")),
    peft: Peft::Holds,
};
