//! LIPT (He et al., Electronics 2024, 13(23), 4741), a reconstruction from the abstract: its equations were never
//! released. The prompt is an initial one plus what several small networks of different sizes make of it, `P₀ + Σ
//! relu(P₀ D + c) U + e`. It enters behind one of the encoder's blocks; the blocks before it see the text only.

use crate::base::param::{Literal, Param, Type};

use super::super::method::{FromMatrix, Limit, Method, Peft, Shape, Size, Start, TensorSpec};
use super::shared::{BEHIND_A_BLOCK, PROMPT_LAYER, decay, rate};

/// The most branches.
pub const MOST: usize = 8;
/// Names of the branches' tensors.
pub const BRANCHES: [[&str; 4]; MOST] = [
    ["down1", "c1", "up1", "e1"],
    ["down2", "c2", "up2", "e2"],
    ["down3", "c3", "up3", "e3"],
    ["down4", "c4", "up4", "e4"],
    ["down5", "c5", "up5", "e5"],
    ["down6", "c6", "up6", "e6"],
    ["down7", "c7", "up7", "e7"],
    ["down8", "c8", "up8", "e8"],
];

/// The declaration.
pub const METHOD: Method = Method {
    name: "lipt",
    about: "LIPT (reconstruction from the abstract): a prompt made by parallel small networks enters behind a block",
    params: &[
        PROMPT_LAYER,
        Param::with_default(
            "branches",
            Type::Ints,
            Literal::Ints(&[6, 12, 24]),
            "inner size of each network, 1 to 8 of them",
        ),
        Param::with_default("train_p0", Type::Bool, Literal::Bool(true), "whether the initial prompt is trained too"),
    ],
    training: &[
        rate("branch_rate", 1e-3, "the highest rate of the networks"),
        decay("branch_decay", "weight decay of the networks; default: `weight_decay`"),
    ],
    defaults: &[
        ("virtual_tokens", Literal::Int(10)),
        ("weight_decay", Literal::Float(0.0)),
        ("warmup", Literal::Float(0.06)),
    ],
    limits: &[Limit::Entries("branches", MOST), Limit::Below("prompt_layer", Size::EncoderBlocks)],
    positions: None,
    tensors,
    from_matrix: FromMatrix::Whole { tensor: "prompt", exact: false },
    prompt: None,
    peft: Peft::Refuses(BEHIND_A_BLOCK),
};

fn tensors(shape: &Shape) -> Vec<TensorSpec> {
    let d = shape.d_model;
    let prompt = TensorSpec::new("prompt", [shape.virtual_tokens, d], Start::Vocabulary).chosen();
    let mut specs = vec![if shape.flag("train_p0") { prompt } else { prompt.frozen() }];
    let branch =
        |name, size: Vec<i64>, start| TensorSpec::new(name, size, start).rate("branch_rate").decay("branch_decay");
    for ([down, c, up, e], inner) in BRANCHES.into_iter().zip(shape.ints("branches")) {
        specs.push(branch(down, vec![d, inner], Start::FanIn(inner)));
        specs.push(branch(c, vec![inner], Start::Zeros));
        specs.push(branch(up, vec![inner, d], Start::Zeros));
        specs.push(branch(e, vec![d], Start::Zeros));
    }
    specs
}
