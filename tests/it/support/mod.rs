//! What several tests need.

pub mod http;
pub mod pack;
pub mod stage;
