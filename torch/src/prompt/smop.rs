//! SMoP: a router picks among several short prompts, for every text its own.

use tch::{Kind, Tensor};

use crate::model::t5::{EncoderInput, T5};

use super::{Forward, Method, Shape, Text, Trained, methods};

/// `[Σ p_k P_k ; text]` over the most likely prompts of a row.
pub(super) struct Smop;

impl Forward for Smop {
    fn method(&self) -> &'static Method {
        &methods::smop::METHOD
    }

    /// The prompts `[prompts, virtual_tokens, d_model]`, and the router `[prompts, d_model]`.
    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let (count, length) = (t.shape.int("prompts"), t.shape.virtual_tokens);
        vec![t.get("prompts").view([count, length, t.shape.d_model]), t.get("router").shallow_clone()]
    }

    /// Noise that is given is that of the router's scores, `[B, prompts]`.
    fn enter(&self, _: &T5, shape: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        let probabilities = probabilities(shape, &parts[1], &text);
        let rows = text.ids.size()[0];
        let top = shape.int("top_k");
        let (share, route) = probabilities.topk(top, -1, true, true);
        let (_, length, d) = parts[0].size3().expect("prompts are [prompts, virtual_tokens, d_model]");
        let picked = parts[0].index_select(0, &route.flatten(0, 1)).view([rows, top, length, d]);
        let prompt = (picked * share.view([rows, top, 1, 1])).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        text.behind(&prompt)
    }

    fn draws(&self) -> bool {
        true
    }
}

/// How likely each prompt is for each row, `[B, prompts]`: the router on the mean of the row's embeddings.
fn probabilities(shape: &Shape, router: &Tensor, text: &Text) -> Tensor {
    let mask = text.mask.to_kind(Kind::Float).unsqueeze(-1);
    let sum = (&text.embeddings * &mask).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
    let mean = sum / mask.sum_dim_intlist([1i64].as_slice(), false, Kind::Float).clamp_min(1.0);
    let scores = mean.matmul(&router.tr());
    let deviation = shape.float("router_noise");
    let draw = || scores.randn_like() * deviation;
    let scores = match text.step.noise(&scores.size(), scores.device(), draw) {
        // The authors' code lets no gradient pass what the noise adds.
        Some(noise) => &scores + scores.detach() * noise,
        None => scores,
    };
    scores.softmax(-1, Kind::Float)
}
