//! The protocol between the engine and its worker process, which has libtorch. This module does not use libtorch: the
//! work is done in the crate `dpt-torch`.

pub mod build;
pub mod device;
pub mod protocol;
pub mod serve;
