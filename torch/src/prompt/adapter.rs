//! [`Adapter`]: the trained tensors of one run, all that is saved of it.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::adapter::AdapterInfo;
use crate::adapter::method::TensorSpec;
use crate::artifact::tensors::Tensors;
use crate::base::diag::Diag;
use crate::model::t5::T5;
use crate::model::tensors;

use super::init::take;
use super::{Forward, Init, Method, Shape, Text, Trained, find};

/// The trained tensors of one run: float32 leaves that ask for gradients.
pub struct Adapter {
    forward: &'static dyn Forward,
    shape: Shape,
    names: Vec<&'static str>,
    tensors: Vec<Tensor>,
}

/// What of an adapter depends on its tensors only, ready to encode batches.
pub struct Folded<'a> {
    forward: &'static dyn Forward,
    shape: &'a Shape,
    parts: Vec<Tensor>,
}

impl Folded<'_> {
    /// The encoder's states `[B, N, d_model]` for a batch, and their mask `[B, N]`.
    pub fn encode(&self, t5: &T5, input_ids: &Tensor, mask: &Tensor) -> (Tensor, Tensor) {
        self.encode_text(t5, input_ids, mask, false)
    }

    /// The same in a training step, with the dropout and noise that the method has there.
    pub fn encode_training(&self, t5: &T5, input_ids: &Tensor, mask: &Tensor) -> (Tensor, Tensor) {
        self.encode_text(t5, input_ids, mask, true)
    }

    fn encode_text(&self, t5: &T5, input_ids: &Tensor, mask: &Tensor, training: bool) -> (Tensor, Tensor) {
        let (ids, mask) = (input_ids.to_device(t5.device()), mask.to_device(t5.device()));
        let text = Text { embeddings: t5.embed(&ids), ids, mask, training };
        t5.encode(self.forward.enter(t5, self.shape, &self.parts, text))
    }
}

impl Adapter {
    /// A fresh adapter on `device`.
    ///
    /// # Errors
    /// An init that the method cannot take; given tensors that are not of its names and shapes.
    pub fn init(
        forward: &'static dyn Forward,
        shape: Shape,
        init: &Init,
        seed: u64,
        device: Device,
    ) -> Result<Self, Diag> {
        let values = init.values(forward.method(), &shape, seed)?;
        Ok(Self::of(forward, shape, values, device))
    }

    fn of(forward: &'static dyn Forward, shape: Shape, tensors: Vec<Tensor>, device: Device) -> Self {
        let leaf = |t: &Tensor| t.detach().to_device(device).to_kind(Kind::Float).copy().set_requires_grad(true);
        let names = (forward.method().tensors)(&shape).into_iter().map(|spec| spec.name).collect();
        Self { forward, shape, names, tensors: tensors.iter().map(leaf).collect() }
    }

    /// The adapter in an open `adapter.safetensors`, as its `adapter.json` describes it.
    ///
    /// # Errors
    /// An unknown method; tensors of other names or shapes.
    pub fn load(info: &AdapterInfo, file: &Tensors, device: Device) -> Result<Self, Diag> {
        let (method, shape) = info.method()?;
        let values = take(&tensors::read(file)?, method, &shape)?;
        Ok(Self::of(find(method.name)?, shape, values, device))
    }

    /// Writes the tensors as safetensors.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &std::path::Path) -> Result<(), Diag> {
        tensors::write(path, &self.named().map(|(name, t)| (name.to_owned(), t.shallow_clone())).collect())
    }

    /// What depends on its tensors only, differentiable: make it once a step, or once an evaluation.
    pub fn fold(&self) -> Folded<'_> {
        let trained = Trained { shape: &self.shape, names: &self.names, tensors: &self.tensors };
        Folded { forward: self.forward, shape: &self.shape, parts: self.forward.fold(&trained) }
    }

    /// The first part of the folded form: the soft prompt `[virtual_tokens, d_model]` of a method that puts one in front of the
    /// text. Differentiable.
    pub fn prompt(&self) -> Tensor {
        self.fold().parts.swap_remove(0)
    }

    /// Its method.
    pub fn method(&self) -> &'static Method {
        self.forward.method()
    }

    /// What its method computes.
    pub fn forward(&self) -> &'static dyn Forward {
        self.forward
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The declarations of its tensors, in their order.
    pub fn specs(&self) -> Vec<TensorSpec> {
        (self.method().tensors)(&self.shape)
    }

    /// How many numbers are trained.
    pub fn parameters(&self) -> i64 {
        self.method().parameters(&self.shape)
    }

    /// The trained tensors, in the method's order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The same, for an optimizer.
    pub fn tensors_mut(&mut self) -> &mut [Tensor] {
        &mut self.tensors
    }

    /// Names and tensors.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        self.names.iter().copied().zip(&self.tensors)
    }

    /// A copy of its values that later steps do not change.
    pub fn copy(&self) -> Adapter {
        let values = self.tensors.iter().map(Tensor::detach).collect();
        Self::of(self.forward, self.shape.clone(), values, self.tensors[0].device())
    }

    /// Puts `values` (by name) in place of its own.
    ///
    /// # Errors
    /// Values of other names or shapes.
    pub fn set(&mut self, values: &BTreeMap<String, Tensor>) -> Result<(), Diag> {
        let device = self.tensors[0].device();
        let values = take(values, self.method(), &self.shape)?;
        *self = Self::of(self.forward, self.shape.clone(), values, device);
        Ok(())
    }
}
