//! [`Checkpoint`]: the file in a stage's scratch folder from which a killed run resumes. Its last 32 bytes are the
//! digest of all bytes before them, so that a file that was damaged, truncated or never synced is detected and not
//! used.
//!
//! It is a safetensors file. The state that is not tensors is in the only tensor of bytes, [`HEAD`], which the format
//! places last: JSON, and then the digest.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::artifact::tensors::Tensors;
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fault::{self, FILE};
use crate::base::fs;
use crate::learn::snapshot::Snapshot;
use crate::model::tensors;
use dpt::stages::ctx::Ctx;

/// The tensor that holds the state and the digest.
const HEAD: &str = "head";
/// The size of the digest.
const DIGEST_BYTES: usize = 32;

/// The checkpoint of one run.
pub(crate) struct Checkpoint<'a> {
    path: PathBuf,
    numerics: &'a BTreeMap<String, String>,
}

/// The content of the head: the numerics that the run computes with, and its state.
#[derive(Serialize, Deserialize)]
struct Head<S> {
    numerics: BTreeMap<String, String>,
    state: S,
}

impl<'a> Checkpoint<'a> {
    /// The checkpoint called `name` in the scratch folder of `ctx`, of a run that computes with `numerics`.
    pub(crate) fn new(ctx: &Ctx, name: &str, numerics: &'a BTreeMap<String, String>) -> Self {
        Self { path: ctx.job.scratch.join(name), numerics }
    }

    /// Replaces the checkpoint. After a kill or a power cut the old one exists, or the new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, state: &impl Serialize, mut tensors: BTreeMap<String, Tensor>) -> Result<(), Diag> {
        if let Some((name, _)) = tensors.iter().find(|(_, tensor)| tensor.kind() == Kind::Uint8) {
            return Err(Diag::error(
                Class::Bug,
                format!("tensor `{name}` of a checkpoint has bytes, which only the head may have"),
            ));
        }
        let mut head = serde_json::to_vec(&Head { numerics: self.numerics.clone(), state }).expect("plain data");
        head.extend([0; DIGEST_BYTES]);
        tensors.insert(HEAD.into(), Tensor::from_slice(&head));
        let beside = self.path.with_extension("partial");
        fault::point(FILE.write).map_err(fs::on("write", &beside))?;
        tensors::write(&beside, &tensors)?;
        fault::point(FILE.sync).and_then(|()| seal(&beside)).map_err(fs::on("write", &beside))?;
        fault::point(FILE.rename)
            .and_then(|()| std::fs::rename(&beside, &self.path))
            .map_err(fs::on("replace", &self.path))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fault::point(FILE.folder).map_err(fs::on("sync", folder))?;
        Ok(fs::sync_dir(folder)?)
    }

    /// The state and the tensors of the checkpoint. Returns `None` if there is none, or if it cannot be used: that one
    /// is set aside with a note, which costs time and never correctness.
    ///
    /// # Errors
    /// When it cannot be set aside.
    pub(crate) fn read<S: DeserializeOwned>(&self, ctx: &Ctx) -> Result<Option<(S, BTreeMap<String, Tensor>)>, Diag> {
        match std::fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ => (),
        }
        let why = match self.parse::<S>() {
            Ok((head, tensors)) if head.numerics == *self.numerics => return Ok(Some((head.state, tensors))),
            Ok((head, _)) => self.differences(&head.numerics),
            Err(diag) => diag.message,
        };
        self.set_aside(ctx, &why)?;
        Ok(None)
    }

    /// The same as a snapshot of a run.
    ///
    /// # Errors
    /// When it cannot be set aside.
    pub(crate) fn snapshot<S: DeserializeOwned>(&self, ctx: &Ctx) -> Result<Option<Snapshot<S>>, Diag> {
        Ok(self.read(ctx)?.map(|(state, tensors)| Snapshot { tensors, state }))
    }

    /// Renames the checkpoint to `….set-aside`, with a note to the user that says `why`.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub(crate) fn set_aside(&self, ctx: &Ctx, why: &str) -> Result<(), Diag> {
        let aside = self.path.with_extension("set-aside");
        fault::point("quarantine.rename")
            .and_then(|()| std::fs::rename(&self.path, &aside))
            .map_err(fs::on("set aside", &self.path))?;
        let name = aside.file_name().unwrap_or_default().to_string_lossy();
        ctx.progress.note(&format!("the checkpoint is set aside, training starts again: {why} (it is now `{name}`)"));
        Ok(())
    }

    fn differences(&self, then: &BTreeMap<String, String>) -> String {
        let names: std::collections::BTreeSet<_> = then.keys().chain(self.numerics.keys()).collect();
        let value = |of: &'_ BTreeMap<String, String>, name| of.get(name).map_or("none", String::as_str).to_owned();
        let differs = names.into_iter().filter_map(|name| {
            let (then, now) = (value(then, name), value(self.numerics, name));
            (then != now).then(|| format!("{name} was {then}, is {now}"))
        });
        differs.collect::<Vec<_>>().join(", ")
    }

    fn parse<S: DeserializeOwned>(&self) -> Result<(Head<S>, BTreeMap<String, Tensor>), Diag> {
        let fail = |why: &str| Diag::error(Class::Stage, why);
        let whole = sealed(&self.path).map_err(fs::on("read", &self.path))?;
        if !whole {
            return Err(fail(match has_no_digest(&self.path) {
                true => "it has no digest: another version of dpt wrote it",
                false => "its bytes are not those that were written",
            }));
        }
        let mut tensors = tensors::read(&Tensors::open(&self.path)?)?;
        let head = tensors.remove(HEAD).and_then(|head| Vec::<u8>::try_from(head).ok());
        let head = head.and_then(|head| {
            let json = head.len().checked_sub(DIGEST_BYTES)?;
            serde_json::from_slice(&head[..json]).ok()
        });
        Ok((head.ok_or_else(|| fail("another version of dpt wrote it"))?, tensors))
    }
}

/// Returns `true` for a whole file of a version that wrote no digest: the head, if there is one, is JSON to its end.
fn has_no_digest(path: &Path) -> bool {
    Tensors::open(path).is_ok_and(|file| {
        let is_json = |bytes: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
        file.describe(HEAD).is_none() || file.require(HEAD).is_ok_and(|head| is_json(&head.bytes))
    })
}

/// Writes the digest of all other bytes into the last bytes of the file, and syncs it.
fn seal(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let at = body(&file)?;
    let digest = Digest::of_reader((&file).take(at))?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&digest.0)?;
    file.sync_all()
}

/// Returns `true` if the last bytes of the file are the digest of all others.
fn sealed(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let Ok(at) = body(&file) else { return Ok(false) };
    let digest = Digest::of_reader((&file).take(at))?;
    let mut stored = [0; DIGEST_BYTES];
    match file.read_exact(&mut stored) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
        Ok(()) => Ok(stored == digest.0),
    }
}

/// The number of bytes before the digest.
fn body(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    size.checked_sub(DIGEST_BYTES as u64).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpt::stages::ctx::Job;
    use dpt::testing::Recorder;

    /// A scratch folder with a checkpoint of step 7 in it.
    struct Scratch {
        job: Job,
        numerics: BTreeMap<String, String>,
        _dir: tempfile::TempDir,
    }

    impl Scratch {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let job = Job { scratch: dir.path().to_owned(), ..Job::default() };
            let numerics = BTreeMap::from([("threads".to_owned(), "1".to_owned())]);
            let scratch = Self { job, numerics, _dir: dir };
            scratch.with(&scratch.numerics, |_, checkpoint| checkpoint.write(&7u64, tensors()).unwrap());
            scratch
        }

        fn path(&self) -> PathBuf {
            self.job.scratch.join("run.safetensors")
        }

        fn with<T>(&self, numerics: &BTreeMap<String, String>, act: impl FnOnce(&Ctx, &Checkpoint) -> T) -> T {
            let recorder = Recorder::default();
            let ctx = Ctx { job: &self.job, progress: &recorder, cancel: &recorder.cancel };
            act(&ctx, &Checkpoint::new(&ctx, "run.safetensors", numerics))
        }

        /// The checkpoint that is read, and the notes to the user.
        fn read(&self, numerics: &BTreeMap<String, String>) -> (Option<(u64, BTreeMap<String, Tensor>)>, Vec<String>) {
            let recorder = Recorder::default();
            let ctx = Ctx { job: &self.job, progress: &recorder, cancel: &recorder.cancel };
            let read = Checkpoint::new(&ctx, "run.safetensors", numerics).read(&ctx).unwrap();
            (read, recorder.notes())
        }
    }

    fn tensors() -> BTreeMap<String, Tensor> {
        BTreeMap::from([
            ("weight".to_owned(), Tensor::from_slice(&[1.5f32, -2.0, 0.25])),
            ("zzz".to_owned(), Tensor::from_slice(&[1i32])),
        ])
    }

    #[test]
    fn whole_checkpoint_is_read_back() {
        let scratch = Scratch::new();
        let (read, notes) = scratch.read(&scratch.numerics);
        assert_eq!(read.unwrap(), (7, tensors()));
        assert!(notes.is_empty());
        assert_eq!(std::fs::read_dir(&scratch.job.scratch).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn missing_checkpoint_is_no_checkpoint() {
        let scratch = Scratch::new();
        std::fs::remove_file(scratch.path()).unwrap();
        let (read, notes) = scratch.read(&scratch.numerics);
        assert!(read.is_none() && notes.is_empty());
    }

    #[test]
    fn every_flipped_bit_cut_and_zeroed_end_is_seen() {
        let scratch = Scratch::new();
        let whole = std::fs::read(scratch.path()).unwrap();
        let flipped = (0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            bytes
        });
        let cut = [0, 1, 8, 31, 32, 33, whole.len() / 2, whole.len() - 1].map(|len| whole[..len].to_vec());
        let zeroed = [0, whole.len() / 2, whole.len() - 32].map(|from| {
            let mut bytes = whole.clone();
            bytes[from..].fill(0);
            bytes
        });
        let longer = [[&whole[..], b"x"].concat()];
        for bytes in flipped.chain(cut).chain(zeroed).chain(longer) {
            std::fs::write(scratch.path(), &bytes).unwrap();
            let (read, notes) = scratch.read(&scratch.numerics);
            assert!(read.is_none());
            assert!(notes[0].ends_with("(it is now `run.set-aside`)"), "{notes:?}");
            assert!(!scratch.path().exists(), "it is not read a second time");
            assert_eq!(std::fs::read(scratch.job.scratch.join("run.set-aside")).unwrap(), bytes);
        }
    }

    #[test]
    fn checkpoint_without_a_digest_is_set_aside() {
        let scratch = Scratch::new();
        let json = Tensor::from_slice(br#"{"numerics": {"threads": "1"}, "state": 7}"#);
        let with_head = tensors().into_iter().chain([(HEAD.to_owned(), json)]).collect();
        for old in [tensors(), with_head] {
            tensors::write(&scratch.path(), &old).unwrap();
            let (read, notes) = scratch.read(&scratch.numerics);
            assert!(read.is_none());
            assert!(notes[0].contains(": it has no digest: another version of dpt wrote it ("), "{notes:?}");
        }
    }

    #[test]
    fn second_tensor_of_bytes_is_refused() {
        let scratch = Scratch::new();
        let bytes = [("a".to_owned(), Tensor::from_slice(&[1u8]))];
        let written = scratch.with(&scratch.numerics, |_, checkpoint| checkpoint.write(&7u64, bytes.into()));
        assert_eq!(written.unwrap_err().class, Class::Bug);
    }

    #[test]
    fn checkpoint_of_other_numerics_is_set_aside() {
        let scratch = Scratch::new();
        let other = BTreeMap::from([("threads".to_owned(), "2".to_owned()), ("gpu".to_owned(), "x".to_owned())]);
        let (read, notes) = scratch.read(&other);
        assert!(read.is_none());
        assert!(notes[0].contains(": gpu was none, is x, threads was 1, is 2 ("), "{notes:?}");
    }

    #[test]
    fn state_of_another_form_is_set_aside() {
        let scratch = Scratch::new();
        scratch.with(&scratch.numerics, |ctx, checkpoint| {
            assert!(checkpoint.read::<String>(ctx).unwrap().is_none());
        });
        assert!(!scratch.path().exists());
    }
}
