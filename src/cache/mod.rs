//! L1: the store of results. Knows recipes, keys, files and locks; no graph, no stage and no terminal.
//!
//! # What is in a key
//!
//! | field                  | from                                                                     |
//! |------------------------|--------------------------------------------------------------------------|
//! | `schema`               | [`recipe::SCHEMA`], bumped when this table changes                       |
//! | `stage`, `version`     | the stage kind's name and semantic version                               |
//! | `param.NAME`           | a typed parameter that can change the result (floats by their bits)      |
//! | `input.ROLE/FILE`      | the logical digest of a file that the stage reads; its role, not its path. Of a `command`: the digest of its bytes, with a mark where it is executable |
//! | `input.ROLE[AXES]/FILE`| the same in a gather, where the coordinates say which is which           |
//! | `stage.ROLE[AXES]`     | in a gather, the producer's stage: what gathers (a report) shows names   |
//! | `file.NAME`            | the content of a file or folder of the working tree; of a `command` also which files are executable |
//!
//! Left out on purpose: names of stages (but in a gather) and pipelines, paths, times, resources, retries, checkpoint cadence, host, user,
//! executor, the layout of the TOML, secrets, upstream *keys* (equal content stops a rebuild), and numerics (device,
//! libtorch, threads): these are recorded with each result, and `accept` says which of them count.
//!
//! # Weak spots that are known
//!
//! - Bits that rot on the disk change no stat signature: only a full verification finds them.
//! - A file server whose clock is behind this machine's can make a file look older than it is; see [`stat`].
//! - What a program writes through a memory map may show late in a file's times.
//! - What a stage tells of its producers' names and keys (provenance) is that of the time when it ran.
//!
//! # Layout, below `v1/`
//!
//! ```text
//! objects/ab/cdef…      content, named by the blake3 of its bytes, read-only
//! entries/ab/cdef….json what a key stands for; written last, atomic: there or not
//! work/KEY/out          where a stage writes; work/KEY/scratch outlives a kill; work/KEY/reuse is handed on
//! quarantine/           what was found damaged
//! runs/RUN.jsonl        journals
//! results.lock          locked while results are copied to `results/`
//! in-use                locked by runs, together, and by gc, alone
//! making                of this file, who makes the result of a key locks the byte of that key
//! index                 a memo of all this, so that nothing need be opened when nothing changed; may be deleted
//! ```

pub mod archive;
pub mod commit;
mod digests;
pub mod durable;
pub mod entry;
pub mod files;
pub mod gc;
mod index;
pub mod inventory;
pub mod key;
mod known_results;
pub mod lock;
mod lookup;
mod manifest_dir;
mod object_dir;
pub mod reason;
pub mod recipe;
pub mod store;
pub mod verify;
mod watched;
mod work;
mod worktree;

pub use crate::base::stat;
pub use commit::{Claim, CommitInfo, Miss};
pub use entry::{Entry, MadeResult, Stored};
pub use files::{FileRecord, Files};
pub use key::CacheKey;
pub use known_results::{KnownResult, KnownResults, OpeningStore, open_in_background};
pub use lookup::{AcceptNumerics, Damage, Lookup};
pub use reason::StaleReason;
pub use recipe::Recipe;
pub use store::Store;
pub use watched::Watched;

#[cfg(test)]
mod tests;
