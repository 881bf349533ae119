//! [`Room`]: the folder in which a command runs, with copies of all that it may read.
//!
//! ```text
//! ROOM/work/           the working folder (deeper, where `code` begins with `..`), with `code` under its own paths
//!   in/ROLE/           files of a producer; in a gather in/ROLE/000/, in/ROLE/001/, …
//!   in/ROLE.json       the producers' manifest
//!   files/NAME/FILE    `files`
//!   params.json        `params`
//!   out/               what the program makes
//! ROOM/home, ROOM/tmp  HOME and TMPDIR
//! ```
//!
//! Files are copied (a file system that can share blocks shares them), and copies of inputs are read-only: whatever a
//! program does to them, the store's own files are not touched. All paths that the program sees start at its working
//! folder, so that they are the same in every run and on every machine.
//!
//! A room is made in the one that an earlier program had (see [`super::tree`]), if certainly no process of that program still
//! runs: see [`crate::base::leftovers`]. Otherwise it is made anew. Its path is another each time, so that a program that
//! outlives its `dpt` does not find the room of the next one in the place of its own.

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

use super::settings::{Settings, file_name};
use super::template::{Meanings, Piece};
use super::tree::{READ_AND_EXECUTE, READ_ONLY, Tree};

/// How the names of rooms begin.
const ROOM: &str = "room-";

/// A command's folder. When it is dropped, nothing stays of what the program made.
#[derive(Debug)]
pub struct Room {
    tree: Tree,
    /// The working folder's name below the room, with a `/` at its end.
    prefix: String,
    /// The working folder.
    pub work: PathBuf,
    /// What references stand for.
    pub meanings: Meanings,
    /// Whether nothing can still be in it but what this process put there: then the next program may have it.
    pub alone: bool,
}

/// One producer in a manifest. Nothing in it but what counts for the key.
#[derive(Serialize)]
struct Listed<'a> {
    axes: BTreeMap<&'a str, &'a str>,
    folder: &'a str,
    files: Vec<&'a str>,
}

impl Room {
    /// Makes it below `reuse`, and fills it.
    ///
    /// # Errors
    /// What cannot be copied.
    pub fn make(ctx: &Ctx, settings: &Settings) -> Result<Self, Diag> {
        let tree = Tree::at(place(&ctx.job.reuse)?)?;
        let ups = settings.code.iter().map(|path| ups(path)).max().unwrap_or(0);
        let prefix = format!("work/{}", "_/".repeat(ups));
        let work = tree.path(prefix.trim_end_matches('/'));
        let mut room = Self { tree, prefix, work, meanings: Meanings::default(), alone: true };
        for folder in ["out", "in"] {
            room.folder(folder)?;
        }
        for folder in ["home", "tmp"] {
            room.tree.folder(folder)?;
        }
        room.code(ctx, settings)?;
        room.files(ctx, settings)?;
        for (role, inputs) in &ctx.job.inputs {
            ctx.check_cancel()?;
            room.input(role, inputs)?;
        }
        room.outputs(settings)?;
        room.json("params.json", &settings.params)?;
        room.tree.strip()?;
        room.meanings.all_params = "params.json".to_owned();
        let texts = settings.params.iter().filter_map(|(name, value)| Some((name.clone(), plain_text(value)?)));
        room.meanings.params = texts.collect();
        Ok(room)
    }

    /// A folder in the working folder.
    fn folder(&mut self, place: &str) -> Result<(), Diag> {
        self.tree.folder(&format!("{}{place}", self.prefix))
    }

    /// A file in it.
    fn json(&mut self, place: &str, value: &impl Serialize) -> Result<(), Diag> {
        let text = json::to_text(value).expect("parameters and names are JSON") + "\n";
        self.tree.write(&format!("{}{place}", self.prefix), text.as_bytes())
    }

    /// The folder that only this program uses.
    pub fn root(&self) -> PathBuf {
        self.tree.path("")
    }

    /// HOME.
    pub fn home(&self) -> PathBuf {
        self.tree.path("home")
    }

    /// TMPDIR.
    pub fn tmp(&self) -> PathBuf {
        self.tree.path("tmp")
    }

    /// Where the program makes its files.
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
        self.tree.copy_counted(to, &from, counted)
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
                self.tree.copy(&format!("{}{folder}/{name}", self.prefix), from, mode)?;
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

    /// Folders for outputs are there before the program starts.
    fn outputs(&mut self, settings: &Settings) -> Result<(), Diag> {
        for (name, gives) in &settings.outputs {
            let place = format!("out/{}", gives.path());
            match gives {
                super::settings::Gives::File(_) => {
                    self.folder(place.rsplit_once('/').map_or("out", |(above, _)| above))?
                }
                super::settings::Gives::Folder(_) => self.folder(place.trim_end_matches('/'))?,
            }
            self.meanings.outputs.insert(name.clone(), place);
        }
        Ok(())
    }

    /// The folder of a role, for its variable.
    pub fn roles(&self) -> impl Iterator<Item = (&String, String)> {
        self.meanings.manifests.iter().map(|(role, manifest)| (role, manifest.trim_end_matches(".json").to_owned()))
    }

    /// The program with its arguments.
    ///
    /// # Errors
    /// A reference that does not fit what there is.
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

impl Drop for Room {
    fn drop(&mut self) {
        if self.alone && self.tree.sweep().is_ok() {
            handed_on().insert(name(&self.root()));
        } else {
            // What a program still writes there is removed with the folder of its node.
            let _ = walk::remove(&self.root());
        }
    }
}

/// The names of the rooms that the next program may have. Those of another process are never among them.
fn handed_on() -> MutexGuard<'static, BTreeSet<String>> {
    static HANDED_ON: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    HANDED_ON.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(room: &Path) -> String {
    room.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A path below `reuse` that never was one before, with the room that an earlier program had there, if nothing of that program
/// can still be in it.
fn place(reuse: &Path) -> Result<PathBuf, Diag> {
    let path = reuse.join(format!("{ROOM}{}-{}", std::process::id(), now_ns()));
    for item in std::fs::read_dir(reuse).map_err(on("read", reuse))? {
        let item = item.map_err(on("read", reuse))?.path();
        if !handed_on().remove(&name(&item)) || std::fs::rename(&item, &path).is_err() {
            walk::remove(&item).map_err(on("remove", &item))?;
        }
    }
    Ok(path)
}

/// How many folders up a path leads at its beginning.
fn ups(path: &str) -> usize {
    path.split('/').take_while(|part| *part == "..").count()
}

/// A few of many.
pub fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(12);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    if names.is_empty() { "no files".to_owned() } else { names[..names.len() - more].join(", ") + &tail }
}

/// A parameter as an argument; `None` for a list or a table.
pub fn plain_text(value: &crate::base::value::Value) -> Option<String> {
    use crate::base::value::Value;
    match value {
        Value::Str(text) => Some(text.clone()),
        Value::List(_) | Value::Table(_) => None,
        other => Some(other.to_string()),
    }
}
