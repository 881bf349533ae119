//! Helpers that several tests share.

pub mod copies;
pub mod http;
pub mod pack;
pub mod stage;
