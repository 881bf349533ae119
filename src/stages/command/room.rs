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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::artifact::json;
use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};
use crate::base::name::is_relative_file;
use crate::stages::ctx::{Ctx, Input};

use super::settings::{Settings, file_name};
use super::template::{Meanings, Piece};

/// Folders nested deeper are taken for links in a circle.
const DEEPEST: usize = 64;

/// A command's folder. Removed when it is dropped.
#[derive(Debug)]
pub struct Room {
    dir: PathBuf,
    /// The working folder.
    pub work: PathBuf,
    /// What references stand for.
    pub meanings: Meanings,
}

/// One producer in a manifest. Nothing in it but what counts for the key.
#[derive(Serialize)]
struct Listed<'a> {
    axes: BTreeMap<&'a str, &'a str>,
    folder: &'a str,
    files: Vec<&'a str>,
}

impl Room {
    /// Makes it below `scratch`, and fills it.
    ///
    /// # Errors
    /// What cannot be copied.
    pub fn make(ctx: &Ctx, settings: &Settings) -> Result<Self, Diag> {
        for old in std::fs::read_dir(&ctx.job.scratch).into_iter().flatten().flatten() {
            if old.file_name().to_string_lossy().starts_with("room-") {
                remove(&old.path());
            }
        }
        let dir = tempfile::Builder::new().prefix("room-").tempdir_in(&ctx.job.scratch);
        let dir = dir.map_err(on("create", &ctx.job.scratch))?.keep();
        let up = settings.code.iter().map(|path| path.split('/').take_while(|part| *part == "..").count()).max();
        let work = (0..up.unwrap_or(0)).fold(dir.join("work"), |folder, _| folder.join("_"));
        let mut room = Self { dir, work, meanings: Meanings::default() };
        for folder in [room.work.join("out"), room.work.join("in"), room.home(), room.tmp()] {
            fs::create_dir_all(&folder)?;
        }
        room.code(ctx, settings)?;
        room.files(ctx, settings)?;
        for (role, inputs) in &ctx.job.inputs {
            ctx.check_cancel()?;
            room.input(role, inputs)?;
        }
        room.outputs(settings)?;
        json::write(&room.work.join("params.json"), &settings.params)?;
        room.meanings.all_params = "params.json".to_owned();
        let texts = settings.params.iter().filter_map(|(name, value)| Some((name.clone(), plain_text(value)?)));
        room.meanings.params = texts.collect();
        Ok(room)
    }

    /// HOME.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// TMPDIR.
    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Where the program makes its files.
    pub fn out(&self) -> PathBuf {
        self.work.join("out")
    }

    fn code(&self, ctx: &Ctx, settings: &Settings) -> Result<(), Diag> {
        for path in &settings.code {
            let ups = path.split('/').take_while(|part| *part == "..").count();
            let above = (0..ups).fold(self.work.as_path(), |folder, _| folder.parent().unwrap_or(folder));
            let to = above.join(path.trim_start_matches("../"));
            copy(&ctx.job.base.join(path), &to, 0)?;
        }
        Ok(())
    }

    fn files(&mut self, ctx: &Ctx, settings: &Settings) -> Result<(), Diag> {
        for (name, path) in &settings.files {
            let place = format!("files/{name}/{}", file_name(path));
            copy(&ctx.job.base.join(path), &self.work.join(&place), 0)?;
            self.meanings.files.insert(name.clone(), place);
        }
        Ok(())
    }

    fn input(&mut self, role: &str, inputs: &[Input]) -> Result<(), Diag> {
        // As in the key: one producer without coordinates is one, whether it was gathered or not.
        let several = inputs.len() > 1 || inputs.iter().any(|input| !input.axes.is_empty());
        let mut producers = Vec::new();
        for (number, input) in inputs.iter().enumerate() {
            let folder = if several { format!("in/{role}/{number:03}") } else { format!("in/{role}") };
            fs::create_dir_all(&self.work.join(&folder))?;
            for (name, from) in &input.files {
                assert!(is_relative_file(name), "the store keeps no other names");
                let to = self.work.join(&folder).join(name);
                copy(from, &to, 0)?;
                read_only(&to)?;
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
        json::write(&self.work.join(&manifest), &listed)?;
        self.meanings.manifests.insert(role.to_owned(), manifest);
        self.meanings.inputs.insert(role.to_owned(), producers);
        Ok(())
    }

    /// Folders for outputs are there before the program starts.
    fn outputs(&mut self, settings: &Settings) -> Result<(), Diag> {
        for (name, gives) in &settings.outputs {
            let place = format!("out/{}", gives.path());
            let folder = match gives {
                super::Gives::File(_) => self.work.join(&place).parent().map(Path::to_path_buf),
                super::Gives::Folder(_) => Some(self.work.join(&place)),
            };
            fs::create_dir_all(&folder.unwrap_or_else(|| self.out()))?;
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
        remove(&self.dir);
    }
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

/// Copies a file, or a folder with all that is in it. Links are followed.
fn copy(from: &Path, to: &Path, depth: usize) -> Result<(), Diag> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    if !std::fs::metadata(from).map_err(on("read", from))?.is_dir() {
        std::fs::copy(from, to).map_err(on("copy", from))?;
        return Ok(());
    }
    if depth > DEEPEST {
        return Err(Diag::error(Class::Stage, format!("`{}` is nested too deep", from.display()))
            .help("look for a link to a folder above it")
            .lasting());
    }
    fs::create_dir_all(to)?;
    for item in std::fs::read_dir(from).map_err(on("read", from))? {
        let item = item.map_err(on("read", from))?;
        copy(&item.path(), &to.join(item.file_name()), depth + 1)?;
    }
    Ok(())
}

fn read_only(path: &Path) -> Result<(), Diag> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).map_err(on("change", path))?)
}

/// Removes a folder, also where the program took away the right to. What cannot be removed is removed with the scratch
/// folder, or by the next try.
fn remove(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fn open(dir: &Path) {
        let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
        for item in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                open(&item.path());
            }
        }
    }
    if std::fs::remove_dir_all(dir).is_err() && dir.exists() {
        open(dir);
        let _ = std::fs::remove_dir_all(dir);
    }
}
