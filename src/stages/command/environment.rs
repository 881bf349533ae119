//! The environment of a command: the declared variables, and a few that any program needs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::base::diag::{Class, Diag};
use crate::base::process::{self, how};
use crate::base::value::{Params, Value};

/// Where programs are looked for when `dpt` itself has no PATH.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a command always gets, and who sets it.
pub const GIVEN: &[&str] = &["HOME", "TMPDIR", "PWD", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"];

/// `DPT_IN_RUNS`: the folder of a role.
pub fn input(role: &str) -> String {
    variable("IN", role)
}

/// `DPT_OUT_PNG`, `DPT_PARAM_LR`: upper case, `_` for `-`.
pub fn variable(kind: &str, name: &str) -> String {
    format!("DPT_{kind}_{}", name.replace('-', "_").to_uppercase())
}

/// Returns the variables of `env` that are set, with their values: what counts.
///
/// # Errors
/// A value that is not UTF-8.
pub fn counted(names: &[String]) -> Result<Params, Diag> {
    let mut counted = Params::new();
    for name in names {
        let Some(value) = crate::base::env::var_os(name) else { continue };
        let Ok(value) = value.into_string() else {
            let diag = Diag::error(Class::Environment, format!("the value of the variable `{name}` is not UTF-8"));
            return Err(diag.help("set it to a plain text, or take it out of `env`").lasting());
        };
        counted.insert(name.clone(), Value::Str(value));
    }
    Ok(counted)
}

/// Returns what every command gets: where programs are, and a locale that is the same everywhere.
pub fn base() -> BTreeMap<String, OsString> {
    let path = crate::base::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| PATH.into());
    BTreeMap::from([("PATH".to_owned(), path), ("LC_ALL".to_owned(), "C.UTF-8".into())])
}

/// Returns the number by which a program finds its GPU; empty if it has none. `visible` is what
/// `CUDA_VISIBLE_DEVICES` says here: devices are numbered among these.
pub fn gpu(device: &str, visible: Option<&str>) -> String {
    let Some(number) = device.strip_prefix("cuda:") else { return String::new() };
    let listed = |list: &str| list.split(',').nth(number.parse().ok()?).map(|id| id.trim().to_owned());
    match visible {
        Some(list) if !list.trim().is_empty() => listed(list).unwrap_or_default(),
        _ => number.to_owned(),
    }
}

/// Returns what `version` prints, asked for once in the life of this process.
///
/// # Errors
/// It cannot be started, fails, or prints no text.
pub fn version(argv: &[String]) -> Result<String, Diag> {
    static KNOWN: Mutex<BTreeMap<Vec<String>, String>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(version) = known.get(argv) {
        return Ok(version.clone());
    }
    let shown = argv.join(" ");
    let fail = |why: String| {
        Diag::error(Class::Environment, format!("cannot read `version`: `{shown}` {why}"))
            .help("it must print a version and end; or leave `version` out")
            .lasting()
    };
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env_clear().envs(base()).stdin(Stdio::null());
    let output = process::output(&mut command).map_err(|e| fail(format!("cannot be started: {e}")))?;
    if !output.status.success() {
        return Err(fail(how(Some(output.status))));
    }
    // Some programs print it on stderr.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() || text.len() > 4096 {
        return Err(fail(format!("prints {} bytes", text.len())));
    }
    known.insert(argv.to_vec(), text.clone());
    Ok(text)
}
