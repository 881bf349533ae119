//! Tests of the report as a whole, and the made-up material that they and the tests of its parts share.

mod bytes;
pub mod sample;
mod summary;
