//! [`Watched`]: a store, and who follows while it reads files for keys and objects for looks, which may take long.

use std::ops::Deref;
use std::path::Path;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::watch::{Unwatched, Watch};

use super::key::CacheKey;
use super::store::{AcceptNumerics, Claim, Lookup, Store};

/// A store, and who follows.
#[derive(Clone, Copy)]
pub struct Watched<'a> {
    store: &'a Store,
    watch: &'a (dyn Watch + Sync),
}

impl<'a> From<&'a Store> for Watched<'a> {
    fn from(store: &'a Store) -> Self {
        Self { store, watch: &Unwatched }
    }
}

impl Deref for Watched<'_> {
    type Target = Store;
    fn deref(&self) -> &Store {
        self.store
    }
}

impl Store {
    /// With `watch`, who follows.
    pub fn watched<'a>(&'a self, watch: &'a (dyn Watch + Sync)) -> Watched<'a> {
        Watched { store: self, watch }
    }
}

impl<'a> Watched<'a> {
    /// As [`Store::content_digest`].
    ///
    /// # Errors
    /// As there; what the watch says.
    pub fn content_digest(&self, path: &Path) -> Result<Digest, Diag> {
        self.store.content_digest_watched(path, self.watch)
    }

    /// As [`Store::content_digest`], but an executable file has another digest than the same file that is not.
    ///
    /// # Errors
    /// As there; what the watch says.
    pub fn program_digest(&self, path: &Path) -> Result<Digest, Diag> {
        self.store.program_digest_watched(path, self.watch)
    }

    /// As [`Store::look`].
    ///
    /// # Errors
    /// As there; what the watch says.
    pub fn look(&self, key: CacheKey, wanted: AcceptNumerics) -> Result<Lookup, Diag> {
        self.store.look_watched(key, wanted, self.watch)
    }

    /// As [`Store::claim`].
    ///
    /// # Errors
    /// As there; what the watch says.
    pub fn claim(&self, key: CacheKey, wanted: AcceptNumerics, force: bool) -> Result<Claim<'a>, Diag> {
        self.store.claim_watched(key, wanted, force, self.watch)
    }
}
