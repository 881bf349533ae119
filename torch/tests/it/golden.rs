//! Reference tensors: where they lie, how they are read, and how far they are from ours.

#[path = "../../../tests/it/golden.rs"]
mod folder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

pub use folder::*;

/// All tensors of a safetensors file.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: safetensors::tensor::TensorView| {
        let kind = match view.dtype() {
            safetensors::Dtype::F64 => Kind::Double,
            safetensors::Dtype::F32 => Kind::Float,
            safetensors::Dtype::F16 => Kind::Half,
            safetensors::Dtype::BF16 => Kind::BFloat16,
            safetensors::Dtype::I64 => Kind::Int64,
            safetensors::Dtype::U8 => Kind::Uint8,
            other => panic!("{other:?}"),
        };
        let shape: Vec<_> = view.shape().iter().map(|&n| n as i64).collect();
        Tensor::from_data_size(view.data(), &shape, kind)
    };
    file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect()
}

/// The files of a checkpoint in `folder`, by name: what lies there, without reference outputs.
pub fn checkpoint(folder: &Path) -> BTreeMap<String, PathBuf> {
    let named = list(folder).into_iter().map(|path| (name(&path).to_owned(), path));
    named.filter(|(name, _)| !name.starts_with("io.")).collect()
}

/// Largest absolute difference.
pub fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// Largest absolute value.
pub fn largest(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).abs().max().double_value(&[])
}

/// A row of reference ids behind its start token, up to and with the end token.
pub fn generated(row: &[i64], eos: i64) -> &[i64] {
    let ids = &row[1..];
    let end = ids.iter().position(|&id| id == eos).map_or(ids.len(), |i| i + 1);
    &ids[..end]
}
