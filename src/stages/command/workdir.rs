//! [`WorkDir`]: the folder in which a command runs, with copies of all that it may read.
//!
//! ```text
//! DIR/work/            the working directory (deeper, if `code` begins with `..`), with `code` under its own paths
//!   in/ROLE/           files of a producer; in a gather in/ROLE/000/, in/ROLE/001/, …
//!   in/ROLE.json       the producers' manifest
//!   files/NAME/FILE    `files`
//!   params.json        `params`
//!   out/               what the program makes
//! DIR/home, DIR/tmp    HOME and TMPDIR
//! ```
//!
//! Files are copied (a file system that can share blocks shares them), and copies of inputs are read-only: whatever a
//! program does to them, the store's own files are not touched. All paths that the program sees start at its working
//! directory, so that they are the same in every run and on every machine.
//!
//! The folder of an earlier program is reused (see [`super::mirror`]) if certainly no process of that program still
//! runs (see [`crate::base::leftovers`]). Otherwise a new one is made. Each program gets another path, so that a
//! program that outlives its `dpt` does not find the next program's folder at its own path.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::artifact::json;
use crate::base::diag::{Class, Diag};
use crate::base::fs::on;
use crate::base::name::is_relative_file;
use crate::base::stat::now_ns;
use crate::base::walk;
use crate::stages::ctx::{Ctx, Input};
use crate::stages::stage::NamedOutput;

use super::mirror::{Mirror, READ_AND_EXECUTE, READ_ONLY};
use super::settings::{Settings, file_name};
use super::template::{Meanings, Piece};

/// What the names of these folders begin with.
const PREFIX: &str = "room-";

/// A command's folder. Dropping it removes all that the program made.
#[derive(Debug)]
pub struct WorkDir {
    mirror: Mirror,
    /// The working directory's name below the folder, with a `/` at its end.
    prefix: String,
    /// The working directory.
    pub work: PathBuf,
    /// What references stand for.
    pub meanings: Meanings,
    /// `true` if no process of the program can still write to it: then the next program may reuse it.
    pub reusable: bool,
}

/// One producer in a manifest. It has only what counts for the key.
#[derive(Serialize)]
struct Listed<'a> {
    axes: BTreeMap<&'a str, &'a str>,
    folder: &'a str,
    files: Vec<&'a str>,
}

impl WorkDir {
    /// Makes it below `reuse`, and fills it.
    ///
    /// # Errors
    /// Fails if something cannot be copied.
    pub fn make(ctx: &Ctx, settings: &Settings) -> Result<Self, Diag> {
        let mirror = Mirror::at(place(&ctx.job.reuse)?)?;
        let ups = settings.code.iter().map(|path| ups(path)).max().unwrap_or(0);
        let prefix = format!("work/{}", "_/".repeat(ups));
        let work = mirror.path(prefix.trim_end_matches('/'));
        let mut dir = Self { mirror, prefix, work, meanings: Meanings::default(), reusable: true };
        for folder in ["out", "in"] {
            dir.folder(folder)?;
        }
        for folder in ["home", "tmp"] {
            dir.mirror.folder(folder)?;
        }
        dir.code(ctx, settings)?;
        dir.files(ctx, settings)?;
        for (role, inputs) in &ctx.job.inputs {
            ctx.check_cancel()?;
            dir.input(role, inputs)?;
        }
        dir.outputs(settings)?;
        dir.json("params.json", &settings.params)?;
        dir.mirror.strip()?;
        dir.meanings.all_params = "params.json".to_owned();
        let texts = settings.params.iter().filter_map(|(name, value)| Some((name.clone(), plain_text(value)?)));
        dir.meanings.params = texts.collect();
        Ok(dir)
    }

    /// Makes a folder in the working directory.
    fn folder(&mut self, place: &str) -> Result<(), Diag> {
        self.mirror.folder(&format!("{}{place}", self.prefix))
    }

    /// Writes a JSON file into it.
    fn json(&mut self, place: &str, value: &impl Serialize) -> Result<(), Diag> {
        let text = json::to_text(value).expect("parameters and names are JSON") + "\n";
        self.mirror.write(&format!("{}{place}", self.prefix), text.as_bytes())
    }

    /// Returns the folder that only this program uses.
    pub fn root(&self) -> PathBuf {
        self.mirror.path("")
    }

    /// Returns its HOME.
    pub fn home(&self) -> PathBuf {
        self.mirror.path("home")
    }

    /// Returns its TMPDIR.
    pub fn tmp(&self) -> PathBuf {
        self.mirror.path("tmp")
    }

    /// Returns the folder for the program's outputs.
    pub fn out(&self) -> PathBuf {
        self.work.join("out")
    }

    fn code(&mut self, ctx: &Ctx, settings: &Settings) -> Result<(), Diag> {
        for path in &settings.code {
            let levels = self.prefix.matches('/').count() - ups(path);
            let above: String = self.prefix.split_inclusive('/').take(levels).collect();
            let to = format!("{above}{}", path.trim_start_matches("../").trim_end_matches('/'));
            self.counted(ctx, &to, path)?;
        }
        Ok(())
    }

    fn files(&mut self, ctx: &Ctx, settings: &Settings) -> Result<(), Diag> {
        for (name, path) in &settings.files {
            let place = format!("files/{name}/{}", file_name(path));
            self.counted(ctx, &format!("{}{place}", self.prefix), path)?;
            self.meanings.files.insert(name.clone(), place);
        }
        Ok(())
    }

    /// Copies a file or folder of the user's, which must be what the key counts.
    fn counted(&mut self, ctx: &Ctx, to: &str, path: &str) -> Result<(), Diag> {
        ctx.check_cancel()?;
        let from = ctx.job.base.join(path);
        let counted = ctx.job.sources.get(&from).ok_or_else(|| {
            Diag::error(Class::Bug, format!("`{}` is copied for a command and is not in its key", from.display()))
        })?;
        self.mirror.copy_counted(to, &from, counted)
    }

    fn input(&mut self, role: &str, inputs: &[Input]) -> Result<(), Diag> {
        // As in the key: one producer without coordinates is one, whether it was gathered or not.
        let several = inputs.len() > 1 || inputs.iter().any(|input| !input.axes.is_empty());
        let mut producers = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            let folder = if several { format!("in/{role}/{number:03}") } else { format!("in/{role}") };
            self.folder(&folder)?;
            for (name, from) in &input.files {
                assert!(is_relative_file(name), "the store keeps no other names");
                let mode = if input.executable.contains(name) { READ_AND_EXECUTE } else { READ_ONLY };
                self.mirror.copy(&format!("{}{folder}/{name}", self.prefix), from, mode)?;
            }
            producers.push((folder, input.files.keys().cloned().collect::<Vec<_>>()));
        }
        let listed: Vec<_> = std::iter::zip(inputs, &producers)
            .map(|(input, (folder, files))| Listed {
                axes: input.axes.iter().map(|(axis, value)| (axis.as_str(), value.as_str())).collect(),
                folder,
                files: files.iter().map(String::as_str).collect(),
            })
            .collect();
        let manifest = format!("in/{role}.json");
        self.json(&manifest, &listed)?;
        self.meanings.manifests.insert(role.to_owned(), manifest);
        self.meanings.inputs.insert(role.to_owned(), producers);
        Ok(())
    }

    /// Makes the folders of outputs, so that they exist when the program starts.
    fn outputs(&mut self, settings: &Settings) -> Result<(), Diag> {
        for (name, gives) in &settings.outputs {
            let place = format!("out/{}", gives.path());
            match gives {
                NamedOutput::File(_) => self.folder(place.rsplit_once('/').map_or("out", |(above, _)| above))?,
                NamedOutput::Folder(_) => self.folder(place.trim_end_matches('/'))?,
            }
            self.meanings.outputs.insert(name.clone(), place);
        }
        Ok(())
    }

    /// Returns each role with its folder, for its variable.
    pub fn roles(&self) -> impl Iterator<Item = (&String, String)> {
        self.meanings.manifests.iter().map(|(role, manifest)| (role, manifest.trim_end_matches(".json").to_owned()))
    }

    /// Returns the program with its arguments.
    ///
    /// # Errors
    /// Fails if a reference has no value, or several inside a longer text.
    pub fn arguments(&self, pieces: &[Vec<Piece>]) -> Result<Vec<String>, Diag> {
        let arguments = super::template::expand(pieces, &self.meanings);
        arguments.map_err(|(message, help)| {
            let mut diag = Diag::error(Class::Stage, message).help(help).lasting();
            for (role, producers) in &self.meanings.inputs {
                let files: Vec<_> = producers.iter().flat_map(|(_, files)| files).map(|f| format!("`{f}`")).collect();
                diag = diag.note(format!("`{role}` has {}", shortened(&files)));
            }
            diag
        })
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.reusable && self.mirror.sweep().is_ok() {
            handed_on().insert(name(&self.root()));
        } else {
            // What the program still writes there is removed with the folder of its node.
            let _ = walk::remove(&self.root());
        }
    }
}

/// Returns the names of the folders that the next program may reuse. Those of another process are never among them.
fn handed_on() -> MutexGuard<'static, BTreeSet<String>> {
    static HANDED_ON: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    HANDED_ON.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns a path below `reuse` that was never used before. Moves the folder of an earlier program there, if that may
/// be reused.
fn place(reuse: &Path) -> Result<PathBuf, Diag> {
    let path = reuse.join(format!("{PREFIX}{}-{}", std::process::id(), now_ns()));
    for item in std::fs::read_dir(reuse).map_err(on("read", reuse))? {
        let item = item.map_err(on("read", reuse))?.path();
        if !handed_on().remove(&name(&item)) || std::fs::rename(&item, &path).is_err() {
            walk::remove(&item).map_err(on("remove", &item))?;
        }
    }
    Ok(path)
}

/// Returns how many folders up a path begins.
fn ups(path: &str) -> usize {
    path.split('/').take_while(|part| *part == "..").count()
}

/// Returns a few of many names, for a message.
pub fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(12);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    if names.is_empty() { "no files".to_owned() } else { names[..names.len() - more].join(", ") + &tail }
}

/// Returns a parameter as an argument; `None` for a list or a table.
pub fn plain_text(value: &crate::base::value::Value) -> Option<String> {
    use crate::base::value::Value;
    match value {
        Value::Str(text) => Some(text.clone()),
        Value::List(_) | Value::Table(_) => None,
        other => Some(other.to_string()),
    }
}
