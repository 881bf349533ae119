//! Tests of the report as a whole, and the made-up inputs that they and the tests of its parts share.

mod bytes;
mod html;
mod latex;
mod markdown;
mod registries;
pub mod sample;
mod summary;
