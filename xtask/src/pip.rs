//! `python3 -m pip`: pip brings the user's own mirrors, proxies and certificates with it. Python is used for
//! nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Context, Failed, Result, step};

/// torch's wheels are made for these Pythons; the libraries inside do not depend on it.
const ANY_PYTHON: &str = "3.12";

/// Downloads `requirements` into `folder`, without (or with) what they need in turn. What lies there already is kept,
/// so an interrupted download goes on where a file ended.
pub fn download(folder: &Path, requirements: &[&str], with_needs: bool) -> Result {
    there()?;
    std::fs::create_dir_all(folder).context(|| format!("cannot create `{}`", folder.display()))?;
    let mut plain = Command::new("python3");
    plain.args(["-m", "pip", "download", "--disable-pip-version-check", "--only-binary=:all:", "--dest"]).arg(folder);
    if !with_needs {
        plain.arg("--no-deps");
    }
    if step(plain.args(requirements)).is_ok() {
        return Ok(());
    }
    // A Python too old or too new for torch's wheels, or a pip that knows no recent platform tag: name both.
    eprintln!("trying again, for Python {ANY_PYTHON} by name");
    let mut named = Command::new("python3");
    named.args(plain.get_args());
    named.args(["--python-version", ANY_PYTHON, "--implementation", "cp"]);
    for platform in platforms() {
        named.args(["--platform", &platform]);
    }
    step(&mut named).map_err(|_| {
        Failed(format!(
            "pip could not download {}\n  \
             - does this machine reach a package index? pip's own settings (PIP_INDEX_URL, PIP_PROXY, pip.conf) hold\n  \
             - else set LIBTORCH to a folder with libtorch 2.11.0, or install `torch` 2.11.0 for `python3`",
            requirements.join(", ")
        ))
    })
}

/// Installs `requirement` into `folder`, which only this package uses.
pub fn install(folder: &Path, requirement: &str) -> Result {
    there()?;
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--target"]);
    step(command.arg(folder).arg(requirement))
}

/// The platform tags that NVIDIA's and torch's wheels carry on this machine, newest first.
fn platforms() -> Vec<String> {
    let tag = |version: &str| format!("manylinux{version}_{}", std::env::consts::ARCH);
    ["_2_28", "_2_27", "_2_25", "_2_17", "2014", "_2_12", "2010", "_2_5", "1"].map(tag).to_vec()
}

/// Returns `true` if Python and pip are there; else what to do.
fn there() -> Result {
    let quiet = |args: &[&str]| {
        Command::new("python3").args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    let way_out = "or set LIBTORCH to a folder with libtorch 2.11.0";
    if !quiet(&["--version"]).is_ok_and(|status| status.success()) {
        return Err(Failed(format!(
            "libtorch is fetched with pip, and there is no `python3`: install Python 3 and pip \
             (Debian, Ubuntu: `apt-get install python3 python3-pip`), {way_out}"
        )));
    }
    if !quiet(&["-m", "pip", "--version"]).is_ok_and(|status| status.success()) {
        return Err(Failed(format!(
            "libtorch is fetched with pip, and `python3` has none: install it \
             (Debian, Ubuntu: `apt-get install python3-pip`; else `python3 -m ensurepip --user`), {way_out}"
        )));
    }
    Ok(())
}

/// The wheel of `package` in `folder`. Wheel names spell `-` as `_`.
pub fn wheel(folder: &Path, package: &str) -> Result<PathBuf> {
    let start = format!("{}-", package.replace('-', "_"));
    wheels(folder)?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)))
        .ok_or_else(|| Failed(format!("pip left no wheel of `{package}` in `{}`", folder.display())))
}

/// Every wheel in `folder`, by name.
pub fn wheels(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read `{}`", folder.display());
    let mut wheels = Vec::new();
    for entry in std::fs::read_dir(folder).context(context)? {
        let path = entry.context(context)?.path();
        if path.extension().is_some_and(|ending| ending == "whl") {
            wheels.push(path);
        }
    }
    wheels.sort();
    Ok(wheels)
}

/// The folder of a `torch` that `python3` would import. Looked up, not imported, which would take seconds. A folder
/// `torch` without an `__init__.py`, such as ours, has no origin.
pub fn torch_folder() -> Option<PathBuf> {
    const FIND: &str =
        "import importlib.util as u; s = u.find_spec('torch'); assert s.origin; print(s.submodule_search_locations[0])";
    let output = Command::new("python3").args(["-c", FIND]).stderr(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| PathBuf::from(folder.trim_end()))
}
