//! Walks and removes directories, however deep they are: without recursion and with one open descriptor, so that
//! neither the stack nor the limit of open files nor the length of a path sets a bound. Links are never followed.
//!
//! The way down is `openat`, the way up is `..`. A directory that was moved meanwhile is recognised by device and
//! inode.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::diag::{Class, Diag};
use super::fs_error::on;

/// How many directories may lie in each other where a person or a program chose the names.
pub const DEEPEST: usize = 64;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One entry of a directory.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The directory that holds it.
    pub dir: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
    /// Its path below the directory where the walk began.
    pub path: &'a Path,
    /// Its type. Links are not followed.
    pub kind: FileType,
}

impl Entry<'_> {
    /// Returns its metadata.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Opens a directory. The last part of `path` must not be a link.
///
/// # Errors
/// When it is no directory, or cannot be read.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OPEN, Mode::empty())?)
}

/// Opens a directory in another. `name` is one part, and must not be a link.
///
/// # Errors
/// When it is no directory, or cannot be read.
pub fn open_at(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, OPEN, Mode::empty())?)
}

/// Opens a directory below another with one system call. Returns `None` if it cannot be opened, if a link lies on the
/// way, or if the system has no such call: [`open_at`] for each part then does the same, or says what is wrong.
pub fn open_below(dir: impl AsFd, path: &Path) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{ResolveFlags, openat2};
        openat2(dir, path, OPEN, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (dir, path);
        None
    }
}

/// Calls `visit` for everything below the directory `top`, a directory before its content. `shown` is the name of `top`
/// in messages.
///
/// # Errors
/// What `visit` returns; a directory that cannot be read, or that lies deeper than `deepest` levels.
pub fn walk(
    top: OwnedFd,
    shown: &Path,
    deepest: usize,
    visit: &mut dyn FnMut(&Entry) -> Result<(), Diag>,
) -> Result<(), Diag> {
    let mut path = PathBuf::new();
    let fail = |path: &Path, error: io::Error| {
        let place = PathBuf::from(shortened(&shown.join(path)));
        Diag::from(on("read", &place)(error))
    };
    let mut cursor = Cursor::at(top).map_err(|error| fail(&path, error))?;
    loop {
        let mut inner = Vec::new();
        for (name, kind) in cursor.entries().map_err(|error| fail(&path, error))? {
            path.push(OsStr::from_bytes(name.to_bytes()));
            let dir = cursor.fd().map_err(|error| fail(&path, error))?;
            visit(&Entry { dir, name: &name, path: &path, kind })?;
            path.pop();
            if kind.is_dir() {
                inner.push(name);
            }
        }
        if !inner.is_empty() && cursor.levels.len() >= deepest {
            return Err(too_deep(&path, deepest));
        }
        cursor.pending.push(inner);
        loop {
            if let Some(name) = cursor.pending.last_mut().and_then(Vec::pop) {
                path.push(OsStr::from_bytes(name.to_bytes()));
                match cursor.down(name) {
                    Ok(()) => break,
                    // Somebody removed it meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => drop(path.pop()),
                    Err(error) => return Err(fail(&path, error)),
                }
                continue;
            }
            cursor.pending.pop();
            if cursor.levels.is_empty() {
                return Ok(());
            }
            path.pop();
            cursor.up().map_err(|error| fail(&path, error))?;
        }
    }
}

/// The error of a directory at `path` that holds directories deeper than allowed.
pub fn too_deep(path: &Path, deepest: usize) -> Diag {
    let message = format!("directories are nested deeper than {deepest} levels in `{}`", shortened(path));
    Diag::error(Class::Stage, message)
        .help("look for a program that descends without an end, or for a link to a directory above it")
        .lasting()
}

/// A path for a message, its middle left out where it is long.
pub fn shortened(path: &Path) -> String {
    let text = path.to_string_lossy();
    let count = text.chars().count();
    if count <= 200 {
        return text.into_owned();
    }
    let begin: String = text.chars().take(100).collect();
    let end: String = text.chars().skip(count - 60).collect();
    format!("{begin}…{end}")
}

/// Removes a file, a link, or a directory with everything in it. Where a program took away the right to, it is given
/// back.
///
/// # Errors
/// When there is nothing at `path`, or something cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_at(CWD, path)
}

/// As [`remove`]; `name` begins at the directory `dir`.
///
/// # Errors
/// When there is nothing of this name, or something cannot be removed.
pub fn remove_at(dir: impl AsFd, name: &Path) -> io::Result<()> {
    let dir = dir.as_fd();
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Ok(unlinkat(dir, name, AtFlags::empty())?);
    }
    let opened = match openat(dir, name, OPEN, Mode::empty()) {
        Err(Errno::ACCESS) => {
            allow(dir, name)?;
            openat(dir, name, OPEN, Mode::empty())
        }
        opened => opened,
    };
    empty(opened?)?;
    Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Removes everything in the directory `top`.
///
/// # Errors
/// When something cannot be removed.
pub fn empty(top: OwnedFd) -> io::Result<()> {
    let mut cursor = Cursor::at(top)?;
    loop {
        let mut inner = Vec::new();
        for (name, kind) in cursor.entries()? {
            // A directory without content goes at once, as a file does.
            let flags = if kind.is_dir() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match cursor.allowed(|dir| unlinkat(dir, &name, flags)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) if kind.is_dir() => inner.push(name),
                Err(error) => return Err(error.into()),
            }
        }
        cursor.pending.push(inner);
        loop {
            if let Some(name) = cursor.pending.last_mut().and_then(Vec::pop) {
                match cursor.down(name) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            cursor.pending.pop();
            if cursor.levels.is_empty() {
                return Ok(());
            }
            let name = cursor.up()?;
            match cursor.allowed(|dir| unlinkat(dir, &name, AtFlags::REMOVEDIR)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A place in a tree of directories.
struct Cursor {
    here: Dir,
    /// For each directory on the way here: which one it is, and the name by which it was left.
    levels: Vec<((u64, u64), CString)>,
    /// For each directory on the way here: what is still to be entered.
    pending: Vec<Vec<CString>>,
}

impl Cursor {
    fn at(top: OwnedFd) -> io::Result<Self> {
        Ok(Self { here: Dir::new(top)?, levels: Vec::new(), pending: Vec::new() })
    }

    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.here.fd()?)
    }

    /// Returns the entries of the current directory.
    fn entries(&mut self) -> io::Result<Vec<(CString, FileType)>> {
        let mut entries = Vec::new();
        while let Some(entry) = self.here.read() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                entries.push((entry.file_name().to_owned(), entry.file_type()));
            }
        }
        for (name, kind) in entries.iter_mut().filter(|(_, kind)| *kind == FileType::Unknown) {
            let stat = statat(self.here.fd()?, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            *kind = FileType::from_raw_mode(stat.st_mode);
        }
        Ok(entries)
    }

    /// Does `what` here; once more with the right to, where that was lacking.
    fn allowed<T>(&self, what: impl Fn(BorrowedFd) -> rustix::io::Result<T>) -> rustix::io::Result<T> {
        let here = self.here.fd()?;
        match what(here) {
            Err(Errno::ACCESS) if fchmod(here, Mode::RWXU).is_ok() => what(here),
            done => done,
        }
    }

    fn down(&mut self, name: CString) -> io::Result<()> {
        let opened = match self.allowed(|here| openat(here, &name, OPEN, Mode::empty())) {
            Err(Errno::ACCESS) => {
                allow(self.here.fd()?, Path::new(OsStr::from_bytes(name.to_bytes())))?;
                openat(self.here.fd()?, &name, OPEN, Mode::empty())
            }
            opened => opened,
        };
        self.levels.push((identity(&fstat(self.here.fd()?)?), name));
        self.here = Dir::new(opened?)?;
        Ok(())
    }

    /// Back to the directory above; the name by which it was left.
    fn up(&mut self) -> io::Result<CString> {
        let above = self.allowed(|here| openat(here, c"..", OPEN, Mode::empty()))?;
        let (left, name) = self.levels.pop().expect("asked for below the top only");
        if identity(&fstat(&above)?) != left {
            return Err(io::Error::other("the directory was moved meanwhile"));
        }
        self.here = Dir::new(above)?;
        Ok(name)
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    #[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Gives its owner all rights to a directory, never to what a link leads to.
fn allow(dir: BorrowedFd, name: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(dir, name, flags, Mode::empty())?;
        let place = format!("/proc/self/fd/{}", found.as_raw_fd());
        std::fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(0o700))
    }
    #[cfg(not(target_os = "linux"))]
    Ok(rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A chain of directories `d/d/d/…`, made without a path of its length.
    fn nested(top: &Path, levels: usize) {
        let mut here = open(top).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).unwrap();
            here = open_at(&here, OsStr::new("d")).unwrap();
        }
    }

    /// All paths below a directory, sorted.
    fn paths(top: &Path, deepest: usize) -> Result<Vec<String>, Diag> {
        let mut found = Vec::new();
        walk(open(top).unwrap(), top, deepest, &mut |entry| {
            found.push(format!("{}{}", entry.path.display(), if entry.kind.is_dir() { "/" } else { "" }));
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    #[test]
    fn a_chain_of_directories_of_any_depth_is_counted_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir(&top).unwrap();
        nested(&top, 20_000);
        let mut count = 0;
        walk(open(&top).unwrap(), &top, usize::MAX, &mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 20_000);
        let error = paths(&top, DEEPEST).unwrap_err();
        assert!(error.message.starts_with("directories are nested deeper than 64 levels in `d/d/"), "{error}");
        assert!(error.message.len() < 400, "{error}");
        remove(&top).unwrap();
        assert!(!top.exists());
        assert_eq!(remove(&top).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_limit_of_depth_is_exact() {
        let dir = tempfile::tempdir().unwrap();
        nested(dir.path(), 3);
        assert_eq!(paths(dir.path(), 3).unwrap(), ["d/", "d/d/", "d/d/d/"]);
        assert!(paths(dir.path(), 2).is_err());
    }

    #[test]
    fn a_tree_is_walked_and_removed_and_its_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let [top, outside] = ["top", "outside"].map(|name| dir.path().join(name));
        for folder in ["a/b/c", "a/d", "e"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        std::fs::create_dir(&outside).unwrap();
        for file in ["top/f", "top/a/f", "top/a/b/c/f", "outside/f"] {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        symlink(&outside, top.join("a/link")).unwrap();
        let expected = ["a/", "a/b/", "a/b/c/", "a/b/c/f", "a/d/", "a/f", "a/link", "e/", "f"];
        assert_eq!(paths(&top, DEEPEST).unwrap(), expected);
        empty(open(&top).unwrap()).unwrap();
        assert_eq!(paths(&top, DEEPEST).unwrap(), [""; 0]);
        symlink(&outside, top.join("link")).unwrap();
        assert!(open(&top.join("link")).is_err(), "a link is no directory");
        remove(&top.join("link")).unwrap();
        assert!(outside.join("f").exists());
    }

    #[test]
    fn directories_without_rights_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/b/f"), "x").unwrap();
        for path in ["a/b", "a", ""] {
            std::fs::set_permissions(top.join(path), std::fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn a_long_path_is_shortened_in_its_middle() {
        let path = PathBuf::from("é/".repeat(1000) + "end");
        let text = shortened(&path);
        assert!(text.starts_with("é/é/") && text.ends_with("/end") && text.chars().count() < 200, "{text}");
        assert_eq!(shortened(Path::new("a/b")), "a/b");
    }
}
