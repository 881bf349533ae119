//! Digests that are known already, so that nobody reads the bytes again: of a file of the working tree, what its key
//! counted; of a file that is being stored, its digests.

use std::path::Path;

use crate::artifact::{Counted, Known, LARGE, digests, kind_of, logical_digest, meaning};
use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::watch::Watch;

use super::index::OtherDigests;
use super::store::Store;

impl Store {
    /// What the index has of the file at `path` since it was last hashed; `None` if it never was.
    pub fn counted(&self, path: &Path) -> Option<Counted> {
        let index = self.index();
        let memo = index.files.get(&self.absolute(path))?;
        let signature = Some(memo.signature).filter(|signature| !signature.racy(memo.hashed_at));
        let sha256 = index.other_digests.get(&memo.digest).and_then(|other| other.sha256);
        Some(Counted { digest: memo.digest, signature, sha256 })
    }

    /// The digest of the bytes of the file `name` at `path`, and its logical digest. Those that are `known` are not
    /// computed again. A `foreign` file that is not what its ending says counts by its bytes, and the note says so.
    pub(super) fn digests(
        &self,
        name: &str,
        path: &Path,
        known: Option<&Known>,
        foreign: bool,
        watch: &dyn Watch,
    ) -> Result<(Digest, Digest, Option<String>), Diag> {
        let (bytes, logical) = match known {
            Some(known) => (known.bytes, known.logical.or_else(|| self.learn(name, known))),
            None => digests(name, path, watch)?,
        };
        let (logical, note) = match logical {
            Some(logical) => (logical, None),
            None if kind_of(name).name == "bytes" => (bytes, None),
            None if foreign => meaning(name, path)?,
            None => (logical_digest(name, path)?, None),
        };
        Ok((bytes, logical, note))
    }

    /// Remembers the SHA-256 of large bytes. Returns their logical digest if `name` is a file of tensors and the index
    /// has it.
    fn learn(&self, name: &str, known: &Known) -> Option<Digest> {
        let mut index = self.index();
        if known.sha256.is_some() && known.size >= LARGE {
            index.learn(known.bytes, OtherDigests { tensors: None, sha256: known.sha256 });
        }
        let other = index.other_digests.get(&known.bytes)?;
        other.tensors.filter(|_| kind_of(name).name == "tensors")
    }
}
