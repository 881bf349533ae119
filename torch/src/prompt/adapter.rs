//! [`Adapter`]: the tensors of one run, all that is saved of it.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::adapter::AdapterInfo;
use crate::adapter::method::TensorSpec;
use crate::artifact::tensors::Tensors;
use crate::base::diag::Diag;
use crate::model::t5::{EncoderInput, T5};
use crate::model::tensors;

use super::init::take;
use super::{Forward, Init, Method, Shape, Step, Text, Trained, find};

/// The tensors of one run, float32: trained ones, leaves that ask for gradients, and those that keep their initial
/// values.
pub struct Adapter {
    forward: &'static dyn Forward,
    shape: Shape,
    names: Vec<&'static str>,
    tensors: Vec<Tensor>,
    frozen: Vec<(&'static str, Tensor)>,
}

/// What of an adapter depends on its tensors only, ready to encode batches.
pub struct Folded<'a> {
    forward: &'static dyn Forward,
    shape: &'a Shape,
    parts: Vec<Tensor>,
}

impl Folded<'_> {
    /// What the method's [`fold`](Forward::fold) gave: for a method with one prompt the first is that prompt.
    pub fn parts(&self) -> &[Tensor] {
        &self.parts
    }

    /// The encoder's states `[B, N, d_model]` for a batch, and their mask `[B, N]`.
    pub fn encode(&self, t5: &T5, input_ids: &Tensor, mask: &Tensor) -> (Tensor, Tensor) {
        t5.encode(self.enter(t5, input_ids, mask, Step::Inference))
    }

    /// What enters the encoder for a batch.
    pub fn enter(&self, t5: &T5, input_ids: &Tensor, mask: &Tensor, step: Step) -> EncoderInput {
        let (ids, mask) = (input_ids.to_device(t5.device()), mask.to_device(t5.device()));
        let text = Text { embeddings: t5.embed(&ids), ids, mask, step };
        self.forward.enter(t5, self.shape, &self.parts, text)
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

    /// `values` are in the order of the declaration.
    fn of(forward: &'static dyn Forward, shape: Shape, values: Vec<Tensor>, device: Device) -> Self {
        let own = |t: &Tensor| t.detach().to_device(device).to_kind(Kind::Float).copy();
        let mut adapter = Self { forward, shape, names: Vec::new(), tensors: Vec::new(), frozen: Vec::new() };
        for (spec, value) in (forward.method().tensors)(&adapter.shape).into_iter().zip(&values) {
            if spec.trained {
                adapter.names.push(spec.name);
                adapter.tensors.push(own(value).set_requires_grad(true));
            } else {
                adapter.frozen.push((spec.name, own(value)));
            }
        }
        adapter
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
        tensors::write(path, &self.stored().map(|(name, t)| (name.to_owned(), t.shallow_clone())).collect())
    }

    /// What depends on its tensors only, differentiable: make it once a step, or once an evaluation.
    pub fn fold(&self) -> Folded<'_> {
        Folded { forward: self.forward, shape: &self.shape, parts: self.forward.fold(&self.by_name()) }
    }

    /// The first part of the folded form: the soft prompt `[virtual_tokens, d_model]` of a method that puts one in
    /// front of the text. Differentiable.
    pub fn prompt(&self) -> Tensor {
        self.fold().parts.swap_remove(0)
    }

    /// Chooses what of it depends on the task, from the first batch: token ids and mask `[B, S]`, labels `[B, T]`.
    /// Nothing for most methods.
    ///
    /// # Errors
    /// Values of other shapes than the method declares.
    pub fn prepare(&mut self, t5: &T5, ids: &Tensor, mask: &Tensor, labels: &Tensor) -> Result<(), Diag> {
        let loss = |t5: &T5, prompt: &Tensor| {
            let (states, mask) = t5.encode(t5.text(ids, mask).with_prefix(prompt));
            t5.loss(&states, &mask, labels)
        };
        let chosen = self.forward.prepare(self, t5, &loss);
        if chosen.is_empty() {
            return Ok(());
        }
        let mut values: BTreeMap<_, _> = self.stored().map(|(name, t)| (name.to_owned(), t.detach())).collect();
        values.extend(chosen.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)));
        self.set(&values)
    }

    /// The figures that its method has of it now: names and values.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let _guard = tch::no_grad_guard();
        self.forward.figures(&self.by_name())
    }

    /// What those figures are held against when training starts from it: see [`Forward::controls`].
    pub fn controls(&self, rates: &[f64], seed: i64) -> Vec<(&'static str, Vec<f64>)> {
        let _guard = tch::no_grad_guard();
        self.forward.controls(&self.by_name(), rates, seed)
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

    /// The declarations of its trained tensors, in their order.
    pub fn specs(&self) -> Vec<TensorSpec> {
        (self.method().tensors)(&self.shape).into_iter().filter(|spec| spec.trained).collect()
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

    /// Names and tensors of all that is stored: the trained ones, then those that are not trained.
    pub fn stored(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        self.named().chain(self.frozen.iter().map(|(name, tensor)| (*name, tensor)))
    }

    /// Names and trained tensors.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        self.names.iter().copied().zip(&self.tensors)
    }

    /// A copy of its values that later steps do not change.
    pub fn copy(&self) -> Adapter {
        let own = |t: &Tensor| t.detach().copy();
        Adapter {
            forward: self.forward,
            shape: self.shape.clone(),
            names: self.names.clone(),
            tensors: self.tensors.iter().map(|t| own(t).set_requires_grad(true)).collect(),
            frozen: self.frozen.iter().map(|(name, t)| (*name, own(t))).collect(),
        }
    }

    /// Puts `values` (by name) in place of its own. Tensors that are not trained may be left out: they stay as they
    /// are.
    ///
    /// # Errors
    /// Values of other names or shapes.
    pub fn set(&mut self, values: &BTreeMap<String, Tensor>) -> Result<(), Diag> {
        let device = self.device();
        let mut all: BTreeMap<_, _> = self.frozen.iter().map(|(n, t)| ((*n).to_owned(), t.shallow_clone())).collect();
        all.extend(values.iter().map(|(name, t)| (name.clone(), t.shallow_clone())));
        let values = take(&all, self.method(), &self.shape)?;
        *self = Self::of(self.forward, self.shape.clone(), values, device);
        Ok(())
    }

    /// Its tensors, as its method is given them.
    fn by_name(&self) -> Trained<'_> {
        Trained { shape: &self.shape, tensors: self.stored().collect() }
    }

    fn device(&self) -> Device {
        self.stored().next().map_or(Device::Cpu, |(_, tensor)| tensor.device())
    }
}
