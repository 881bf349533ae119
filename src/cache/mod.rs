//! L1: the store of results. Knows recipes, keys, files and locks; no graph, no stage and no terminal.
//!
//! # How a run uses the store
//!
//! ```text
//! recipe ──► key ──► lookup ──► hit: use the files where they lie
//!                       │
//!                       └► miss ──► claim ──► the stage writes files ──► commit
//! ```
//!
//! 1. Everything that can change a node's result is written down as a [`Recipe`]: a list of named, typed fields. Inputs
//!    are in it by the digest of their content. The digest of the recipe is the [`CacheKey`].
//! 2. [`Store::lookup`] asks what lies under the key. The index remembers results, so this takes a few `stat` calls:
//!    each file must have the size, times and inode that it had when it was last hashed ([`stat`]), and the manifest
//!    must be there. A file with another signature is hashed again. Damage is reported, set aside, and made again.
//! 3. On a miss, [`Store::claim`] locks the key. Only the holder of the lock makes the result; another process waits
//!    and finds a hit. [`Miss::commit`] hashes the files, moves them into `objects/` by digest, and writes the manifest
//!    last. From then on the result is there.
//! 4. A consumer's recipe holds the digests of these files. If a stage that ran again made the same bytes, its
//!    consumers' keys are the same as before, and nothing after it runs ("cut off").
//!
//! A run with nothing to do takes a shorter way: it makes all keys from the index and confirms all results at once
//! ([`KnownResults`]).
//!
//! | part of the store | files |
//! |---|---|
//! | what determines a result, and why it changed | [`recipe`], [`key`], [`reason`] |
//! | what is stored of a result | [`entry`], [`files`] |
//! | reading: one key, many keys, files of the working tree | `lookup`, `known_results`, `worktree` |
//! | making: claim and commit, working folders, locks, syncing | [`commit`], `work`, [`lock`], [`durable`] |
//! | what is remembered: index, folders of objects and manifests | `index`, `object_dir`, `manifest_dir` |
//! | care: inventory, gc, verification, archives | [`inventory`], [`gc`], [`verify`], [`archive`] |
//!
//! # What is in a key
//!
//! | field                  | from                                                                     |
//! |------------------------|--------------------------------------------------------------------------|
//! | `schema`               | [`recipe::SCHEMA`], bumped when this table changes                       |
//! | `stage`, `version`     | the stage kind's name and semantic version                               |
//! | `param.NAME`           | a typed parameter that can change the result (floats by their bits)      |
//! | `input.ROLE/FILE`      | the logical digest of a file that the stage reads; its role, not its path |
//! | `input.ROLE[AXES]/FILE`| the same in a gather, where the coordinates say which is which           |
//! | `stage.ROLE[AXES]`     | in a gather, the producer's stage: what gathers (a report) shows names   |
//! | `file.NAME`            | the content of a file or folder of the working tree                      |
//!
//! Inputs of a `command` count by the digest of their bytes instead, and for inputs and files of a `command` it also
//! counts which are executable.
//!
//! # What is left out on purpose
//!
//! | left out | because |
//! |---|---|
//! | upstream *keys* | equal content must stop a rebuild, however it was made |
//! | names of stages (except in a gather) and pipelines, paths, TOML layout | renaming or moving changes no result |
//! | times, host, user, executor, resources, retries, checkpoint cadence | they change how a result is made, not what |
//! | numerics: device, libtorch, threads | each result records them, and `accept` says which of them must agree |
//! | secrets | they must not be stored, not even as digests |
//!
//! # Lessons
//!
//! - **A new parameter must not make old results stale.** It enters the key only if it differs from its default; see
//!   `Param::since`.
//! - **A modification time is not enough.** Programs set times back, clocks jump, and a second write within one tick of
//!   the file system leaves no trace. So the signature includes the inode and the change time, a file that was written
//!   just before it was hashed counts as racy, and objects are dated back when they are stored.
//! - **A power cut may take bytes and leave the signature.** So the index records the boot id, and after a restart it
//!   trusts only what had reached the disk.
//! - **A result without its manifest is no result.** An index that calls it fresh leaves a store that no other command
//!   can read; see `manifest_dir`.
//! - **A key counts what its reader sees.** A command sees bytes and the executable bit, so its inputs count by these.
//!   Other stages read meanings, so their inputs count by the logical digest.
//!
//! # Known weak spots
//!
//! - Bits that rot on the disk change no signature. Only `dpt verify` finds them.
//! - A file server whose clock is behind this machine's can make a file look older than it is; see [`stat`].
//! - What a program writes through a memory map may show late in the file's times.
//! - The names and keys of producers that a stage records (provenance) are those of the time when it ran.
//!
//! # Layout, below `v1/`
//!
//! ```text
//! objects/ab/cdef…      content, named by the blake3 of its bytes, read-only
//! entries/ab/cdef….json manifests: what lies under a key; written last, by rename
//! work/KEY/out          where a stage writes; work/KEY/scratch outlives a kill; work/KEY/reuse is handed on
//! quarantine/           damaged files
//! runs/RUN.jsonl        journals
//! results.lock          locked while results are copied to `results/`
//! in-use                locked by all runs together, or by one gc alone
//! making                the maker of a key's result locks one byte of this file
//! index                 remembers all this, so that nothing is opened when nothing changed; may be deleted
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
