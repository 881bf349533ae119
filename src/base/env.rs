//! The environment of this process. Other files read it by these functions only (see `clippy.toml`), so that a search
//! for their callers shows every variable that `dpt` reads. Stages do not read it for anything that shapes their
//! results.
#![allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]

use std::env::VarError;
use std::ffi::{OsStr, OsString};

/// Returns the value of a variable as text.
///
/// # Errors
/// Fails if it is not set, or is not UTF-8.
pub fn var(name: impl AsRef<OsStr>) -> Result<String, VarError> {
    std::env::var(name)
}

/// Returns the value of a variable, `None` if it is not set.
pub fn var_os(name: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(name)
}
