//! Finds libtorch or fetches it, and links `target/libtorch/current` to it: that is where `.cargo/config.toml` sends
//! the build, so plain `cargo build` works from then on.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::wheel::{Unpacked, Wheel};
use crate::{Context, Failed, Result, pip, step};

/// The version that tch 0.24 is made for.
pub const VERSION: &str = "2.11.0";

/// The wheels that the CPU set comes from: torch, and what its `libtorch_cpu.so` wants beside it.
const TORCH: &str = "torch==2.11.0";
const BESIDE: [(&str, &str, &str); 2] = [
    ("nvidia-cuda-runtime", "nvidia-cuda-runtime==13.0.96", "libcudart.so.13"),
    ("nvidia-cuda-cupti", "nvidia-cuda-cupti==13.0.85", "libcupti.so.13"),
];

/// Where all of this lies. Not below `CARGO_TARGET_DIR`: `.cargo/config.toml` names this place.
pub fn home(root: &Path) -> PathBuf {
    root.join("target/libtorch")
}

/// Makes `target/libtorch/current` a libtorch that can be built against.
pub fn ensure(root: &Path) -> Result {
    let home = home(root);
    let current = home.join("current");
    if let Some(named) = named(&current) {
        check(&named).map_err(|Failed(why)| Failed(format!("LIBTORCH names `{}`: {why}", named.display())))?;
        eprintln!("libtorch {VERSION}: `{}`, as LIBTORCH says", named.display());
        return link(&current, &named);
    }
    if check(&current).is_ok() {
        return Ok(());
    }
    if let Some(folder) = pip::torch_folder() {
        match check(&folder) {
            Ok(()) => {
                eprintln!("libtorch {VERSION}: `{}`, which python3 imports", folder.display());
                return link(&current, &folder);
            }
            Err(Failed(why)) => eprintln!("not using the torch at `{}`: {why}", folder.display()),
        }
    }
    let folder = home.join(format!("{VERSION}-cpu"));
    if check(&folder).is_err() {
        fetch(&home, &folder)?;
    }
    check(&folder)?;
    link(&current, Path::new(folder.file_name().expect("just named")))?;
    eprintln!("libtorch {VERSION} is in target/libtorch/{VERSION}-cpu");
    Ok(())
}

/// The value that the user gave LIBTORCH, not the one that cargo takes from `.cargo/config.toml`.
fn named(current: &Path) -> Option<PathBuf> {
    let named = PathBuf::from(std::env::var_os("LIBTORCH")?);
    (named != current && !named.as_os_str().is_empty()).then_some(named)
}

/// Returns `true` if `folder` can be built against.
fn check(folder: &Path) -> Result {
    for needed in ["lib/libtorch_cpu.so", "lib/libc10.so", "lib/libtorch.so", "include/torch/csrc/api/include"] {
        if !folder.join(needed).exists() {
            return Err(Failed(format!("it has no `{needed}`")));
        }
    }
    match version(folder) {
        Some(version) if version == VERSION => Ok(()),
        Some(version) => Err(Failed(format!("it is libtorch {version}; dpt is made for {VERSION}"))),
        None => Err(Failed("its headers tell no version".to_owned())),
    }
}

/// The version in the headers.
fn version(folder: &Path) -> Option<String> {
    let places = ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];
    places
        .iter()
        .filter_map(|place| std::fs::read_to_string(folder.join(place)).ok())
        .find_map(|text| version_in(&text))
}

fn version_in(header: &str) -> Option<String> {
    let part = |name: &str| {
        let start = format!("#define TORCH_VERSION_{name} ");
        header.lines().find_map(|line| line.strip_prefix(&start)).map(str::trim)
    };
    Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?))
}

/// Fetches the CPU set into `folder`: downloaded, checked and unpacked beside it, renamed when it is whole.
fn fetch(home: &Path, folder: &Path) -> Result {
    eprintln!("libtorch {VERSION} is not here yet: fetching it with pip, about 545 MB, once");
    let wheels = home.join("wheels");
    pip::download(&wheels, &[TORCH], false)?;
    let mut torch = Wheel::open(&pip::wheel(&wheels, "torch")?)?;
    // A CPU-only torch (some mirrors have just that) wants nothing beside it.
    let wants_cuda = torch.requires()?.iter().any(|need| need.starts_with("cuda-") || need.starts_with("nvidia-"));
    if wants_cuda {
        pip::download(&wheels, &BESIDE.map(|(_, requirement, _)| requirement), false)?;
    }
    let beside = home.join(format!(".{VERSION}-cpu.part"));
    remove(&beside)?;
    eprintln!("unpacking, each file checked against its wheel's RECORD");
    let mut unpacked = torch.unpack(|name| place_torch(name).map(|path| beside.join(path)))?;
    if wants_cuda {
        for (package, _, library) in BESIDE {
            let end = format!("/lib/{library}");
            let place = |name: &str| name.ends_with(&end).then(|| beside.join("lib").join(library));
            unpacked = add(unpacked, Wheel::open(&pip::wheel(&wheels, package)?)?.unpack(place)?);
        }
    }
    make_libtorch(&beside.join("lib"))?;
    remove(folder)?;
    std::fs::rename(&beside, folder).context(|| format!("cannot make `{}`", folder.display()))?;
    remove(&wheels)?;
    eprintln!("unpacked {} files, {} MB", unpacked.files, unpacked.bytes / 1_000_000);
    Ok(())
}

/// Where a file of the torch wheel goes: the CPU libraries and the headers.
fn place_torch(name: &str) -> Option<&str> {
    let path = name.strip_prefix("torch/")?;
    let library = path.strip_prefix("lib/").is_some_and(|file| {
        matches!(file, "libc10.so" | "libtorch_cpu.so") || file.starts_with("libgomp") && !file.contains('/')
    });
    (library || path.starts_with("include/")).then_some(path)
}

/// An empty `libtorch.so` that needs the two real libraries: torch-sys names it to the linker, which then drops it.
fn make_libtorch(lib: &Path) -> Result {
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-shared", "-o"]).arg(lib.join("libtorch.so")).args(["-x", "c", "/dev/null", "-x", "none"]);
    cc.args(["-Wl,-soname,libtorch.so", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed"]);
    cc.arg("-L").arg(lib).args(["-ltorch_cpu", "-lc10"]).arg(format!("-Wl,-rpath-link,{}", lib.display()));
    step(&mut cc).context(|| "a C compiler is needed (Debian, Ubuntu: `apt-get install g++`)".to_owned())
}

/// Points `link` at `to`, at once.
fn link(link: &Path, to: &Path) -> Result {
    if std::fs::read_link(link).is_ok_and(|now| now == to) {
        return Ok(());
    }
    let context = || format!("cannot link `{}`", link.display());
    std::fs::create_dir_all(link.parent().expect("a path in a folder")).context(context)?;
    let beside = link.with_file_name(".current.part");
    remove(&beside)?;
    std::os::unix::fs::symlink(to, &beside).context(context)?;
    std::fs::rename(&beside, link).context(context)
}

/// Removes a file, link or folder, if it is there.
pub fn remove(path: &Path) -> Result {
    let done = match path.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(data) if data.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    };
    done.context(|| format!("cannot remove `{}`", path.display()))
}

/// Both together.
pub fn add(a: Unpacked, b: Unpacked) -> Unpacked {
    Unpacked { files: a.files + b.files, bytes: a.bytes + b.bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cpu_set_is_taken() {
        let taken =
            ["torch/lib/libc10.so", "torch/lib/libtorch_cpu.so", "torch/lib/libgomp.so.1", "torch/include/a/b.h"];
        for name in taken {
            assert_eq!(place_torch(name), name.strip_prefix("torch/"));
        }
        for name in ["torch/lib/libtorch.so", "torch/lib/libtorch_cuda.so", "torch/nn/x.py", "lib/libc10.so"] {
            assert_eq!(place_torch(name), None, "{name}");
        }
    }

    #[test]
    fn a_folder_says_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let Err(Failed(why)) = check(dir.path()) else { panic!("taken") };
        assert_eq!(why, "it has no `lib/libtorch_cpu.so`");
    }

    #[test]
    fn the_version_is_read_from_the_header() {
        let header = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define TORCH_VERSION_PATCH 0\n";
        assert_eq!(version_in(header).as_deref(), Some("2.11.0"));
        assert_eq!(version_in("#define X 1"), None);
    }

    #[test]
    fn a_link_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("libtorch/current");
        for to in ["a", "b", "b"] {
            link(&current, Path::new(to)).ok().unwrap();
            assert_eq!(std::fs::read_link(&current).unwrap(), Path::new(to));
        }
    }
}
