//! How many bytes of files this process has hashed, by what for: so that a test can hold that none is hashed twice.
//! Three numbers, counted once a piece; nothing is decided by them.

use std::sync::atomic::{AtomicU64, Ordering};

/// The purpose of a hash of bytes.
#[derive(Clone, Copy, Debug)]
pub enum For {
    /// The blake3 of a file's bytes.
    Bytes,
    /// The meaning of tensors.
    Tensors,
    /// The SHA-256 that hubs publish.
    Sha256,
}

static COUNTS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Counts `bytes` more.
pub(crate) fn add(what: For, bytes: usize) {
    COUNTS[what as usize].fetch_add(bytes as u64, Ordering::Relaxed);
}

/// How many so far.
pub fn hashed(what: For) -> u64 {
    COUNTS[what as usize].load(Ordering::Relaxed)
}
