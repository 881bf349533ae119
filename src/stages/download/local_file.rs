//! [`LocalFile`]: a file of this machine while it is read, compared with what the key counts. What was hashed for the
//! key is not hashed again as long as the file's signature says that it is the same. Otherwise what was read is hashed
//! and compared. Knows no pins and no record.

use std::path::Path;

use crate::artifact::Counted;
use crate::base::diag::{Class, Diag};
use crate::base::stat::Signature;
use crate::fetch::Watch;
use crate::fetch::hash::{Hashes, Sha256, Summary, Wants, sha256_of_file};
use crate::stages::ctx::Ctx;

/// A file of this machine, from before it is read.
pub(super) struct LocalFile<'a> {
    path: &'a Path,
    label: &'a str,
    counted: Option<&'a Counted>,
    before: Option<Signature>,
}

/// What was read.
#[derive(Clone, Copy)]
pub(super) enum ReadContent<'g> {
    /// The content of this file: a copy, or the file itself.
    File(&'g Path),
    /// These bytes.
    Bytes(&'g [u8]),
}

impl<'a> LocalFile<'a> {
    /// Notes the signature of the file before it is read. `label` names it in progress.
    pub(super) fn begin(ctx: &'a Ctx, path: &'a Path, label: &'a str) -> Result<Self, Diag> {
        Ok(Self { path, label, counted: ctx.job.sources.get(path), before: Signature::at(path)? })
    }

    /// Returns how many bytes it had before it was read.
    pub(super) fn size(&self) -> u64 {
        self.before.map_or(0, |signature| signature.size)
    }

    /// Returns the digests of what was read, with its SHA-256 if `sha256`.
    ///
    /// # Errors
    /// Fails if it is not what the key counts, or if `watch` ends it.
    pub(super) fn end(&self, got: ReadContent, sha256: bool, watch: &dyn Watch) -> Result<Summary, Diag> {
        if let Some((counted, bytes)) = self.same()? {
            let known = counted.sha256.map(Sha256);
            let sha256 = match sha256 {
                true if known.is_none() => Some(self.sha256(got, watch)?),
                _ => known.filter(|_| sha256),
            };
            return Ok(Summary { bytes, sha256, blake3: counted.digest, logical: None });
        }
        let summary = self.hash(got, sha256, watch)?;
        match self.counted {
            Some(counted) if counted.digest != summary.blake3 => {
                Err(Diag::error(Class::Stage, format!("`{}` changed after its key was made", self.label))
                    .note(format!("counted {}, read {}", counted.digest, summary.blake3))
                    .help("run again when nothing writes to it")
                    .outdated())
            }
            _ => Ok(summary),
        }
    }

    /// Returns what the key counts, and the size, if the file did not change since it was counted.
    fn same(&self) -> Result<Option<(&Counted, u64)>, Diag> {
        let Some((counted, signature)) = self.counted.and_then(|c| Some((c, c.signature?))) else { return Ok(None) };
        let held = self.before == Some(signature) && Signature::at(self.path)? == Some(signature);
        Ok(held.then_some((counted, signature.size)))
    }

    fn hash(&self, got: ReadContent, sha256: bool, watch: &dyn Watch) -> Result<Summary, Diag> {
        let wants = Wants { sha256, tensors: self.label.ends_with(".safetensors") };
        match got {
            ReadContent::File(path) => Hashes::of_file(path, wants, |done| self.tell(done, watch)),
            ReadContent::Bytes(bytes) => {
                let mut hashes = Hashes::new(wants);
                hashes.update(bytes);
                Ok(hashes.finish())
            }
        }
    }

    fn sha256(&self, got: ReadContent, watch: &dyn Watch) -> Result<Sha256, Diag> {
        match got {
            ReadContent::File(path) => sha256_of_file(path, |done| self.tell(done, watch)),
            ReadContent::Bytes(bytes) => Ok(Sha256::of(bytes)),
        }
    }

    fn tell(&self, done: u64, watch: &dyn Watch) -> Result<(), Diag> {
        watch.check()?;
        watch.progress(&format!("checking {}", self.label), done, Some(self.size()));
        Ok(())
    }
}
