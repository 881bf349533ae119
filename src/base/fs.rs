//! The file system, with errors that name their path, and writes that are atomic.
#![allow(clippy::disallowed_methods, reason = "the replacements of the disallowed functions")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::diag::{Class, Diag};
use super::fault::{self, Steps};
use super::look;

pub use super::fs_error::{FsError, on};

impl From<FsError> for Diag {
    fn from(e: FsError) -> Diag {
        use io::ErrorKind::*;
        let (class, help) = match e.source.kind() {
            StorageFull | QuotaExceeded => {
                (Class::Environment, Some("free some space, then run again: finished work is kept"))
            }
            PermissionDenied | ReadOnlyFilesystem => {
                (Class::Environment, Some("check who owns the path and whether it may be written"))
            }
            _ => (Class::Stage, None),
        };
        let diag = Diag::error(class, e.to_string());
        let known = e.source.get_ref().and_then(|inner| inner.downcast_ref::<look::Unreadable>());
        let diag = if known.is_some() { diag.lasting() } else { diag };
        match help.or(known.and_then(|unreadable| unreadable.help)) {
            Some(help) => diag.help(help),
            None => diag,
        }
    }
}

/// The whole regular file as bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, FsError> {
    read_opened(path, look::open_file(path)?)
}

/// The whole file that `dpt` wrote as bytes; `None` if there is none, see [`look::open_if_there`].
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    look::open_if_there(path)?.map(|opened| read_opened(path, opened)).transpose()
}

fn read_opened(path: &Path, (mut file, meta): (File, fs::Metadata)) -> Result<Vec<u8>, FsError> {
    let mut bytes = Vec::new();
    let room = bytes.try_reserve_exact(meta.len() as usize).map_err(io::Error::from);
    room.and_then(|()| file.read_to_end(&mut bytes)).map_err(on("read", path))?;
    Ok(bytes)
}

/// The whole regular file as text.
pub fn read_to_string(path: &Path) -> Result<String, FsError> {
    let (mut file, meta) = look::open_file(path)?;
    let mut text = String::new();
    let room = text.try_reserve_exact(meta.len() as usize).map_err(io::Error::from);
    room.and_then(|()| file.read_to_string(&mut text)).map_err(on("read", path))?;
    Ok(text)
}

/// Opens a regular file for reading. Anything else is refused at once: see [`look`].
pub fn open(path: &Path) -> Result<File, FsError> {
    Ok(look::open_file(path)?.0)
}

/// The error of a file whose bytes were not the same all the while.
pub fn changed(path: &Path) -> Diag {
    Diag::error(Class::Stage, format!("`{}` changed while it was read", path.display()))
        .help("run again when nothing writes to it")
        .outdated()
}

/// Makes a folder and all above it.
pub fn create_dir_all(path: &Path) -> Result<(), FsError> {
    fs::create_dir_all(path).map_err(on("create", path))
}

/// How many bytes this user may still write to the disk of `path`; `None` if the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Removes a file. Already gone is as good.
pub fn remove_file(path: &Path) -> Result<(), FsError> {
    gone(fs::remove_file(path)).map_err(on("remove", path))
}

/// Removes a folder with all in it, however deep it is. Already gone is as good.
pub fn remove_dir_all(path: &Path) -> Result<(), FsError> {
    gone(super::walk::remove(path)).map_err(on("remove", path))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Writes a file so that a reader sees the old bytes or the new ones, never a part: beside it, synced, then renamed,
/// then the folder synced.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    replace(path, bytes, true)
}

/// As [`write_atomic`], but without the syncs unless `durable`: a power cut may then leave the file empty.
pub fn replace(path: &Path, bytes: &[u8], durable: bool) -> Result<(), FsError> {
    replace_by(&fault::FILE, path, bytes, durable)
}

/// As [`replace`], its steps called by the names of `steps` in tests that make them fail.
pub fn replace_by(steps: &Steps, path: &Path, bytes: &[u8], durable: bool) -> Result<(), FsError> {
    replace_with(steps, path, durable, |file| file.write_all(bytes))
}

/// As [`replace_by`], with what `write` writes.
pub fn replace_with(
    steps: &Steps,
    path: &Path,
    durable: bool,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), FsError> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fault::point(steps.write).map_err(on("write", path))?;
    let mut beside = match beside(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create_dir_all(dir)?;
            beside(dir)
        }
        made => made,
    }
    .map_err(on("write", path))?;
    write(beside.as_file_mut()).map_err(on("write", path))?;
    if durable {
        fault::point(steps.sync).and_then(|()| beside.as_file().sync_all()).map_err(on("write", path))?;
    }
    fault::point(steps.rename).map_err(on("write", path))?;
    beside.persist(path).map_err(|e| on("write", path)(e.error))?;
    if durable {
        fault::point(steps.folder).map_err(on("sync", dir))?;
        sync_dir(dir)?;
    }
    Ok(())
}

/// How a file was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Both files share their blocks until one of them is written to: no bytes were moved.
    Reflink,
    /// Byte by byte.
    Bytes,
}

/// Copies what `from` holds into `to`, which is empty: as a reflink where the file system can. Never as a hard link:
/// what is written to the copy must not reach the original.
///
/// # Errors
/// When it cannot be read or written.
pub fn copy_into(mut from: &File, mut to: &File) -> io::Result<Copied> {
    if reflink(from, to) {
        return Ok(Copied::Reflink);
    }
    io::copy(&mut from, &mut to)?;
    Ok(Copied::Bytes)
}

/// Lets `to`, which is empty, share the blocks of `from`. Returns `false` if the file system cannot do that.
pub fn reflink(from: &File, to: &File) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::ioctl_ficlone(to, from).is_ok();
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// A temporary file in `dir`, with the rights that any new file gets (a store may be shared), removed unless persisted.
pub fn beside(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(dir)
}

/// Makes a folder's entries durable.
pub fn sync_dir(dir: &Path) -> Result<(), FsError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(on("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_their_path() {
        let e = read(Path::new("no/such/file")).unwrap_err();
        assert_eq!(e.to_string(), "cannot read `no/such/file`: no such file or directory");
    }

    #[test]
    fn bytes_that_are_no_text_are_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latin");
        fs::write(&path, b"caf\xe9").unwrap();
        let e = read_to_string(&path).unwrap_err();
        assert_eq!(e.to_string(), format!("cannot read `{}`: it is no text in UTF-8", path.display()));
    }

    #[test]
    fn a_copy_has_the_bytes_and_no_tie_to_the_original() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        for len in [0, 1, 300_000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            fs::write(&one, &bytes).unwrap();
            let how = copy_into(&open(&one).unwrap(), &File::create(&two).unwrap()).unwrap();
            assert_eq!(read(&two).unwrap(), bytes, "{how:?}");
            fs::write(&two, b"edited").unwrap();
            assert_eq!(read(&one).unwrap(), bytes, "{how:?}");
        }
    }

    #[test]
    fn atomic_write_replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/f");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
    }
}
