//! [`Local`]: this machine. Stages without libtorch run on the calling thread, the others in worker processes.

use std::collections::BTreeMap;

use crate::base::diag::{Class, Diag};
use crate::engine::graph::Resources;
use crate::stages::ctx::{Cancel, Ctx, Job, Progress};
use crate::stages::stage::{Runs, StageKind, StageResult};

use super::Executor;

/// Processes that have libtorch. The command line makes them; the engine does not know how.
pub trait Workers: Send + Sync {
    /// Runs one job in a free worker, which is started if need be.
    ///
    /// # Errors
    /// Fails with the error of the stage, or with what the worker printed before it died.
    fn run(&self, job: &Job, progress: &dyn Progress, cancel: &Cancel) -> StageResult;

    /// The numerics that a stage with these resources would record.
    ///
    /// # Errors
    /// Fails if no worker can be started.
    fn numerics(&self, resources: &Resources) -> Result<BTreeMap<String, String>, Diag>;
}

/// The executor of this machine.
pub struct Local {
    workers: Option<Box<dyn Workers>>,
    gpus: Vec<String>,
    device: String,
}

impl Local {
    /// An executor without workers: torch stages fail.
    pub fn without_workers() -> Self {
        Self { workers: None, gpus: Vec::new(), device: "cpu".to_owned() }
    }

    /// An executor with workers. `gpus` are the devices of GPU slots, `device` that of torch stages without one.
    pub fn new(workers: Box<dyn Workers>, gpus: Vec<String>, device: String) -> Self {
        Self { workers: Some(workers), gpus, device }
    }

    fn workers(&self) -> Result<&dyn Workers, Diag> {
        self.workers.as_deref().ok_or_else(|| {
            Diag::error(Class::Environment, "this `dpt` was started without workers, and a torch stage needs one")
        })
    }
}

impl Executor for Local {
    fn run(&self, job: &Job, kind: &'static StageKind, progress: &dyn Progress, cancel: &Cancel) -> StageResult {
        match kind.runs {
            Runs::Here(stage) | Runs::Program(stage) => stage(&Ctx { job, progress, cancel }),
            Runs::Worker => self.workers()?.run(job, progress, cancel),
        }
    }

    fn gpus(&self) -> &[String] {
        &self.gpus
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn numerics(&self, resources: &Resources) -> Result<BTreeMap<String, String>, Diag> {
        self.workers()?.numerics(resources)
    }
}
