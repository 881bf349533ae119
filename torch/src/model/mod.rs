//! The frozen backbones: how they compute ([`t5`]), how their files are read ([`load`]), kept between jobs ([`cache`]) and
//! placed ([`device`]). Knows no prompt method, task or stage. What they are ([`config`]) is known without libtorch.
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
