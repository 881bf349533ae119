//! What commands share: arguments, where the store is, how stages are executed, Ctrl-C.

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
use crate::worker::device::{Wanted, gpu_slots};

use super::check::Changes;
use super::render;

/// Which pipeline, and what to change in it.
#[derive(Args, Debug)]
pub struct PipelineArgs {
    /// The pipeline file, such as `pipelines/quickstart.toml`.
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// `--set`, `--mirror`.
    #[command(flatten)]
    pub changes: Changes,
}

/// Where results are stored.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Where results are stored [default: what DPT_CACHE names, else `cache/` at the project's root].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// A second store, looked into after the first and never written: its results are used where they lie
    /// [default: what DPT_SHARED_STORE names].
    #[arg(long, value_name = "DIR")]
    pub shared_store: Option<PathBuf>,
}

/// On which device torch stages run.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// Where to train and evaluate: `auto` (a GPU where there is one), `cpu`, `cuda`, or one GPU: `cuda:1`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Wanted,
}

impl PipelineArgs {
    /// The plan; its warnings are printed.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn load(&self) -> Result<Plan, Vec<Diag>> {
        self.changes.load(&self.pipeline)
    }
}

impl StoreArgs {
    /// The store's folder for a pipeline (or for a folder).
    pub fn folder(&self, pipeline: &Path) -> PathBuf {
        self.cache.clone().or_else(|| folder_in("DPT_CACHE")).unwrap_or_else(|| Store::folder_for(pipeline))
    }

    /// The store, made if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(&self, pipeline: &Path) -> Result<Store, Vec<Diag>> {
        self.before_shared(pipeline, Store::open(&self.folder(pipeline)))
    }
}

impl StoreArgs {
    /// The store as it is, to look at: nothing is made where there is none.
    ///
    /// # Errors
    /// When its path means nothing, or there is no shared store where one is named.
    pub fn peek(&self, pipeline: &Path) -> Result<Store, Vec<Diag>> {
        self.before_shared(pipeline, Store::peek(&self.folder(pipeline)))
    }

    /// With the shared store, and for the pipeline file where `pipeline` is one.
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

/// What an environment variable names, unless it is empty.
fn folder_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// A plan with its store. Both are left to the system when the program ends, which takes memory back faster than they can
/// give it.
pub struct Loaded {
    /// The plan.
    pub plan: ManuallyDrop<Plan>,
    /// The store.
    pub store: ManuallyDrop<Store>,
    /// While this is held, nobody clears the store up. `None` where it cannot be had, which the run itself tells.
    pub in_use: Option<InUse>,
}

/// What a command does with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It stores results. A store is made where there is none.
    Use,
    /// It only looks.
    Look,
}

impl StoreArgs {
    /// The store, which nobody clears up from before the first look at it.
    fn open_for(&self, pipeline: &Path, purpose: Purpose) -> Result<(Store, Option<InUse>), Vec<Diag>> {
        match purpose {
            Purpose::Use => self.open(pipeline).map(|store| {
                let in_use = store.in_use().ok();
                (store, in_use)
            }),
            Purpose::Look => self.peek(pipeline).map(|store| {
                let in_use = store.looked_at();
                (store, Some(in_use))
            }),
        }
    }
}

/// The plan and its store.
///
/// An existing store is opened on another thread while the plan is made.
///
/// # Errors
/// As [`PipelineArgs::load`] and [`StoreArgs::open`].
pub fn plan_and_store(pipeline: &PipelineArgs, store: &StoreArgs, purpose: Purpose) -> Result<Loaded, Vec<Diag>> {
    let loaded =
        |plan, (store, in_use)| Loaded { plan: ManuallyDrop::new(plan), store: ManuallyDrop::new(store), in_use };
    // Where there is none, none is made for a pipeline that is wrong.
    if !store.folder(&pipeline.pipeline).join(LAYOUT).is_dir() {
        let plan = pipeline.load()?;
        return Ok(loaded(plan, store.open_for(&pipeline.pipeline, purpose)?));
    }
    let (args, path) = (store.clone(), pipeline.pipeline.clone());
    let opening = cache::open_in_background(move || args.open_for(&path, purpose));
    let plan = pipeline.load()?;
    Ok(loaded(plan, opening.wait()?))
}

/// A path as one would type it from here.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let inside = path.strip_prefix(&here).ok().filter(|rest| !rest.as_os_str().is_empty());
    inside.unwrap_or(path).display().to_string()
}

/// The same as a word of a command.
pub fn typed(path: &Path) -> String {
    super::render::word(&shown(path))
}

/// Where `dpt-worker` is: what `DPT_WORKER` names, else beside this program.
pub fn worker_program() -> PathBuf {
    std::env::var_os("DPT_WORKER").map(PathBuf::from).unwrap_or_else(|| {
        let here = std::env::current_exe().unwrap_or_default();
        here.with_file_name("dpt-worker")
    })
}

/// This machine as executor: stages without libtorch here, the others in workers that write their logs below the store.
pub fn local(device: Wanted, jobs: usize, store: &Store, pipeline: &str) -> Local {
    let logs = store.runs().join("logs").join(pipeline);
    let config = WorkerConfig::new(worker_program(), device, jobs).logs_in(logs);
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let gpus = gpu_slots(device, visible.as_deref());
    Local::new(Box::new(WorkerPool::new(config)), gpus, "cpu".to_owned())
}

/// How many CPUs this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The targets' nodes, or the pipeline's own targets where none is named.
///
/// # Errors
/// A target that names nothing.
pub fn select(plan: &Plan, targets: &[String]) -> Result<Vec<NodeId>, Vec<Diag>> {
    if targets.is_empty() { Ok(plan.targets.clone()) } else { plan.select(targets) }
}

/// Whether a node is read by no other.
pub fn is_last(graph: &Graph, id: NodeId) -> bool {
    graph.consumers(id).is_empty()
}

/// Tells which journals were asked for and could not be read: what these runs did is not known.
pub fn tell_unreadable(history: &History) {
    for diag in history.unreadable() {
        let mut diag = diag.clone().note("what this run did is left out");
        diag.severity = Severity::Warning;
        render::err(&render::diag(&diag));
    }
}

static CANCEL: Cancel = Cancel::new();

/// Whether this process was started to go on when its terminal closes (`nohup dpt run …`).
fn ignores_hangup() -> bool {
    // SAFETY: `action` is plain data that the call fills in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// From now on Ctrl-C (or a signal to end) asks the run to end in order; the second one ends the program at once.
///
/// # Errors
/// When the handler cannot be set.
pub fn cancel_on_ctrl_c() -> Result<&'static Cancel, Vec<Diag>> {
    let handler = || {
        if CANCEL.asked() {
            std::process::exit(super::exit::Exit::Interrupted as i32);
        }
        CANCEL.ask();
        render::err("stopping: running stages are asked to end; once more stops at once\n");
    };
    let ignored = ignores_hangup();
    ctrlc::set_handler(handler)
        .map_err(|error| vec![Diag::error(Class::Environment, format!("cannot listen for Ctrl-C: {error}"))])?;
    if ignored {
        // SAFETY: a system call without memory of ours.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    }
    Ok(&CANCEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_at_the_root_of_the_project() {
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
