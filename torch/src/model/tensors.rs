//! Conversion between safetensors files and libtorch's tensors.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::artifact::tensors::{self, Dtype, Tensors};
use crate::base::diag::{Class, Diag};

/// The dtypes that both sides have.
const TYPES: &[(Dtype, Kind)] = &[
    (Dtype::F32, Kind::Float),
    (Dtype::F16, Kind::Half),
    (Dtype::BF16, Kind::BFloat16),
    (Dtype::F64, Kind::Double),
    (Dtype::I64, Kind::Int64),
    (Dtype::I32, Kind::Int),
    (Dtype::U8, Kind::Uint8),
];

/// The libtorch dtype of a stored dtype; `None` if libtorch has none.
pub fn kind_of(dtype: Dtype) -> Option<Kind> {
    TYPES.iter().find(|(d, _)| *d == dtype).map(|(_, kind)| *kind)
}

/// Copies a stored tensor into libtorch's memory, on the CPU.
///
/// # Errors
/// A dtype that libtorch does not have.
pub fn tensor(stored: &tensors::Tensor) -> Result<Tensor, Diag> {
    let kind = kind_of(stored.dtype).ok_or_else(|| {
        Diag::error(Class::Stage, format!("tensor `{}` has type {:?}, which is not read", stored.name, stored.dtype))
    })?;
    let shape: Vec<i64> = stored.shape.iter().map(|&n| n as i64).collect();
    Tensor::f_from_data_size(stored.bytes, &shape, kind)
        .map_err(|e| Diag::error(Class::Stage, format!("cannot take tensor `{}`: {e}", stored.name)))
}

/// All tensors of an open file by name, on the CPU.
///
/// # Errors
/// A dtype that libtorch does not have.
pub fn read(file: &Tensors) -> Result<BTreeMap<String, Tensor>, Diag> {
    let one = |name: String| {
        let stored = tensor(&file.require(&name)?.view())?;
        Ok((name, stored))
    };
    file.names().into_iter().map(one).collect()
}

/// Writes `tensors` (from any device) as a safetensors file: equal tensors give equal bytes.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<(), Diag> {
    let parts = tensors
        .iter()
        .map(|(name, tensor)| {
            let (dtype, _) = *TYPES.iter().find(|(_, kind)| *kind == tensor.kind()).ok_or_else(|| {
                Diag::error(Class::Bug, format!("tensor `{name}` of type {:?} cannot be written", tensor.kind()))
            })?;
            let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
            Ok((name.as_str(), dtype, shape, bytes(tensor)))
        })
        .collect::<Result<Vec<_>, Diag>>()?;
    let parts: Vec<_> =
        parts.iter().map(|(name, dtype, shape, bytes)| tensors::Tensor { name, dtype: *dtype, shape, bytes }).collect();
    tensors::write(path, &parts)
}

/// The elements, row major, little endian.
pub fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut out = vec![0u8; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut out, tensor.numel());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        let matrix = Tensor::from_slice(&[1.0f32, -2.0, 3.5, 0.0, 5.0, 6.0]).view([2, 3]);
        let tensors = BTreeMap::from([
            ("transposed".to_owned(), matrix.tr()),
            ("half".to_owned(), matrix.to_kind(Kind::BFloat16)),
            ("ids".to_owned(), Tensor::from_slice(&[3i64, -100])),
        ]);
        write(&path, &tensors).unwrap();
        let back = read(&Tensors::open(&path).unwrap()).unwrap();
        assert_eq!(back, tensors);
    }
}
