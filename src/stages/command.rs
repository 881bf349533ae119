//! `command`: runs any program between the other stages. `docs/command.md` explains it by example.
//!
//! What enters the key, besides the bytes of its inputs and whether they are executable:
//!
//! | of a command | in the key |
//! |--------------|------------|
//! | `run`        | the arguments after substitution, references to inputs and outputs as they are written: no path |
//! | `code`       | the content of each file or folder, which files are executable, and its path as written |
//! | `files`      | the same of each, its name in the table, and its file name without the folder |
//! | `params`     | names and typed values |
//! | `env`        | names and values; that one is not set counts as well |
//! | `outputs`    | names and paths |
//! | `version`    | what that program prints |
//! | `secrets`    | nothing |
//!
//! A known weak spot: of the program itself only the name counts, as it is written. A new Python gives the same key,
//! unless `version = ["python3", "--version"]` says that its version counts.

mod environment;
mod limits;
mod mirror;
mod outputs;
mod process;
mod run;
mod secrets;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod workdir;

use std::path::Path;

use crate::base::diag::Diag;
use crate::base::look::look;
use crate::base::value::{Params, Value};

use super::stage::{Identity, LOG, Literal, NamedOutput, NamedRoles, Output, Outside, Param, Runs, StageKind, Type};

use settings::{CommandRun, DeclaredInputs, Settings};

/// The stage.
pub const KIND: StageKind = StageKind {
    name: "command",
    version: 2,
    about: "runs a program of yours on the files of other stages",
    params: &[
        Param::required(
            "run",
            Type::Argv(template::REFERENCES),
            "the program and its arguments, `[\"python3\", \"plot.py\", \"{in.report}\", \"{out.png}\"]`; with `shell`, one text",
        ),
        Param::with_default("shell", Type::Bool, Literal::Bool(false), "whether `run` is one text, for `/bin/sh`"),
        Param::required(
            "outputs",
            Type::Table,
            "what it makes: NAME = \"relative/path\", a folder with a `/` at its end",
        ),
        Param::with_default("params", Type::Table, Literal::Table(&[]), "values for it: NAME = value"),
        Param::with_default(
            "code",
            Type::Strs,
            Literal::Strs(&[]),
            "its scripts: files and folders beside the pipeline, which count by content",
        ),
        Param::with_default(
            "files",
            Type::Table,
            Literal::Table(&[]),
            "other files beside the pipeline: NAME = \"path\", which count by content",
        ),
        Param::with_default(
            "env",
            Type::Strs,
            Literal::Strs(&[]),
            "variables of the environment that it gets, and that count",
        ),
        Param::with_default(
            "secrets",
            Type::Strs,
            Literal::Strs(&[]),
            "variables that it gets, that never count and are never shown",
        )
        .not_in_key(),
        Param::optional("version", Type::Strs, "a program whose output counts, such as [\"python3\", \"--version\"]"),
    ],
    named_roles: Some(NamedRoles {
        param: "run",
        files: files_read,
        referred: roles_referred,
        reference: template::reference_to,
        doc: "what the command reads by this role",
    }),
    outputs: &[
        Output { name: LOG, required: true, doc: "what the program printed" },
        Output { name: "*", required: false, doc: "what `outputs` says" },
    ],
    named_outputs: Some(outputs_of),
    runs: Runs::Program(run::run),
    identity: Some(identity),
    check: Some(check),
    check_axis: Some(secrets::refuse_in_axis),
    ..StageKind::BASE
};

fn check(params: &Params) -> Result<(), Diag> {
    Settings::read(params).map(drop)
}

/// Returns the files that a command with these parameters reads by `role`: those that `run` names, or all.
fn files_read(params: &Params, role: &str) -> Vec<String> {
    match Settings::read(params).map(|s| s.run) {
        Ok(CommandRun::Program(arguments)) => template::files_read(&arguments, role),
        _ => vec!["*".to_owned()],
    }
}

/// Returns what `outputs` says.
fn outputs_of(params: &Params) -> Vec<NamedOutput> {
    Settings::read(params).map(|s| s.outputs.into_values().collect()).unwrap_or_default()
}

/// Returns the roles that `run` refers to, each once.
fn roles_referred(params: &Params) -> Vec<String> {
    let Ok(Settings { run: CommandRun::Program(arguments), .. }) = Settings::read(params) else { return Vec::new() };
    let role = |piece: &template::Piece| match piece {
        template::Piece::In(role) | template::Piece::InFile(role, _) | template::Piece::Manifest(role) => {
            Some(role.clone())
        }
        _ => None,
    };
    let mut roles: Vec<String> = arguments.iter().flatten().filter_map(role).collect();
    roles.sort();
    roles.dedup();
    roles
}

/// Returns what enters the key: see the table at the top of this file.
fn identity(params: &Params, outside: &Outside) -> Result<Identity, Diag> {
    let settings = DeclaredInputs::read(params)?;
    secrets::refuse_in_params(&settings, params)?;
    let env = environment::counted(&settings.env)?;
    let mut replaced = vec![("env", Some(Value::Table(env)))];
    if let Some(version) = &settings.version {
        replaced.push(("version", Some(Value::Str(environment::version(version)?))));
    }
    let mut files = Vec::new();
    for path in &settings.code {
        files.push((format!("code {path}"), there(&outside.base, path, "code")?));
    }
    let mut names = Params::new();
    for (name, path) in &settings.files {
        files.push((format!("files.{name}"), there(&outside.base, path, "files")?));
        names.insert(name.clone(), Value::Str(settings::file_name(path).to_owned()));
    }
    replaced.push(("files", Some(Value::Table(names))));
    Ok(Identity { params: replaced, files })
}

/// Returns the place of a file that the pipeline declares.
fn there(base: &Path, path: &str, param: &str) -> Result<std::path::PathBuf, Diag> {
    let place = base.join(path);
    let named = |diag: Diag| diag.note(format!("`{param}` names `{path}`"));
    if look(&place).map_err(|e| named(e.into()))?.is_some() {
        return Ok(place);
    }
    let diag = settings::usage(format!("`{param}` names `{path}`, which does not exist"));
    Err(diag.note(format!("looked for at `{}`", place.display())).help("paths begin at the pipeline's folder"))
}
