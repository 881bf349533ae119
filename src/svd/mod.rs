//! L2: truncated singular value decompositions of soft prompts, in f64 and plain Rust: the same bits on every machine,
//! and no libtorch. Knows matrices only: no files, models or stages.
//!
//! A prompt `M [virtual_tokens, d_model]` is at most a few hundred rows, so a full thin decomposition is cheap
//! ([`decompose::Svd`]); its leading `rank` triplets are split into two factors ([`factor`]) and described in numbers
//! ([`figures`]).

pub mod decompose;
pub mod factor;
pub mod figures;
pub mod matrix;
