//! [`Adapter`]: the trained tensors of one run, all that is saved of it.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::adapter::AdapterInfo;
use crate::artifact::tensors::Tensors;
use crate::base::diag::Diag;
use crate::model::tensors;

use super::init::take;
use super::{Dims, Init, Method, find};

/// The trained tensors of one run: float32 leaves that ask for gradients.
pub struct Adapter {
    method: &'static dyn Method,
    dims: Dims,
    tensors: Vec<Tensor>,
}

impl Adapter {
    /// A fresh adapter on `device`.
    ///
    /// # Errors
    /// An init that the method cannot take; given tensors that are not of its names and shapes.
    pub fn init(method: &'static dyn Method, dims: Dims, init: &Init, seed: u64, device: Device) -> Result<Self, Diag> {
        Ok(Self::of(method, dims, init.values(method, dims, seed)?, device))
    }

    fn of(method: &'static dyn Method, dims: Dims, tensors: Vec<Tensor>, device: Device) -> Self {
        let leaf = |t: &Tensor| t.detach().to_device(device).to_kind(Kind::Float).copy().set_requires_grad(true);
        Self { method, dims, tensors: tensors.iter().map(leaf).collect() }
    }

    /// The adapter in an open `adapter.safetensors`, as its `adapter.json` describes it.
    ///
    /// # Errors
    /// An unknown method; tensors of other names or shapes.
    pub fn load(info: &AdapterInfo, file: &Tensors, device: Device) -> Result<Self, Diag> {
        let method = find(&info.method)?;
        let dims =
            Dims { virtual_tokens: info.virtual_tokens, rank: info.rank.unwrap_or_default(), d_model: info.d_model };
        let values = take(&tensors::read(file)?, &method.tensors(dims), method.name())?;
        Ok(Self::of(method, dims, values, device))
    }

    /// Writes the tensors as safetensors.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &std::path::Path) -> Result<(), Diag> {
        tensors::write(path, &self.named().map(|(name, t)| (name.to_owned(), t.shallow_clone())).collect())
    }

    /// The soft prompt `[virtual_tokens, d_model]`, differentiable.
    pub fn prompt(&self) -> Tensor {
        self.method.prompt(&self.tensors)
    }

    /// Its method.
    pub fn method(&self) -> &'static dyn Method {
        self.method
    }

    /// Its sizes.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// How many numbers are trained.
    pub fn parameters(&self) -> i64 {
        self.method.parameters(self.dims)
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
        self.method.tensors(self.dims).into_iter().map(|(name, _)| name).zip(&self.tensors)
    }

    /// A copy of its values that later steps do not change.
    pub fn copy(&self) -> Adapter {
        Self::of(self.method, self.dims, self.tensors.iter().map(Tensor::detach).collect(), self.tensors[0].device())
    }

    /// Puts `values` (by name) in place of its own.
    ///
    /// # Errors
    /// Values of other names or shapes.
    pub fn set(&mut self, values: &BTreeMap<String, Tensor>) -> Result<(), Diag> {
        let device = self.tensors[0].device();
        let values = take(values, &self.method.tensors(self.dims), self.method.name())?;
        *self = Self::of(self.method, self.dims, values, device);
        Ok(())
    }
}
