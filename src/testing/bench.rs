//! [`Bench`]: the folders and the job of one node, as the engine would make them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::artifact::logical_digest;
use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::base::value::Value;
use crate::stages::ctx::{Ctx, Input, Job, Outcome};
use crate::stages::stage::StageResult;

use super::recorder::Recorder;

/// Part of a message of this module, by which a test finds out whether a program contains it.
pub const MARK: &str = "the bench of a test";

/// One node in a temporary folder, with a job that can be changed before it runs.
#[derive(Debug)]
pub struct Bench {
    /// Holds the folders `out`, `scratch`, `reuse` and `base` of the job, and `store` for files of producers.
    pub dir: tempfile::TempDir,
    /// What the stage is given.
    pub job: Job,
    /// Listens to the stage.
    pub recorder: Recorder,
}

impl Bench {
    /// Makes the folders for a node called `node` of stage kind `kind`, with one thread on the CPU.
    pub fn new(kind: &str, node: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["out", "scratch", "reuse", "base", "store"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let job = Job {
            node: node.to_owned(),
            kind: kind.to_owned(),
            out: dir.path().join("out"),
            scratch: dir.path().join("scratch"),
            reuse: dir.path().join("reuse"),
            base: dir.path().join("base"),
            threads: 1,
            device: "cpu".to_owned(),
            ..Job::default()
        };
        Self { dir, job, recorder: Recorder::default() }
    }

    /// Returns the path of `name` in the bench's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Sets a parameter.
    pub fn set(&mut self, name: &str, value: Value) {
        self.job.params.insert(name.to_owned(), value);
    }

    /// Adds a producer in `role`.
    pub fn add_input(&mut self, role: &str, input: Input) {
        self.job.inputs.entry(role.to_owned()).or_default().push(input);
    }

    /// Runs a stage on the job.
    ///
    /// # Errors
    /// The stage's own.
    pub fn run(&self, stage: fn(&Ctx) -> StageResult) -> Result<Outcome, Diag> {
        assert!(self.job.out.is_dir(), "{MARK} has no folder for outputs");
        stage(&Ctx { job: &self.job, progress: &self.recorder, cancel: &self.recorder.cancel })
    }
}

/// Returns the files of `folder` as the outputs of a producer called `node`, with their logical digests.
pub fn input(node: &str, axes: &[(&str, &str)], folder: &Path) -> Input {
    let (mut files, mut digests) = (BTreeMap::new(), BTreeMap::new());
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            digests.insert(name.clone(), logical_digest(&name, &path).unwrap());
            files.insert(name, path);
        }
    }
    Input {
        node: node.to_owned(),
        axes: axes.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned())).collect(),
        key: Digest::of(node.as_bytes()),
        files,
        digests,
        executable: Default::default(),
    }
}
