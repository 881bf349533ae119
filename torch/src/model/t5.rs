//! [`T5`]: the encoder-decoder of Raffel et al. 2020 (arXiv 1910.10683), v1.0 and v1.1, with a soft prompt in front of
//! the encoder's input.
//!
//! `states = encoder([P ; E(x)])`, mask `ones[L] ++ mask(x)`; the decoder cross-attends to all `L + S` states, prompt
//! positions included; it has no prompt of its own. Shapes: B rows, L virtual tokens, S source tokens, N = L + S,
//! T target tokens, V vocabulary rows, H heads.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

pub use super::config::T5Config;
use super::fit;
use super::layers::{Attention, CrossAttention, FeedForward, Past, PositionBias, RmsNorm, Weights};
use super::layers::{dropout, key_mask};

/// The label at positions that do not count.
pub const IGNORED: i64 = -100;

/// A matrix that is part of a larger one in a frozen model.
pub(super) struct Joined {
    /// The larger one.
    pub name: String,
    /// Which part it is.
    pub part: usize,
    /// All parts, from top to bottom.
    pub of: Vec<String>,
}

/// Where the matrix `name` is in a frozen model, if it is part of a larger one there: the query, key and value matrices of
/// each self-attention are laid together, and the key and value matrices of each cross-attention.
pub(super) fn joined(name: &str) -> Option<Joined> {
    let (attention, letter) = name.strip_suffix(".weight")?.rsplit_once('.')?;
    let letters = if attention.ends_with("SelfAttention") {
        "qkv"
    } else if attention.ends_with("EncDecAttention") {
        "kv"
    } else {
        return None;
    };
    let of = letters.chars().map(|letter| format!("{attention}.{letter}.weight")).collect();
    let part = letters.chars().position(|l| letter.chars().eq([l]))?;
    Some(Joined { name: format!("{attention}.{letters}.weight"), part, of })
}

/// A T5. Frozen by default: no tensor of it asks for a gradient. It owns nothing but handles: a
/// [`shallow_clone`](T5::shallow_clone) shares all weights.
pub struct T5 {
    config: T5Config,
    tensors: BTreeMap<String, Tensor>,
    dropout: f64,
    /// `[V, d]`.
    shared: Tensor,
    /// `[V, d]`: `shared` where there is no other one.
    head: Tensor,
    encoder: Encoder,
    decoder: Decoder,
}

struct Encoder {
    position_bias: PositionBias,
    blocks: Vec<EncoderBlock>,
    final_norm: RmsNorm,
}

struct EncoderBlock {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

struct Decoder {
    position_bias: PositionBias,
    blocks: Vec<DecoderBlock>,
    final_norm: RmsNorm,
}

struct DecoderBlock {
    attention_norm: RmsNorm,
    attention: Attention,
    cross_norm: RmsNorm,
    cross: CrossAttention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

/// What the decoder reads of the encoder: keys and values of every block, made once a batch.
pub struct Memory {
    /// A block each: `[B, H, N, d_kv]` twice.
    keys_values: Vec<(Tensor, Tensor)>,
    /// `[B, 1, 1, N]`, added to the scores.
    mask: Tensor,
}

impl Memory {
    /// How many rows.
    pub fn rows(&self) -> i64 {
        self.mask.size()[0]
    }

    /// The rows named by `index` (int64, `[B']`), in its order; one may be named more than once.
    pub fn select(&self, index: &Tensor) -> Memory {
        let pick = |t: &Tensor| t.index_select(0, index);
        Memory {
            keys_values: self.keys_values.iter().map(|(k, v)| (pick(k), pick(v))).collect(),
            mask: pick(&self.mask),
        }
    }
}

impl EncoderBlock {
    fn new(w: &Weights, config: &T5Config) -> Self {
        let w = w.at("layer");
        Self {
            attention_norm: RmsNorm::new(w.get("0.layer_norm.weight"), config),
            attention: Attention::new(&w.at("0.SelfAttention"), config),
            feed_forward_norm: RmsNorm::new(w.get("1.layer_norm.weight"), config),
            feed_forward: FeedForward::new(&w.at("1.DenseReluDense"), config),
        }
    }

    fn forward(&self, x: Tensor, mask: &Tensor, rate: f64) -> Tensor {
        let x = &x + dropout(self.attention.forward(&self.attention_norm.forward(&x), mask, None, rate), rate);
        &x + dropout(self.feed_forward.forward(&self.feed_forward_norm.forward(&x), rate), rate)
    }
}

impl DecoderBlock {
    fn new(w: &Weights, config: &T5Config) -> Self {
        let w = w.at("layer");
        Self {
            attention_norm: RmsNorm::new(w.get("0.layer_norm.weight"), config),
            attention: Attention::new(&w.at("0.SelfAttention"), config),
            cross_norm: RmsNorm::new(w.get("1.layer_norm.weight"), config),
            cross: CrossAttention::new(&w.at("1.EncDecAttention"), config),
            feed_forward_norm: RmsNorm::new(w.get("2.layer_norm.weight"), config),
            feed_forward: FeedForward::new(&w.at("2.DenseReluDense"), config),
        }
    }

    fn forward(
        &self,
        x: Tensor,
        mask: &Tensor,
        past: Option<&mut Past>,
        (keys_values, memory_mask): (&(Tensor, Tensor), &Tensor),
        rate: f64,
    ) -> Tensor {
        let x = &x + dropout(self.attention.forward(&self.attention_norm.forward(&x), mask, past, rate), rate);
        let x = &x + dropout(self.cross.forward(&self.cross_norm.forward(&x), keys_values, memory_mask, rate), rate);
        &x + dropout(self.feed_forward.forward(&self.feed_forward_norm.forward(&x), rate), rate)
    }
}

impl Encoder {
    fn new(w: &Weights, config: &T5Config) -> Self {
        let block = |i| w.at("block").at(i);
        Self {
            position_bias: PositionBias::new(&block(0).at("layer.0.SelfAttention"), config, true),
            blocks: (0..config.num_layers).map(|i| EncoderBlock::new(&block(i), config)).collect(),
            final_norm: RmsNorm::new(w.get("final_layer_norm.weight"), config),
        }
    }

    /// `x` `[B, N, d]`, `mask` `[B, 1, 1, N]` added to the scores → `[B, N, d]`.
    fn forward(&self, x: Tensor, mask: &Tensor, rate: f64) -> Tensor {
        let bias = self.position_bias.forward(x.size()[1]).to_kind(mask.kind()) + mask;
        let x = self.blocks.iter().fold(dropout(x, rate), |x, block| block.forward(x, &bias, rate));
        dropout(self.final_norm.forward(&x), rate)
    }
}

impl Decoder {
    fn new(w: &Weights, config: &T5Config) -> Self {
        let block = |i| w.at("block").at(i);
        Self {
            position_bias: PositionBias::new(&block(0).at("layer.0.SelfAttention"), config, false),
            blocks: (0..config.decoder_layers()).map(|i| DecoderBlock::new(&block(i), config)).collect(),
            final_norm: RmsNorm::new(w.get("final_layer_norm.weight"), config),
        }
    }

    /// `x` `[B, T, d]`, the positions after those in `past` → `[B, T, d]`.
    fn forward(&self, x: Tensor, memory: &Memory, mut past: Option<&mut DecoderPast>, rate: f64) -> Tensor {
        let new = x.size()[1];
        let before = past.as_ref().map_or(0, |p| p.length);
        let mask = self.position_bias.forward(before + new).narrow(2, before, new).to_kind(memory.mask.kind());
        let mut x = dropout(x, rate);
        for (i, block) in self.blocks.iter().enumerate() {
            let past = past.as_mut().map(|p| &mut p.blocks[i]);
            x = block.forward(x, &mask, past, (&memory.keys_values[i], &memory.mask), rate);
        }
        if let Some(past) = past {
            past.length += new;
        }
        dropout(self.final_norm.forward(&x), rate)
    }
}

/// The decoder's own keys and values so far.
struct DecoderPast {
    blocks: Vec<Past>,
    length: i64,
}

impl T5 {
    /// A model on these tensors, under Hugging Face's names: what [`fit::wanted`] lists, neither more nor less, all on one
    /// device and of one floating type (norm weights may be float32 beside it). They are not copied: set `requires_grad` on
    /// those that are to be trained, before or after.
    ///
    /// # Panics
    /// When a tensor is missing: compare names and shapes first, as [`super::load`] does.
    pub fn from_tensors(config: T5Config, tensors: BTreeMap<String, Tensor>) -> T5 {
        let w = Weights::new(&tensors);
        let shared = w.get("shared.weight");
        let own_head = tensors.contains_key(fit::HEAD);
        let head = if own_head { w.get(fit::HEAD) } else { shared.shallow_clone() };
        let encoder = Encoder::new(&w.at("encoder"), &config);
        let decoder = Decoder::new(&w.at("decoder"), &config);
        T5 { config, tensors, dropout: 0.0, shared, head, encoder, decoder }
    }

    /// The same weights, for inference and prompt training: no gradients, and the query, key and value matrices of each
    /// attention laid together, so that one product makes all three. The three are freed.
    pub fn frozen(self) -> T5 {
        let T5 { config, mut tensors, .. } = self;
        for tensor in tensors.values_mut() {
            *tensor = tensor.detach();
        }
        for spec in config.tensors() {
            if let Some(Joined { name, part: 0, of }) = joined(&spec.name) {
                let parts: Vec<_> = of.iter().filter_map(|part| tensors.remove(part)).collect();
                tensors.insert(name, Tensor::cat(&parts, 0));
            }
        }
        T5::from_tensors(config, tensors)
    }

    /// Another handle on the same weights.
    pub fn shallow_clone(&self) -> T5 {
        let tensors = self.tensors.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect();
        T5 { dropout: self.dropout, ..T5::from_tensors(self.config.clone(), tensors) }
    }

    /// Another handle on the same weights, with dropout at `rate` wherever T5 has it. It draws from libtorch's global
    /// generator: seed that before each step (`device::seed`).
    pub fn with_dropout(&self, rate: f64) -> T5 {
        T5 { dropout: rate, ..self.shallow_clone() }
    }

    /// Its shape.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// All its tensors by name. In a frozen model `….SelfAttention.qkv.weight` and `….EncDecAttention.kv.weight` stand for
    /// the matrices laid together.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.shared.device()
    }

    /// The type of its weights.
    pub fn kind(&self) -> Kind {
        self.shared.kind()
    }

    /// The token table `[V, d]`, in the weights' type.
    pub fn embedding_table(&self) -> &Tensor {
        &self.shared
    }

    /// Rows of the token table for `ids` (int64, `[B, S]`): `[B, S, d]` float32. T5 does not scale them.
    pub fn embed(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.shared, &ids.to_device(self.device()), -1, false, false).to_kind(Kind::Float)
    }

    /// Encodes `input_ids` `[B, S]` behind `prompt` (float32, `[B or 1, L, d]`: one for all rows, or one a row). `mask`
    /// `[B, S]` is 1 where there is a token. Returns the states `[B, N, d]` (float32) and the mask `[B, N]` that goes with
    /// them.
    pub fn encode(&self, prompt: Option<&Tensor>, input_ids: &Tensor, mask: &Tensor) -> (Tensor, Tensor) {
        let tokens = self.embed(input_ids);
        let mask = mask.to_device(self.device());
        let (x, mask) = match prompt {
            None => (tokens, mask),
            Some(prompt) => {
                let rows = tokens.size()[0];
                let (_, length, d) = prompt.size3().expect("a prompt is [B or 1, L, d]");
                let ones = Tensor::ones([rows, length], (mask.kind(), self.device()));
                (Tensor::cat(&[&prompt.expand([rows, length, d], false), &tokens], 1), Tensor::cat(&[ones, mask], 1))
            }
        };
        let states = self.encoder.forward(x, &key_mask(&mask, self.kind(), self.device()), self.dropout);
        (states, mask)
    }

    /// What the decoder reads of `states` `[B, N, d]` with `mask` `[B, N]`.
    pub fn memory(&self, states: &Tensor, mask: &Tensor) -> Memory {
        let states = states.to_kind(self.kind());
        Memory {
            keys_values: self.decoder.blocks.iter().map(|block| block.cross.keys_values(&states)).collect(),
            mask: key_mask(mask, self.kind(), self.device()),
        }
    }

    /// The decoder's output `[B, T, d]` (float32, ready for [`logits`](T5::logits)) for `decoder_ids` `[B, T]`, the start
    /// token included.
    pub fn decode_hidden(&self, memory: &Memory, decoder_ids: &Tensor) -> Tensor {
        self.decode_from(memory, decoder_ids, None)
    }

    fn decode_from(&self, memory: &Memory, decoder_ids: &Tensor, past: Option<&mut DecoderPast>) -> Tensor {
        let hidden = self.decoder.forward(self.embed(decoder_ids), memory, past, self.dropout);
        if self.config.scales_output() { hidden * (self.config.d_model as f64).powf(-0.5) } else { hidden }
    }

    /// Scores over the vocabulary, `[…, V]` float32, of decoder output `[…, d]`.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        hidden.to_kind(self.kind()).linear(&self.head, None::<Tensor>).to_kind(Kind::Float)
    }

    /// `[B, T, V]`: the logits at every position of `decoder_ids` `[B, T]`.
    pub fn decode(&self, states: &Tensor, mask: &Tensor, decoder_ids: &Tensor) -> Tensor {
        self.logits(&self.decode_hidden(&self.memory(states, mask), decoder_ids))
    }

    /// `labels` `[B, T]` as decoder input: moved right by one behind the start token, with the pad for [`IGNORED`].
    pub fn shift_right(&self, labels: &Tensor) -> Tensor {
        let labels = labels.to_device(self.device());
        let (rows, length) = labels.size2().expect("labels are [B, T]");
        let start = Tensor::full([rows, 1], self.config.decoder_start_token_id, (Kind::Int64, self.device()));
        let shifted = Tensor::cat(&[start, labels.narrow(1, 0, length - 1)], 1);
        shifted.masked_fill(&shifted.eq(IGNORED), self.config.pad_token_id)
    }

    /// Cross-entropy, the mean over all `labels` `[B, T]` that are not [`IGNORED`], in nats. The output matrix is applied at
    /// those positions alone.
    pub fn loss(&self, prompt: Option<&Tensor>, input_ids: &Tensor, mask: &Tensor, labels: &Tensor) -> Tensor {
        let (states, mask) = self.encode(prompt, input_ids, mask);
        let hidden = self.decode_hidden(&self.memory(&states, &mask), &self.shift_right(labels));
        let labels = labels.to_device(self.device()).flatten(0, 1);
        let counted = labels.ne(IGNORED).nonzero().squeeze_dim(1);
        let logits = self.logits(&hidden.flatten(0, 1).index_select(0, &counted));
        logits.cross_entropy_for_logits(&labels.index_select(0, &counted))
    }

    /// Greedy decoding of at most `max_new` tokens a row: the new ids without the start token, up to and with `</s>` where
    /// a row reaches it.
    pub fn greedy(&self, states: &Tensor, mask: &Tensor, max_new: usize) -> Vec<Vec<i64>> {
        self.greedy_from(&self.memory(states, mask), max_new)
    }

    /// The same, from a [`Memory`].
    pub fn greedy_from(&self, memory: &Memory, max_new: usize) -> Vec<Vec<i64>> {
        let _guard = tch::no_grad_guard();
        let rows = memory.rows();
        let mut out = vec![Vec::new(); rows as usize];
        let mut ended = vec![false; rows as usize];
        let mut past = DecoderPast { blocks: self.decoder.blocks.iter().map(|_| Past::default()).collect(), length: 0 };
        let mut last = Tensor::full([rows, 1], self.config.decoder_start_token_id, (Kind::Int64, self.device()));
        for _ in 0..max_new {
            let hidden = self.decode_from(memory, &last, Some(&mut past));
            last = self.logits(&hidden).argmax(-1, false);
            let ids = Vec::<i64>::try_from(last.flatten(0, 1)).expect("int64 ids");
            for ((row, ended), id) in out.iter_mut().zip(&mut ended).zip(ids) {
                if !*ended {
                    row.push(id);
                    *ended = id == self.config.eos_token_id;
                }
            }
            if ended.iter().all(|&e| e) {
                break;
            }
        }
        out
    }
}
