//! Loading libtorch's CUDA part at run time. The worker links `libtorch_cpu.so` only; its CUDA kernels live in
//! `libtorch_cuda.so`, which registers them when it is loaded. So one binary serves machines with a GPU and
//! machines without. It must be loaded before the first query for a CUDA device, whose answer libtorch caches.

use std::error::Error;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::base::diag::{Class, Diag};
use crate::base::fs;
use dpt::worker::device::{DeviceChoice, gpu_present};

/// The version of libtorch that tch is made for and that the build links, as `major.minor.patch`.
pub const LIBTORCH: &str = "2.11.0";

const LIBRARY: &str = "libtorch_cuda.so";
/// Where `cargo xtask libtorch --cuda` puts the CUDA set, below `target/libtorch`.
const CUDA_SET: &str = "2.11.0-cuda/torch/lib";

/// The devices that a worker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// `cpu`, or the GPUs: `cuda:0`, `cuda:1`, …
    pub names: Vec<String>,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// Loads CUDA if `wanted` and the machine allow it, and lists the devices.
///
/// # Errors
/// Class `Environment`: `wanted` is a GPU that is not available.
pub fn load(wanted: DeviceChoice) -> Result<Devices, Diag> {
    let cpu = |notes| Ok(Devices { names: vec!["cpu".to_owned()], notes });
    match wanted {
        DeviceChoice::Cpu => return cpu(vec![]),
        DeviceChoice::Auto if !gpu_present() => return cpu(vec![]),
        DeviceChoice::Auto | DeviceChoice::Cuda(_) => (),
    }
    let loaded = load_library();
    let count = if tch::Cuda::is_available() { tch::Cuda::device_count() } else { 0 };
    let all = (0..count).map(|n| format!("cuda:{n}")).collect::<Vec<_>>();
    match wanted {
        DeviceChoice::Cuda(Some(n)) if n < all.len() => Ok(Devices { names: vec![format!("cuda:{n}")], notes: vec![] }),
        DeviceChoice::Auto | DeviceChoice::Cuda(None) if !all.is_empty() => Ok(Devices { names: all, notes: vec![] }),
        DeviceChoice::Auto => cpu(vec![match loaded {
            Loaded::Nowhere => "an NVIDIA GPU is here, but only the CPU set of libtorch is installed: running on the \
                 CPU; `cargo xtask libtorch --cuda` adds the CUDA set"
                .to_owned(),
            Loaded::Refused(why) => {
                format!("an NVIDIA GPU is here, but CUDA cannot be loaded: running on the CPU; {why}")
            }
            Loaded::From(path) => format!(
                "an NVIDIA GPU is here, but CUDA (`{}`) sees no device: running on the CPU; does `nvidia-smi` list it?",
                path.display()
            ),
        }]),
        DeviceChoice::Cuda(_) | DeviceChoice::Cpu => Err(refusal(wanted, &all, loaded)),
    }
}

/// The error for a `--device cuda` that cannot be met.
fn refusal(wanted: DeviceChoice, all: &[String], loaded: Loaded) -> Diag {
    let help = "pass `--device cpu` for this run";
    let diag = match (all.len(), loaded) {
        (n, _) if n > 0 => {
            return Diag::error(Class::Environment, format!("`--device {wanted}` asks for a GPU that is not there"))
                .note(format!("there is {}", all.join(", ")))
                .help("name one of these, or `--device cuda` for any");
        }
        (_, Loaded::Nowhere) => {
            return Diag::error(Class::Environment, format!("`--device {wanted}` needs CUDA, which is not installed"))
                .note("only the CPU set of libtorch is here")
                .note(if gpu_present() { "the machine has an NVIDIA GPU" } else { "the machine shows no NVIDIA GPU" })
                .help(format!("`cargo xtask libtorch --cuda` adds the CUDA set; or {help}"));
        }
        (_, Loaded::Refused(why)) => {
            Diag::error(Class::Environment, format!("`--device {wanted}` needs CUDA, which cannot be loaded")).note(why)
        }
        (_, Loaded::From(path)) => {
            let diag =
                Diag::error(Class::Environment, format!("`--device {wanted}` asks for a GPU, and libtorch sees none"))
                    .note(format!("CUDA was loaded from `{}`", path.display()));
            if gpu_present() { diag.note("a driver is installed: does `nvidia-smi` list the GPU?") } else { diag }
        }
    };
    diag.help(help)
}

/// The outcome of loading `libtorch_cuda.so`.
enum Loaded {
    From(PathBuf),
    Refused(String),
    Nowhere,
}

/// Tries, in order: the file or folder that `DPT_LIBTORCH_CUDA` names (and then nothing else), the folder of the
/// `libtorch_cpu.so` in use, the folder of `cargo xtask libtorch --cuda`, and a `torch` of our version that `python3`
/// can import.
fn load_library() -> Loaded {
    if let Some(named) = crate::base::env::var_os("DPT_LIBTORCH_CUDA").map(PathBuf::from) {
        let file = if named.is_dir() { named.join(LIBRARY) } else { named };
        return open(&file).unwrap_or_else(|| {
            Loaded::Refused(format!("`DPT_LIBTORCH_CUDA` names `{}`, which is not there", file.display()))
        });
    }
    let in_use = loaded_libtorch();
    let beside = in_use.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    // In `target/libtorch`, seen from `target/libtorch/2.11.0-cpu/lib` and from `target/release/dpt-worker`.
    let set = Path::new(CUDA_SET);
    let near_libtorch = in_use.as_deref().and_then(|lib| lib.ancestors().nth(3)).map(|home| home.join(set));
    let exe = std::env::current_exe().ok();
    let near_us = exe.as_deref().and_then(|exe| exe.ancestors().nth(2)).map(|target| target.join("libtorch").join(set));
    let folders = [beside, near_libtorch, near_us];
    folders
        .into_iter()
        .flatten()
        .find_map(|folder| open(&folder.join(LIBRARY)))
        .or_else(|| python_torch().and_then(|folder| open(&folder.join(LIBRARY))))
        .unwrap_or(Loaded::Nowhere)
}

/// Loads one file for the rest of the process, its symbols visible to what is loaded later. Returns `None` if there is
/// no such file.
fn open(file: &Path) -> Option<Loaded> {
    if !file.exists() {
        return None;
    }
    // SAFETY: loading runs the library's initialisers, which are libtorch's own: they may run at any time, on any
    // thread.
    match unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => {
            // Never unloaded: libtorch keeps pointers into it.
            std::mem::forget(library);
            Some(Loaded::From(file.to_path_buf()))
        }
        Err(error) => {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Some(Loaded::Refused(why))
        }
    }
}

/// Returns `running`, the version of the libtorch that this process runs with (`None`: too old to say), if it is
/// [`LIBTORCH`].
///
/// # Errors
/// Class `Environment`: it is another version, which would give other numbers, or lack functions that tch calls.
pub fn check_libtorch(running: Option<String>) -> Result<String, Diag> {
    match running {
        Some(version) if version == LIBTORCH => Ok(version),
        other => {
            let other = other.unwrap_or_else(|| "an older version".to_owned());
            let diag = Diag::error(
                Class::Environment,
                format!("`dpt-worker` is built for libtorch {LIBTORCH}, and {other} is loaded"),
            );
            let diag = match loaded_libtorch() {
                Some(path) => diag.note(format!("it was loaded from `{}`", path.display())),
                None => diag,
            };
            Err(diag.help(format!(
                "`cargo xtask libtorch` brings {LIBTORCH}, then `cargo build --release`; \
                 unset `LD_LIBRARY_PATH` and `LD_PRELOAD` if they name another one"
            )))
        }
    }
}

/// The path of the `libtorch_cpu.so` that this process runs with.
pub fn loaded_libtorch() -> Option<PathBuf> {
    let maps = fs::read_to_string(Path::new("/proc/self/maps")).ok()?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|start| Path::new(&line[start..])));
    paths.into_iter().find(|path| path.file_name().is_some_and(|name| name == "libtorch_cpu.so")).map(Path::to_path_buf)
}

/// The `lib` folder of a `torch` of our version that `python3` would import. Importing it would take seconds, so it is
/// only looked up.
fn python_torch() -> Option<PathBuf> {
    const FIND: &str =
        "import importlib.util as u; s = u.find_spec('torch'); assert s.origin; print(s.submodule_search_locations[0])";
    let output = std::process::Command::new("python3").args(["-c", FIND]).output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    let version = fs::read_to_string(&folder.join("version.py")).ok()?;
    is_ours(&version).then(|| folder.join("lib"))
}

/// Returns `true` if the text of torch's `version.py` names our version, of any build.
fn is_ours(version_py: &str) -> bool {
    version_py.lines().filter_map(|line| line.strip_prefix("__version__ = ")).any(|value| {
        let value = value.trim_matches(['\'', '"']);
        value.split('+').next() == Some(LIBTORCH)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_libtorch_of_the_build_is_taken() {
        assert_eq!(check_libtorch(Some(LIBTORCH.to_owned())).unwrap(), LIBTORCH);
        for other in [Some("2.12.0".to_owned()), None] {
            assert_eq!(check_libtorch(other).unwrap_err().class, Class::Environment);
        }
    }

    #[test]
    fn file_that_is_no_library_is_refused_with_the_reason() {
        let file = tempfile::Builder::new().suffix(".so").tempfile().unwrap();
        std::fs::write(file.path(), "no library").unwrap();
        let Some(Loaded::Refused(why)) = open(file.path()) else { panic!("not refused") };
        assert!(why.contains(file.path().to_str().unwrap()), "{why}");
        assert!(open(Path::new("/nowhere/libtorch_cuda.so")).is_none());
    }

    #[test]
    fn the_cpu_needs_no_loading() {
        let devices = load(DeviceChoice::Cpu).unwrap();
        assert_eq!(devices, Devices { names: vec!["cpu".into()], notes: vec![] });
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_of_the_environment() {
        if gpu_present() {
            println!("skipped: this machine has a GPU");
            return;
        }
        let diag = load(DeviceChoice::Cuda(None)).unwrap_err();
        assert_eq!(diag.class, Class::Environment);
        assert!(diag.message.starts_with("`--device cuda`"), "{diag}");
        assert!(diag.help.unwrap().contains("`--device cpu`"));
    }

    #[test]
    fn only_the_same_version_counts() {
        assert!(is_ours("__version__ = '2.11.0+cu130'\ndebug = False"));
        assert!(is_ours("__version__ = \"2.11.0\""));
        assert!(!is_ours("__version__ = '2.11.1'") && !is_ours("version = '2.11.0'"));
    }
}
