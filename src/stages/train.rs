//! `train`: tunes a soft prompt for one task on a frozen backbone.

use crate::adapter::method::{FromMatrix, Sizes};
use crate::adapter::{InitKind, methods};
use crate::base::choice::choice;
use crate::base::diag::{Class, Diag};
use crate::base::value::{Params, Value};
use crate::learn::{OptimizerKind, Order, ScheduleKind};
use crate::model::Dtype;

use super::download::BACKBONE;
use super::stage::{Arity, Literal, Output, Param, Port, Provision, Runs, StageKind, Type, Variant, Variants};

/// The declaration.
pub const KIND: StageKind = StageKind {
    name: "train",
    // 2: the rates in `curves.parquet` are float64.
    version: 2,
    about: "tunes a soft prompt for one task on a frozen backbone",
    params: PARAMS,
    variants: Some(Variants { of: "method", rows: METHODS }),
    inputs: &[
        Port {
            role: "data",
            accepts: &["tokens"],
            files: &["train.parquet", "validation.parquet", "dev.parquet", "tokens.json"],
            arity: Arity::One,
            doc: "the tokenised task",
        },
        Port {
            role: "model",
            accepts: &["backbone"],
            files: BACKBONE,
            arity: Arity::One,
            doc: "the backbone; it is not changed",
        },
        Port {
            role: "init",
            accepts: &["initial-tensors", "adapter"],
            files: &["factors.safetensors", "adapter.json", "adapter.safetensors"],
            arity: Arity::Optional,
            doc: "where the trained tensors start: factors of `svd-init`, or an adapter of the same method",
        },
    ],
    provides: &[Provision::always("adapter"), Provision::always("curves")],
    outputs: &[
        Output { name: "adapter.safetensors", required: true, doc: "the trained tensors" },
        Output { name: "initial.safetensors", required: true, doc: "the same tensors before training" },
        Output { name: "adapter.json", required: true, doc: "what they are, and of which backbone and task" },
        Output { name: "curves.parquet", required: true, doc: "loss, learning rate and gradient norm of every step" },
        Output { name: "evals.parquet", required: true, doc: "every scoring while training" },
        Output {
            name: "figures.parquet",
            required: false,
            doc: "figures that the method has of its tensors before training and after every step, where it has any",
        },
        Output { name: "train.json", required: true, doc: "a summary" },
    ],
    runs: Runs::Worker,
    check: Some(check),
    ..StageKind::BASE
};

/// The parameters of each prompt method.
const METHODS: &[Variant] = &{
    let mut rows = [Variant { word: "", params: [&[], &[]], defaults: &[] }; methods::METHODS.len()];
    let mut i = 0;
    while i < rows.len() {
        let method = methods::METHODS[i];
        rows[i] = Variant { word: method.name, params: [method.params, method.training], defaults: method.defaults };
        i += 1;
    }
    rows
};

choice! {
    /// The split whose score picks the best step.
    pub enum SelectOn {
        /// The held-out split.
        Validation = "validation",
        /// The split for choices, where there is one.
        Dev = "dev",
        /// The split that is trained on.
        Train = "train",
        /// None: the last step is kept.
        None = "none",
    }
}

choice! {
    /// Dropout in the frozen backbone while a prompt is trained.
    pub enum FrozenDropout {
        /// None.
        Off = "off",
        /// At the rate of the backbone's config.
        Config = "config",
    }
}

const PARAMS: &[Param] = &[
    Param::optional("task", Type::Str, "the task; checked against the data"),
    Param::required("method", Type::Choice(methods::NAMES), "the prompt method"),
    Param::with_default(
        "seed",
        Type::Int(0, u32::MAX as i64),
        Literal::Int(42),
        "seeds initial values, data order and dropout",
    ),
    Param::with_default("virtual_tokens", Type::Int(1, 4096), Literal::Int(100), "rows of the soft prompt"),
    Param::optional("steps", Type::Int(1, 100_000_000), "optimizer steps; or set `epochs`"),
    Param::optional("epochs", Type::Int(1, 1_000_000), "passes over the training data; or set `steps`"),
    Param::with_default("batch_size", Type::Int(1, 65_536), Literal::Int(16), "examples a step"),
    Param::with_default(
        "learning_rate",
        Type::Float(0.0, 1e6),
        Literal::Float(0.3),
        "the highest rate of the schedule",
    ),
    Param::with_default("weight_decay", Type::Float(0.0, 1.0), Literal::Float(1e-5), "the optimizer's, decoupled"),
    Param::with_default(
        "warmup",
        Type::Float(0.0, 1e9),
        Literal::Float(0.1),
        "a fraction of all steps, or above 1 a count",
    ),
    Param::with_default(
        "max_grad_norm",
        Type::Float(0.0, 1e9),
        Literal::Float(1.0),
        "gradients are clipped to this norm; 0: never",
    ),
    Param::optional("eval_every", Type::Int(1, 100_000_000), "score after so many steps; default: 20 times a run"),
    Param::with_default(
        "eval_limit",
        Type::Int(0, i64::MAX),
        Literal::Int(0),
        "score on about so many examples, a fixed draw; 0: all",
    ),
    Param::with_default("eval_batch_size", Type::Int(1, 65_536), Literal::Int(32), "examples a batch while scoring"),
    Param::with_default(
        "patience",
        Type::Int(0, 1_000_000),
        Literal::Int(0),
        "stop after so many scorings without gain; 0: never",
    ),
    Param::optional(
        "select_on",
        Type::Choice(SelectOn::NAMES),
        "the split whose score picks the best step; `none` keeps the last; default: `dev` where there is one, else `validation`",
    ),
    Param::optional(
        "init",
        Type::Choice(InitKind::NAMES),
        "how the trained tensors start; default: `svd` or `adapter` with an `init` input, else `reference` (uniform, as the paper's code)",
    ),
    Param::optional(
        "init_scale",
        Type::Float(0.0, 1e6),
        "half-width of `reference` (0.5), standard deviation of `gaussian` (0.2887), factor on `vocab` rows (1)",
    ),
    Param::with_default(
        "order",
        Type::Choice(Order::NAMES),
        Literal::Str("dpt"),
        "batches of like length, shuffled; shuffled as the paper's code does it; or as the split lies, every epoch alike",
    ),
    Param::with_default("dtype", Type::Choice(Dtype::NAMES), Literal::Str("float32"), "type of the backbone"),
    Param::with_default(
        "optimizer",
        Type::Choice(OptimizerKind::NAMES),
        Literal::Str("adamw"),
        "torch's AdamW, that of `transformers` before version 5, or Adafactor with a given rate",
    )
    .since(2),
    Param::optional(
        "epsilon",
        Type::Float(0.0, 1.0),
        "the optimizer's: added to the root of the mean of squares (default 1e-8), by Adafactor to the squares (1e-30)",
    )
    .since(2),
    Param::with_default(
        "schedule",
        Type::Choice(ScheduleKind::NAMES),
        Literal::Str("linear"),
        "the rate after the warm-up: falls to 0 at the last step, or stays",
    )
    .since(2),
    Param::with_default(
        "frozen_dropout",
        Type::Choice(FrozenDropout::NAMES),
        Literal::Str("off"),
        "dropout in the backbone while training",
    ),
    Param::with_default(
        "checkpoint_every",
        Type::Int(0, 100_000_000),
        Literal::Int(100),
        "steps between checkpoints; 0: none",
    )
    .not_in_key(),
    Param::with_default(
        "log_every",
        Type::Int(0, 100_000_000),
        Literal::Int(0),
        "steps between lines in the log; 0: none",
    )
    .not_in_key(),
];

fn check(params: &Params) -> Result<(), Diag> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    if let Some(Ok(method)) = text("method").map(methods::find) {
        method.check(&Sizes::of_params(params))?;
    }
    match (params.contains_key("steps"), params.contains_key("epochs")) {
        (true, true) => Err(Diag::error(Class::Usage, "`steps` and `epochs` are both set").help("keep one of them")),
        (false, false) => Err(Diag::error(Class::Usage, "neither `steps` nor `epochs` is set")
            .help("say how long to train, such as `epochs = 20`")),
        _ if text("init") == Some(InitKind::Vocab.name())
            && let Some(method) = text("method").and_then(|name| methods::find(name).ok())
            && !matches!(method.from_matrix, FromMatrix::Whole { .. }) =>
        {
            let name = method.name;
            if method.from_matrix == FromMatrix::Nothing {
                let message = format!("`{name}` cannot start from vocabulary rows: none of its tensors is a prompt");
                return Err(Diag::error(Class::Usage, message).help("leave `init` out"));
            }
            Err(Diag::error(
                Class::Usage,
                format!("`{name}` cannot start from vocabulary rows: its prompt is a product"),
            )
            .help("leave `init` out and give the stage an `svd-init` stage with `source = \"vocab\"` as `init`"))
        }
        _ if text("select_on") == Some(SelectOn::None.name())
            && params.get("patience").is_some_and(|p| *p != Value::Int(0)) =>
        {
            Err(Diag::error(Class::Usage, "`patience` is set, but `select_on = \"none\"` never scores")
                .help("name a split in `select_on`, or leave `patience` out"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(set: &[(&str, Value)]) -> Params {
        set.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn contradictory_parameters_are_refused() {
        let message = |set: &[(&str, Value)]| check(&params(set)).unwrap_err().message;
        let steps = ("steps", Value::Int(10));
        assert_eq!(message(&[]), "neither `steps` nor `epochs` is set");
        assert_eq!(message(&[steps.clone(), ("epochs", Value::Int(1))]), "`steps` and `epochs` are both set");
        let vocab = [steps.clone(), ("init", Value::Str("vocab".into())), ("method", Value::Str("dpt".into()))];
        assert!(message(&vocab).contains("cannot start from vocabulary rows"));
        let none = [steps.clone(), ("select_on", Value::Str("none".into())), ("patience", Value::Int(3))];
        assert!(message(&none).contains("never scores"));
        assert!(check(&params(&[steps])).is_ok());
    }
}
