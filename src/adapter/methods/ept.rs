//! EPT (Lan et al., AAAI 2025, arXiv 2405.11464), a reconstruction from the abstract: its equations were never
//! released. A short prompt attends to itself and to the added matrix' factor (fusion), is projected into several
//! spaces whose mix a gate decides, and goes in front of the text, to whose embeddings a low-rank matrix is added by
//! position as in DePT. All of it depends on trained tensors only.

use crate::base::param::{Literal, Param, Type};

use super::super::method::{FromMatrix, Limit, Method, Peft, Size, Start, TensorSpec};
use super::shared::{ADDS_TO_TEXT, OFFSET_DECAY, POSITIONS, decay, offset, offset_rank, offset_rate, rate};

/// What is added to the mean square where rows are brought to size 1.
pub const NORM_EPSILON: f64 = 1e-6;

/// The declaration. Sizes fit the 76.8K numbers of the paper at T5-base; it starts as DePT with the same prompt.
pub const METHOD: Method = Method {
    name: "ept",
    about: "EPT (reconstruction from the abstract): DePT with a prompt that is fused, projected into spaces and gated",
    params: &[
        POSITIONS,
        offset_rank(23),
        Param::with_default(
            "fusion",
            Type::Int(1, 4096),
            Literal::Int(4),
            "inner size of the attention that fuses the prompt",
        ),
        Param::with_default(
            "spaces",
            Type::Int(1, 256),
            Literal::Int(4),
            "how many spaces the prompt is projected into",
        ),
        Param::with_default("space_rank", Type::Int(1, 4096), Literal::Int(2), "inner size of each projection"),
    ],
    training: &[
        offset_rate(5e-3),
        OFFSET_DECAY,
        rate("fusion_rate", 1e-3, "the highest rate of fusion, spaces and gate"),
        decay("fusion_decay", "weight decay of fusion, spaces and gate; default: `weight_decay`"),
    ],
    defaults: &[
        ("virtual_tokens", Literal::Int(40)),
        ("weight_decay", Literal::Float(0.0)),
        ("warmup", Literal::Float(500.0)),
        ("frozen_dropout", Literal::Str("config")),
    ],
    limits: &[
        Limit::AtMost("rank", Size::Param("positions")),
        Limit::AtMost("rank", Size::ModelWidth),
        Limit::AtMost("fusion", Size::ModelWidth),
        Limit::AtMost("space_rank", Size::ModelWidth),
    ],
    positions: Some("positions"),
    tensors: |shape| {
        let [positions, rank, fusion, spaces, inner] =
            ["positions", "rank", "fusion", "spaces", "space_rank"].map(|name| shape.int(name));
        let d = shape.d_model;
        let unit = Start::Gaussian(1.0 / (d as f64).sqrt());
        let rest =
            |name, size: Vec<i64>, start| TensorSpec::new(name, size, start).rate("fusion_rate").decay("fusion_decay");
        vec![
            TensorSpec::new("prompt", [shape.virtual_tokens, d], Start::Vocabulary).chosen(),
            offset("a", [positions, rank], Start::FanIn(rank)),
            offset("b", [rank, d], Start::Zeros),
            rest("w_q", vec![d, fusion], unit),
            rest("w_k", vec![d, fusion], unit),
            rest("gamma", vec![], Start::Zeros),
            rest("u_spaces", vec![spaces, d, inner], unit),
            rest("v_spaces", vec![spaces, inner, d], Start::Zeros),
            rest("w_gate", vec![spaces, d], Start::Zeros),
            rest("b_gate", vec![spaces], Start::Zeros),
        ]
    },
    from_matrix: FromMatrix::Whole { tensor: "prompt", exact: false },
    prompt: None,
    peft: Peft::Refuses(ADDS_TO_TEXT),
};
