//! [`Weights`]: a file of tensors in either of the forms that hubs have, safetensors or `torch.save`.

use std::path::Path;

use super::tensors::{Dtype, Loaded, Tensors};
use super::torch_file::TorchFile;
use crate::base::diag::{Class, Diag};

/// An open file of tensors: of their elements only those are read that are asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Weights {
    /// A safetensors file.
    Safetensors(Tensors),
    /// A file of `torch.save`.
    Torch(TorchFile),
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub struct Weight {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its sizes, slowest first.
    pub shape: Vec<usize>,
    /// Its elements, row major, little endian.
    pub bytes: Vec<u8>,
}

impl Weights {
    /// Opens the file called `name` at `path`: `.bin` is what `torch.save` wrote, any other safetensors.
    ///
    /// # Errors
    /// When the file cannot be read, or its header does not describe its bytes.
    pub fn open(name: &str, path: &Path) -> Result<Self, Diag> {
        Ok(if name.ends_with(".bin") {
            Weights::Torch(TorchFile::open(path)?)
        } else {
            Weights::Safetensors(Tensors::open(path)?)
        })
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        match self {
            Weights::Safetensors(file) => file.names(),
            Weights::Torch(file) => file.names().map(str::to_owned).collect(),
        }
    }

    /// Type and shape of the tensor `name`, if there is one.
    pub fn describe(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        match self {
            Weights::Safetensors(file) => file.describe(name).map(|(dtype, shape)| (dtype, shape.to_vec())),
            Weights::Torch(file) => file.describe(name).map(|(dtype, shape)| (dtype, shape.to_vec())),
        }
    }

    /// Reads the tensor `name`.
    ///
    /// # Errors
    /// When the file has none, cannot be read, or has become shorter since it was opened.
    pub fn require(&self, name: &str) -> Result<Weight, Diag> {
        match self {
            Weights::Safetensors(file) => {
                let Loaded { dtype, shape, bytes, .. } = file.require(name)?;
                Ok(Weight { dtype, shape, bytes })
            }
            Weights::Torch(file) => {
                let found = file.describe(name).zip(file.bytes(name));
                let ((dtype, shape), bytes) =
                    found.ok_or_else(|| Diag::error(Class::Stage, format!("the file has no tensor `{name}`")))?;
                Ok(Weight { dtype, shape: shape.to_vec(), bytes: bytes? })
            }
        }
    }
}

impl Weight {
    /// The elements as f32, where they are F32, F16 or BF16.
    pub fn f32s(&self) -> Option<Vec<f32>> {
        let halves = || self.bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b));
        match self.dtype {
            Dtype::F32 => Some(self.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::BF16 => Some(halves().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect()),
            Dtype::F16 => Some(halves().map(from_f16).collect()),
            _ => None,
        }
    }
}

/// The value of a float of 16 bits: 1 for the sign, 5 for the exponent, 10 for the fraction.
fn from_f16(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        let f16 = [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0), (0x3555, 0.333_251_95)];
        for (bits, value) in f16 {
            assert_eq!(from_f16(bits), value);
        }
        assert_eq!((from_f16(0x7c00), from_f16(0x8000).to_bits()), (f32::INFINITY, (-0f32).to_bits()));
        assert!(from_f16(0x7e00).is_nan());
    }
}
