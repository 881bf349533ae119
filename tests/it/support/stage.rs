//! Runs one stage by itself, without engine and store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dpt::artifact::Counted;
use dpt::base::diag::Diag;
use dpt::base::value::{Params, Value};
use dpt::stages::ctx::{Cancel, Ctx, Job, Outcome, Progress, Update};
use dpt::stages::stage::{Identity, Outside, Runs, StageKind};

/// Records the progress and notes of a stage.
#[derive(Default)]
pub struct Said {
    pub notes: Mutex<Vec<String>>,
    pub updates: Mutex<Vec<Update>>,
    /// Interrupts at the first progress of at least this many bytes.
    pub end_at: Option<u64>,
    pub cancel: Cancel,
}

impl Progress for Said {
    fn update(&self, update: Update) {
        if self.end_at.is_some_and(|n| update.done >= n) {
            self.cancel.ask();
        }
        self.updates.lock().unwrap().push(update);
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

/// A stage to be run, in folders of its own.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub kind: &'static StageKind,
    pub params: Params,
    pub mirrors: BTreeMap<String, PathBuf>,
    /// The files that are in its key.
    pub sources: BTreeMap<PathBuf, Counted>,
    pub said: Said,
}

impl Bench {
    pub fn new(kind: &'static StageKind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["base", "out", "scratch"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (params, mirrors, sources) = (Params::new(), BTreeMap::new(), BTreeMap::new());
        Self { dir, kind, params, mirrors, sources, said: Said::default() }
    }

    /// The folder of the pipeline.
    pub fn base(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    /// The names of the outputs, sorted.
    pub fn outputs(&self) -> Vec<String> {
        let mut names = Vec::new();
        list(&self.dir.path().join("out"), "", &mut names);
        names.sort();
        names
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.out(name)).unwrap()
    }

    pub fn set(&mut self, name: &str, value: Value) {
        self.params.insert(name.to_owned(), value);
    }

    fn outside(&self) -> Outside {
        Outside { base: self.base(), mirrors: self.mirrors.clone() }
    }

    pub fn identity(&self) -> Result<Identity, Diag> {
        (self.kind.identity.unwrap())(&self.params, &self.outside())
    }

    /// Checks and runs it, into an empty folder.
    pub fn run(&mut self) -> Result<Outcome, Diag> {
        if let Some(check) = self.kind.check {
            check(&self.params)?;
        }
        let out = self.dir.path().join("out");
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
        let job = Job {
            node: self.kind.name.to_owned(),
            kind: self.kind.name.to_owned(),
            params: self.params.clone(),
            out,
            scratch: self.dir.path().join("scratch"),
            base: self.base(),
            mirrors: self.mirrors.clone(),
            sources: self.sources.clone(),
            threads: 1,
            device: "cpu".to_owned(),
            ..Job::default()
        };
        let Runs::Here(run) = self.kind.runs else { panic!("`{}` runs in a worker", self.kind.name) };
        run(&Ctx { job: &job, progress: &self.said, cancel: &self.said.cancel })
    }
}

fn list(dir: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), names);
        } else {
            names.push(name);
        }
    }
}
