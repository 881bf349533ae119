//! The parts of a T5 block. The residual stream and the norms are float32 whatever the weights' type; a norm hands its
//! result on in the weights' type, and what a sublayer adds to the stream is float32 again.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::config::{FeedForwardKind, T5Config};

/// A place in the tree of named tensors: `weights.at("block.0").get("q.weight")`.
#[derive(Clone)]
pub(super) struct Weights<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    path: String,
}

impl<'a> Weights<'a> {
    pub fn new(tensors: &'a BTreeMap<String, Tensor>) -> Self {
        Self { tensors, path: String::new() }
    }

    pub fn at(&self, part: impl std::fmt::Display) -> Self {
        Self { tensors: self.tensors, path: format!("{}{part}.", self.path) }
    }

    /// The tensor, if it is there; it shares its memory with the map's.
    pub fn find(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(&format!("{}{name}", self.path)).map(Tensor::shallow_clone)
    }

    pub fn get(&self, name: &str) -> Tensor {
        self.find(name).unwrap_or_else(|| panic!("`{}{name}` was checked to be there", self.path))
    }
}

/// `x Wᵀ`, no bias.
pub(super) struct Linear {
    /// `[out, in]`.
    weight: Tensor,
}

impl Linear {
    pub fn new(weight: Tensor) -> Self {
        Self { weight }
    }

    /// `[…, in]` → `[…, out]`, in the weight's type.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.to_kind(self.weight.kind()).linear(&self.weight, None::<Tensor>)
    }
}

/// `w ⊙ x / sqrt(mean(x²) + ε)`: no mean is taken off, statistics in float32.
pub(super) struct RmsNorm {
    /// `[d_model]`, float32.
    weight: Tensor,
    epsilon: f64,
}

impl RmsNorm {
    pub fn new(weight: Tensor, config: &T5Config) -> Self {
        Self { weight, epsilon: config.layer_norm_epsilon }
    }

    /// `[…, d_model]` float32 → the same.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.rms_norm(self.weight.size(), Some(&self.weight), self.epsilon)
    }
}

/// Dropout at `rate`, for the results of sublayers, attention weights and embeddings; 0: returns `x`.
pub(super) fn dropout(x: Tensor, rate: f64) -> Tensor {
    if rate > 0.0 { x.dropout(rate, true) } else { x }
}

/// Several matrices applied to one input. A frozen model holds them as one matrix, so that one product gives all
/// results.
enum Projections<const N: usize> {
    Fused(Linear),
    Apart([Linear; N]),
}

impl<const N: usize> Projections<N> {
    /// The matrices called `names` (`q`, `k`, …), or the single one called by all their letters (`qkv`).
    fn new(w: &Weights, names: [&str; N]) -> Self {
        match w.find(&format!("{}.weight", names.concat())) {
            Some(weight) => Self::Fused(Linear::new(weight)),
            None => Self::Apart(names.map(|name| Linear::new(w.get(&format!("{name}.weight"))))),
        }
    }

    /// `[B, T, d]` → `[B, H, T, d_kv]` for each matrix.
    fn forward(&self, x: &Tensor, heads: i64) -> [Tensor; N] {
        match self {
            Self::Fused(all) => {
                let (b, t, _) = x.size3().expect("[B, T, d]");
                let parts = all.forward(x).view([b, t, N as i64, heads, -1]).permute([2, 0, 3, 1, 4]).unbind(0);
                parts.try_into().expect("one part a matrix")
            }
            Self::Apart(each) => each.each_ref().map(|linear| split(&linear.forward(x), heads)),
        }
    }
}

/// `[B, T, heads * d_kv]` → `[B, H, T, d_kv]`.
fn split(x: &Tensor, heads: i64) -> Tensor {
    let (b, t, _) = x.size3().expect("[B, T, heads * d_kv]");
    x.view([b, t, heads, -1]).transpose(1, 2)
}

/// `softmax(q kᵀ + mask) v` with the heads concatenated, `[B, T, heads * d_kv]`. T5 does not scale the scores. `mask`
/// has the dtype of `q`.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor, rate: f64) -> Tensor {
    let mixed = Tensor::scaled_dot_product_attention(q, k, v, Some(mask), rate, false, 1.0, false);
    let (b, _, t, _) = mixed.size4().expect("[B, H, T, d_kv]");
    mixed.transpose(1, 2).reshape([b, t, -1])
}

/// Self-attention: its projections and its output matrix.
pub(super) struct Attention {
    qkv: Projections<3>,
    out: Linear,
    heads: i64,
}

impl Attention {
    pub fn new(w: &Weights, config: &T5Config) -> Self {
        let out = Linear::new(w.get("o.weight"));
        Self { qkv: Projections::new(w, ["q", "k", "v"]), out, heads: config.num_heads }
    }

    /// `[B, T, d]` → the same. `past` has the keys and values of earlier positions; those of `x` are appended. `mask`,
    /// `[B or 1, H, T, past + T]`, is added to the scores.
    pub fn forward(&self, x: &Tensor, mask: &Tensor, past: Option<&mut Past>, rate: f64) -> Tensor {
        let [q, mut k, mut v] = self.qkv.forward(x, self.heads);
        if let Some(past) = past {
            if let Some((k0, v0)) = past.0.take() {
                k = Tensor::cat(&[k0, k], 2);
                v = Tensor::cat(&[v0, v], 2);
            }
            past.0 = Some((k.shallow_clone(), v.shallow_clone()));
        }
        self.out.forward(&attend(&q, &k, &v, mask, rate))
    }
}

/// Keys and values of the positions decoded so far: `[B, H, T, d_kv]` each.
#[derive(Default)]
pub(super) struct Past(Option<(Tensor, Tensor)>);

/// Cross-attention: queries from the decoder, keys and values from the encoder, computed once per batch.
pub(super) struct CrossAttention {
    q: Linear,
    kv: Projections<2>,
    out: Linear,
    heads: i64,
}

impl CrossAttention {
    pub fn new(w: &Weights, config: &T5Config) -> Self {
        let part = |name: &str| Linear::new(w.get(name));
        let kv = Projections::new(w, ["k", "v"]);
        Self { q: part("q.weight"), kv, out: part("o.weight"), heads: config.num_heads }
    }

    /// Keys and values `[B, H, N, d_kv]` of encoder states `[B, N, d]`.
    pub fn keys_values(&self, states: &Tensor) -> (Tensor, Tensor) {
        let [k, v] = self.kv.forward(states, self.heads);
        (k, v)
    }

    /// `x` `[B, T, d]` against the keys and values; `mask` `[B, 1, 1, N]` is added to the scores.
    pub fn forward(&self, x: &Tensor, (k, v): &(Tensor, Tensor), mask: &Tensor, rate: f64) -> Tensor {
        let q = split(&self.q.forward(x), self.heads);
        self.out.forward(&attend(&q, k, v, mask, rate))
    }
}

/// The feed-forward of a block.
pub(super) struct FeedForward {
    wi: Inner,
    wo: Linear,
}

enum Inner {
    Relu(Linear),
    GatedGelu { gate: Linear, up: Linear },
}

impl FeedForward {
    pub fn new(w: &Weights, config: &T5Config) -> Self {
        let part = |name: &str| Linear::new(w.get(name));
        let wi = match config.feed_forward_proj {
            FeedForwardKind::Relu => Inner::Relu(part("wi.weight")),
            FeedForwardKind::GatedGelu => Inner::GatedGelu { gate: part("wi_0.weight"), up: part("wi_1.weight") },
        };
        Self { wi, wo: part("wo.weight") }
    }

    /// `[B, T, d]` → the same.
    pub fn forward(&self, x: &Tensor, rate: f64) -> Tensor {
        let inner = match &self.wi {
            Inner::Relu(wi) => wi.forward(x).relu(),
            Inner::GatedGelu { gate, up } => gate.forward(x).gelu("tanh") * up.forward(x),
        };
        self.wo.forward(&dropout(inner, rate))
    }
}

/// The relative position bias of a stack: computed from a table in its first block, added to the scores of all its
/// blocks.
pub(super) struct PositionBias {
    /// `[buckets, heads]`.
    table: Tensor,
    bidirectional: bool,
    max_distance: i64,
    /// Cache for a frozen table: the bias of the greatest length so far. The bias of a smaller length is its corner.
    kept: RefCell<Option<Tensor>>,
}

impl PositionBias {
    pub fn new(w: &Weights, config: &T5Config, bidirectional: bool) -> Self {
        Self {
            table: w.get("relative_attention_bias.weight"),
            bidirectional,
            max_distance: config.relative_attention_max_distance,
            kept: RefCell::new(None),
        }
    }

    /// `[1, heads, length, length]` (query, key) in the table's dtype. In a decoder, later positions are masked.
    pub fn forward(&self, length: i64) -> Tensor {
        if self.table.requires_grad() {
            return self.make(length);
        }
        let mut kept = self.kept.borrow_mut();
        let enough = kept.as_ref().is_some_and(|bias| bias.size()[2] >= length);
        if !enough {
            *kept = Some(self.make(length));
        }
        kept.as_ref().expect("just made").narrow(2, 0, length).narrow(3, 0, length)
    }

    fn make(&self, length: i64) -> Tensor {
        let (buckets, _) = self.table.size2().expect("[buckets, heads]");
        let offset = |d: i64| bucket(d, self.bidirectional, buckets, self.max_distance);
        let by_distance: Vec<i64> = (1 - length..length).map(offset).collect();
        let ids: Vec<i64> = (0..length)
            .flat_map(|query| (0..length).map(move |key| key - query + length - 1))
            .map(|i| by_distance[i as usize])
            .collect();
        let ids = Tensor::from_slice(&ids).view([length, length]).to_device(self.table.device());
        let bias = Tensor::embedding(&self.table, &ids, -1, false, false).permute([2, 0, 1]).unsqueeze(0).contiguous();
        if self.bidirectional {
            return bias;
        }
        let future = Tensor::ones([length, length], (Kind::Bool, self.table.device())).triu(1);
        bias.masked_fill(&future, lowest(bias.kind()))
    }
}

/// The bucket of `distance`, key position − query position, as in Mesh TensorFlow's T5: half of the buckets hold one
/// distance each, the others grow logarithmically up to `max_distance`. All arithmetic is float32, as there.
pub fn bucket(distance: i64, bidirectional: bool, buckets: i64, max_distance: i64) -> i64 {
    let (first, buckets, distance) = if bidirectional {
        (if distance > 0 { buckets / 2 } else { 0 }, buckets / 2, distance.abs())
    } else {
        (0, buckets, -distance.min(0))
    };
    let exact = buckets / 2;
    if distance < exact {
        return first + distance;
    }
    let span = (max_distance as f64 / exact as f64).ln() as f32;
    let large = (distance as f32 / exact as f32).ln() / span * (buckets - exact) as f32;
    first + (exact + large as i64).min(buckets - 1)
}

/// The number added to the score of a masked position: far below any score, and finite in `kind`, so that a row with
/// nothing to attend to gives no NaN.
pub(super) fn lowest(kind: Kind) -> f64 {
    if kind == Kind::Half { -6e4 } else { -1e9 }
}

/// From a mask `[B, N]` (1 where there is a token) to the numbers added to the scores, `[B, 1, 1, N]`.
pub(super) fn key_mask(mask: &Tensor, kind: Kind, device: Device) -> Tensor {
    let masked = mask.to_device(device).eq(0);
    Tensor::zeros(masked.size(), (kind, device)).masked_fill(&masked, lowest(kind)).unsqueeze(1).unsqueeze(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few of the reference's buckets at 32 buckets up to distance 128; `tests/it/golden_t5.rs` has the whole tables.
    #[test]
    fn buckets() {
        let both = |distance| bucket(distance, true, 32, 128);
        assert_eq!([0, -1, -7, -8, -16, -64, -90, -128, -1000].map(both), [0, 1, 7, 8, 10, 14, 14, 15, 15]);
        assert_eq!([1, 7, 8, 16, 64, 90, 128].map(both), [17, 23, 24, 26, 30, 30, 31]);
        let causal = |distance| bucket(distance, false, 32, 128);
        assert_eq!([5, 0, -1, -15, -16, -31, -32, -127].map(causal), [0, 0, 1, 15, 16, 21, 21, 31]);
    }
}
