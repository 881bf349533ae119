//! [`CacheKey`]: the digest of a recipe.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;

/// The digest of a recipe, under which its result is stored. Made by [`crate::cache::Recipe::key`], or read back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(pub(super) Digest);

impl CacheKey {
    /// The digest itself.
    pub fn digest(self) -> Digest {
        self.0
    }

    /// All 64 hex digits.
    pub fn hex(self) -> String {
        self.0.hex()
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
