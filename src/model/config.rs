//! [`T5Config`]: the shape of a T5, with Hugging Face's field names and defaults, and the tensors that follow from it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::base::diag::{Class, Diag};

use super::MODELS;

/// `config.json` of a T5, as Hugging Face writes it; a key that is left out has the default of `transformers`'
/// `T5Config`. Keys not listed here (`n_positions`, `task_specific_params`, …) change nothing in the forward pass and
/// are passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// `t5` or `mt5`.
    pub model_type: String,
    /// Width of the residual stream.
    pub d_model: i64,
    /// Width of one attention head.
    pub d_kv: i64,
    /// Inner width of the feed-forward.
    pub d_ff: i64,
    /// Encoder blocks.
    pub num_layers: i64,
    /// Decoder blocks; as many as encoder blocks when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_decoder_layers: Option<i64>,
    /// Attention heads of a block.
    pub num_heads: i64,
    /// Rows of the relative position table.
    pub relative_attention_num_buckets: i64,
    /// Distance from which on all positions share the last bucket.
    pub relative_attention_max_distance: i64,
    /// Rate of every dropout, active only in a model made by `T5::with_dropout`.
    pub dropout_rate: f64,
    /// Added to the mean square before its root.
    pub layer_norm_epsilon: f64,
    /// Scale of the initial weights, 1.0 in all published models.
    pub initializer_factor: f64,
    /// `relu` (v1.0) or `gated-gelu` (v1.1).
    pub feed_forward_proj: FeedForwardKind,
    /// `true` if the output matrix is the token table (v1.0).
    pub tie_word_embeddings: bool,
    /// Written by `transformers` 5 instead of an untied flag: whether the decoder's output is scaled by `d_model^-0.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_decoder_outputs: Option<bool>,
    /// Rows of the token table.
    pub vocab_size: i64,
    /// Token that fills up a batch.
    #[serde(deserialize_with = "one_id")]
    pub pad_token_id: i64,
    /// Token that ends a text: `</s>`.
    #[serde(deserialize_with = "one_id")]
    pub eos_token_id: i64,
    /// Token that starts the decoder, the pad in all published models.
    #[serde(deserialize_with = "id_or_null")]
    pub decoder_start_token_id: i64,
}

/// The non-linearity and form of the feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForwardKind {
    /// `wo(relu(wi(x)))`.
    Relu,
    /// `wo(gelu(wi_0(x)) * wi_1(x))`, the tanh form of GELU.
    #[serde(alias = "gated-gelu_new")]
    GatedGelu,
}

/// An id, as a number or, as `transformers` also has it, as a list of one number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    One(i64),
    List([i64; 1]),
}

fn one_id<'de, D: serde::Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    match Id::deserialize(d) {
        Ok(Id::One(id) | Id::List([id])) => Ok(id),
        Err(_) => Err(serde::de::Error::custom("expected one whole number")),
    }
}

fn id_or_null<'de, D: serde::Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    match Option::<Id>::deserialize(d) {
        Ok(None) => Ok(0),
        Ok(Some(Id::One(id) | Id::List([id]))) => Ok(id),
        Err(_) => Err(serde::de::Error::custom("expected one whole number, or null")),
    }
}

impl Default for T5Config {
    fn default() -> Self {
        Self {
            model_type: "t5".into(),
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            initializer_factor: 1.0,
            feed_forward_proj: FeedForwardKind::Relu,
            tie_word_embeddings: true,
            scale_decoder_outputs: None,
            vocab_size: 32128,
            pad_token_id: 0,
            eos_token_id: 1,
            decoder_start_token_id: 0,
        }
    }
}

/// Reads each key by itself, so that a message can name the one that is wrong. Also the two that `transformers` derives
/// from `feed_forward_proj`: they must say the same.
fn check_keys(keys: &Map<String, Json>, origin: &str) -> Result<(), Diag> {
    let wrong = |key: &str, value: &Json, why: &str| {
        Diag::error(Class::Stage, format!("`{origin}` has `{key}` = {}: {why}", brief(value)))
    };
    for (key, value) in keys {
        let one: Map<String, Json> = [(key.clone(), value.clone())].into_iter().collect();
        if let Err(error) = serde_json::from_value::<T5Config>(Json::Object(one)) {
            let why = error.to_string().replace("expected i64", "expected a whole number");
            return Err(wrong(key, value, &why.replace("expected f64", "expected a number")));
        }
    }
    let kind = keys.get("feed_forward_proj").map_or(Ok(FeedForwardKind::Relu), FeedForwardKind::deserialize);
    let gated = kind.is_ok_and(|kind| kind == FeedForwardKind::GatedGelu);
    let activations: &[&str] = if gated { &["gelu_new", "gelu_pytorch_tanh"] } else { &["relu"] };
    for (key, fits) in [
        ("dense_act_fn", keys.get("dense_act_fn").is_none_or(|v| activations.iter().any(|known| *v == *known))),
        ("is_gated_act", keys.get("is_gated_act").is_none_or(|v| *v == gated)),
    ] {
        let value = &keys.get(key).cloned().unwrap_or_default();
        if !fits && !value.is_null() {
            return Err(wrong(key, value, "`feed_forward_proj` says otherwise"));
        }
    }
    Ok(())
}

/// A value as JSON, cut if it is long.
fn brief(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A tensor that a T5 of some shape has, and how a fresh one is drawn (as Mesh TensorFlow and `transformers` do).
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Hugging Face's name, such as `encoder.block.0.layer.0.SelfAttention.q.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// How it is initialised.
    pub init: TensorInit,
}

/// How a fresh tensor is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TensorInit {
    /// Every entry is this.
    Constant(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

impl T5Config {
    /// Reads a `config.json`; `origin` names it in messages.
    ///
    /// # Errors
    /// Text that is not such JSON, a model of another family, and sizes that no model can have.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Diag> {
        let no_config =
            |e: &dyn std::fmt::Display| Diag::error(Class::Stage, format!("`{origin}` is not the config of a T5: {e}"));
        let json: Json = serde_json::from_str(text).map_err(|e| no_config(&e))?;
        let Json::Object(keys) = &json else { return Err(no_config(&"it is not a JSON object")) };
        check_keys(keys, origin)?;
        let config: Self = serde_json::from_value(json).map_err(|e| no_config(&e))?;
        if !MODELS.iter().any(|m| m.name == config.model_type) {
            let known: Vec<_> = MODELS.iter().map(|m| format!("`{}`", m.name)).collect();
            return Err(Diag::error(
                Class::Stage,
                format!("`{origin}` is of model type `{}`, which is not supported", config.model_type),
            )
            .note(format!("supported are {}", known.join(" and "))));
        }
        for (name, value) in [
            ("d_model", config.d_model),
            ("d_kv", config.d_kv),
            ("d_ff", config.d_ff),
            ("num_layers", config.num_layers),
            ("num_decoder_layers", config.decoder_layers()),
            ("num_heads", config.num_heads),
            ("vocab_size", config.vocab_size),
        ] {
            if value < 1 {
                return Err(Diag::error(Class::Stage, format!("`{origin}` has `{name}` = {value}")));
            }
        }
        let (buckets, distance) = (config.relative_attention_num_buckets, config.relative_attention_max_distance);
        if buckets < 4 || buckets % 4 != 0 || distance <= buckets / 2 {
            return Err(Diag::error(
                Class::Stage,
                format!("`{origin}` has {buckets} relative position buckets up to distance {distance}"),
            )
            .note("expected a multiple of 4, and a distance above half of it"));
        }
        if !(0.0..1.0).contains(&config.dropout_rate) {
            let text = format!("`{origin}` has `dropout_rate` = {}", config.dropout_rate);
            return Err(Diag::error(Class::Stage, text).note("expected a number from 0 to below 1"));
        }
        if !config.layer_norm_epsilon.is_finite() || config.layer_norm_epsilon < 0.0 {
            let text = format!("`{origin}` has `layer_norm_epsilon` = {}", config.layer_norm_epsilon);
            return Err(Diag::error(Class::Stage, text).note("expected a small number, such as 1e-6"));
        }
        for (name, id) in [
            ("pad_token_id", config.pad_token_id),
            ("eos_token_id", config.eos_token_id),
            ("decoder_start_token_id", config.decoder_start_token_id),
        ] {
            if !(0..config.vocab_size).contains(&id) {
                let rows = config.vocab_size;
                return Err(Diag::error(
                    Class::Stage,
                    format!("`{origin}` has `{name}` = {id}, outside its {rows} tokens"),
                ));
            }
        }
        Ok(config)
    }

    /// The same as JSON text that Hugging Face reads, ended by a line break.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).expect("a config is plain data");
        value["architectures"] = serde_json::json!(["T5ForConditionalGeneration"]);
        value["is_encoder_decoder"] = serde_json::json!(true);
        serde_json::to_string_pretty(&value).expect("plain data") + "\n"
    }

    /// Decoder blocks.
    pub fn decoder_layers(&self) -> i64 {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// Width of all heads of a block together.
    pub fn inner(&self) -> i64 {
        self.num_heads * self.d_kv
    }

    /// Returns `true` if the output matrix is the token table.
    pub fn tied(&self) -> bool {
        self.tie_word_embeddings && self.scale_decoder_outputs != Some(false)
    }

    /// Returns `true` if the decoder's output is scaled by `d_model^-0.5` before the output matrix: in tied models.
    pub fn scales_output(&self) -> bool {
        self.scale_decoder_outputs.unwrap_or(self.tie_word_embeddings)
    }

    /// Every tensor that a model of this shape has, in a fixed order: the token table, encoder, decoder, output matrix.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let (d, inner, ff) = (self.d_model, self.inner(), self.d_ff);
        let factor = self.initializer_factor;
        let mut specs = Vec::new();
        let mut add = |name: String, shape: &[i64], init| specs.push(TensorSpec { name, shape: shape.to_vec(), init });
        let per = |n: i64| TensorInit::Normal(factor * (n as f64).powf(-0.5));
        let one = TensorInit::Constant(factor);

        add("shared.weight".into(), &[self.vocab_size, d], TensorInit::Normal(factor));
        for (stack, layers) in [("encoder", self.num_layers), ("decoder", self.decoder_layers())] {
            for i in 0..layers {
                let block = format!("{stack}.block.{i}.layer");
                let mut attention = |layer: &str| {
                    add(format!("{block}.{layer}.q.weight"), &[inner, d], {
                        TensorInit::Normal(factor * ((d * self.d_kv) as f64).powf(-0.5))
                    });
                    add(format!("{block}.{layer}.k.weight"), &[inner, d], per(d));
                    add(format!("{block}.{layer}.v.weight"), &[inner, d], per(d));
                    add(format!("{block}.{layer}.o.weight"), &[d, inner], per(inner));
                };
                attention("0.SelfAttention");
                if stack == "decoder" {
                    attention("1.EncDecAttention");
                }
                if i == 0 {
                    let shape = [self.relative_attention_num_buckets, self.num_heads];
                    add(format!("{block}.0.SelfAttention.relative_attention_bias.weight"), &shape, per(d));
                }
                let last = if stack == "decoder" { 2 } else { 1 };
                match self.feed_forward_proj {
                    FeedForwardKind::Relu => {
                        add(format!("{block}.{last}.DenseReluDense.wi.weight"), &[ff, d], per(d));
                    }
                    FeedForwardKind::GatedGelu => {
                        add(format!("{block}.{last}.DenseReluDense.wi_0.weight"), &[ff, d], per(d));
                        add(format!("{block}.{last}.DenseReluDense.wi_1.weight"), &[ff, d], per(d));
                    }
                }
                add(format!("{block}.{last}.DenseReluDense.wo.weight"), &[d, ff], per(ff));
                for layer in 0..=last {
                    add(format!("{block}.{layer}.layer_norm.weight"), &[d], one);
                }
            }
            add(format!("{stack}.final_layer_norm.weight"), &[d], one);
        }
        if !self.tied() {
            add("lm_head.weight".into(), &[self.vocab_size, d], TensorInit::Normal(factor));
        }
        specs
    }

    /// How many numbers the model has.
    pub fn parameters(&self) -> i64 {
        self.tensors().iter().map(|t| t.shape.iter().product::<i64>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes() {
        let base = T5Config { d_model: 768, d_ff: 3072, num_layers: 12, num_heads: 12, ..Default::default() };
        assert_eq!(base.parameters(), 222_903_552);
        assert_eq!(T5Config::default().parameters(), 60_506_624);
        let v11_base =
            T5Config { d_ff: 2048, feed_forward_proj: FeedForwardKind::GatedGelu, tie_word_embeddings: false, ..base };
        assert_eq!(v11_base.parameters(), 247_577_856);
    }

    #[test]
    fn defaults_fill_what_is_left_out_and_json_comes_back() {
        let config =
            T5Config::parse(r#"{"d_model": 64, "n_positions": 512, "decoder_start_token_id": null}"#, "c").unwrap();
        assert_eq!((config.d_model, config.decoder_layers(), config.tied()), (64, 6, true));
        assert_eq!(T5Config::parse(&config.to_json(), "c").unwrap(), config);
    }

    #[test]
    fn an_untied_model_saved_by_transformers_5() {
        let config = T5Config::parse(r#"{"tie_word_embeddings": true, "scale_decoder_outputs": false}"#, "c").unwrap();
        assert!(!config.tied() && !config.scales_output());
    }

    #[test]
    fn ids_may_be_lists_of_one() {
        let read = |text: &str| T5Config::parse(text, "c").unwrap();
        let text = r#"{"eos_token_id": [5], "pad_token_id": [3], "decoder_start_token_id": [3]}"#;
        assert_eq!(read(text), read(&text.replace(['[', ']'], "")));
        assert_eq!(read(text).eos_token_id, 5);
    }

    #[test]
    fn gelu_new_is_the_gelu_of_a_gated_feed_forward() {
        for text in [
            r#"{"feed_forward_proj": "gated-gelu_new"}"#,
            r#"{"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new", "is_gated_act": true}"#,
        ] {
            assert_eq!(T5Config::parse(text, "c").unwrap().feed_forward_proj, FeedForwardKind::GatedGelu);
        }
        let config = T5Config { feed_forward_proj: FeedForwardKind::GatedGelu, ..T5Config::default() };
        assert!(config.to_json().contains("\"gated-gelu\""));
    }

    #[test]
    fn message_about_a_value_names_its_key() {
        for (text, message) in [
            (r#"{"eos_token_id": [1, 2]}"#, "`eos_token_id` = [1,2]: expected one whole number"),
            (r#"{"eos_token_id": []}"#, "`eos_token_id` = []: expected one whole number"),
            (r#"{"pad_token_id": null}"#, "`pad_token_id` = null: expected one whole number"),
            (
                r#"{"decoder_start_token_id": "0"}"#,
                "`decoder_start_token_id` = \"0\": expected one whole number, or null",
            ),
            (r#"{"d_model": 4.5}"#, "`d_model` = 4.5: invalid type: floating point `4.5`, expected a whole number"),
            (r#"{"dropout_rate": null}"#, "`dropout_rate` = null: invalid type: null, expected a number"),
            (r#"{"num_layers": null}"#, "`num_layers` = null: invalid type: null, expected a whole number"),
            (
                r#"{"tie_word_embeddings": 1}"#,
                "`tie_word_embeddings` = 1: invalid type: integer `1`, expected a boolean",
            ),
            (r#"{"dropout_rate": 1.5}"#, "`dropout_rate` = 1.5"),
            (r#"{"layer_norm_epsilon": -1}"#, "`layer_norm_epsilon` = -1"),
            (r#"{"dense_act_fn": "silu"}"#, "`dense_act_fn` = \"silu\": `feed_forward_proj` says otherwise"),
            (r#"{"is_gated_act": true}"#, "`is_gated_act` = true: `feed_forward_proj` says otherwise"),
            (
                r#"{"feed_forward_proj": "gated-silu"}"#,
                "`feed_forward_proj` = \"gated-silu\": unknown variant `gated-silu`, expected one of `relu`, `gated-gelu`",
            ),
        ] {
            let error = T5Config::parse(text, "config.json").unwrap_err().message;
            assert!(error.starts_with(&format!("`config.json` has {message}")), "{error}");
        }
        assert!(T5Config::parse("[]", "c").is_err() && T5Config::parse("{", "c").is_err());
    }

    #[test]
    fn what_is_no_t5_is_refused() {
        let error = |text| T5Config::parse(text, "config.json").unwrap_err().message;
        assert_eq!(error(r#"{"model_type": "bert"}"#), "`config.json` is of model type `bert`, which is not supported");
        assert_eq!(error(r#"{"num_heads": 0}"#), "`config.json` has `num_heads` = 0");
        assert!(error(r#"{"feed_forward_proj": "gated-silu"}"#).contains("unknown variant `gated-silu`"));
        assert!(error(r#"{"eos_token_id": 99999}"#).contains("outside its 32128 tokens"));
    }
}
