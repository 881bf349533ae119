//! Reproducibility. [`lockfile`] reads and writes a pipeline's lock file: keys, digests and metrics of a run, one line
//! a node. [`lock_check`] compares a pipeline and its results with the lock, by the rules of [`compare`]. [`rerun`]
//! runs nodes again without changing the store, and [`attestation`] describes the outcome.
//!
//! These modules lie above `pipeline`, since a lock belongs to one pipeline. They do not know the terminal.
//!
//! Results made under equal numerics (kind of CPU, device, libtorch, threads) from equal inputs must have equal
//! digests. Where numerics differ, or an input differed for that reason, metrics must be within the pipeline's
//! tolerance. `docs/adr/0006` explains why.

pub mod attestation;
pub mod compare;
pub mod file_diff;
pub mod lock_check;
pub mod lockfile;
pub mod request;
pub mod rerun;
pub mod sample;
