//! [`Settings`]: the parameters of a command, parsed and checked against each other.

use std::collections::BTreeMap;

use crate::base::diag::{Class, Diag};
use crate::base::name::{is_name, is_relative_file};
use crate::base::secret::is_secret_name;
use crate::base::value::{Params, Value};
use crate::stages::stage::{LOG, NamedOutput};

use super::environment;
use super::template::{self, Piece, pieces};

/// Names in the working folder that are taken.
const TAKEN: &[&str] = &["in", "out", "files", "params.json", "_"];

/// What a command is.
#[derive(Clone, Debug)]
pub struct Settings {
    pub run: CommandRun,
    /// Paths by name.
    pub outputs: BTreeMap<String, NamedOutput>,
    pub params: Params,
    /// Paths as written, in plain form.
    pub code: Vec<String>,
    /// Paths as written, by name.
    pub files: BTreeMap<String, String>,
    pub env: Vec<String>,
    pub secrets: Vec<String>,
    pub version: Option<Vec<String>>,
}

/// What a command takes from outside store and pipeline: all that its key needs of its settings besides their values.
#[derive(Clone, Debug)]
pub struct DeclaredInputs {
    pub code: Vec<String>,
    pub files: BTreeMap<String, String>,
    pub env: Vec<String>,
    pub secrets: Vec<String>,
    pub version: Option<Vec<String>>,
}

impl DeclaredInputs {
    /// Reads it. That it goes together with the other settings was checked when the plan was made.
    ///
    /// # Errors
    /// Usage: no plain path or name.
    pub fn read(params: &Params) -> Result<Self, Diag> {
        let mut declared = Self {
            code: texts(params, "code").into_iter().map(|p| plain("code", &p)).collect::<Result<_, _>>()?,
            files: BTreeMap::new(),
            env: texts(params, "env"),
            secrets: texts(params, "secrets"),
            version: params.get("version").map(|_| texts(params, "version")),
        };
        for (name, path) in table(params, "files") {
            let Some(path) = path.as_str() else {
                return Err(usage(format!("`files.{name}` must be a path, not `{path}`")));
            };
            named("files", name)?;
            declared.files.insert(name.clone(), plain(&format!("files.{name}"), path)?);
        }
        Ok(declared)
    }
}

/// What is started.
#[derive(Clone, Debug)]
pub enum CommandRun {
    /// A program and its arguments.
    Program(Vec<Vec<Piece>>),
    /// A text for `/bin/sh`, as it is written.
    Shell(String),
}

pub fn usage(message: impl Into<String>) -> Diag {
    Diag::error(Class::Usage, message)
}

impl Settings {
    /// Reads and checks them.
    ///
    /// # Errors
    /// Usage: what does not go together.
    pub fn read(params: &Params) -> Result<Self, Diag> {
        let (run, outputs) = (run(params)?, outputs(params)?);
        let DeclaredInputs { code, files, env, secrets, version } = DeclaredInputs::read(params)?;
        let settings =
            Self { run, outputs, params: table(params, "params").clone(), code, files, env, secrets, version };
        for name in settings.params.keys() {
            named("params", name)?;
        }
        settings.check_variables()?;
        settings.check_code()?;
        settings.check_references()?;
        if settings.version.as_ref().is_some_and(Vec::is_empty) {
            return Err(usage("`version` names no program").help("write `version = [\"python3\", \"--version\"]`"));
        }
        Ok(settings)
    }

    /// Checks that `env` and `secrets` name variables, and only those that they may name.
    fn check_variables(&self) -> Result<(), Diag> {
        for (param, names) in [("env", &self.env), ("secrets", &self.secrets)] {
            for name in names {
                let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) {
                    return Err(usage(format!(
                        "`{param}` names `{}`, which cannot be the name of a variable",
                        name.escape_debug()
                    ))
                    .help("write only the name; its value is taken from the environment of `dpt`"));
                }
                if name.starts_with("DPT_") || environment::GIVEN.contains(&name.as_str()) {
                    return Err(usage(format!("`{param}` names `{name}`, which `dpt` itself sets for a command")));
                }
            }
        }
        if let Some(both) = self.env.iter().find(|name| self.secrets.contains(name)) {
            return Err(usage(format!("`{both}` is in `env` and in `secrets`"))
                .help("leave it in `secrets`, where it is kept out of keys and logs"));
        }
        if let Some(name) = self.env.iter().find(|name| is_secret_name(name)) {
            return Err(usage(format!("`env` names `{name}`, whose value looks like a secret"))
                .note("what `env` names is written into keys, and shown when it changes")
                .help(format!("write `secrets = [\"{name}\"]`")));
        }
        for (param, kind, names) in [
            ("outputs", "OUT", self.outputs.keys().collect::<Vec<_>>()),
            ("params", "PARAM", self.params.keys().collect()),
            ("files", "FILES", self.files.keys().collect()),
        ] {
            let mut seen = BTreeMap::new();
            // A single name clashes with no other.
            for name in if names.len() > 1 { names } else { Vec::new() } {
                if let Some(other) = seen.insert(environment::variable(kind, name), name) {
                    let message = format!("`{other}` and `{name}` of `{param}` would give the same variable");
                    return Err(usage(message).note(format!("it is called `{}`", environment::variable(kind, name))));
                }
            }
        }
        Ok(())
    }

    fn check_code(&self) -> Result<(), Diag> {
        for path in &self.code {
            let head = path.trim_start_matches("../").split('/').next().unwrap_or_default();
            if TAKEN.contains(&head) {
                let diag = usage(format!("`code` names `{path}`, but `{head}` is reserved in a command's folder"));
                return Err(diag.help("give the script's folder another name"));
            }
        }
        let CommandRun::Program(arguments) = &self.run else { return Ok(()) };
        let [Piece::Text(program)] = &arguments[0][..] else { return Ok(()) };
        if program.starts_with('/') || !program.contains('/') {
            return Ok(());
        }
        let program = plain("run", program)?;
        let declared = self.code.iter().any(|code| {
            *code == program || program.strip_prefix(code.as_str()).is_some_and(|rest| rest.starts_with('/'))
        });
        match declared {
            true => Ok(()),
            false => Err(usage(format!("`run` starts `{program}`, which `code` does not name"))
                .help(format!("add it: `code = [\"{program}\"]`; the program sees only what is declared"))),
        }
    }

    /// Checks that every reference but those to inputs has its meaning.
    fn check_references(&self) -> Result<(), Diag> {
        let CommandRun::Program(arguments) = &self.run else { return Ok(()) };
        for piece in arguments.iter().flatten() {
            let (head, name, table, known): (_, _, _, Vec<&String>) = match piece {
                Piece::Out(name) => ("out", name, "outputs", self.outputs.keys().collect()),
                Piece::Param(name) => ("param", name, "params", self.params.keys().collect()),
                Piece::File(name) => ("files", name, "files", self.files.keys().collect()),
                _ => continue,
            };
            if !known.contains(&name) {
                let diag = usage(format!("`run` names `{{{head}.{name}}}`, but `{table}` has no `{name}`"));
                let near = crate::base::suggest::nearest(name, known.iter().map(|n| n.as_str()));
                return Err(match near {
                    Some(near) => diag.help(format!("did you mean `{{{head}.{near}}}`?")),
                    None => diag.help(format!("add it to `{table}`")),
                });
            }
            if let Piece::Param(name) = piece
                && matches!(self.params[name], Value::List(_) | Value::Table(_))
            {
                let diag = usage(format!("`run` names `{{param.{name}}}`, which is not a single value"));
                return Err(diag.help("let the program read it from `{params}`, a JSON file of all parameters"));
            }
        }
        Ok(())
    }
}

fn run(params: &Params) -> Result<CommandRun, Diag> {
    let shell = params.get("shell") == Some(&Value::Bool(true));
    match (params.get("run"), shell) {
        (Some(Value::List(items)), false) if !items.is_empty() => {
            let mut arguments = Vec::new();
            for item in items.iter().filter_map(Value::as_str) {
                if item.contains('\0') {
                    return Err(usage("an argument of `run` has a NUL character in it"));
                }
                let cut = pieces(item).map_err(|(message, help)| usage(format!("in `run`: {message}")).help(help))?;
                arguments.push(cut);
            }
            if items[0].as_str() == Some("") {
                return Err(usage("`run` names no program: its first text is empty"));
            }
            Ok(CommandRun::Program(arguments))
        }
        (Some(Value::List(items)), false) if items.is_empty() => Err(usage("`run` names no program")),
        (Some(Value::List(_)), _) => Err(usage("`run` is a list, but `shell = true` needs one text")
            .help("leave `shell` out: a list is run without a shell")),
        (Some(Value::Str(_)), false) => Err(usage("`run` is one text, but `shell` is not set").help(
            "write the program and its arguments as a list, `run = [\"python3\", \"plot.py\"]`; or set `shell = true`",
        )),
        (Some(Value::Str(text)), true) => shell_text(text),
        _ => Err(Diag::error(Class::Bug, "stage `command` lacks its parameter `run`")),
    }
}

/// Returns the text, which goes to the shell as it is written: nothing is filled into it, so that no value can become a
/// part of the program.
fn shell_text(text: &str) -> Result<CommandRun, Diag> {
    if text.trim().is_empty() || text.contains('\0') {
        return Err(usage("a shell cannot run `run`: it is empty, or has a NUL character in it"));
    }
    for head in template::REFERENCES.iter().filter(|head| head.ends_with('.')) {
        let Some(at) = text.find(&format!("{{{head}")) else { continue };
        let reference = &text[at..text[at..].find('}').map_or(text.len(), |end| at + end + 1)];
        if let Ok(cut) = pieces(reference)
            && let [piece] = &cut[..]
        {
            let variable = match piece {
                Piece::In(role) => environment::input(role),
                Piece::InFile(role, file) => format!("{}/{file}", environment::input(role)),
                Piece::Manifest(role) => format!("{}.json", environment::input(role)),
                Piece::Out(name) => environment::variable("OUT", name),
                Piece::Param(name) => environment::variable("PARAM", name),
                Piece::File(name) => environment::variable("FILES", name),
                Piece::Params | Piece::Text(_) => continue,
            };
            let diag = usage(format!("`{reference}` is not filled into a text for the shell"));
            return Err(diag.help(format!("write `\"${variable}\"`: a command's values are variables of its shell")));
        }
    }
    Ok(CommandRun::Shell(text.to_owned()))
}

fn outputs(params: &Params) -> Result<BTreeMap<String, NamedOutput>, Diag> {
    let mut outputs: BTreeMap<String, NamedOutput> = BTreeMap::new();
    for (name, path) in table(params, "outputs") {
        named("outputs", name)?;
        let Some(text) = path.as_str() else {
            return Err(usage(format!("`outputs.{name}` must be a path, not `{path}`")));
        };
        let (path, folder) = text.strip_suffix('/').map_or((text, false), |path| (path, true));
        if !is_relative_file(path) {
            let shown = text.escape_debug();
            return Err(usage(format!("`outputs.{name}` is `{shown}`, which is not a plain relative path"))
                .help("write a path such as `figure.png` or `tables/one.json`, without `..`; a folder ends in `/`"));
        }
        if path.contains('*') {
            return Err(usage(format!("`outputs.{name}` is `{path}`: a pattern is no path"))
                .help("to keep files whose names are not known before, name their folder: `plots/`"));
        }
        let first = path.split('/').next().unwrap_or_default();
        if first.eq_ignore_ascii_case(LOG) || first.starts_with('.') {
            return Err(usage(format!("`outputs.{name}` is `{path}`, a reserved name"))
                .note(format!("what the program prints is kept in `{LOG}`; names that begin with `.` are our own")));
        }
        let clash = |other: &&NamedOutput| {
            let (a, b) = (other.path().to_lowercase(), path.to_lowercase());
            a == b || a.starts_with(&format!("{b}/")) || b.starts_with(&format!("{a}/"))
        };
        if let Some(other) = outputs.values().find(clash) {
            return Err(usage(format!("`outputs.{name}` is `{path}`, which conflicts with {}", other.shown()))
                .note("upper and lower case count as the same: some file systems cannot tell them apart"));
        }
        let gives = if folder { NamedOutput::Folder } else { NamedOutput::File };
        outputs.insert(name.clone(), gives(path.to_owned()));
    }
    match outputs.is_empty() {
        true => Err(usage("`outputs` is empty").help("name at least one file that the program makes")),
        false => Ok(outputs),
    }
}

/// Returns a path of the working tree in plain form: `./a//b` is `a/b`; `..` only at its beginning.
fn plain(param: &str, path: &str) -> Result<String, Diag> {
    let mut parts: Vec<&str> = Vec::with_capacity(8);
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let bare: Vec<&str> = parts.iter().skip_while(|part| **part == "..").copied().collect();
    if path.starts_with('/') || !is_relative_file(&bare.join("/")) {
        return Err(usage(format!("`{param}` names `{}`, which is not a plain relative path", path.escape_debug()))
            .help("write a path from the pipeline's folder, such as `scripts/plot.py` or `../scripts/plot.py`"));
    }
    Ok(parts.join("/"))
}

/// Returns the last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn named(param: &str, name: &str) -> Result<(), Diag> {
    if is_name(name) {
        return Ok(());
    }
    Err(usage(format!("`{}` cannot be a name in `{param}`", name.escape_debug()))
        .help("names are ASCII letters, digits, `_` and `-`, begin with a letter, and have at most 64 characters"))
}

pub(super) fn texts(params: &Params, name: &str) -> Vec<String> {
    match params.get(name) {
        Some(Value::List(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn table<'a>(params: &'a Params, name: &str) -> &'a Params {
    static NONE: Params = Params::new();
    match params.get(name) {
        Some(Value::Table(table)) => table,
        _ => &NONE,
    }
}
