//! The index: one file, `index`, that remembers results, objects and files, so that a run with nothing to do opens no
//! manifest and hashes no file.
//!
//! It is a memo. What it says of a file holds only as long as the file's signature does, and everything in it can be
//! found again from the manifests and the files. A file that is missing, damaged, or of another layout counts as an
//! empty index: the next run is slower, and no result is lost. It is always written as a whole and renamed into its
//! place, with a digest at its end.
//!
//! | file          | holds                                                                        |
//! |---------------|------------------------------------------------------------------------------|
//! | [`rows`]      | what is remembered, as values and as rows of the file                        |
//! | [`mod@file`]  | [`IndexFile`]: reads and looks up the file where it lies                     |
//! | [`overlay`]   | [`Index`]: the file and what changed since, for lookups and updates          |
//! | [`mod@write`] | merges both and writes a new file                                            |
//! | [`prefetch`]  | [`Prefetch`]: checks the signatures of a pipeline's objects on other threads |
//!
//! # Restarts of the machine
//!
//! A signature speaks for bytes as long as the machine runs. A power cut may take back bytes that were written and had
//! not reached the disk, and some file systems keep the signature then. So the file records the machine's boot id.
//! After a restart only what was [settled](crate::cache::stat::Signature::settled) still counts; all else is hashed
//! once more.
//!
//! # Two processes
//!
//! Writers take a lock (`index.lock`). Each reads what the other wrote, puts its own changes on top, and writes the
//! whole. Readers take no lock: they see the old file or the new one.

mod file;
mod overlay;
mod prefetch;
mod rows;
mod write;

pub use file::IndexFile;
pub use overlay::Index;
pub use prefetch::Prefetch;
pub use rows::{FileMemo, NodeHash, ObjectMemo, OtherDigests};
pub use write::write;
#[cfg(test)]
pub use write::write_with_boot;

#[cfg(test)]
mod tests;
