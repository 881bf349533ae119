//! [`WorkerConfig`]: how workers are run; [`Fit`]: which job a warm worker suits best.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::digest::Digest;
use crate::stages::ctx::Job;
use crate::worker::build::Build;
use crate::worker::device::DeviceChoice;

/// How often a wait checks for cancellation.
pub(super) const TICK: Duration = Duration::from_millis(25);

/// How to run workers.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The `dpt-worker` to start. Looked for when the first one is needed, so that it may be missing until then.
    pub program: PathBuf,
    /// The value of `--device`.
    pub device: DeviceChoice,
    /// How many at once, at least 1.
    pub max_workers: usize,
    /// The folder for the logs `NODE.log` of what workers print on stderr. `None` keeps no logs.
    pub log_dir: Option<PathBuf>,
    /// How long a cancelled job may take to end before its worker is killed.
    pub grace: Duration,
    /// The build that a worker must have.
    pub build: fn() -> Build,
}

impl WorkerConfig {
    /// Workers of this program's build, without logs, and ten seconds of grace.
    pub fn new(program: PathBuf, device: DeviceChoice, max_workers: usize) -> Self {
        Self { program, device, max_workers, log_dir: None, grace: Duration::from_secs(10), build: Build::this }
    }

    /// Keeps each node's log in `folder`.
    pub fn logs_in(mut self, folder: PathBuf) -> Self {
        self.log_dir = Some(folder);
        self
    }
}

/// What a worker has loaded for its last job: the device, and the key of the model there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) device: String,
    model: Option<Digest>,
}

impl Fit {
    pub(super) fn of(job: &Job) -> Self {
        let model = job.inputs.get("model").and_then(|inputs| inputs.first()).map(|input| input.key);
        Self { device: job.device.clone(), model }
    }
}
