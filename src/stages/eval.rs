//! `eval`: scores a trained prompt on a split: by the log-likelihood of each candidate answer and by greedy generation,
//! with the task's official metrics, beside the best constant answer and the same prompt before training.

use crate::model::Dtype;

use super::download::{BACKBONE_AND_TOKENIZER, TOKENIZER};
use super::stage::{Arity, Literal, Output, Param, Port, Provision, Runs, SCORES, StageKind, Type};

/// The declaration.
pub const KIND: StageKind = StageKind {
    name: "eval",
    about: "scores a trained prompt on a split, beside what no training and a constant answer give",
    params: &[
        Param::optional("task", Type::Str, "the task; checked against the data"),
        Param::with_default("split", Type::Str, Literal::Str("validation"), "the split to score"),
        Param::with_default(
            "score_by",
            Type::Choice(&["verbalizer", "greedy"]),
            Literal::Str("verbalizer"),
            "which answers count: the candidate of highest log-likelihood, or what greedy generation writes",
        ),
        Param::with_default(
            "greedy",
            Type::Bool,
            Literal::Bool(true),
            "whether to generate as well, where that does not count",
        ),
        Param::optional(
            "max_new_tokens",
            Type::Int(1, 4096),
            "longest generated answer; default: the longest target or candidate of the split and 8 more",
        ),
        Param::with_default(
            "baseline_untrained",
            Type::Bool,
            Literal::Bool(true),
            "whether to score the prompt before training too, where that is known",
        ),
        Param::with_default("batch_size", Type::Int(1, 65_536), Literal::Int(32), "examples a batch"),
        Param::with_default("dtype", Type::Choice(Dtype::NAMES), Literal::Str("float32"), "type of the backbone"),
    ],
    inputs: &[
        Port {
            role: "adapter",
            accepts: &["adapter"],
            files: &["adapter.json", "adapter.safetensors", "initial.safetensors"],
            arity: Arity::One,
            doc: "the trained prompt: of `train`, or one made elsewhere (a download of format `adapter`)",
        },
        Port {
            role: "data",
            accepts: &["tokens"],
            files: &["*.parquet", "tokens.json"],
            arity: Arity::One,
            doc: "the tokenised task",
        },
        Port {
            role: "model",
            accepts: &["backbone"],
            files: BACKBONE_AND_TOKENIZER,
            arity: Arity::One,
            doc: "the backbone that the prompt was trained on",
        },
        Port {
            role: "tokenizer",
            accepts: &[],
            files: TOKENIZER,
            arity: Arity::Optional,
            doc: "the data's tokenizer, where it is not the model's own",
        },
    ],
    provides: &[Provision::always(SCORES)],
    outputs: &[
        Output { name: "eval.json", required: true, doc: "scores, baselines, and what was scored" },
        Output { name: "predictions.parquet", required: true, doc: "every example with its answers" },
        Output { name: "submission.jsonl", required: false, doc: "the answers that count, in SuperGLUE's form" },
    ],
    runs: Runs::Worker,
    ..StageKind::BASE
};
