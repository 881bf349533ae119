//! What lies at a path of the user's: a file, a folder, nothing, or something that cannot be read as either. Nothing
//! here waits, whatever lies there: a pipe without a writer, a device without an end.
//!
//! "Missing" is only what the system does not list. A link that leads nowhere is listed and cannot be read: that is an
//! error, also where a file is optional. Otherwise a file whose content was not fetched would count as one that does
//! not exist.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::fs_error::{FsError, on};

/// The file or folder at a path, links followed.
#[derive(Clone, Debug)]
pub enum There {
    /// A regular file.
    File(Metadata),
    /// A folder.
    Folder(Metadata),
}

/// Why a path cannot be read, in more words than the system has.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct Unreadable {
    what: String,
    /// Advice.
    pub(super) help: Option<&'static str>,
}

const FETCH: &str = "fetch the content that the link stands for (`git annex get`, `dvc pull`, …), or remove the link";
const PLAIN: &str = "replace it by a regular file: only such files have content that can be hashed and kept";

impl Unreadable {
    fn error(what: String, help: Option<&'static str>) -> io::Error {
        io::Error::other(Self { what, help })
    }
}

/// Looks at `path`. Returns `None` if the system lists nothing there.
///
/// # Errors
/// A link that leads nowhere or in a circle, a pipe, a device, a socket; a folder on the way that may not be entered.
pub fn look(path: &Path) -> Result<Option<There>, FsError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(Some(There::File(meta))),
        Ok(meta) if meta.is_dir() => Ok(Some(There::Folder(meta))),
        Ok(meta) => Err(on("read", path)(special(meta.file_type()))),
        Err(error) => match explained(path, error) {
            error if error.kind() == io::ErrorKind::NotFound => Ok(None),
            error => Err(on("read", path)(error)),
        },
    }
}

/// Returns whether there is a regular file at `path`.
///
/// # Errors
/// As [`look`]; also a folder.
pub fn is_file(path: &Path) -> Result<bool, FsError> {
    match look(path)? {
        Some(There::File(_)) => Ok(true),
        Some(There::Folder(_)) => Err(on("read", path)(a_folder())),
        None => Ok(false),
    }
}

/// Returns whether there is a folder at `path`. A file is none.
///
/// # Errors
/// As [`look`].
pub fn is_folder(path: &Path) -> Result<bool, FsError> {
    Ok(matches!(look(path)?, Some(There::Folder(_))))
}

/// Looks at `path`, where something must exist.
///
/// # Errors
/// As [`look`]; also where nothing lies there.
pub fn required(path: &Path) -> Result<There, FsError> {
    look(path)?.ok_or_else(|| on("read", path)(io::Error::from_raw_os_error(libc::ENOENT)))
}

/// Opens a regular file for reading. Returns its metadata too.
///
/// # Errors
/// When nothing lies there, or it cannot be read as a file.
pub fn open_file(path: &Path) -> Result<(File, Metadata), FsError> {
    match open_any(path)? {
        (_, meta) if meta.is_dir() => Err(on("read", path)(a_folder())),
        opened => Ok(opened),
    }
}

/// Opens a file that `dpt` wrote; `None` if there is none, or only a link that leads nowhere. Unlike [`open_file`] it
/// does not look for such a link, which takes a system call for each folder on the way.
///
/// # Errors
/// Fails if it cannot be read as a file.
pub fn open_if_there(path: &Path) -> Result<Option<(File, Metadata)>, FsError> {
    match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => match plain(path, opened)? {
            (_, meta) if meta.is_dir() => Err(on("read", path)(a_folder())),
            opened => Ok(Some(opened)),
        },
    }
}

/// Opens a regular file or a folder for reading. Returns its metadata too.
///
/// # Errors
/// As [`open_file`].
pub fn open_any(path: &Path) -> Result<(File, Metadata), FsError> {
    plain(path, open(path))
}

fn open(path: &Path) -> io::Result<File> {
    // Without `O_NONBLOCK` a pipe would be waited for until somebody writes to it. Regular files do not mind it.
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// What was opened at `path`, if it is a regular file or a folder.
fn plain(path: &Path, opened: io::Result<File>) -> Result<(File, Metadata), FsError> {
    let file = opened.map_err(|error| on("read", path)(explained(path, error)))?;
    let meta = file.metadata().map_err(on("read", path))?;
    match meta.is_file() || meta.is_dir() {
        true => Ok((file, meta)),
        false => Err(on("read", path)(special(meta.file_type()))),
    }
}

/// Returns whether `path` is the lock that Emacs keeps beside a file with unsaved changes: a link called `.#NAME` that
/// leads nowhere. It is no part of a folder's content.
pub fn is_editor_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".#"))
        && std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
        && std::fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

fn a_folder() -> io::Error {
    Unreadable::error("it is a folder, not a file".to_owned(), None)
}

/// The error of something that is neither file nor folder.
fn special(kind: FileType) -> io::Error {
    Unreadable::error(format!("it is {}, not a file", name_of(kind)), Some(PLAIN))
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_file() => "a file",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "of an unknown kind",
    }
}

/// Returns the error for `path` if one of its parts is no folder.
fn no_folder(path: &Path) -> Option<io::Error> {
    let part = path.ancestors().skip(1).find(|part| std::fs::metadata(part).is_ok_and(|meta| !meta.is_dir()))?;
    let kind = std::fs::metadata(part).ok()?.file_type();
    Some(Unreadable::error(format!("`{}` is {}, not a folder", part.display(), name_of(kind)), None))
}

/// The system's error of `path`, in more words where links are its cause. It has the kind `NotFound` only if the system
/// lists nothing at `path`.
fn explained(path: &Path, error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT) => dangling(path).unwrap_or(error),
        Some(libc::ELOOP) => {
            let what = match std::fs::read_link(path) {
                Ok(to) => format!("it is a link to `{}`, which leads in a circle", to.display()),
                Err(_) => "its path has a link that leads in a circle".to_owned(),
            };
            Unreadable::error(what, Some("remove the link, or let it lead to a file"))
        }
        Some(libc::ENOTDIR) => no_folder(path).unwrap_or(error),
        // Sockets cannot be opened at all.
        Some(libc::ENXIO) => match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() => special(meta.file_type()),
            _ => error,
        },
        _ => error,
    }
}

/// The error of `path` where a link on it leads nowhere; `None` where there is no such link.
fn dangling(path: &Path) -> Option<io::Error> {
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        match std::fs::symlink_metadata(part) {
            Ok(meta) if meta.is_symlink() => {
                let it = if part == path { "it".to_owned() } else { format!("`{}`", part.display()) };
                let (first, last) = ends(part)?;
                let way = match last {
                    Some(last) => format!("`{}`, and that to `{}`", first.display(), last.display()),
                    None => format!("`{}`", first.display()),
                };
                let what = format!("{it} is a link to {way}, where there is nothing");
                return Some(Unreadable::error(what, Some(FETCH)));
            }
            Ok(_) => return None,
            Err(_) => {}
        }
    }
    None
}

/// Where the link at `path` leads as it is written, and where the last of a chain of links leads.
fn ends(path: &Path) -> Option<(PathBuf, Option<PathBuf>)> {
    // No system follows more.
    const MOST: usize = 40;
    let first = std::fs::read_link(path).ok()?;
    let mut at = path.with_file_name("").join(&first);
    let mut last = None;
    for _ in 0..MOST {
        let Ok(next) = std::fs::read_link(&at) else { break };
        at = at.with_file_name("").join(&next);
        last = Some(next);
    }
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diag::Diag;
    use crate::base::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn pipe(path: &Path) {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }

    /// Every way to read `path` fails, and with these words.
    fn refused(path: &Path, why: &str) {
        let expected = format!("cannot read `{}`: {why}", path.display());
        assert_eq!(fs::open(path).unwrap_err().to_string(), expected);
        assert_eq!(fs::read(path).unwrap_err().to_string(), expected);
        assert_eq!(fs::read_to_string(path).unwrap_err().to_string(), expected);
        assert_eq!(is_file(path).unwrap_err().to_string(), expected);
        assert_ne!(fs::open(path).unwrap_err().source.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        pipe(&at("pipe"));
        refused(&at("pipe"), "it is a pipe, not a file");
        let _listening = UnixListener::bind(at("socket")).unwrap();
        refused(&at("socket"), "it is a socket, not a file");
        symlink("/dev/zero", at("zero")).unwrap();
        refused(&at("zero"), "it is a device, not a file");
        std::fs::create_dir(at("folder")).unwrap();
        refused(&at("folder"), "it is a folder, not a file");
        refused(&at("pipe/below"), &format!("`{}` is a pipe, not a folder", at("pipe").display()));
        assert!(is_folder(&at("folder")).unwrap() && open_any(&at("folder")).unwrap().1.is_dir());
        let diag = Diag::from(fs::open(&at("pipe")).unwrap_err());
        assert!(diag.help.unwrap().starts_with("replace it by a regular file"));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink("../annex/val", at("val")).unwrap();
        refused(&at("val"), "it is a link to `../annex/val`, where there is nothing");
        symlink("val", at("second")).unwrap();
        refused(&at("second"), "it is a link to `val`, and that to `../annex/val`, where there is nothing");
        symlink("circle", at("circle")).unwrap();
        refused(&at("circle"), "it is a link to `circle`, which leads in a circle");
        let below = at("val/rows");
        refused(&below, &format!("`{}` is a link to `../annex/val`, where there is nothing", at("val").display()));
        assert!(look(&at("none")).unwrap().is_none() && look(&at("none/below")).unwrap().is_none());
        assert_eq!(fs::open(&at("none")).unwrap_err().source.kind(), io::ErrorKind::NotFound);
        assert_eq!(required(&at("none")).unwrap_err().source.kind(), io::ErrorKind::NotFound);
        let diag = Diag::from(fs::open(&at("val")).unwrap_err());
        assert!(diag.help.unwrap().contains("git annex get"));
    }

    #[test]
    fn only_an_editors_dangling_link_is_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a.py"), "a").unwrap();
        std::fs::write(at(".#file"), "a").unwrap();
        symlink("someone@host.1234:1700000000", at(".#a.py")).unwrap();
        symlink("a.py", at(".#link")).unwrap();
        symlink("nowhere", at("b.py")).unwrap();
        let locks = ["a.py", ".#file", ".#a.py", ".#link", "b.py", "none"].map(|name| is_editor_lock(&at(name)));
        assert_eq!(locks, [false, false, true, false, false, false]);
    }
}
