//! What a command made: the files that it declares are taken, others are not, and one that is missing is an error.

use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};
use crate::base::name::is_relative_file;

use super::room::shortened;
use super::secrets::{self, Secret};
use super::settings::{Gives, Settings};

/// What lies below the output folder: relative names, and whether each is a plain file.
struct Found {
    name: String,
    path: PathBuf,
    plain: bool,
}

/// Moves what is declared from `made` to `out`. The names of files that are left.
///
/// # Errors
/// A declared file that is missing, is no plain file or holds a secret.
pub fn take(settings: &Settings, secrets: &[Secret], made: &Path, out: &Path) -> Result<Vec<String>, Diag> {
    let mut found = Vec::new();
    list(made, "", &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    for (name, gives) in &settings.outputs {
        let there = found.iter().any(|file| belongs(gives, &file.name));
        if !there {
            return Err(missing(name, gives, &found));
        }
    }
    let mut left = Vec::new();
    for file in found {
        if !settings.outputs.values().any(|gives| belongs(gives, &file.name)) {
            left.push(file.name);
            continue;
        }
        if !file.plain {
            return Err(Diag::error(Class::Stage, format!("output `{}` is no plain file", shown(&file.name)))
                .help("write the content itself, not a link to it")
                .lasting());
        }
        if !is_relative_file(&file.name) {
            let message = format!("output `{}` has a name that cannot be kept", shown(&file.name));
            return Err(Diag::error(Class::Stage, message)
                .help("take a shorter name, without `\\`, `:` and control characters")
                .lasting());
        }
        if let Some(secret) = secrets::in_name(&file.name, secrets).or(secrets::in_file(&file.path, secrets)?) {
            let message = format!("an output holds the value of the secret `{}`", secret.name);
            return Err(Diag::error(Class::Stage, message)
                .note(format!("it is one of {}", shortened(&declared(settings))))
                .help("results are kept and shared: let the program leave it out")
                .lasting());
        }
        let to = out.join(&file.name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        std::fs::rename(&file.path, &to).map_err(on("move", &file.path))?;
    }
    Ok(left)
}

fn declared(settings: &Settings) -> Vec<String> {
    settings.outputs.values().map(Gives::shown).collect()
}

fn belongs(gives: &Gives, name: &str) -> bool {
    match gives {
        Gives::File(path) => path == name,
        Gives::Folder(path) => name.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')),
    }
}

fn missing(name: &str, gives: &Gives, found: &[Found]) -> Diag {
    let what = match gives {
        Gives::File(path) => format!("`{path}`"),
        Gives::Folder(path) => format!("any file in `{path}/`"),
    };
    let there: Vec<_> = found.iter().map(|file| format!("`{}`", shown(&file.name))).collect();
    Diag::error(Class::Stage, format!("the program ended well, and did not make its output `{name}`, {what}"))
        .note(match there.is_empty() {
            true => "it made no file in its output folder".to_owned(),
            false => format!("it made {}", shortened(&there)),
        })
        .help(format!("let it write to what `{{out.{name}}}` stands for, or correct `outputs`"))
        .lasting()
}

/// A name that a program chose, for people.
pub fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

fn list(dir: &Path, prefix: &str, found: &mut Vec<Found>) -> Result<(), Diag> {
    for item in std::fs::read_dir(dir).map_err(on("read", dir))? {
        let item = item.map_err(on("read", dir))?;
        let name = format!("{prefix}{}", item.file_name().to_string_lossy());
        let kind = item.file_type().map_err(on("read", &item.path()))?;
        if kind.is_dir() {
            list(&item.path(), &format!("{name}/"), found)?;
        } else {
            let plain = kind.is_file() && item.file_name().to_str().is_some();
            found.push(Found { name, path: item.path(), plain });
        }
    }
    Ok(())
}
