//! Code that commands share: arguments, opening the store, the executor, Ctrl-C.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::diag::{Class, Diag, Severity};
use crate::cache::lock::InUse;
use crate::cache::store::LAYOUT;
use crate::cache::{self, Store};
use crate::engine::executor::local::Local;
use crate::engine::executor::worker::{WorkerConfig, WorkerPool};
use crate::engine::graph::{Graph, NodeId};
use crate::engine::history::History;
use crate::pipeline::Plan;
use crate::stages::ctx::Cancel;
use crate::worker::device::{DeviceChoice, gpu_slots};

use super::check::ChangeArgs;
use super::render;

/// The pipeline file, and changes to it.
#[derive(Args, Debug)]
pub struct PipelineArgs {
    /// The pipeline file, such as `pipelines/quickstart.toml`.
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// `--set`, `--mirror`.
    #[command(flatten)]
    pub changes: ChangeArgs,
}

/// The folders of the stores.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// The folder of the store [default: $DPT_CACHE, else `cache/` in the project's root]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// A second store to read results from, which is never written [default: $DPT_SHARED_STORE]
    #[arg(long, value_name = "DIR")]
    pub shared_store: Option<PathBuf>,
}

/// The device for stages that use libtorch.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Where to train and evaluate: `auto` (a GPU if there is one), `cpu`, `cuda`, or a single GPU such as `cuda:1`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
}

impl PipelineArgs {
    /// Loads the plan and prints its warnings.
    ///
    /// # Errors
    /// Returns every problem of the file.
    pub fn load(&self) -> Result<Plan, Vec<Diag>> {
        self.changes.load(&self.pipeline)
    }
}

impl StoreArgs {
    /// Returns the folder of the store for a pipeline file (or for a folder).
    pub fn folder(&self, pipeline: &Path) -> PathBuf {
        self.cache.clone().or_else(|| folder_in("DPT_CACHE")).unwrap_or_else(|| Store::folder_for(pipeline))
    }

    /// Opens the store, and creates it if there is none.
    ///
    /// # Errors
    /// Fails if it cannot be created.
    pub fn open(&self, pipeline: &Path) -> Result<Store, Vec<Diag>> {
        self.before_shared(pipeline, Store::open(&self.folder(pipeline)))
    }
}

impl StoreArgs {
    /// Opens the store for reading. Creates nothing.
    ///
    /// # Errors
    /// Fails if the path is invalid, or if a shared store is named and does not exist.
    pub fn peek(&self, pipeline: &Path) -> Result<Store, Vec<Diag>> {
        self.before_shared(pipeline, Store::peek(&self.folder(pipeline)))
    }

    /// Adds the shared store, and the pipeline file if `pipeline` is a file.
    fn before_shared(&self, pipeline: &Path, own: Result<Store, Diag>) -> Result<Store, Vec<Diag>> {
        let own = own.map(|own| if pipeline.is_dir() { own } else { own.for_pipeline(pipeline) });
        let with_shared =
            own.and_then(|own| match self.shared_store.clone().or_else(|| folder_in("DPT_SHARED_STORE")) {
                Some(shared) => own.with_shared(&shared),
                None => Ok(own),
            });
        with_shared.map_err(|diag| vec![diag])
    }
}

/// Returns the folder that an environment variable names, or `None` if it is unset or empty.
fn folder_in(variable: &str) -> Option<PathBuf> {
    crate::base::env::var_os(variable).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// A plan with its store. Neither is dropped: process exit frees their memory faster than their destructors.
pub struct LoadedPipeline {
    /// The plan.
    pub plan: ManuallyDrop<Plan>,
    /// The store.
    pub store: ManuallyDrop<Store>,
    /// A lock that keeps `dpt cache gc` out. `None` if it could not be taken; the run then prints a note.
    pub in_use: Option<InUse>,
}

/// How a command uses the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorePurpose {
    /// It writes results. The store is created if there is none.
    Use,
    /// It only reads.
    Look,
}

impl StoreArgs {
    /// Opens the store and locks it against `dpt cache gc` before anything is read.
    fn open_for(&self, pipeline: &Path, purpose: StorePurpose) -> Result<(Store, Option<InUse>), Vec<Diag>> {
        match purpose {
            StorePurpose::Use => self.open(pipeline).map(|store| {
                let in_use = store.in_use().ok();
                (store, in_use)
            }),
            StorePurpose::Look => self.peek(pipeline).map(|store| {
                let in_use = store.looked_at();
                (store, Some(in_use))
            }),
        }
    }
}

/// Loads the plan and opens its store.
///
/// An existing store is opened on another thread while the plan is made.
///
/// # Errors
/// Fails like [`PipelineArgs::load`] and [`StoreArgs::open`].
pub fn plan_and_store(
    pipeline: &PipelineArgs,
    store: &StoreArgs,
    purpose: StorePurpose,
) -> Result<LoadedPipeline, Vec<Diag>> {
    let loaded = |plan, (store, in_use)| LoadedPipeline {
        plan: ManuallyDrop::new(plan),
        store: ManuallyDrop::new(store),
        in_use,
    };
    // No store is created for an invalid pipeline.
    if !store.folder(&pipeline.pipeline).join(LAYOUT).is_dir() {
        let plan = pipeline.load()?;
        return Ok(loaded(plan, store.open_for(&pipeline.pipeline, purpose)?));
    }
    let (args, path) = (store.clone(), pipeline.pipeline.clone());
    let opening = cache::open_in_background(move || args.open_for(&path, purpose));
    let plan = pipeline.load()?;
    Ok(loaded(plan, opening.wait()?))
}

/// Returns a path as a user would type it: relative to the current directory if it is inside.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let inside = path.strip_prefix(&here).ok().filter(|rest| !rest.as_os_str().is_empty());
    inside.unwrap_or(path).display().to_string()
}

/// Like [`shown`], quoted for a shell if needed.
pub fn typed(path: &Path) -> String {
    super::render::word(&shown(path))
}

/// Returns the path of `dpt-worker`: `$DPT_WORKER`, else beside this program.
pub fn worker_program() -> PathBuf {
    crate::base::env::var_os("DPT_WORKER").map(PathBuf::from).unwrap_or_else(|| {
        let here = std::env::current_exe().unwrap_or_default();
        here.with_file_name("dpt-worker")
    })
}

/// Returns the executor for this machine. Stages that need libtorch run in worker processes, whose logs are in the
/// store.
pub fn local(device: DeviceChoice, jobs: usize, store: &Store, pipeline: &str) -> Local {
    let logs = store.runs().join("logs").join(pipeline);
    let config = WorkerConfig::new(worker_program(), device, jobs).logs_in(logs);
    let visible = crate::base::env::var("CUDA_VISIBLE_DEVICES").ok();
    let gpus = gpu_slots(device, visible.as_deref());
    Local::new(Box::new(WorkerPool::new(config)), gpus, "cpu".to_owned())
}

/// Returns the number of CPUs that this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the nodes of `targets`, or the pipeline's own targets if the list is empty.
///
/// # Errors
/// Fails if a target matches no node.
pub fn select(plan: &Plan, targets: &[String]) -> Result<Vec<NodeId>, Vec<Diag>> {
    if targets.is_empty() { Ok(plan.targets.clone()) } else { plan.select(targets) }
}

/// Returns `true` if no other node reads this one.
pub fn is_last(graph: &Graph, id: NodeId) -> bool {
    graph.consumers(id).is_empty()
}

/// Prints a warning for each journal that was needed and could not be read.
pub fn warn_unreadable(history: &History) {
    for diag in history.unreadable() {
        let mut diag = diag.clone().note("this run is left out");
        diag.severity = Severity::Warning;
        render::err(&render::diag(&diag));
    }
}

static CANCEL: Cancel = Cancel::new();

/// Returns `true` if the process ignores SIGHUP, as under `nohup`.
fn ignores_hangup() -> bool {
    // SAFETY: `action` is plain data that the call fills in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Installs the handler for Ctrl-C and SIGTERM. The first signal asks the run to stop, the second one exits at once.
///
/// # Errors
/// Fails if the handler cannot be installed.
pub fn cancel_on_ctrl_c() -> Result<&'static Cancel, Vec<Diag>> {
    let handler = || {
        if CANCEL.asked() {
            std::process::exit(super::exit::Exit::Interrupted as i32);
        }
        CANCEL.ask();
        render::err("stopping after the current steps; press Ctrl-C again to stop now\n");
    };
    let ignored = ignores_hangup();
    ctrlc::set_handler(handler)
        .map_err(|error| vec![Diag::error(Class::Environment, format!("cannot listen for Ctrl-C: {error}"))])?;
    if ignored {
        // SAFETY: the call takes no pointer.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    }
    Ok(&CANCEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_is_in_the_project_root_by_default() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let file = root.join("a/pipelines/x.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(root.join("a/Cargo.toml"), "").unwrap();
        let folder =
            |cache: Option<&str>| StoreArgs { cache: cache.map(PathBuf::from), shared_store: None }.folder(&file);
        assert_eq!(folder(None), root.join("a/cache"));
        std::fs::create_dir(root.join("a/pipelines/cache")).unwrap();
        assert_eq!(folder(None), root.join("a/pipelines/cache"));
        assert_eq!(folder(Some("elsewhere")), Path::new("elsewhere"));
    }
}
