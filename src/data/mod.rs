//! L2: from a data set's rows to token ids. [`task`] reads SuperGLUE's jsonl into typed columns and writes each row as
//! source and target text by a [`template`]; [`tokenizer`] turns text into ids; [`encoded`] is the table that `train`
//! and `eval` read; [`synth`] makes rows of its own. Knows no torch, no stage and no metric.

pub mod encoded;
pub mod sample;
pub mod synth;
pub mod task;
pub mod template;
pub mod tokenizer;
pub mod verbalizer;

pub use crate::base::torch_rng;
