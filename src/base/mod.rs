//! L0: what every layer may use. Knows nothing of stages, pipelines or terminals.

pub mod caught;
pub mod choice;
pub mod closed_dir;
pub mod content;
pub mod diag;
pub mod digest;
pub mod draw;
pub mod fault;
pub mod fs;
mod fs_error;
pub mod glob;
pub mod launch;
pub mod leftovers;
pub mod look;
pub mod machine;
pub mod name;
pub mod param;
pub mod params;
pub mod process;
pub mod reader;
pub mod secret;
pub mod stat;
pub mod suggest;
pub mod torch_rng;
pub mod value;
pub mod walk;
pub mod watch;
