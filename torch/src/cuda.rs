//! Loading libtorch's CUDA part at run time. The worker links `libtorch_cpu.so` only; its CUDA kernels live in
//! `libtorch_cuda.so`, which registers them by itself when it is loaded. So one binary serves machines with a GPU and
//! machines without. Loading must come before libtorch is first asked for a CUDA device: it remembers the answer.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::base::fs;
use dpt::worker::device::{Wanted, gpu_present};

/// The version of libtorch that tch is made for and that the build links, as `major.minor.patch`.
pub const LIBTORCH: &str = "2.11.0";

const LIBRARY: &str = "libtorch_cuda.so";
/// Where `cargo xtask libtorch --cuda` puts the CUDA set, below `target/libtorch`.
const CUDA_SET: &str = "2.11.0-cuda/torch/lib";

/// What a worker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// `cpu`, or the GPUs: `cuda:0`, `cuda:1`, …
    pub names: Vec<String>,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// Loads CUDA where `wanted` and the machine ask for it, and says which devices there are.
///
/// # Errors
/// Class `Environment`: a GPU was asked for and cannot be had.
pub fn load(wanted: Wanted) -> Result<Devices, Diag> {
    let cpu = |notes| Ok(Devices { names: vec!["cpu".to_owned()], notes });
    match wanted {
        Wanted::Cpu => return cpu(vec![]),
        Wanted::Auto if !gpu_present() => return cpu(vec![]),
        Wanted::Auto | Wanted::Cuda(_) => (),
    }
    let loaded = load_library();
    let count = if tch::Cuda::is_available() { tch::Cuda::device_count() } else { 0 };
    let all = (0..count).map(|n| format!("cuda:{n}")).collect::<Vec<_>>();
    match wanted {
        Wanted::Cuda(Some(n)) if n < all.len() => Ok(Devices { names: vec![format!("cuda:{n}")], notes: vec![] }),
        Wanted::Auto | Wanted::Cuda(None) if !all.is_empty() => Ok(Devices { names: all, notes: vec![] }),
        Wanted::Auto => cpu(vec![match loaded {
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
        Wanted::Cuda(_) | Wanted::Cpu => Err(refusal(wanted, &all, loaded)),
    }
}

/// Why `--device cuda` cannot be.
fn refusal(wanted: Wanted, all: &[String], loaded: Loaded) -> Diag {
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

/// What came of loading `libtorch_cuda.so`.
enum Loaded {
    From(PathBuf),
    Refused(String),
    Nowhere,
}

/// Tries, in order: what `DPT_LIBTORCH_CUDA` names (a file or a folder; nothing else is tried then), the folder of the
/// `libtorch_cpu.so` in use, where `cargo xtask libtorch --cuda` puts it, a `torch` of our version that `python3` can
/// import.
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

/// Loads one file for the rest of the process, its symbols open to what is loaded later. `None`: it is not there.
fn open(file: &Path) -> Option<Loaded> {
    use std::os::unix::ffi::OsStrExt;
    if !file.exists() {
        return None;
    }
    let name = CString::new(file.as_os_str().as_bytes()).ok()?;
    // SAFETY: the name is a valid C string. Loading runs the library's initialisers: it is libtorch's own.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Some(Loaded::From(file.to_path_buf()));
    }
    // SAFETY: after a failed `dlopen`, `dlerror` gives a valid C string, which is copied at once.
    let why = unsafe {
        let text = libc::dlerror();
        if text.is_null() { "no reason given".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    Some(Loaded::Refused(why))
}

/// Takes `running`, the version of the libtorch that this process runs with (`None`: it is too old to say), if it is
/// [`LIBTORCH`].
///
/// # Errors
/// Class `Environment`: it is another one. It would give other numbers, and tch calls functions of its own version.
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

/// The `lib` folder of a `torch` of our version that `python3` would import. It is looked up, not imported, which
/// would take seconds.
fn python_torch() -> Option<PathBuf> {
    const FIND: &str =
        "import importlib.util as u; s = u.find_spec('torch'); assert s.origin; print(s.submodule_search_locations[0])";
    let output = std::process::Command::new("python3").args(["-c", FIND]).output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    let version = fs::read_to_string(&folder.join("version.py")).ok()?;
    is_ours(&version).then(|| folder.join("lib"))
}

/// Whether the text of torch's `version.py` tells our version, of whatever build.
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
    fn the_cpu_needs_no_loading() {
        let devices = load(Wanted::Cpu).unwrap();
        assert_eq!(devices, Devices { names: vec!["cpu".into()], notes: vec![] });
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_of_the_environment() {
        if gpu_present() {
            println!("skipped: this machine has a GPU");
            return;
        }
        let diag = load(Wanted::Cuda(None)).unwrap_err();
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
