//! [`Ctx`]: everything that a running stage may use. It has no graph, no key and no terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::artifact::{Counted, Known};
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::value::Params;
use crate::base::watch::Amount;

/// One node's work: what an executor hands to a thread or to a worker process. Serialisable, except `sources`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// `train[task=rte,method=dpt,seed=42]`.
    pub node: String,
    /// The stage kind's name.
    pub kind: String,
    /// The node's axis values, in the pipeline's order.
    pub axes: Vec<(String, String)>,
    /// Resolved parameters, each of its declared type.
    pub params: Params,
    /// Producers by role, in axis order.
    pub inputs: BTreeMap<String, Vec<Input>>,
    /// An empty private folder: the stage writes its outputs here.
    pub out: PathBuf,
    /// A private folder that outlives a kill, keyed by the node's cache key: checkpoints and partial downloads.
    pub scratch: PathBuf,
    /// A private folder that is handed on, with all that is in it, to a node of any kind that runs later: for what is
    /// quicker to use again than to make. Nothing in it can be relied on.
    pub reuse: PathBuf,
    /// Where relative `file:` sources start.
    pub base: PathBuf,
    /// `--mirror NAME=DIR`.
    pub mirrors: BTreeMap<String, PathBuf>,
    /// The files and folders outside the store that its key counts, by absolute path, as they were hashed for it. For
    /// stages that run in `dpt` itself.
    #[serde(skip)]
    pub sources: BTreeMap<PathBuf, Counted>,
    /// How many threads it may use.
    pub threads: usize,
    /// `cpu`, `cuda:0`, …: the device given to it.
    pub device: String,
}

/// One producer's artifacts, as seen by a consumer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    /// The producer's name, for messages and provenance.
    pub node: String,
    /// The producer's axis values.
    pub axes: Vec<(String, String)>,
    /// The producer's cache key, for provenance.
    pub key: Digest,
    /// File name (as the producer wrote it) to a read-only path in the store.
    pub files: BTreeMap<String, PathBuf>,
    /// File name to logical digest.
    pub digests: BTreeMap<String, Digest>,
    /// The names of the files that are executable. In the store they are not.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub executable: BTreeSet<String>,
}

impl Input {
    /// Returns the path of file `name`.
    ///
    /// # Errors
    /// Fails if the producer has no such file; the message names those that it has.
    pub fn file(&self, name: &str) -> Result<&Path, Diag> {
        self.files.get(name).map(PathBuf::as_path).ok_or_else(|| {
            let has: Vec<_> = self.files.keys().map(|k| format!("`{k}`")).collect();
            Diag::error(Class::Stage, format!("`{}` has no file `{name}`", self.node))
                .note(format!("it has {}", has.join(", ")))
        })
    }
}

/// How far a running stage is. A stage sends it as often as it likes; sinks drop some.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// What is being done, in a word or two: `training`, `downloading BoolQ.zip`.
    pub what: String,
    /// How much is done.
    pub done: u64,
    /// Of how much, where it is known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
    /// Anything to show beside it: `loss 0.341`.
    pub detail: String,
}

/// What an [`Update`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Examples (rows).
    Examples,
    /// Optimizer steps.
    Steps,
    /// Files.
    Files,
}

impl From<Amount> for Update {
    /// Bytes where these are counted, else files.
    fn from(Amount { work, files, bytes }: Amount) -> Self {
        let of = work.files.map_or_else(String::new, |all| format!(" of {all}"));
        let (done, total, unit, detail) = match work.bytes.is_none() && work.files.is_some() {
            true => (files, work.files, Unit::Files, String::new()),
            false if files == 0 && work.files.is_none() => (bytes, work.bytes, Unit::Bytes, String::new()),
            false => (bytes, work.bytes, Unit::Bytes, format!("{files}{of} files")),
        };
        Self { what: work.what.to_owned(), done, total, unit, detail }
    }
}

/// Receives the progress of a running stage.
pub trait Progress: Sync {
    /// Reports how far it is.
    fn update(&self, update: Update);
    /// Reports a line that the user should see, and that the journal keeps.
    fn note(&self, text: &str);
}

/// A request that a running stage end soon. Stages check it between steps.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    /// A request that was not made yet.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    /// Makes the request.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    /// Returns whether the request was made.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns an error, which names `node`, if the request was made.
    ///
    /// # Errors
    /// Class `Interrupted`.
    pub fn check(&self, node: &str) -> Result<(), Diag> {
        match self.asked() {
            true => Err(Diag::error(Class::Interrupted, format!("`{node}` was interrupted"))),
            false => Ok(()),
        }
    }
}

/// All that a running stage touches.
pub struct Ctx<'a> {
    /// The work.
    pub job: &'a Job,
    /// Receives its progress.
    pub progress: &'a dyn Progress,
    /// The request to end.
    pub cancel: &'a Cancel,
}

/// What a stage that ended well reports besides its files. Kept in the entry and the journal, not in the key of others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Named figures worth a table: scores as fractions, losses, counts.
    pub metrics: BTreeMap<String, f64>,
    /// What shaped the floating-point results unasked: `device`, `libtorch`, `threads`, … Empty where nothing did.
    pub numerics: BTreeMap<String, String>,
    /// Lines for the user.
    pub notes: Vec<String>,
    /// Output files whose bytes were hashed as the stage wrote them, or that are copies of what was hashed for its key,
    /// so that they are not hashed once more. For stages that run in `dpt` itself; a worker's word does not count.
    #[serde(skip)]
    pub hashed: BTreeMap<String, Known>,
    /// Output files that are handed over as their bytes, and were not written: small ones that most often are stored
    /// already, such as an empty log. For files without structure, of stages that run in `dpt` itself.
    #[serde(skip)]
    pub given: BTreeMap<String, Vec<u8>>,
}

impl Ctx<'_> {
    /// Returns the parameters as the stage's own struct.
    ///
    /// # Errors
    /// Fails if the parameters do not fit the struct, which is a bug.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, Diag> {
        self.params_of(&self.job.params)
    }

    /// Returns the same for a part of the parameters.
    ///
    /// # Errors
    /// Fails if the parameters do not fit the struct, which is a bug.
    pub fn params_of<T: DeserializeOwned>(&self, params: &Params) -> Result<T, Diag> {
        serde_json::to_value(params).and_then(serde_json::from_value).map_err(|e| {
            Diag::error(Class::Bug, format!("the parameters of stage `{}` do not fit its struct: {e}", self.job.kind))
        })
    }

    /// Returns the one producer in `role`.
    ///
    /// # Errors
    /// Fails if there is none, which is a bug: the planner refuses such a graph.
    pub fn input(&self, role: &str) -> Result<&Input, Diag> {
        self.optional(role)
            .ok_or_else(|| Diag::error(Class::Bug, format!("`{}` ran without its input `{role}`", self.job.node)))
    }

    /// Returns the producer in `role`, if there is one.
    pub fn optional(&self, role: &str) -> Option<&Input> {
        self.many(role).first()
    }

    /// Returns all producers in `role`.
    pub fn many(&self, role: &str) -> &[Input] {
        self.job.inputs.get(role).map_or(&[], Vec::as_slice)
    }

    /// Returns the path to which output `name` is written.
    pub fn out(&self, name: &str) -> PathBuf {
        self.job.out.join(name)
    }

    /// Returns an error if the stage was asked to end. Call it between steps.
    ///
    /// # Errors
    /// Class `Interrupted`.
    pub fn check_cancel(&self) -> Result<(), Diag> {
        self.cancel.check(&self.job.node)
    }
}
