//! EPT, as reconstructed from its abstract: fusion, spaces and gate on the prompt; an offset by position.

use tch::{Kind, Tensor};

use crate::model::t5::{EncoderInput, T5};

use super::dept::offset;
use super::{Forward, Method, Shape, Text, Trained, methods};

/// `[P̂ ; E(x) + α A B]`.
pub(super) struct Ept;

impl Forward for Ept {
    fn method(&self) -> &'static Method {
        &methods::ept::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let (prompt, b) = (t.get("prompt"), t.get("b"));
        let keys = Tensor::cat(&[b, prompt], 0);
        let scores = normed(prompt).matmul(t.get("w_q")).matmul(&normed(&keys).matmul(t.get("w_k")).tr());
        let shares = (scores / (t.shape.int("fusion") as f64).sqrt()).softmax(-1, Kind::Float);
        let fused = prompt + shares.matmul(&keys) * t.get("gamma");
        let spaces = &fused + fused.matmul(t.get("u_spaces")).matmul(t.get("v_spaces"));
        let mean = normed(&fused).mean_dim([0i64].as_slice(), false, Kind::Float);
        let gate = (t.get("w_gate").mv(&mean) + t.get("b_gate")).softmax(-1, Kind::Float);
        let mixed = (spaces * gate.view([-1, 1, 1])).sum_dim_intlist([0i64].as_slice(), false, Kind::Float);
        vec![mixed, offset(t, "a", "b")]
    }

    fn enter(&self, _: &T5, _: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        text.with_offset(&parts[1]).behind(&parts[0])
    }
}

/// Rows brought to a root mean square of 1.
fn normed(x: &Tensor) -> Tensor {
    let square = x.square().mean_dim([-1i64].as_slice(), true, Kind::Float);
    x / (square + methods::ept::NORM_EPSILON).sqrt()
}
