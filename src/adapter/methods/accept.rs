//! ACCEPT (Lin et al., Findings of EMNLP 2024, arXiv 2410.12847): a short prompt and a matrix that is added to the
//! text's embeddings by position. Both are made of codebooks: the columns are cut into blocks, and each block of a row
//! is a mix of that block's trained vectors. With one block a codebook is a product of two matrices.

use crate::base::param::{Literal, Param, Type};

use super::super::method::{FromMatrix, Limit, Method, Peft, Size, Start, TensorSpec};
use super::shared::{ADDS_TO_TEXT, OFFSET_DECAY, POSITIONS, offset, offset_rate};

/// The declaration. Initial values are those of the authors' code; rates and sizes those of its runs at T5-base.
pub const METHOD: Method = Method {
    name: "accept",
    about: "ACCEPT: a short prompt and a matrix added to the text by position, both made of codebooks",
    params: &[
        POSITIONS,
        Param::with_default(
            "rank",
            Type::Int(1, 4096),
            Literal::Int(20),
            "vectors in each block of the prompt's codebook",
        ),
        Param::with_default(
            "prompt_block",
            Type::Int(1, 65_536),
            Literal::Int(32),
            "columns of a block of the prompt's codebook",
        ),
        Param::with_default(
            "added_rank",
            Type::Int(1, 4096),
            Literal::Int(20),
            "vectors in each block of the added codebook",
        ),
        Param::with_default(
            "added_block",
            Type::Int(1, 65_536),
            Literal::Int(256),
            "columns of a block of the added codebook",
        ),
        Param::optional(
            "init_rms",
            Type::Float(1e-9, 1e6),
            "root mean square of the prompt at the start; default: that of the authors' code, 1/(3 sqrt(d_model rank))",
        ),
    ],
    training: &[offset_rate(1e-3), OFFSET_DECAY],
    defaults: &[
        ("virtual_tokens", Literal::Int(60)),
        ("weight_decay", Literal::Float(0.0)),
        ("warmup", Literal::Float(1800.0)),
        ("frozen_dropout", Literal::Str("config")),
    ],
    limits: &[
        Limit::Divides("prompt_block", Size::ModelWidth),
        Limit::Divides("added_block", Size::ModelWidth),
        Limit::AtMost("added_rank", Size::Param("positions")),
    ],
    positions: Some("positions"),
    tensors: |shape| {
        let (d, rank, added) = (shape.d_model, shape.int("rank"), shape.int("added_rank"));
        let (width, added_width) = (shape.int("prompt_block"), shape.int("added_block"));
        let (blocks, added_blocks) = (d / width, d / added_width);
        let bound = |inputs: i64| 1.0 / (inputs as f64).sqrt();
        // The code's rule gives `bound(blocks · rank)` and `bound(rank · width)`: the product of both has this size.
        let reference = bound(d * rank) / 3.0;
        let factor = shape.optional_float("init_rms").map_or(1.0, |rms| (rms / reference).sqrt());
        let within = |bound: f64| Start::Between(-bound, bound);
        vec![
            TensorSpec::new(
                "prompt_weights",
                [shape.virtual_tokens, blocks, rank],
                within(factor * bound(blocks * rank)),
            ),
            TensorSpec::new("prompt_codes", [blocks, rank, width], within(factor * bound(rank * width))),
            offset("added_weights", [shape.int("positions"), added_blocks, added], within(bound(added_blocks * added))),
            offset("added_codes", [added_blocks, added, added_width], within(6f64.sqrt() * bound(added * added_width))),
        ]
    },
    from_matrix: FromMatrix::Nothing,
    prompt: None,
    peft: Peft::Refuses(ADDS_TO_TEXT),
};
