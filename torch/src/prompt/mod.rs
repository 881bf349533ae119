//! The prompt methods as they compute: what the encoder is given, of the trained tensors and the text. Knows no stage,
//! no task and no training loop. What a method *is* (its parameters, tensors and initial values) is declared in `dpt`,
//! in `src/adapter/methods/`, without libtorch.
//!
//! To add a method: its declaration there, and here its file, its `mod` line and its row in [`METHODS`].

mod accept;
mod adapter;
mod adept;
mod dept;
mod dpt;
mod ept;
mod init;
mod late_dpt;
mod lipt;
mod lopt2;
mod mpt;
mod p_tuning;
mod pilot;
mod prompt_tuning;
mod residual;
mod smop;
mod ulpt;

use tch::{Kind, Tensor};

use crate::adapter::method::Sizes;
use crate::base::diag::Diag;
use crate::model::t5::{EncoderInput, T5};

pub use crate::adapter::method::{Decay, Method, Rate, Shape};
pub use crate::adapter::{AdapterInfo, InitKind, methods};
pub use adapter::{Adapter, Folded};
pub use init::{Init, derive};

/// What a method computes. A method is asked in two steps: [`fold`](Forward::fold), once for a training step or for a
/// whole evaluation, and [`enter`](Forward::enter), for every batch.
pub trait Forward: Sync {
    /// Its declaration.
    fn method(&self) -> &'static Method;

    /// Everything that depends on the tensors only, differentiable. The first part of a method with one prompt is that
    /// prompt, `[virtual_tokens, d_model]`.
    fn fold(&self, trained: &Trained) -> Vec<Tensor>;

    /// What enters the encoder for `text`, of the parts that [`fold`](Forward::fold) returned; differentiable. By
    /// default `[first part ; text]` enters the first block.
    ///
    /// A method may add to the text's embeddings by position or by token, make another prompt for each row, or compute
    /// the first encoder blocks of the text with [`T5::run_blocks`] and enter behind them.
    fn enter(&self, t5: &T5, shape: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        let _ = (t5, shape);
        text.behind(&parts[0])
    }

    /// Returns `true` if [`enter`](Forward::enter) draws from libtorch's generator while training: it is then seeded
    /// before each step.
    fn draws(&self) -> bool {
        false
    }

    /// Values of tensors that depend on the task and are chosen once, before the first step, in place of their initial
    /// values. `loss` is the loss of the first batch of a prompt in front of the text, differentiable.
    fn prepare(
        &self,
        adapter: &Adapter,
        t5: &T5,
        loss: &dyn Fn(&T5, &Tensor) -> Tensor,
    ) -> Vec<(&'static str, Tensor)> {
        let _ = (adapter, t5, loss);
        Vec::new()
    }

    /// Figures of the tensors that are written down after every step beside the loss: names, which are the same at
    /// every step, and values.
    fn figures(&self, tensors: &Trained) -> Vec<(&'static str, f64)> {
        let _ = tensors;
        Vec::new()
    }

    /// What the figures are held against: names, and a value before the first step and after each of them. `start` are
    /// the tensors before training, `rates` the main rate of every step, and draws are by `seed`.
    fn controls(&self, start: &Trained, rates: &[f64], seed: i64) -> Vec<(&'static str, Vec<f64>)> {
        let _ = (start, rates, seed);
        Vec::new()
    }
}

/// The tensors of a method, float32; those that are not trained among them.
pub struct Trained<'a> {
    /// Their shape.
    pub shape: &'a Shape,
    tensors: Vec<(&'static str, &'a Tensor)>,
}

impl Trained<'_> {
    /// The tensor `name`.
    ///
    /// # Panics
    /// When the method declares no such tensor.
    pub fn get(&self, name: &str) -> &Tensor {
        let found = self.tensors.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("the method declares no tensor `{name}`")).1
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
    /// What it is encoded for.
    pub step: Step,
}

/// What a text is encoded for. Dropout and noise of a method's own count in training only.
pub enum Step {
    /// To score or to generate.
    Inference,
    /// A training step. What the method draws comes of libtorch's generator, which is seeded before.
    Training,
    /// A training step with the noise that the method would draw: its shape and meaning are the method's.
    Given(Tensor),
}

impl Step {
    /// Returns `true` if the method's own dropout and noise count.
    pub fn trains(&self) -> bool {
        !matches!(self, Step::Inference)
    }

    /// The noise of `shape`: the given one, else what `draw` draws. `None` outside of training.
    ///
    /// # Panics
    /// When the given noise is of another shape.
    pub fn noise(&self, shape: &[i64], device: tch::Device, draw: impl FnOnce() -> Tensor) -> Option<Tensor> {
        match self {
            Step::Inference => None,
            Step::Training => Some(draw()),
            Step::Given(noise) => {
                assert_eq!(noise.size(), shape, "the given noise");
                Some(noise.to_device(device).to_kind(Kind::Float))
            }
        }
    }
}

impl Text {
    /// The text as it enters the first block, with `prompt` in front: `[L, d_model]`, or `[B, L, d_model]` with one a
    /// row.
    pub fn behind(self, prompt: &Tensor) -> EncoderInput {
        self.first_block().with_prefix(prompt)
    }

    /// The text as it enters the first block, with nothing in front.
    fn first_block(self) -> EncoderInput {
        EncoderInput { states: self.embeddings, mask: self.mask, block: 0 }
    }

    /// What leaves the first `blocks` blocks of the encoder for the text, with `prompt` in front. `None`: half of the
    /// blocks. Those blocks see the text only.
    pub fn behind_block(self, t5: &T5, blocks: Option<i64>, prompt: &Tensor) -> EncoderInput {
        let blocks = blocks.map_or(t5.encoder_blocks() / 2, |blocks| blocks as usize);
        let input = self.first_block();
        // Dropout acts on what enters the first block: once.
        let input = if blocks > 0 { t5.run_blocks(input, blocks) } else { input };
        input.with_prefix(prompt)
    }

    /// The text with `offset` `[positions, d_model]` added to its embeddings by position, whether there is a token or
    /// the pad. Positions behind those of `offset` stay as they are: the stages see to it that they hold pads only.
    pub fn with_offset(self, offset: &Tensor) -> Text {
        let (positions, length) = (offset.size()[0], self.ids.size()[1]);
        let part = offset.narrow(0, 0, positions.min(length));
        let missing = length - positions;
        let part = if missing > 0 { part.constant_pad_nd([0, 0, 0, missing]) } else { part };
        Text { embeddings: self.embeddings + part, ..self }
    }
}

/// `x Wᵀ + b`, in float32.
fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    x.to_kind(Kind::Float).linear(weight, Some(bias))
}

/// Every method, in the order of [`methods::METHODS`].
pub const METHODS: &[&dyn Forward] = &[
    &dpt::Dpt,
    &prompt_tuning::PromptTuning,
    &residual::Residual,
    &dept::Dept,
    &adept::Adept,
    &ulpt::Ulpt,
    &p_tuning::PTuning,
    &mpt::Mpt,
    &smop::Smop,
    &accept::Accept,
    &lopt2::Lopt2,
    &ept::Ept,
    &lipt::Lipt,
    &late_dpt::LateDpt,
    &pilot::Pilot,
];

/// The method called `name`.
///
/// # Errors
/// There is none of that name: suggests the nearest.
pub fn find(name: &str) -> Result<&'static dyn Forward, Diag> {
    let declared = methods::find(name)?;
    let found = METHODS.iter().find(|method| method.method().name == declared.name);
    Ok(*found.expect("a row for every declared method"))
}

/// Checks that a method of this shape fits the backbone and texts of up to `longest` tokens.
///
/// # Errors
/// A parameter that does not fit: names it and what it may be.
pub fn check(method: &Method, shape: &Shape, t5: &T5, longest: usize) -> Result<(), Diag> {
    method.check(&Sizes {
        params: &shape.params,
        virtual_tokens: Some(shape.virtual_tokens),
        d_model: Some(shape.d_model),
        encoder_blocks: Some(t5.encoder_blocks() as i64),
    })?;
    method.check_text(shape, longest)
}

#[cfg(test)]
mod tests;
