//! What is known of bytes besides their digest, so that nobody need read them again to find out: of a file of the working
//! tree, what the key has of it; of a file that is stored, what it means.

use std::path::Path;

use crate::artifact::{Counted, Known, LARGE, digests, kind_of, logical_digest, meaning};
use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::watch::Watch;

use super::index::OtherDigests;
use super::store::Store;

impl Store {
    /// What was found when the file at `path` was last hashed; `None` where it never was.
    pub fn counted(&self, path: &Path) -> Option<Counted> {
        let index = self.index();
        let memo = index.files.get(&self.absolute(path))?;
        let signature = Some(memo.signature).filter(|signature| !signature.racy(memo.hashed_at));
        let sha256 = index.about.get(&memo.digest).and_then(|about| about.sha256);
        Some(Counted { digest: memo.digest, signature, sha256 })
    }

    /// The digests of the bytes of the file `name`, which lies at `path`, and of what it means: as far as they are `known`
    /// they are not taken again. A `foreign` file that is not what its ending says counts by its bytes, and the note says so.
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

    /// Keeps the SHA-256 of what is `known`, and tells what the bytes mean if that was found out before.
    fn learn(&self, name: &str, known: &Known) -> Option<Digest> {
        let mut index = self.index();
        if known.sha256.is_some() && known.size >= LARGE {
            index.learn(known.bytes, OtherDigests { tensors: None, sha256: known.sha256 });
        }
        let about = index.about.get(&known.bytes)?;
        about.tensors.filter(|_| kind_of(name).name == "tensors")
    }
}
