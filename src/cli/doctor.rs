//! `dpt doctor`: checks that the machine has what a run needs.

use std::path::{Path, PathBuf};

use crate::base::diag::Diag;
use crate::base::fs::{self, Copied};
use crate::cli::CommandResult;
use crate::cli::common::{self, DeviceArgs, StoreArgs};
use crate::cli::exit::Exit;
use crate::cli::render::{self, BAD, GOOD, WARN, paint};
use crate::engine::executor::worker::{WorkerConfig, WorkerPool};
use crate::worker::build::Build;
use crate::worker::device::gpu_present;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Example:
  dpt doctor --device cuda
      check that a GPU is ready for training";

/// The arguments of `dpt doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Free space below which the store gets a warning, in bytes.
const LITTLE: u64 = 2_000_000_000;

/// Prints a table of checks and the errors below it. The exit code is 6 if anything is wrong.
///
/// # Errors
/// Never fails.
pub fn run(args: &Args) -> CommandResult {
    let mut wrong: Vec<Diag> = Vec::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, state: String, text: String| rows.push(vec![name.to_owned(), state, text]);
    let (good, warn, bad) = (|| paint(GOOD, "ok"), || paint(WARN, "look"), || paint(BAD, "bad"));
    let build = Build::this();
    row("dpt", good(), format!("{}, {}", env!("CARGO_PKG_VERSION"), render::count(common::cpus(), "CPU")));
    row("build", good(), build.to_string());

    let program = common::worker_program();
    let pool = WorkerPool::new(WorkerConfig::new(program.clone(), args.device.device, 1));
    match pool.hello() {
        Ok(hello) => {
            row("worker", good(), format!("{}, of the same build", common::shown(&program)));
            row("libtorch", good(), hello.libtorch);
            let gpu = hello.devices.iter().any(|device| device.starts_with("cuda"));
            let state = if gpu || !gpu_present() { good() } else { warn() };
            row("device", state, hello.devices.join(", "));
            hello.notes.into_iter().for_each(|note| row("", String::new(), note));
        }
        Err(diag) => {
            row("worker", bad(), diag.message.clone());
            wrong.push(diag);
        }
    }

    // The first run creates the store, so check the nearest existing folder.
    let folder = args.store.folder(Path::new("."));
    let there = folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    match writable(there) {
        Ok(()) => {
            let free = fs::free_space(there);
            let state = if free.is_some_and(|free| free < LITTLE) { warn() } else { good() };
            let free = free.map(|free| format!(", {} free", render::bytes(free))).unwrap_or_default();
            row("store", state, format!("{}{free}", common::shown(&folder)));
            row("copies", good(), copies(there).to_owned());
        }
        Err(diag) => {
            row("store", bad(), common::shown(&folder));
            wrong.push(diag);
        }
    }
    render::out(&render::table(&rows, &[]));
    if wrong.is_empty() {
        return Ok(Exit::Done);
    }
    render::err(&format!("\n{}", render::diags(&wrong)));
    Ok(Exit::Environment)
}

/// Fails if no file can be created in the folder.
fn writable(folder: &Path) -> Result<(), Diag> {
    let probe: PathBuf = folder.join(format!(".doctor-{}", std::process::id()));
    fs::write_atomic(&probe, b"")?;
    Ok(fs::remove_file(&probe)?)
}

/// Tries with a small file how results are copied to `results/`, and describes it.
fn copies(folder: &Path) -> &'static str {
    let tried = fs::beside(folder).and_then(|mut from| {
        std::io::Write::write_all(&mut from, &[0; 4096])?;
        fs::copy_into(from.as_file(), fs::beside(folder)?.as_file())
    });
    match tried {
        Ok(Copied::Reflink) => "results/ uses reflinks, which share space with the store",
        _ => "results/ has full copies: this file system has no reflinks",
    }
}
