//! L4: runs a graph. Knows no TOML, libtorch or terminal, and of the stages only their declarations.
//!
//! [`run::run`] brings a graph up to date; [`freshness::status`] says what it would do. Both make each node's recipe in
//! the same way ([`prepare`]), from the content of what its producers made, so that equal content stops a rebuild.

pub mod context;
pub mod deadline;
mod dry_run;
pub mod event;
pub mod executor;
pub mod explain;
mod fast_path;
pub mod freshness;
pub mod gc_roots;
pub mod graph;
pub mod history;
pub mod job;
pub mod journal;
pub mod key;
mod node_thread;
pub mod options;
pub mod prepare;
pub mod retry;
pub mod run;
pub mod state;
mod tee;
mod thread_pool;

#[cfg(test)]
mod tests;

pub use event::{Event, Sink};
pub use executor::Executor;
pub use freshness::{Freshness, NodeStatus, status};
pub use options::{RunOptions, RunSummary};
pub use run::run;
