//! [`T5`]: the encoder-decoder of Raffel et al. 2020 (arXiv 1910.10683), v1.0 and v1.1. It encodes any states that
//! enter one of its blocks ([`EncoderInput`]), and knows no prompt.
//!
//! The decoder cross-attends to all states that entered. Shapes: B rows, S source tokens, N positions in the encoder, T
//! target tokens, V vocabulary rows, H heads.

use std::collections::BTreeMap;
use std::ops::Range;

use tch::{Device, Kind, Tensor};

pub use super::config::T5Config;
use super::fit;
use super::layers::{Attention, CrossAttention, FeedForward, Past, PositionBias, RmsNorm, Weights};
use super::layers::{dropout, key_mask};

/// The label at positions that the loss ignores.
pub const IGNORED: i64 = -100;

/// The place of a matrix in the fused matrix of a frozen model.
pub(super) struct Joined {
    /// The fused matrix.
    pub name: String,
    /// The index of the part.
    pub part: usize,
    /// The names of all parts, from top to bottom.
    pub of: Vec<String>,
}

/// The place of matrix `name` in a fused matrix of a frozen model, if it is part of one: the query, key and value
/// matrices of each self-attention are fused, and the key and value matrices of each cross-attention.
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

/// A T5. Frozen by default: none of its tensors requires a gradient. It holds handles only: a
/// [`shallow_clone`](T5::shallow_clone) shares all weights.
pub struct T5 {
    config: T5Config,
    tensors: BTreeMap<String, Tensor>,
    dropout: f64,
    /// `[V, d]`.
    shared: Tensor,
    /// `[V, d]`; `shared` if the model has no output matrix.
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

/// The input of an encoder block.
pub struct EncoderInput {
    /// Float32, `[B, N, d]`.
    pub states: Tensor,
    /// 1 where there is a position to attend to, `[B, N]`.
    pub mask: Tensor,
    /// The block that they enter: 0 for embeddings.
    pub block: usize,
}

impl EncoderInput {
    /// The same with `prefix` `[L, d]`, or `[B or 1, L, d]`, in front of every row. Its positions are attended to.
    pub fn with_prefix(self, prefix: &Tensor) -> EncoderInput {
        let Self { states, mask, block } = self;
        let prefix = if prefix.dim() == 2 { prefix.unsqueeze(0) } else { prefix.shallow_clone() };
        let rows = states.size()[0];
        let (_, length, d) = prefix.size3().expect("a prefix is [L, d] or [B, L, d]");
        let ones = Tensor::ones([rows, length], (mask.kind(), mask.device()));
        EncoderInput {
            states: Tensor::cat(&[&prefix.expand([rows, length, d], false), &states], 1),
            mask: Tensor::cat(&[ones, mask], 1),
            block,
        }
    }
}

/// The decoder's view of the encoder: keys and values of every block, computed once per batch.
pub struct Memory {
    /// One pair per block, `[B, H, N, d_kv]` each.
    keys_values: Vec<(Tensor, Tensor)>,
    /// `[B, 1, 1, N]`, added to the scores.
    mask: Tensor,
}

impl Memory {
    /// The number of rows.
    pub fn rows(&self) -> i64 {
        self.mask.size()[0]
    }

    /// The rows at `index` (int64, `[B']`), in that order; a row may occur more than once.
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

    /// Passes `x` `[B, N, d]` through some of the blocks; `mask` `[B, 1, 1, N]` is added to the scores. Dropout acts on
    /// the input of the first block.
    fn run(&self, x: Tensor, mask: &Tensor, blocks: Range<usize>, rate: f64) -> Tensor {
        let bias = self.position_bias.forward(x.size()[1]).to_kind(mask.kind()) + mask;
        let x = if blocks.start == 0 { dropout(x, rate) } else { x };
        self.blocks[blocks].iter().fold(x, |x, block| block.forward(x, &bias, rate))
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

    /// `[B, T, d]`, the positions after those in `past`, → the same shape.
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
    /// A model on these tensors, under Hugging Face's names: exactly those that [`fit::wanted`] lists, all on one
    /// device and of one dtype (norm weights may be float32). They are not copied: set `requires_grad` on those to be
    /// trained, before or after.
    ///
    /// # Panics
    /// When a tensor is missing. Compare names and shapes first, as [`super::load`] does.
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
    /// attention fused, so that one product gives all three. The separate matrices are freed.
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

    /// Another handle on the same weights, with dropout at `rate` in all places where T5 has it. It draws from
    /// libtorch's global generator: seed that before each step (`device::seed`).
    pub fn with_dropout(&self, rate: f64) -> T5 {
        T5 { dropout: rate, ..self.shallow_clone() }
    }

    /// Its shape.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// All its tensors by name. A frozen model has the fused matrices `….SelfAttention.qkv.weight` and
    /// `….EncDecAttention.kv.weight`.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The device of its weights.
    pub fn device(&self) -> Device {
        self.shared.device()
    }

    /// The dtype of its weights.
    pub fn kind(&self) -> Kind {
        self.shared.kind()
    }

    /// The token table `[V, d]`, in the weights' dtype.
    pub fn embedding_table(&self) -> &Tensor {
        &self.shared
    }

    /// Rows of the token table for `ids` (int64, `[B, S]`): `[B, S, d]` float32. T5 does not scale them.
    pub fn embed(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.shared, &ids.to_device(self.device()), -1, false, false).to_kind(Kind::Float)
    }

    /// The encoder's input for `input_ids` `[B, S]`: their embeddings. `mask` `[B, S]` is 1 where there is a token.
    pub fn text(&self, input_ids: &Tensor, mask: &Tensor) -> EncoderInput {
        EncoderInput { states: self.embed(input_ids), mask: mask.to_device(self.device()), block: 0 }
    }

    /// The number of encoder blocks.
    pub fn encoder_blocks(&self) -> usize {
        self.encoder.blocks.len()
    }

    /// Runs the encoder up to block `until`, exclusive: the input of that block, for a method that adds something
    /// there.
    ///
    /// # Panics
    /// When there are fewer blocks, or `input` enters a later one.
    pub fn run_blocks(&self, input: EncoderInput, until: usize) -> EncoderInput {
        let mask = key_mask(&input.mask, self.kind(), self.device());
        let states = self.encoder.run(input.states, &mask, input.block..until, self.dropout);
        EncoderInput { states, mask: input.mask, block: until }
    }

    /// The encoder's states `[B, N, d]` (float32), and the mask `[B, N]` that goes with them.
    pub fn encode(&self, input: EncoderInput) -> (Tensor, Tensor) {
        let EncoderInput { states, mask, .. } = self.run_blocks(input, self.encoder_blocks());
        (dropout(self.encoder.final_norm.forward(&states), self.dropout), mask)
    }

    /// The decoder's view of encoder states `[B, N, d]` with `mask` `[B, N]`.
    pub fn memory(&self, states: &Tensor, mask: &Tensor) -> Memory {
        let states = states.to_kind(self.kind());
        Memory {
            keys_values: self.decoder.blocks.iter().map(|block| block.cross.keys_values(&states)).collect(),
            mask: key_mask(mask, self.kind(), self.device()),
        }
    }

    /// The decoder's output `[B, T, d]` (float32, ready for [`logits`](T5::logits)) for `decoder_ids` `[B, T]`, the
    /// start token included.
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

    /// `labels` `[B, T]` as decoder input: shifted right by one, with the start token first and the pad for
    /// [`IGNORED`].
    pub fn shift_right(&self, labels: &Tensor) -> Tensor {
        let labels = labels.to_device(self.device());
        let (rows, length) = labels.size2().expect("labels are [B, T]");
        let start = Tensor::full([rows, 1], self.config.decoder_start_token_id, (Kind::Int64, self.device()));
        let shifted = Tensor::cat(&[start, labels.narrow(1, 0, length - 1)], 1);
        shifted.masked_fill(&shifted.eq(IGNORED), self.config.pad_token_id)
    }

    /// Cross-entropy for the encoder's `states` `[B, N, d]` with `mask` `[B, N]`: the mean over all `labels` `[B, T]`
    /// that are not [`IGNORED`], in nats. The output matrix is applied at those positions only.
    pub fn loss(&self, states: &Tensor, mask: &Tensor, labels: &Tensor) -> Tensor {
        let hidden = self.decode_hidden(&self.memory(states, mask), &self.shift_right(labels));
        let labels = labels.to_device(self.device()).flatten(0, 1);
        let counted = labels.ne(IGNORED).nonzero().squeeze_dim(1);
        let logits = self.logits(&hidden.flatten(0, 1).index_select(0, &counted));
        logits.cross_entropy_for_logits(&labels.index_select(0, &counted))
    }

    /// Greedy decoding of at most `max_new` tokens a row: the new ids without the start token, up to and including
    /// `</s>` if a row reaches it.
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
