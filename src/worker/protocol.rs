//! The messages between engine and worker, one JSON object a line: requests on the worker's stdin, answers on its
//! stdout. What the worker prints on stderr goes to the node's log.

use serde::{Deserialize, Serialize};

use super::build::Build;
use crate::base::diag::{Class, Diag};
use crate::base::secret::masked;
use crate::stages::ctx::{Job, Outcome, Update};

/// From the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub enum Request {
    /// Run this, and answer until `Done` or `Failed`.
    Run {
        /// The work.
        job: Box<Job>,
    },
    /// End the running job soon. It answers `Failed` with class `Interrupted`.
    Cancel,
    /// Nothing more to do: the worker exits 0. The end of stdin says the same.
    Quit,
}

/// From the worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub enum Answer {
    /// First of all: who it is.
    Ready {
        /// This protocol's version, `PROTOCOL`.
        protocol: u32,
        /// What it was built from; an older worker does not say.
        #[serde(default)]
        build: Option<Build>,
        /// Its process: the engine speaks to the worker itself, never to a program between the two.
        #[serde(default)]
        pid: u32,
        /// The version of the libtorch that it runs with.
        libtorch: String,
        /// The devices that it can use, `cpu` or `cuda:0`, `cuda:1`, …: one of them goes into each job.
        devices: Vec<String>,
        /// Lines for the user, such as why a GPU that is there is not used.
        notes: Vec<String>,
    },
    /// How far the job is.
    Progress {
        /// The update.
        update: Update,
    },
    /// A line for the user.
    Note {
        /// The line.
        text: String,
    },
    /// The job ended well.
    Done {
        /// What it reports besides its files.
        outcome: Outcome,
    },
    /// The job failed.
    Failed {
        /// Why.
        error: WireDiag,
    },
}

/// The version of this protocol. Engine and worker are of one build; a worker of another build is refused.
pub const PROTOCOL: u32 = 2;

/// A [`Diag`] without its span: a worker has seen no pipeline text. Secrets of addresses are masked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WireDiag {
    /// What kind.
    pub class: Class,
    /// What is wrong.
    pub message: String,
    /// Facts.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
    /// `true` if trying again cannot help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lasting: bool,
}

impl From<Diag> for WireDiag {
    fn from(d: Diag) -> Self {
        // It goes into the journal.
        let clean = |text: String| masked(&text).into_owned();
        Self {
            class: d.class,
            message: clean(d.message),
            notes: d.notes.into_iter().map(clean).collect(),
            help: d.help.map(clean),
            lasting: d.lasting,
        }
    }
}

impl From<WireDiag> for Diag {
    fn from(w: WireDiag) -> Self {
        let mut diag = Diag::error(w.class, w.message);
        diag.notes = w.notes;
        diag.help = w.help;
        diag.lasting = w.lasting;
        diag
    }
}
