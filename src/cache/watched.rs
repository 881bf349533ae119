//! [`Watched`]: a store, and a watch that follows while it reads files for keys and objects for lookups, which may take
//! long.

use std::ops::Deref;
use std::path::Path;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::watch::{Unwatched, Watch};

use super::commit::Claim;
use super::key::CacheKey;
use super::lookup::{AcceptNumerics, Lookup};
use super::store::Store;

/// A store and its watch. Each method fails also with the error of the watch.
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
    /// This store, followed by `watch`.
    pub fn watched<'a>(&'a self, watch: &'a (dyn Watch + Sync)) -> Watched<'a> {
        Watched { store: self, watch }
    }
}

impl<'a> Watched<'a> {
    /// As [`Store::content_digest`].
    ///
    /// # Errors
    /// As [`Store::content_digest`].
    pub fn content_digest(&self, path: &Path) -> Result<Digest, Diag> {
        self.store.content_digest_watched(path, self.watch)
    }

    /// As [`Store::content_digest`], except that an executable file has another digest than the same file that is not.
    ///
    /// # Errors
    /// As [`Store::content_digest`].
    pub fn program_digest(&self, path: &Path) -> Result<Digest, Diag> {
        self.store.program_digest_watched(path, self.watch)
    }

    /// As [`Store::lookup`].
    ///
    /// # Errors
    /// As [`Store::lookup`].
    pub fn lookup(&self, key: CacheKey, accept: AcceptNumerics) -> Result<Lookup, Diag> {
        self.store.lookup_watched(key, accept, self.watch)
    }

    /// As [`Store::claim`].
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub fn claim(&self, key: CacheKey, accept: AcceptNumerics, force: bool) -> Result<Claim<'a>, Diag> {
        self.store.claim_watched(key, accept, force, self.watch)
    }
}
