//! What several tests need.

pub mod copies;
pub mod http;
pub mod pack;
pub mod stage;
