//! ADePT: a prompt in front, and a small network that adds to every token's embedding.

use tch::{Kind, Tensor};

use crate::model::t5::{EncoderInput, T5};

use super::{Forward, Method, Shape, Text, Trained, methods};

/// `[P ; e + relu(e W₁ + b₁) W₂ + b₂]`.
pub(super) struct Adept;

impl Forward for Adept {
    fn method(&self) -> &'static Method {
        &methods::adept::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        ["prompt", "w1", "b1", "w2", "b2"].map(|name| t.get(name).shallow_clone()).into()
    }

    /// Noise that is given is the mask of the dropout, `[B, S, rank]`, divided by the share that is kept.
    fn enter(&self, _: &T5, shape: &Shape, parts: &[Tensor], mut text: Text) -> EncoderInput {
        let [prompt, w1, b1, w2, b2] = parts else { unreachable!("`fold` gives five parts") };
        let inner = text.embeddings.matmul(w1) + b1;
        let rate = shape.float("offset_dropout");
        let draw = || inner.ones_like().dropout(rate, true);
        let inner = match text.step.noise(&inner.size(), inner.device(), draw) {
            Some(keep) => inner * keep,
            None => inner,
        };
        text.embeddings = &text.embeddings + (inner.relu().matmul(w2) + b2).to_kind(Kind::Float);
        text.behind(prompt)
    }

    fn draws(&self) -> bool {
        true
    }
}
