//! The environment of a command: nothing but what is declared, and a few variables that it needs to run at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::base::diag::{Class, Diag};
use crate::base::process::{self, how};
use crate::base::secret::is_secret_name;
use crate::base::value::{Params, Value};

use super::settings::{Settings, usage};

/// Where programs are looked for when `dpt` itself has no PATH.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a command always gets, and who sets it.
const GIVEN: &[&str] = &["HOME", "TMPDIR", "PWD", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"];

/// `DPT_IN_RUNS`: the folder of a role.
pub fn input(role: &str) -> String {
    variable("IN", role)
}

/// `DPT_OUT_PNG`, `DPT_PARAM_LR`: upper case, `_` for `-`.
pub fn variable(kind: &str, name: &str) -> String {
    format!("DPT_{kind}_{}", name.replace('-', "_").to_uppercase())
}

/// That `env` and `secrets` name variables, and do not name what they must not.
pub fn check(settings: &Settings) -> Result<(), Diag> {
    for (param, names) in [("env", &settings.env), ("secrets", &settings.secrets)] {
        for name in names {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) {
                return Err(usage(format!(
                    "`{param}` names `{}`, which is no name of a variable",
                    name.escape_debug()
                ))
                .help("write the name alone; its value is taken from the environment of `dpt`"));
            }
            if name.starts_with("DPT_") || GIVEN.contains(&name.as_str()) {
                return Err(usage(format!("`{param}` names `{name}`, which `dpt` itself sets for a command")));
            }
        }
    }
    if let Some(both) = settings.env.iter().find(|name| settings.secrets.contains(name)) {
        return Err(usage(format!("`{both}` is in `env` and in `secrets`"))
            .help("leave it in `secrets`, where it is kept out of keys and logs"));
    }
    if let Some(name) = settings.env.iter().find(|name| is_secret_name(name)) {
        return Err(usage(format!("`env` names `{name}`, whose value looks like a secret"))
            .note("what `env` names is written into keys, and shown when it changes")
            .help(format!("write `secrets = [\"{name}\"]`")));
    }
    for (param, kind, names) in [
        ("outputs", "OUT", settings.outputs.keys().collect::<Vec<_>>()),
        ("params", "PARAM", settings.params.keys().collect()),
        ("files", "FILES", settings.files.keys().collect()),
    ] {
        let mut seen = BTreeMap::new();
        // One alone clashes with none.
        for name in if names.len() > 1 { names } else { Vec::new() } {
            if let Some(other) = seen.insert(variable(kind, name), name) {
                let message = format!("`{other}` and `{name}` of `{param}` would be the same variable");
                return Err(usage(message).note(format!("it is called `{}`", variable(kind, name))));
            }
        }
    }
    Ok(())
}

/// The variables of `env` that are set, with their values: what counts.
///
/// # Errors
/// A value that is not UTF-8.
pub fn counted(names: &[String]) -> Result<Params, Diag> {
    let mut counted = Params::new();
    for name in names {
        let Some(value) = std::env::var_os(name) else { continue };
        let Ok(value) = value.into_string() else {
            let diag = Diag::error(Class::Environment, format!("the value of the variable `{name}` is not UTF-8"));
            return Err(diag.help("set it to a plain text, or take it out of `env`").lasting());
        };
        counted.insert(name.clone(), Value::Str(value));
    }
    Ok(counted)
}

/// What every command gets: where programs are, and a locale that is the same everywhere.
pub fn base() -> BTreeMap<String, OsString> {
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| PATH.into());
    BTreeMap::from([("PATH".to_owned(), path), ("LC_ALL".to_owned(), "C.UTF-8".into())])
}

/// The number by which a program finds the GPU that was given to it; empty: it finds none. `visible` is what
/// `CUDA_VISIBLE_DEVICES` says here: devices are numbered among these.
pub fn gpu(device: &str, visible: Option<&str>) -> String {
    let Some(number) = device.strip_prefix("cuda:") else { return String::new() };
    let listed = |list: &str| list.split(',').nth(number.parse().ok()?).map(|id| id.trim().to_owned());
    match visible {
        Some(list) if !list.trim().is_empty() => listed(list).unwrap_or_default(),
        _ => number.to_owned(),
    }
}

/// What `version` prints, asked for once in the life of this process.
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
        Diag::error(Class::Environment, format!("`version` cannot be told: `{shown}` {why}"))
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
