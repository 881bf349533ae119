//! [`ClosedDir`]: a directory that no operation leads out of, whatever links lie in it. For folders whose content may
//! come from a stranger, such as the copies of results in a repository that was cloned.
//!
//! Every path is walked component by component, from an open directory, without following links. A link or a file that
//! stands in the place of a directory is replaced by one: only the link goes, never what it leads to.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RawMode};
use rustix::io::Errno;

use super::diag::{Class, Diag};
use super::fault;
use super::fs::{FsError, on};
use super::name::is_relative_file;
use super::stat::{Signature, now_ns};

/// An open directory.
#[derive(Debug)]
pub struct ClosedDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// How a directory is opened: never through a link.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl ClosedDir {
    /// Opens the directory at `path`, and creates it where it is missing.
    ///
    /// # Errors
    /// Fails if it cannot be created or opened, or if its last component is a link: links above it are the user's
    /// choice.
    pub fn create(path: &Path) -> Result<Self, Diag> {
        super::fs::create_dir_all(path).or_else(|error| if path.is_symlink() { Ok(()) } else { Err(error) })?;
        match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                Err(Diag::error(Class::Environment, format!("`{}` is not a directory, but a link", path.display()))
                    .help("remove the link: results are copied to no place that a link chooses"))
            }
            Err(error) => Err(on("open", path)(error.into()).into()),
        }
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory `name` below this one, and creates it where it is missing. Replaces a link or a file of that
    /// name.
    ///
    /// # Errors
    /// Fails if it cannot be created or opened.
    pub fn create_subdir(&self, name: &str) -> Result<Self, Diag> {
        let path = self.path.join(name);
        let opened = self.open_subdir(name).or_else(|error| {
            match error {
                Errno::NOENT => {}
                Errno::LOOP | Errno::NOTDIR => rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?,
                other => return Err(other),
            }
            match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => self.open_subdir(name),
                Err(error) => Err(error),
            }
        });
        let fd = opened.map_err(|error| on("create", &path)(error.into()))?;
        Ok(Self { fd, path })
    }

    fn open_subdir(&self, name: &str) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty())
    }

    /// The directory of the file `name` and its last component. `None` if that directory does not exist, or is a link.
    fn parent<'n>(&self, name: &'n str) -> Result<Option<(OwnedFd, &'n str)>, FsError> {
        assert!(is_relative_file(name), "`{name}` is not a relative path of plain components");
        let mut fd = self.fd.try_clone().map_err(on("open", &self.path))?;
        let (above, last) = name.rsplit_once('/').map_or(("", name), |(above, last)| (above, last));
        for part in above.split('/').filter(|part| !part.is_empty()) {
            fd = match rustix::fs::openat(&fd, part, DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
                Err(error) => return Err(on("open", &self.path.join(name))(error.into())),
            };
        }
        Ok(Some((fd, last)))
    }

    /// The signature of the plain file `name`. `None` if there is no such file, or if something else has the name.
    ///
    /// # Errors
    /// Fails if the system cannot tell.
    pub fn signature(&self, name: &str) -> Result<Option<Signature>, FsError> {
        Ok(self.open_file(name)?.map(|(_, signature)| signature))
    }

    /// Opens the plain file `name` for reading. `None` as in [`Self::signature`].
    ///
    /// # Errors
    /// Fails if it cannot be opened.
    pub fn open_file(&self, name: &str) -> Result<Option<(File, Signature)>, FsError> {
        let Some((dir, last)) = self.parent(name)? else { return Ok(None) };
        // A pipe is not waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = self.path.join(name);
        let file = match rustix::fs::openat(&dir, last, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(on("read", &path)(error.into())),
        };
        let meta = file.metadata().map_err(on("read", &path))?;
        Ok(meta.is_file().then(|| (file, Signature::of(&meta))))
    }

    /// Removes the file or the link `name`. A missing one is fine, and a directory stays.
    ///
    /// # Errors
    /// Fails if it cannot be removed.
    pub fn remove_file(&self, name: &str) -> Result<(), FsError> {
        let Some((dir, last)) = self.parent(name)? else { return Ok(()) };
        match rustix::fs::unlinkat(&dir, last, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) => Ok(()),
            Err(error) => Err(on("remove", &self.path.join(name))(error.into())),
        }
    }

    /// Writes the file `name` through `fill`: beside it, then renamed. Directories on the way are created, and replace
    /// links. Returns the file, still open. Not synced.
    ///
    /// # Errors
    /// Fails if it cannot be written, or if a directory has the name.
    pub fn write(&self, name: &str, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<File, Diag> {
        assert!(is_relative_file(name), "`{name}` is not a relative path of plain components");
        let path = self.path.join(name);
        if let Some((first, rest)) = name.split_once('/') {
            return self.create_subdir(first)?.write(rest, mode, fill);
        }
        fault::point("copy.write").map_err(on("write", &path))?;
        let (mut file, beside) = self.beside(mode).map_err(on("write", &path))?;
        let written = fill(&mut file)
            .and_then(|()| fault::point("copy.rename"))
            .and_then(|()| Ok(rustix::fs::renameat(&self.fd, beside.as_str(), &self.fd, name)?));
        if let Err(error) = written {
            // Nobody else uses the name. If the file stays, gc removes it.
            let _ = rustix::fs::unlinkat(&self.fd, beside.as_str(), AtFlags::empty());
            return Err(on("write", &path)(error).into());
        }
        Ok(file)
    }

    /// A new file under a name that nobody has.
    fn beside(&self, mode: u32) -> io::Result<(File, String)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for attempt in 0..100 {
            let name = format!(".tmp-{:x}-{:x}-{attempt}", std::process::id(), now_ns());
            match rustix::fs::openat(&self.fd, name.as_str(), flags, Mode::from_raw_mode(mode as RawMode)) {
                Ok(fd) => return Ok((File::from(fd), name)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// Brings the names in this directory to the disk.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub fn sync(&self) -> Result<(), FsError> {
        rustix::fs::fsync(&self.fd).map_err(|error| on("sync", &self.path)(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn write(dir: &ClosedDir, name: &str, text: &str) -> Result<(), Diag> {
        dir.write(name, 0o666, |file| file.write_all(text.as_bytes())).map(drop)
    }

    #[test]
    fn files_are_written_read_and_removed_below_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = ClosedDir::create(&temp.path().join("a/b")).unwrap();
        write(&dir, "sub/deep/f", "one").unwrap();
        write(&dir, "sub/deep/f", "two!").unwrap();
        assert_eq!(std::fs::read(temp.path().join("a/b/sub/deep/f")).unwrap(), b"two!");
        assert_eq!(dir.signature("sub/deep/f").unwrap().unwrap().size, 4);
        dir.remove_file("sub/deep/f").unwrap();
        dir.remove_file("sub/deep/f").unwrap();
        assert_eq!(dir.signature("sub/deep/f").unwrap(), None);
        assert_eq!(std::fs::read_dir(temp.path().join("a/b/sub/deep")).unwrap().count(), 0, "nothing is left beside");
    }

    #[test]
    fn links_in_the_way_are_replaced_and_their_targets_stay() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("f"), "precious").unwrap();
        let dir = ClosedDir::create(&temp.path().join("dir")).unwrap();
        symlink(&outside, temp.path().join("dir/sub")).unwrap();
        symlink(outside.join("f"), temp.path().join("dir/file")).unwrap();

        assert_eq!(dir.signature("sub/f").unwrap(), None);
        dir.remove_file("sub/f").unwrap();
        write(&dir, "sub/f", "ours").unwrap();
        write(&dir, "file", "ours").unwrap();
        assert_eq!(std::fs::read(outside.join("f")).unwrap(), b"precious");
        assert_eq!(std::fs::read(temp.path().join("dir/sub/f")).unwrap(), b"ours");
        assert_eq!(std::fs::read(temp.path().join("dir/file")).unwrap(), b"ours");
    }

    #[test]
    fn a_link_in_its_own_place_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        for (name, target) in [("link", "there"), ("dangling", "nowhere")] {
            std::fs::create_dir_all(temp.path().join("there")).unwrap();
            let link = temp.path().join(name);
            symlink(temp.path().join(target), &link).unwrap();
            let error = ClosedDir::create(&link).unwrap_err();
            assert_eq!(error.message, format!("`{}` is not a directory, but a link", link.display()));
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_beside() {
        let temp = tempfile::tempdir().unwrap();
        let dir = ClosedDir::create(temp.path().join("d").as_path()).unwrap();
        write(&dir, "f", "old").unwrap();
        let failing = |_: &mut File| Err(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(dir.write("f", 0o666, failing).unwrap_err().class, Class::Environment);
        assert_eq!(std::fs::read(temp.path().join("d/f")).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(temp.path().join("d")).unwrap().count(), 1);
    }
}
