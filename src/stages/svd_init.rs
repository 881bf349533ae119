//! `svd-init`: makes the tensors that training starts from: a truncated singular value decomposition of a source matrix
//! (sampled vocabulary, a text, the labels, a trained prompt), or random draws, described alike.

use crate::adapter::method::{FromMatrix, Method, Sizes};
use crate::adapter::methods;
use crate::base::choice::choice;
use crate::base::diag::{Class, Diag};
use crate::base::value::{Params, Value};
use crate::svd::factor::{Fill, Split};

use super::download::{BACKBONE_AND_TOKENIZER, TOKENIZER};
use super::stage::{Arity, Literal, Output, Param, Port, Provision, Runs, StageKind, Type, Variant, Variants};

/// The declaration.
pub const KIND: StageKind = StageKind {
    name: "svd-init",
    about: "decomposes a source matrix into the factors that training starts from, and describes its spectrum",
    params: PARAMS,
    variants: Some(Variants { of: "method", rows: METHODS }),
    inputs: &[
        Port {
            role: "model",
            accepts: &["backbone"],
            files: BACKBONE_AND_TOKENIZER,
            arity: Arity::One,
            doc: "the backbone whose token table is read",
        },
        Port {
            role: "tokenizer",
            accepts: &[],
            files: TOKENIZER,
            arity: Arity::Optional,
            doc: "for `source = \"text\"`: a tokenizer other than the model's own",
        },
        Port {
            role: "data",
            accepts: &["tokens"],
            files: &["tokens.json"],
            arity: Arity::Optional,
            doc: "for `source = \"labels\"`: the tokenised task, whose verbalizer is taken",
        },
        Port {
            role: "prompt",
            accepts: &["adapter"],
            files: &["adapter.json", "adapter.safetensors"],
            arity: Arity::Optional,
            doc: "for `source = \"prompt\"`: the trained prompt",
        },
    ],
    provides: &[Provision::always("initial-tensors")],
    outputs: &[
        Output {
            name: "factors.safetensors",
            required: true,
            doc: "the tensors of the method: two factors, or a prompt [virtual_tokens, d_model]",
        },
        Output { name: "spectrum.parquet", required: true, doc: "singular values and energy, beside those of chance" },
        Output { name: "svd_init.json", required: true, doc: "what was decomposed, and every figure about it" },
    ],
    runs: Runs::Worker,
    check: Some(check),
    ..StageKind::BASE
};

/// The parameters of each prompt method that its tensors depend on.
const METHODS: &[Variant] = &{
    let mut rows = [Variant { word: "", params: [&[], &[]], defaults: &[] }; methods::METHODS.len()];
    let mut i = 0;
    while i < rows.len() {
        rows[i].word = methods::METHODS[i].name;
        rows[i].params = [methods::METHODS[i].params, &[]];
        i += 1;
    }
    rows
};

choice! {
    /// The matrix to decompose.
    pub enum SourceKind {
        /// Sampled rows of the token table.
        Vocab = "vocab",
        /// Rows of the tokens of a text.
        Text = "text",
        /// Rows of the task's labels.
        Labels = "labels",
        /// A trained prompt.
        Prompt = "prompt",
        /// None: the tensors are drawn, uniform as the paper's code does it.
        Uniform = "uniform",
        /// None: the tensors are drawn, normal.
        Gaussian = "gaussian",
    }
}

choice! {
    /// What becomes of a label of several pieces.
    pub enum LabelRows {
        /// One row, the mean of its pieces.
        Average = "average",
        /// A row for each piece.
        Pieces = "pieces",
    }
}

choice! {
    /// What to do with a source of more or fewer rows than the prompt.
    pub enum RowsRule {
        /// Refuse it.
        Error = "error",
        /// Repeat its rows.
        Tile = "tile",
        /// Draw some of its rows.
        Sample = "sample",
        /// Keep its directions, and draw the mixing matrix.
        Basis = "basis",
    }
}

choice! {
    /// How large the prompt becomes.
    pub enum ScaleTo {
        /// As large as it is.
        None = "none",
        /// As large as the random prompt of the paper's code.
        MatchReference = "match-reference",
    }
}

const PARAMS: &[Param] = &[
    Param::with_default(
        "method",
        Type::Choice(methods::NAMES),
        Literal::Str(methods::DEFAULT),
        "the prompt method that it is for",
    ),
    Param::with_default(
        "source",
        Type::Choice(SourceKind::NAMES),
        Literal::Str("vocab"),
        "the matrix to decompose; `uniform` (the paper's code) and `gaussian` draw the tensors themselves",
    ),
    Param::with_default("virtual_tokens", Type::Int(1, 4096), Literal::Int(100), "rows of the soft prompt"),
    Param::with_default("seed", Type::Int(0, u32::MAX as i64), Literal::Int(42), "seeds every draw"),
    Param::optional(
        "vocab_range",
        Type::Ints,
        "`vocab`: first and last token id to sample; default: `[3, 4999]`, as far as the table reaches",
    ),
    Param::optional(
        "source_rows",
        Type::Int(1, 65_536),
        "`vocab`: rows to sample, where they are not `virtual_tokens`",
    ),
    Param::optional("text", Type::Str, "`text`: the text, whose tokens are repeated to `virtual_tokens` rows"),
    Param::with_default(
        "label_rows",
        Type::Choice(LabelRows::NAMES),
        Literal::Str("average"),
        "`labels`: a label of several pieces is averaged to one row, or gives a row for each",
    ),
    Param::optional(
        "rows",
        Type::Choice(RowsRule::NAMES),
        "what to do with a source of more or fewer rows than `virtual_tokens`: refuse, repeat, draw, or keep its \
         directions and draw the mixing matrix; default: `tile` for `text`, else `error`",
    ),
    Param::with_default(
        "split",
        Type::Choice(Split::NAMES),
        Literal::Str("sqrt"),
        "where the singular values go: half to each factor, to A, to B",
    ),
    Param::with_default(
        "fill",
        Type::Choice(Fill::NAMES),
        Literal::Str("random"),
        "what stands in for directions that the source lacks: small random ones, random rows of B alone, or an error",
    ),
    Param::with_default(
        "fill_scale",
        Type::Float(0.0, 1.0),
        Literal::Float(0.01),
        "`fill = \"random\"`: singular value of a filled direction, as a share of the last one there is",
    ),
    Param::with_default(
        "scale",
        Type::Choice(ScaleTo::NAMES),
        Literal::Str("none"),
        "`match-reference`: the prompt is scaled to the size of the paper's random one",
    ),
    Param::with_default(
        "scale_by",
        Type::Float(1e-9, 1e9),
        Literal::Float(1.0),
        "a factor on the prompt, after `scale`",
    ),
    Param::optional(
        "std",
        Type::Float(0.0, 1e6),
        "`gaussian`: standard deviation of each entry; default 0.2887, which matches the reference",
    ),
];

fn check(params: &Params) -> Result<(), Diag> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    let source = text("source").unwrap_or(SourceKind::Vocab.name());
    let usage = |message: String| Diag::error(Class::Usage, message);
    for (name, owner) in [
        ("vocab_range", SourceKind::Vocab),
        ("source_rows", SourceKind::Vocab),
        ("text", SourceKind::Text),
        ("std", SourceKind::Gaussian),
    ] {
        // Labels are filled up with vocabulary rows.
        let also = name == "vocab_range" && source == SourceKind::Labels.name();
        if params.contains_key(name) && source != owner.name() && !also {
            return Err(usage(format!("`{name}` applies only to `source = \"{owner}\"`, but `source` is `{source}`"))
                .help(format!("leave `{name}` out")));
        }
    }
    if source == SourceKind::Text.name() && text("text").is_none_or(|t| t.trim().is_empty()) {
        return Err(usage("`source = \"text\"` needs a `text`".into()).help("write `text = \"…\"`"));
    }
    if let Some(Value::List(range)) = params.get("vocab_range") {
        match range.as_slice() {
            [Value::Int(first), Value::Int(last)] if 0 <= *first && first <= last => {}
            _ => {
                return Err(usage(format!("`vocab_range` is {}", Value::List(range.clone())))
                    .note("expected the first and the last token id")
                    .help("write `vocab_range = [3, 4999]`"));
            }
        }
    }
    let random = [SourceKind::Uniform, SourceKind::Gaussian].iter().any(|kind| kind.name() == source);
    if random && params.contains_key("rows") {
        return Err(usage(format!("`rows` is set, but `source = \"{source}\"` draws as many rows as it needs"))
            .help("leave `rows` out"));
    }
    let method = text("method").map_or(Ok(methods::METHODS[0]), methods::find)?;
    check_method(params, method, text("rows") == Some(RowsRule::Basis.name()))
}

/// Checks what depends on the matrix from which the method can be made.
fn check_method(params: &Params, method: &Method, basis: bool) -> Result<(), Diag> {
    method.check(&Sizes::of_params(params))?;
    let usage = |message: String| Diag::error(Class::Usage, message);
    match method.from_matrix {
        FromMatrix::Nothing => {
            return Err(usage(format!("method `{}` cannot start from a matrix", method.name))
                .help("leave the `svd-init` stage out: `train` starts the method itself"));
        }
        FromMatrix::Whole { .. } if basis => {
            return Err(usage(format!("`rows = \"basis\"` gives two factors, but `method` is `{}`", method.name))
                .help("set `rows` to `tile` or `sample`"));
        }
        FromMatrix::Factors { rank: name, .. } => {
            if let (Some(Value::Int(rank)), Some(Value::Int(tokens))) = (params.get(name), params.get("virtual_tokens"))
                && rank > tokens
            {
                return Err(usage(format!("`{name}` is {rank}, above `virtual_tokens`, which is {tokens}"))
                    .note("a product of that shape has no more directions than rows"));
            }
        }
        FromMatrix::Whole { .. } => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(set: &[(&str, Value)]) -> String {
        let params: Params = set.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        check(&params).err().map(|e| e.message).unwrap_or_default()
    }

    fn word(text: &str) -> Value {
        Value::Str(text.into())
    }

    #[test]
    fn useless_or_contradictory_parameters_are_refused() {
        assert_eq!(refused(&[]), "");
        assert_eq!(
            refused(&[("source", word("labels")), ("text", word("a"))]),
            "`text` applies only to `source = \"text\"`, but `source` is `labels`"
        );
        assert_eq!(refused(&[("source", word("text"))]), "`source = \"text\"` needs a `text`");
        assert_eq!(
            refused(&[("vocab_range", Value::List(vec![Value::Int(9), Value::Int(3)]))]),
            "`vocab_range` is [9, 3]"
        );
        assert_eq!(
            refused(&[("source", word("labels")), ("vocab_range", Value::List(vec![Value::Int(3), Value::Int(9)]))]),
            ""
        );
        assert!(refused(&[("source", word("uniform")), ("rows", word("tile"))]).starts_with("`rows` is set"));
        assert!(refused(&[("rows", word("basis")), ("method", word("prompt-tuning"))]).contains("two factors"));
        assert_eq!(
            refused(&[("rank", Value::Int(11)), ("virtual_tokens", Value::Int(10))]),
            "`rank` is 11, above `virtual_tokens`, which is 10"
        );
        assert_eq!(
            refused(&[("method", word("prompt-tuning")), ("rank", Value::Int(11)), ("virtual_tokens", Value::Int(10))]),
            ""
        );
    }
}
