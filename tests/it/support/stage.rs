//! Runs one stage by itself, without engine and store.

use std::path::{Path, PathBuf};

use dpt::base::diag::Diag;
use dpt::stages::ctx::Outcome;
use dpt::stages::stage::{Identity, Outside, Runs, StageKind};

/// A stage to be run, in folders of its own.
pub struct Bench {
    bench: dpt::testing::Bench,
    pub kind: &'static StageKind,
}

impl std::ops::Deref for Bench {
    type Target = dpt::testing::Bench;
    fn deref(&self) -> &Self::Target {
        &self.bench
    }
}

impl std::ops::DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.bench
    }
}

impl Bench {
    pub fn new(kind: &'static StageKind) -> Self {
        Self { bench: dpt::testing::Bench::new(kind.name, kind.name), kind }
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

    fn outside(&self) -> Outside {
        Outside { base: self.base(), mirrors: self.job.mirrors.clone() }
    }

    pub fn identity(&self) -> Result<Identity, Diag> {
        (self.kind.identity.unwrap())(&self.job.params, &self.outside())
    }

    /// Checks and runs it, into an empty folder.
    pub fn run(&mut self) -> Result<Outcome, Diag> {
        if let Some(check) = self.kind.check {
            check(&self.job.params)?;
        }
        let out = self.dir.path().join("out");
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
        let Runs::Here(run) = self.kind.runs else { panic!("`{}` runs in a worker", self.kind.name) };
        self.bench.run(run)
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
