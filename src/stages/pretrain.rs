//! `pretrain`: a small T5 from nothing, on the rows that `generate` makes. It learns the skills that soft prompts then
//! elicit: see `data::synth::skills` and `learn::pretrain`.

use super::stage::{Arity, Literal, Output, Param, Port, Provision, Runs, StageKind, Type};
use crate::base::diag::{Class, Diag};
use crate::base::value::{Params, Value};

/// The stage.
pub const KIND: StageKind = StageKind {
    name: "pretrain",
    about: "train a small T5 from nothing on the synthetic language",
    params: &[
        Param::with_default("name", Type::Str, Literal::Str("tiny-t5"), "the backbone's name, for reports"),
        Param::with_default("d_model", Type::Int(8, 1024), Literal::Int(64), "width of the residual stream"),
        Param::with_default("d_kv", Type::Int(4, 128), Literal::Int(32), "width of an attention head"),
        Param::with_default("d_ff", Type::Int(8, 4096), Literal::Int(128), "inner width of the feed-forward"),
        Param::with_default("num_heads", Type::Int(1, 32), Literal::Int(4), "attention heads of a block"),
        Param::with_default(
            "num_layers",
            Type::Int(1, 24),
            Literal::Int(2),
            "encoder blocks, and as many decoder blocks",
        ),
        Param::with_default("steps", Type::Int(1, 10_000_000), Literal::Int(12000), "optimizer steps"),
        Param::with_default(
            "batch_size",
            Type::Int(1, 65_536),
            Literal::Int(64),
            "examples in a step, all of one task",
        ),
        Param::with_default("learning_rate", Type::Float(0.0, 10.0), Literal::Float(0.001), "the highest rate"),
        Param::with_default("warmup_steps", Type::Int(0, 10_000_000), Literal::Int(200), "steps until it is reached"),
        Param::with_default("weight_decay", Type::Float(0.0, 10.0), Literal::Float(0.01), "decoupled, on every tensor"),
        Param::with_default(
            "max_grad_norm",
            Type::Float(0.0, 1e9),
            Literal::Float(1.0),
            "gradients are scaled to it; 0: never",
        ),
        Param::with_default(
            "clean",
            Type::Float(0.0, 1.0),
            Literal::Float(0.5),
            "the first share of the steps, under clean signs",
        ),
        Param::with_default(
            "seed",
            Type::Int(0, i64::MAX),
            Literal::Int(0),
            "draws initial weights, batches and noise",
        ),
        Param::with_default(
            "checkpoint_every",
            Type::Int(0, 10_000_000),
            Literal::Int(500),
            "steps; 0: none but at the end",
        )
        .not_in_key(),
    ],
    inputs: &[Port {
        role: "data",
        accepts: &["corpus"],
        files: &["*/pretrain.jsonl", "tokenizer.json"],
        arity: Arity::One,
        doc: "what to learn from, and its tokenizer",
    }],
    provides: &[Provision::always("backbone")],
    outputs: &[
        Output { name: "config.json", required: true, doc: "the T5's shape, as Hugging Face writes it" },
        Output { name: "model.safetensors", required: true, doc: "its weights, under Hugging Face's names" },
        Output { name: "tokenizer.json", required: true, doc: "the tokenizer of the data" },
        Output { name: "backbone.json", required: true, doc: "its name, and that it was made here" },
        Output { name: "curves.parquet", required: true, doc: "step, loss, learning_rate, grad_norm" },
        Output { name: "pretrain.json", required: true, doc: "what it was made of, and how it ended" },
    ],
    runs: Runs::Worker,
    check: Some(check),
    ..StageKind::BASE
};

fn check(params: &Params) -> Result<(), Diag> {
    let int = |name: &str| match params.get(name) {
        Some(Value::Int(n)) => *n,
        _ => 0,
    };
    if int("warmup_steps") > int("steps") {
        return Err(Diag::error(Class::Usage, "`warmup_steps` is above `steps`: the full rate is never reached"));
    }
    Ok(())
}
