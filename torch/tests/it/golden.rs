//! Where the reference figures lie, and how tensors are compared with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

/// The folder `part` of the reference figures: below `DPT_GOLDEN_DIR`, else `../shared/golden` beside the checkout. Without it
/// the test says so and is skipped.
pub fn dir(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DPT_GOLDEN_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden"), PathBuf::from);
    let dir = root.join(part);
    if !dir.is_dir() {
        println!("skipped: no reference figures in `{}`", dir.display());
        return None;
    }
    Some(dir)
}

/// All tensors of a safetensors file.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: safetensors::tensor::TensorView| {
        let kind = match view.dtype() {
            safetensors::Dtype::F32 => Kind::Float,
            safetensors::Dtype::I64 => Kind::Int64,
            safetensors::Dtype::U8 => Kind::Uint8,
            other => panic!("{other:?}"),
        };
        let shape: Vec<_> = view.shape().iter().map(|&n| n as i64).collect();
        Tensor::from_data_size(view.data(), &shape, kind)
    };
    file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect()
}

/// Largest absolute difference.
pub fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// Asserts that two tensors differ by at most `tolerance` anywhere.
pub fn close(what: &str, got: &Tensor, expected: &Tensor, tolerance: f64) {
    let largest = difference(got, expected);
    assert!(largest <= tolerance, "{what}: largest difference {largest:e}, allowed {tolerance:e}");
}

/// A row of reference ids up to and with `</s>` (1).
pub fn ended(ids: &[i64]) -> &[i64] {
    let end = ids.iter().position(|&id| id == 1).map_or(ids.len(), |i| i + 1);
    &ids[..end]
}
