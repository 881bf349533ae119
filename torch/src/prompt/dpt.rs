//! Decomposed prompt tuning: the product of both factors in front of the text, with what the options add to it.

use tch::{Kind, Tensor};

use crate::model::t5::T5;

use super::{Adapter, Forward, Method, Trained, methods};

/// `[A B ; text]`.
pub(super) struct Dpt;

impl Forward for Dpt {
    fn method(&self) -> &'static Method {
        &methods::dpt::METHOD
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        let (a, b) = (t.get("factor_a"), t.get("factor_b"));
        let mut prompt = match t.shape.int("blocks") {
            1 => a.matmul(b),
            blocks => {
                let columns = |t: &Tensor, rows| t.view([rows, blocks, -1]).transpose(0, 1);
                let products = columns(a, t.shape.virtual_tokens).matmul(&columns(b, t.shape.int("rank")));
                products.transpose(0, 1).flatten(1, 2)
            }
        };
        if t.shape.flag("row_scale") {
            let norms = prompt.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float).sqrt();
            prompt = prompt / norms.clamp_min(methods::dpt::LEAST_NORM) * t.get("row_scale").unsqueeze(1);
        }
        if t.shape.flag("shift") {
            prompt = prompt.g_add(t.get("shift"));
        }
        if t.shape.int("sparse") > 0 {
            let index = t.get("sparse_index").to_kind(Kind::Int64);
            prompt = prompt.flatten(0, 1).index_add(0, &index, t.get("sparse_values")).view_as(&prompt);
        }
        vec![prompt]
    }

    /// The entries that are free beside the product: those where the loss of the first batch has the largest slope.
    fn prepare(
        &self,
        adapter: &Adapter,
        t5: &T5,
        loss: &dyn Fn(&T5, &Tensor) -> Tensor,
    ) -> Vec<(&'static str, Tensor)> {
        let free = adapter.shape().int("sparse");
        if free == 0 {
            return Vec::new();
        }
        let prompt = adapter.prompt().detach().set_requires_grad(true);
        let slope = Tensor::run_backward(&[&loss(t5, &prompt)], &[&prompt], false, false).swap_remove(0);
        let (_, largest) = slope.abs().flatten(0, 1).topk(free, 0, true, true);
        let (index, _) = largest.sort(0, false);
        vec![("sparse_index", index.to_kind(Kind::Float))]
    }
}
