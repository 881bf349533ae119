//! Runs a command: makes its working directory, starts the program, and takes its outputs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::artifact::{Unfit, json};
use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};
use crate::base::process::how;
use crate::stages::ctx::{Ctx, Outcome};
use crate::stages::stage::{LOG, NamedOutput, StageResult};

use super::limits::{self, Start};
use super::process::{End, Ended, Program};
use super::secrets::{self, Clean, Redactor, Secret};
use super::settings::{CommandRun, Settings};
use super::workdir::{WorkDir, shortened};
use super::{environment, outputs};

/// How many lines at the end of a log are shown when the program fails.
const TAIL: usize = 20;
/// The longest line that is shown of it.
const LONGEST_LINE: usize = 400;
/// The output whose numbers become figures of the node.
const METRICS: &str = "metrics";

/// Runs a command. All its output passes [`Clean`] here, once.
pub(super) fn run(ctx: &Ctx) -> StageResult {
    let settings = Settings::read(&ctx.job.params)?;
    let secrets = secrets::read(&settings.secrets)?;
    let clean = Clean::new(&secrets);
    run_with(ctx, &settings, &secrets).and_then(|outcome| clean.outcome(outcome)).map_err(|diag| clean.diag(diag))
}

fn run_with(ctx: &Ctx, settings: &Settings, secrets: &[Secret]) -> StageResult {
    let mut workdir = WorkDir::make(ctx, settings)?;
    let arguments = match &settings.run {
        CommandRun::Program(pieces) => workdir.arguments(pieces)?,
        CommandRun::Shell(text) => ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
    };
    let environment = environment(ctx, settings, &workdir, secrets)?;
    limits::check(&Start { run: &settings.run, workdir: &workdir, arguments: &arguments, environment: &environment })?;
    let log = ctx.job.scratch.join(LOG);
    let (folder, root) = (workdir.work.clone(), workdir.root());
    let program = Program { arguments: &arguments, environment: &environment, folder: &folder, root: &root, log: &log };
    workdir.reusable = false;
    let Ended { end, reusable } = program.run(Redactor::new(secrets), ctx.cancel)?;
    workdir.reusable = reusable;
    match end {
        End::Cancelled => {
            let diag = Diag::error(Class::Interrupted, format!("`{}` was interrupted", ctx.job.node));
            Err(with_log(diag, &log))
        }
        End::Status(status) if !status.success() => {
            let diag = Diag::error(Class::Stage, format!("`{}` {}", ctx.job.node, how(Some(status))));
            let diag =
                with_log(diag.note(format!("the command was `{}`", line(&arguments, &Clean::new(secrets)))), &log);
            Err(hint(diag, ctx, settings, &arguments))
        }
        End::Status(_) => finish(ctx, settings, secrets, &workdir, &log).map_err(|diag| with_log(diag, &log)),
    }
}

/// Takes the outputs of the program, and its log.
fn finish(ctx: &Ctx, settings: &Settings, secrets: &[Secret], workdir: &WorkDir, log: &Path) -> StageResult {
    let left = outputs::take(settings, secrets, workdir, &ctx.job.out)?;
    let mut outcome = Outcome::default();
    if !left.is_empty() {
        let left: Vec<_> = left.iter().map(|name| format!("`{name}`")).collect();
        outcome.notes.push(format!("not kept, since `outputs` does not name it: {}", shortened(&left)));
    }
    if let Some(NamedOutput::File(path)) = settings.outputs.get(METRICS)
        && path.ends_with(".json")
    {
        // The work of the program is not lost over its figures.
        match json::numbers(&ctx.out(path))? {
            Ok(figures) => outcome.metrics = figures,
            Err(Unfit { what, why, .. }) => {
                outcome.notes.push(format!("no figures: the output `{METRICS}`, `{path}`, is not {what}: {why}"));
            }
        }
    }
    match std::fs::rename(log, ctx.out(LOG)) {
        // It printed nothing.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => drop(outcome.given.insert(LOG.to_owned(), Vec::new())),
        moved => moved.map_err(on("move", log))?,
    }
    Ok(outcome)
}

/// Returns all that the program finds in its environment.
fn environment(
    ctx: &Ctx,
    settings: &Settings,
    workdir: &WorkDir,
    secrets: &[Secret],
) -> Result<BTreeMap<String, OsString>, Diag> {
    let mut all = environment::base();
    let mut set = |name: String, value: OsString| all.insert(name, value);
    set("HOME".to_owned(), workdir.home().into());
    set("TMPDIR".to_owned(), workdir.tmp().into());
    set("PWD".to_owned(), workdir.work.clone().into());
    set("OMP_NUM_THREADS".to_owned(), ctx.job.threads.to_string().into());
    // A command that was given no GPU sees none.
    let visible = crate::base::env::var("CUDA_VISIBLE_DEVICES").ok();
    set("CUDA_VISIBLE_DEVICES".to_owned(), environment::gpu(&ctx.job.device, visible.as_deref()).into());
    set("DPT_PARAMS".to_owned(), workdir.meanings.all_params.clone().into());
    let groups =
        [("OUT", &workdir.meanings.outputs), ("PARAM", &workdir.meanings.params), ("FILES", &workdir.meanings.files)];
    for (kind, values) in groups {
        for (name, value) in values {
            set(environment::variable(kind, name), value.into());
        }
    }
    for (role, folder) in workdir.roles() {
        if set(environment::input(role), folder.into()).is_some() {
            let message = format!("two roles would give the same variable, `{}`", environment::input(role));
            return Err(Diag::error(Class::Usage, message).help("give one of them another name"));
        }
    }
    for (name, value) in environment::counted(&settings.env)? {
        let text = value.as_str().unwrap_or_default();
        all.insert(name, text.into());
    }
    all.extend(secrets.iter().map(|secret| (secret.name.clone(), secret.value())));
    Ok(all)
}

/// Returns the program and its arguments as one would type them.
fn line(arguments: &[String], clean: &Clean) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    let one = |argument: &String| match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.clone(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    };
    let line: Vec<_> = arguments.iter().map(one).collect();
    // Before it is cut: a part of a secret would not be recognised.
    clipped(&clean.text(line.join(" ")))
}

/// Adds the end of the log, and where the whole is.
fn with_log(diag: Diag, log: &Path) -> Diag {
    match tail(log) {
        None => diag.note("it printed nothing"),
        Some(lines) if lines.is_empty() => diag.note("it printed nothing"),
        Some(lines) => {
            diag.note(format!("its last lines:\n{}", lines.join("\n"))).note(format!("its log: `{}`", log.display()))
        }
    }
}

/// Returns the last lines of a log, as they can be shown; `None` where there is no log.
fn tail(log: &Path) -> Option<Vec<String>> {
    let mut file = fs::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(64 * 1024))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = anstream::adapter::strip_str(&text).to_string();
    // A bar that was drawn over and over on one line: what it showed last.
    let last = |line: &str| clipped(line.trim_end().rsplit('\r').next().unwrap_or_default());
    let lines: Vec<_> = text.trim_end().lines().map(last).collect();
    let lines = lines[lines.len().saturating_sub(TAIL)..].to_vec();
    Some(if lines.iter().all(String::is_empty) { Vec::new() } else { lines })
}

fn clipped(line: &str) -> String {
    match line.char_indices().nth(LONGEST_LINE) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// Returns what is most often forgotten: a script that the pipeline does not declare.
fn hint(diag: Diag, ctx: &Ctx, settings: &Settings, arguments: &[String]) -> Diag {
    let undeclared = arguments.iter().skip(1).find(|argument| {
        let names_file = argument.contains(['/', '.']) && !argument.starts_with(['/', '-']);
        let given = ["in/", "out/", "files/", "params.json"].iter().any(|own| argument.starts_with(own));
        let covered = settings.code.iter().any(|code| {
            argument.strip_prefix(code.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        names_file && !given && !covered && ctx.job.base.join(argument).is_file()
    });
    match undeclared {
        Some(file) => diag.help(format!(
            "`{file}` is there beside the pipeline, and not for the program: declare it, `code = [\"{file}\"]`"
        )),
        None => diag,
    }
}
