//! Takes the outputs of a command: declared files are taken, others are not, and a missing one is an error.
//!
//! The output folder is opened part by part without following a link, and so is each folder in it: what a program puts
//! in the place of one of them never leads to other files of the user's.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fchmod, openat, renameat};
use rustix::io::Errno;

use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};
use crate::base::name::is_relative_file;
use crate::base::walk;

use crate::stages::stage::NamedOutput;

use super::secrets::{self, Clean, Secret};
use super::settings::Settings;
use super::workdir::{WorkDir, shortened};

/// What lies below the output folder.
struct Found {
    /// From the output folder on.
    path: PathBuf,
    kind: FileType,
}

impl Found {
    /// Its name, for people.
    fn shown(&self, clean: &Clean) -> String {
        shown(self.path.as_os_str(), clean)
    }
}

/// Moves the declared outputs from the working directory to `out`. Returns the names of other files, for people.
///
/// # Errors
/// A declared file that is missing, is no plain file, has a name that cannot be kept, or holds a secret.
pub fn take(settings: &Settings, secrets: &[Secret], workdir: &WorkDir, out: &Path) -> Result<Vec<String>, Diag> {
    let clean = Clean::new(secrets);
    let top = open(workdir)?;
    let mut found = Vec::new();
    let again = top.try_clone().map_err(on("read", &workdir.out()))?;
    walk::walk(again, Path::new("out"), walk::DEEPEST, &mut |entry| {
        if !entry.kind.is_dir() {
            found.push(Found { path: entry.path.to_owned(), kind: entry.kind });
        }
        Ok(())
    })?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    for (name, gives) in &settings.outputs {
        if !found.iter().any(|file| belongs(gives, file)) {
            return Err(missing(name, gives, &found, &clean));
        }
    }
    let mut left = Vec::new();
    let mut folder = Folder { top, name: PathBuf::new(), opened: None };
    for file in found {
        if !settings.outputs.values().any(|gives| belongs(gives, &file)) {
            left.push(file.shown(&clean));
            continue;
        }
        let name = kept_name(&file, &clean)?;
        let refused = |secret: &Secret| {
            let declared: Vec<_> = settings.outputs.values().map(NamedOutput::shown).collect();
            let message = format!("an output holds the value of the secret `{}`", secret.name);
            Diag::error(Class::Stage, message)
                .note(format!("it is one of {}", shortened(&declared)))
                .help("results are kept and shared: let the program leave it out")
                .lasting()
        };
        if let Some(secret) = secrets::in_name(name, secrets) {
            return Err(refused(secret));
        }
        let to = out.join(name);
        // `out` itself is there.
        if let Some(above) = to.parent().filter(|above| *above != out) {
            fs::create_dir_all(above)?;
        }
        let folder = folder.enter(file.path.parent().unwrap_or(Path::new(""))).map_err(on("read", &file.path))?;
        let own = Path::new(file.path.file_name().unwrap_or_default());
        match workdir.reusable {
            true => renameat(folder, own, CWD, &to).map_err(|e| on("move", &file.path)(e.into()))?,
            // Somebody may still have it open: what is kept must be another file.
            false => copy(folder, own, &to)?,
        }
        if let Some(secret) = secrets::in_file(&to, secrets)? {
            return Err(refused(secret));
        }
    }
    Ok(left)
}

/// Returns the output folder, which must lie where the program found it.
fn open(workdir: &WorkDir) -> Result<OwnedFd, Diag> {
    let (root, out) = (workdir.root(), workdir.out());
    let above = root.parent().unwrap_or(&root);
    let mut opened = walk::open(above).map_err(on("read", above))?;
    let way = out.strip_prefix(above).expect("it is in the folder");
    if let Some(opened) = walk::open_below(&opened, way) {
        return Ok(opened);
    }
    // Part by part, to say which of them is wrong.
    for part in way {
        opened = walk::open_at(&opened, part).map_err(|error| {
            let part = part.to_string_lossy();
            let (what, why) = match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => ("removed", String::new()),
                // A link is one or the other, as the system likes.
                Some(Errno::NOTDIR | Errno::LOOP) => ("replaced", " by a link or a file".to_owned()),
                _ => ("closed", format!(" ({error})")),
            };
            let message = format!("the program {what} the folder `{part}`, on the way to its outputs{why}");
            Diag::error(Class::Stage, message)
                .note("nothing was taken, since it could lead to files that are not the program's")
                .help("let the program write into the folder `out` that it finds, and copy files there that lie elsewhere")
                .lasting()
        })?;
    }
    Ok(opened)
}

/// The folder below the output folder that was opened last: files of one folder come one after another.
struct Folder {
    /// The output folder.
    top: OwnedFd,
    name: PathBuf,
    /// `None`: the output folder itself.
    opened: Option<OwnedFd>,
}

impl Folder {
    fn enter(&mut self, name: &Path) -> std::io::Result<&OwnedFd> {
        if self.name != name {
            let mut opened = None;
            for part in name {
                opened = Some(walk::open_at(opened.as_ref().unwrap_or(&self.top), part)?);
            }
            (self.name, self.opened) = (name.to_owned(), opened);
        }
        Ok(self.opened.as_ref().unwrap_or(&self.top))
    }
}

/// Copies a plain file.
fn copy(folder: impl AsFd, name: &Path, to: &Path) -> Result<(), Diag> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from: File = openat(folder, name, flags, Mode::empty()).map_err(|e| on("read", name)(e.into()))?.into();
    let meta = from.metadata().map_err(on("read", name))?;
    if !meta.is_file() {
        return Err(not_plain(&name.to_string_lossy()));
    }
    let made = OpenOptions::new().write(true).create_new(true).open(to).map_err(on("write", to))?;
    fs::copy_into(&from, &made).map_err(on("copy", to))?;
    let mode = Mode::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&meta) & 0o777);
    Ok(fchmod(&made, mode).map_err(|e| on("change", to)(e.into()))?)
}

/// Returns the name under which a declared file is kept.
fn kept_name<'a>(file: &'a Found, clean: &Clean) -> Result<&'a str, Diag> {
    let shown = file.shown(clean);
    if !file.kind.is_file() {
        return Err(not_plain(&shown));
    }
    let error = |message: String, help: &str| Diag::error(Class::Stage, message).help(help).lasting();
    let Some(name) = file.path.to_str() else {
        let message = format!("the name of output `{shown}` is not UTF-8");
        return Err(error(message, "let the program give it a name in UTF-8; `\\x..` is a byte that is not"));
    };
    if is_relative_file(name) {
        return Ok(name);
    }
    let why = match name {
        _ if name.len() > 255 => format!("it has {} bytes, and at most 255 are kept", name.len()),
        _ if name.chars().any(char::is_control) => "it has a control character in it".to_owned(),
        _ => "it has a `\\` or a `:` in it".to_owned(),
    };
    let message = format!("output `{shown}` has a name that cannot be kept");
    Err(error(message, "take a shorter name, without `\\`, `:` and control characters").note(why))
}

fn not_plain(shown: &str) -> Diag {
    Diag::error(Class::Stage, format!("output `{shown}` is not a plain file"))
        .help("write the content itself, not a link to it")
        .lasting()
}

fn belongs(gives: &NamedOutput, file: &Found) -> bool {
    let name = file.path.as_os_str().as_bytes();
    match gives {
        NamedOutput::File(path) => path.as_bytes() == name,
        NamedOutput::Folder(path) => name.strip_prefix(path.as_bytes()).is_some_and(|rest| rest.starts_with(b"/")),
    }
}

fn missing(name: &str, gives: &NamedOutput, found: &[Found], clean: &Clean) -> Diag {
    if let NamedOutput::Folder(path) = gives
        && found.iter().any(|file| file.path == Path::new(path))
    {
        return Diag::error(
            Class::Stage,
            format!("the program put something that is not a folder in the place of `{path}/`"),
        )
        .help(format!("let it write files into the folder that `{{out.{name}}}` means; links are not followed"))
        .lasting();
    }
    let what = match gives {
        NamedOutput::File(path) => format!("`{path}`"),
        NamedOutput::Folder(path) => format!("any file in `{path}/`"),
    };
    let there: Vec<_> = found.iter().map(|file| format!("`{}`", file.shown(clean))).collect();
    Diag::error(Class::Stage, format!("the program succeeded, but did not make its output `{name}`, {what}"))
        .note(match there.is_empty() {
            true => "it made no file in its output folder".to_owned(),
            false => format!("it made {}", shortened(&there)),
        })
        .help(format!("let it write to the path of `{{out.{name}}}`, or correct `outputs`"))
        .lasting()
}

/// Returns a name that a program chose, for people: without secrets and without characters that drive a terminal, its
/// middle left out where it is long. A byte that is not UTF-8 is `\x..`.
fn shown(name: &OsStr, clean: &Clean) -> String {
    let name = clean.bytes(name.as_bytes());
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.extend(chunk.valid().escape_debug());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    walk::shortened(Path::new(&text))
}
