//! Is it still the same? The lock file of a pipeline ([`lockfile`]: keys, digests and metrics of a run, one line a node), the
//! comparison of what is recorded with what is there ([`compare`], [`locked`]), and running nodes again beside the store
//! ([`rerun`]). Above the pipeline, since a lock belongs to one; knows no terminal.
//!
//! What may differ, and what not: results made under equal numerics (kind of CPU, device, libtorch, threads) from equal
//! inputs must have equal digests. Where numerics differ, or an input differed for that reason, metrics must be within
//! the pipeline's tolerance. `docs/adr/0006` says why.

pub mod compare;
pub mod gap;
pub mod locked;
pub mod lockfile;
pub mod own;
pub mod rerun;
pub mod sample;
pub mod statement;
