//! The prompt methods as they compute: what the encoder is given, of the trained tensors and the text. Knows no stage, no task
//! and no training loop. What a method *is* (its parameters, tensors and initial values) is declared in `dpt`, in
//! `src/adapter/methods/`, without libtorch.
//!
//! To add a method: its declaration there, and here its file, its `mod` line and its row in [`METHODS`].

mod adapter;
mod dpt;
mod init;
mod prompt_tuning;
mod residual;

use tch::{Kind, Tensor};

use crate::base::diag::Diag;
use crate::model::t5::{EncoderInput, T5};

pub use crate::adapter::method::{Method, Rate, Shape};
pub use crate::adapter::{AdapterInfo, InitKind, methods};
pub use adapter::{Adapter, Folded};
pub use init::Init;

/// What a method computes. A method is asked in two steps: [`fold`](Forward::fold), once for a training step or for a whole
/// evaluation, and [`enter`](Forward::enter), for every batch.
pub trait Forward: Sync {
    /// Its declaration.
    fn method(&self) -> &'static Method;

    /// Everything that depends on the trained tensors only, differentiable. Of a method that puts one prompt in front of the
    /// text and does nothing else: that prompt, `[virtual_tokens, d_model]`.
    fn fold(&self, trained: &Trained) -> Vec<Tensor>;

    /// What enters the encoder for `text`, of the parts that [`fold`](Forward::fold) returned; differentiable. By default
    /// `[first part ; text]` enters the first block.
    ///
    /// A method may add to the text's embeddings by position or by token, make another prompt for each row, or compute the
    /// first encoder blocks of the text with [`T5::run_blocks`] and enter behind them.
    fn enter(&self, t5: &T5, shape: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        let _ = (t5, shape);
        text.behind(&parts[0])
    }

    /// Whether [`enter`](Forward::enter) draws from libtorch's generator while training: it is then seeded before each step.
    fn draws(&self) -> bool {
        false
    }
}

/// The trained tensors of a method, float32.
pub struct Trained<'a> {
    /// Their shape.
    pub shape: &'a Shape,
    names: &'a [&'static str],
    tensors: &'a [Tensor],
}

impl Trained<'_> {
    /// The tensor `name`.
    ///
    /// # Panics
    /// When the method declares no such tensor.
    pub fn get(&self, name: &str) -> &Tensor {
        let at = self.names.iter().position(|known| *known == name);
        &self.tensors[at.unwrap_or_else(|| panic!("the method declares no tensor `{name}`"))]
    }
}

/// A batch of texts as a method sees it.
pub struct Text {
    /// Token ids, int64 `[B, S]`, filled up with the pad.
    pub ids: Tensor,
    /// Their rows of the token table, float32 `[B, S, d_model]`.
    pub embeddings: Tensor,
    /// 1 where there is a token, `[B, S]`.
    pub mask: Tensor,
    /// Whether this is a training step: dropout and noise of the method's own count there only.
    pub training: bool,
}

impl Text {
    /// The text as it enters the first block, with `prompt` in front: `[L, d_model]`, or `[B, L, d_model]` with one a row.
    pub fn behind(self, prompt: &Tensor) -> EncoderInput {
        EncoderInput { states: self.embeddings, mask: self.mask, block: 0 }.with_prefix(prompt)
    }
}

/// `x Wᵀ + b`, in float32.
fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    x.to_kind(Kind::Float).linear(weight, Some(bias))
}

/// Every method, in the order of [`methods::METHODS`].
pub const METHODS: &[&dyn Forward] = &[&dpt::Dpt, &prompt_tuning::PromptTuning, &residual::Residual];

/// The method called `name`.
///
/// # Errors
/// There is none of that name: suggests the nearest.
pub fn find(name: &str) -> Result<&'static dyn Forward, Diag> {
    let declared = methods::find(name)?;
    let found = METHODS.iter().find(|method| method.method().name == declared.name);
    Ok(*found.expect("a row for every declared method"))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::base::value::{Params, Value};

    /// A shape of `method` with small whole numbers for all its parameters.
    fn small(method: &Method) -> Shape {
        let params: Params = method.params.iter().map(|p| (p.name.to_owned(), Value::Int(2))).collect();
        method.shape(5, 8, &params).unwrap()
    }

    #[test]
    fn both_tables_have_the_same_methods() {
        let ours: Vec<_> = METHODS.iter().map(|method| method.method().name).collect();
        assert_eq!(ours, methods::NAMES);
    }

    #[test]
    fn text_enters_behind_the_prompt_and_gradients_pass() {
        let table = Tensor::arange(20 * 8, tch::kind::FLOAT_CPU).view([20, 8]).sin();
        for forward in METHODS {
            let shape = small(forward.method());
            let init = Init::Uniform { scale: 0.5 };
            let adapter = Adapter::init(*forward, shape, &init, 1, Device::Cpu).unwrap();
            let prompt = adapter.prompt();
            assert_eq!(prompt.size(), [5, 8], "{}", forward.method().name);
            // A weighted sum: a norm's bias would have no gradient of a sum of squares about 0.
            (prompt.square() * Tensor::arange(40, tch::kind::FLOAT_CPU).view([5, 8])).sum(Kind::Float).backward();
            for (name, tensor) in adapter.named() {
                assert!(tensor.grad().abs().max().double_value(&[]) > 0.0, "{name}");
            }
            let ids = Tensor::from_slice(&[3i64, 4, 5, 6]).view([2, 2]);
            let mask = Tensor::from_slice(&[1i64, 1, 1, 0]).view([2, 2]);
            let text = Text { embeddings: table.embedding_of(&ids), ids, mask, training: false };
            let entered = text.behind(&prompt);
            assert_eq!((entered.states.size(), entered.block), (vec![2, 7, 8], 0));
            assert_eq!(Vec::<i64>::try_from(entered.mask.get(1)).unwrap(), [1, 1, 1, 1, 1, 1, 0]);
        }
    }

    /// Rows of a table by token.
    trait Rows {
        fn embedding_of(&self, ids: &Tensor) -> Tensor;
    }

    impl Rows for Tensor {
        fn embedding_of(&self, ids: &Tensor) -> Tensor {
            Tensor::embedding(self, ids, -1, false, false)
        }
    }
}
