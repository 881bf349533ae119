//! The frozen backbones: the forward pass ([`t5`]), reading their files ([`load`]), the cache between jobs ([`cache`])
//! and devices ([`device`]). Knows no prompt method, task or stage. Their configs ([`config`]) need no libtorch.
//!
//! To add a backbone: its file, its `mod` line, its row in [`MODELS`].

pub mod cache;
pub mod device;
mod layers;
pub mod load;
pub mod t5;
pub mod tensors;

pub use dpt::model::{Dtype, MODELS, config, fit};
pub use layers::bucket as relative_position_bucket;
