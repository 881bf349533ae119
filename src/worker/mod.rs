//! The process beside the engine that has libtorch: what the two say to each other. Knows no libtorch itself: the work is
//! done in the crate `dpt-torch`.

pub mod build;
pub mod device;
pub mod protocol;
pub mod serve;
