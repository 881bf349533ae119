//! `random-model`: a T5 of any shape with random weights, in Hugging Face's layout. Scores on it are those of chance,
//! and the report says so. It serves to try a pipeline without the real checkpoint.

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::artifact::json as json_file;
use crate::artifact::tensors::{self, Dtype, Tensor};
use crate::base::diag::{Class, Diag};
use crate::base::draw::Draws;
use crate::base::fs;
use crate::data::tokenizer::Tokenizer;
use crate::model::config::{FeedForwardKind, T5Config, TensorInit, TensorSpec};

use super::ctx::{Ctx, Outcome};
use super::download::TOKENIZER;
use super::stage::{Arity, Literal, Output, Param, Port, Provision, Runs, StageKind, StageResult, Type};

/// The declaration.
pub const KIND: StageKind = StageKind {
    name: "random-model",
    about: "makes a T5 with random weights, to try a pipeline without a checkpoint",
    params: &[
        Param::optional("name", Type::Str, "the model's name in reports; default: `random-t5`"),
        Param::with_default("d_model", Type::Int(1, 65_536), Literal::Int(64), "width of the residual stream"),
        Param::with_default("d_kv", Type::Int(1, 65_536), Literal::Int(16), "width of an attention head"),
        Param::with_default("d_ff", Type::Int(1, 262_144), Literal::Int(128), "inner width of the feed-forward"),
        Param::with_default("layers", Type::Int(1, 1024), Literal::Int(2), "blocks of the encoder, and of the decoder"),
        Param::optional("decoder_layers", Type::Int(1, 1024), "blocks of the decoder, where they are not as many"),
        Param::with_default("heads", Type::Int(1, 1024), Literal::Int(4), "attention heads of a block"),
        Param::with_default(
            "feed_forward",
            Type::Choice(&["relu", "gated-gelu"]),
            Literal::Str("gated-gelu"),
            "`relu`: as T5 v1.0, output matrix tied to the token table; `gated-gelu`: as v1.1, untied",
        ),
        Param::with_default("vocab_size", Type::Int(1, 16_777_216), Literal::Int(32128), "rows of the token table"),
        Param::with_default("seed", Type::Int(0, i64::MAX), Literal::Int(42), "seeds the weights"),
    ],
    inputs: &[Port {
        role: "tokenizer",
        accepts: &[],
        files: TOKENIZER,
        arity: Arity::One,
        doc: "the tokenizer, which is passed on with the model",
    }],
    provides: &[Provision::always("backbone")],
    outputs: &[
        Output { name: "config.json", required: true, doc: "the model's shape, as Hugging Face writes it" },
        Output { name: "model.safetensors", required: true, doc: "the weights, float32" },
        Output { name: "backbone.json", required: true, doc: "name and origin of the model" },
        Output { name: "spiece.model", required: false, doc: "the tokenizer, as it came" },
        Output { name: "tokenizer.json", required: false, doc: "the tokenizer, as it came" },
        Output { name: "tokenizer_config.json", required: false, doc: "what the tokenizer had beside it" },
        Output { name: "special_tokens_map.json", required: false, doc: "what the tokenizer had beside it" },
        Output { name: "added_tokens.json", required: false, doc: "what the tokenizer had beside it" },
    ],
    runs: Runs::Here(run),
    ..StageKind::BASE
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RandomModelParams {
    name: Option<String>,
    d_model: i64,
    d_kv: i64,
    d_ff: i64,
    layers: i64,
    decoder_layers: Option<i64>,
    heads: i64,
    feed_forward: FeedForwardKind,
    vocab_size: i64,
    seed: i64,
}

impl RandomModelParams {
    fn config(&self) -> T5Config {
        T5Config {
            d_model: self.d_model,
            d_kv: self.d_kv,
            d_ff: self.d_ff,
            num_layers: self.layers,
            num_decoder_layers: Some(self.decoder_layers.unwrap_or(self.layers)),
            num_heads: self.heads,
            feed_forward_proj: self.feed_forward,
            tie_word_embeddings: self.feed_forward == FeedForwardKind::Relu,
            vocab_size: self.vocab_size,
            ..T5Config::default()
        }
    }
}

fn run(ctx: &Ctx) -> StageResult {
    let params: RandomModelParams = ctx.params()?;
    // What was just written must be readable: the same checks as for a file from elsewhere.
    let config = T5Config::parse(&params.config().to_json(), "config.json")?;
    let tokenizer = ctx.input("tokenizer")?;
    let read = Tokenizer::load(&tokenizer.files)?;
    let tokens = read.vocab_size();
    if tokens as i64 > config.vocab_size {
        return Err(Diag::error(
            Class::Stage,
            format!(
                "`vocab_size` is {}, and the tokenizer of `{}` has {tokens} tokens",
                config.vocab_size, tokenizer.node
            ),
        )
        .help(format!("set `vocab_size` to {tokens} or more (T5 rounds 32100 up to 32128)")));
    }
    let specs = config.tensors();
    let values: Vec<Vec<u8>> = specs.par_iter().map(|spec| tensors::f32_bytes(&draw(spec, params.seed))).collect();
    ctx.check_cancel()?;
    let shapes: Vec<Vec<usize>> = specs.iter().map(|spec| spec.shape.iter().map(|&n| n as usize).collect()).collect();
    let parts: Vec<_> = specs
        .iter()
        .zip(&shapes)
        .zip(&values)
        .map(|((spec, shape), bytes)| Tensor { name: &spec.name, dtype: Dtype::F32, shape, bytes })
        .collect();
    tensors::write(&ctx.out("model.safetensors"), &parts)?;
    fs::write_atomic(&ctx.out("config.json"), config.to_json().as_bytes())?;
    let name = params.name.as_deref().unwrap_or("random-t5");
    json_file::write(&ctx.out("backbone.json"), &json!({ "name": name, "origin": "random", "seed": params.seed }))?;
    for (name, path) in &tokenizer.files {
        fs::write_atomic(&ctx.out(name), &fs::read(path)?)?;
    }
    let parameters = config.parameters();
    Ok(Outcome {
        metrics: [("parameters".to_owned(), parameters as f64)].into(),
        notes: [
            vec![format!("`{name}` has {parameters} random weights: scores on it are those of chance")],
            read.notes().to_vec(),
        ]
        .concat(),
        ..Outcome::default()
    })
}

/// Returns a fresh tensor. Each has a stream of its own, so that one layer more does not change the others.
fn draw(spec: &TensorSpec, seed: i64) -> Vec<f32> {
    let count = spec.shape.iter().product::<i64>() as usize;
    match spec.init {
        TensorInit::Constant(value) => vec![value as f32; count],
        TensorInit::Normal(std) => {
            let mut draws = Draws::new(&format!("random-model.{}", spec.name), seed);
            (0..count).map(|_| (draws.gaussian() * std) as f32).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> RandomModelParams {
        RandomModelParams {
            name: None,
            d_model: 32,
            d_kv: 8,
            d_ff: 64,
            layers: 1,
            decoder_layers: Some(2),
            heads: 4,
            feed_forward: FeedForwardKind::Relu,
            vocab_size: 400,
            seed: 1,
        }
    }

    #[test]
    fn v1_0_is_tied_and_v1_1_is_not() {
        let old = params().config();
        let new = RandomModelParams { feed_forward: FeedForwardKind::GatedGelu, ..params() }.config();
        assert!(old.tied() && !new.tied());
        assert_eq!((old.num_layers, old.decoder_layers()), (1, 2));
        assert!(new.tensors().iter().any(|t| t.name == "lm_head.weight"));
    }

    /// The standard deviations of Mesh TensorFlow's T5: 1 for the table, (d·d_kv)^-1/2 for queries, d^-1/2 for keys.
    #[test]
    fn scales_are_those_of_t5() {
        let config = params().config();
        let std_of = |name: &str| {
            let spec = config.tensors().into_iter().find(|t| t.name == name).unwrap();
            let values = draw(&spec, 1);
            (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
        };
        let near = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 0.1, "{found} for {wanted}");
        near(std_of("shared.weight"), 1.0);
        near(std_of("encoder.block.0.layer.0.SelfAttention.q.weight"), (32.0f64 * 8.0).powf(-0.5));
        near(std_of("encoder.block.0.layer.0.SelfAttention.k.weight"), 32f64.powf(-0.5));
        near(std_of("decoder.block.1.layer.2.DenseReluDense.wo.weight"), 64f64.powf(-0.5));
        near(std_of("decoder.final_layer_norm.weight"), 1.0);
    }

    #[test]
    fn seed_determines_the_weights() {
        let spec = params().config().tensors().remove(0);
        assert_eq!(draw(&spec, 7), draw(&spec, 7));
        assert_ne!(draw(&spec, 7), draw(&spec, 8));
        let other = TensorSpec { name: "lm_head.weight".into(), ..spec.clone() };
        assert_ne!(draw(&spec, 7), draw(&other, 7));
    }
}
