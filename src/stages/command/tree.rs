//! [`Tree`]: a folder that is brought to the state that is wanted, from whatever state it is in. Folders and small files that
//! are there already are used again, with new content: to make and remove them for each program costs more than many a
//! program. Nothing in it is trusted: what is not wanted goes, whatever it is.
//!
//! A file is used again only if it is a plain file without a second name; links are never followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};

/// Folders nested deeper are taken for links in a circle.
const DEEPEST: usize = 64;
/// Larger files are not kept for the next program, and are copied by the system, which may share their blocks.
const SMALL: u64 = 1 << 16;

/// A folder, and what is wanted in it.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// The rights of a folder that is made here.
    rights: u32,
    /// What was found and not asked for yet, by name below the root; whether it is a folder.
    found: BTreeMap<String, bool>,
    /// What was asked for; whether it may stay for the next program.
    wanted: BTreeMap<String, bool>,
}

/// The rights of a file.
#[derive(Clone, Copy, Debug)]
pub enum Rights {
    /// Those of the file that it is a copy of.
    AsThere,
    /// It can be read.
    ReadOnly,
}

impl Tree {
    /// The folder at `root`, made where it is not there.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn at(root: PathBuf) -> Result<Self, Diag> {
        let mut found = BTreeMap::new();
        let parent = root.parent().unwrap_or(&root);
        let rights = std::fs::metadata(parent).map_err(on("read", parent))?.mode() & 0o777;
        match std::fs::create_dir(&root) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => list(&root, "", rights, &mut found)?,
            Err(e) => return Err(on("create", &root)(e).into()),
        }
        Ok(Self { root, rights, found, wanted: BTreeMap::new() })
    }

    /// Where `name` is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A folder, and all above it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&mut self, name: &str) -> Result<(), Diag> {
        if self.wanted.contains_key(name) {
            return Ok(());
        }
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above)?;
        }
        self.wanted.insert(name.to_owned(), true);
        let path = self.path(name);
        match self.found.remove(name) {
            Some(true) => return Ok(()),
            Some(false) => std::fs::remove_file(&path).map_err(on("remove", &path))?,
            None => {}
        }
        Ok(std::fs::create_dir(&path).map_err(on("create", &path))?)
    }

    /// A file with these bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Diag> {
        let path = self.path(name);
        let (mut file, old) = self.file(name, bytes.len() as u64)?;
        let written = file.write_all(bytes).and_then(|()| trim(&file, old, bytes.len() as u64));
        Ok(written.and_then(|()| set_rights(&file, self.rights & 0o666)).map_err(on("write", &path))?)
    }

    /// A copy of a file, or of a folder with all that is in it. Links in it are followed.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy(&mut self, name: &str, from: &Path, rights: Rights) -> Result<(), Diag> {
        self.copy_to(name, from, rights, 0)
    }

    fn copy_to(&mut self, name: &str, from: &Path, rights: Rights, depth: usize) -> Result<(), Diag> {
        let source = fs::open(from)?;
        let meta = source.metadata().map_err(on("read", from))?;
        if !meta.is_dir() {
            let path = self.path(name);
            let (file, old) = self.file(name, meta.len())?;
            if meta.len() > SMALL {
                trim(&file, old, 0).map_err(on("write", &path))?;
                fs::copy_into(&source, &file).map_err(on("copy", from))?;
            } else {
                let mut bytes = Vec::with_capacity(meta.len() as usize);
                (&source).read_to_end(&mut bytes).map_err(on("read", from))?;
                let written = (&file).write_all(&bytes).and_then(|()| trim(&file, old, bytes.len() as u64));
                written.map_err(on("write", &path))?;
            }
            let mode = match rights {
                Rights::AsThere => meta.mode() & 0o777,
                Rights::ReadOnly => 0o444,
            };
            return Ok(set_rights(&file, mode).map_err(on("write", &path))?);
        }
        if depth > DEEPEST {
            return Err(Diag::error(Class::Stage, format!("`{}` is nested too deep", from.display()))
                .help("look for a link to a folder above it")
                .lasting());
        }
        self.folder(name)?;
        for item in std::fs::read_dir(from).map_err(on("read", from))? {
            let item = item.map_err(on("read", from))?;
            let Some(own) = item.file_name().to_str().map(str::to_owned) else {
                let message = format!("`{}` has a name that is not UTF-8", item.path().display());
                return Err(Diag::error(Class::Stage, message).lasting());
            };
            self.copy_to(&format!("{name}/{own}"), &item.path(), rights, depth + 1)?;
        }
        Ok(())
    }

    /// Opens file `name` to be written from its beginning; how long it is. `length`: how long it is going to be.
    fn file(&mut self, name: &str, length: u64) -> Result<(File, u64), Diag> {
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above)?;
        }
        // Two that name the same: the later one counts.
        let again = self.wanted.insert(name.to_owned(), length <= SMALL).map(|_| false);
        let path = self.path(name);
        match self.found.remove(name).or(again) {
            Some(true) => {
                remove(&path);
                let below = format!("{name}/");
                self.found.retain(|other, _| !other.starts_with(&below));
            }
            Some(false) => match used_again(&path) {
                Some(opened) => return Ok(opened),
                None => std::fs::remove_file(&path).map_err(on("remove", &path))?,
            },
            None => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        Ok((file.map_err(on("create", &path))?, 0))
    }

    /// Removes what was there and not asked for.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn strip(&mut self) -> Result<(), Diag> {
        let found = std::mem::take(&mut self.found);
        clear(&self.root, found.into_iter())
    }

    /// Removes what came since, and what is too large to stay for the next program.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn sweep(&self) -> Result<(), Diag> {
        let mut found = BTreeMap::new();
        list(&self.root, "", self.rights, &mut found)?;
        clear(&self.root, found.into_iter().filter(|(name, _)| self.wanted.get(name) != Some(&true)))
    }
}

/// Removes these; what is in a folder that goes, goes with it.
fn clear(root: &Path, names: impl Iterator<Item = (String, bool)>) -> Result<(), Diag> {
    let mut gone: BTreeSet<String> = BTreeSet::new();
    for (name, folder) in names {
        // Names come in order, a folder before what is in it.
        if name.rsplit_once('/').is_some_and(|(above, _)| gone.contains(above)) {
            gone.insert(name);
            continue;
        }
        let path = root.join(&name);
        match folder {
            true => std::fs::remove_dir_all(&path).map_err(on("remove", &path))?,
            false => std::fs::remove_file(&path).map_err(on("remove", &path))?,
        }
        if folder {
            gone.insert(name);
        }
    }
    Ok(())
}

/// All that is below `dir`, by name; whether each is a folder. Folders get back the rights that a program took away.
fn list(dir: &Path, prefix: &str, rights: u32, found: &mut BTreeMap<String, bool>) -> Result<(), Diag> {
    let meta = std::fs::symlink_metadata(dir).map_err(on("read", dir))?;
    if meta.mode() & 0o777 != rights {
        std::fs::set_permissions(dir, Permissions::from_mode(rights)).map_err(on("change", dir))?;
    }
    for item in std::fs::read_dir(dir).map_err(on("read", dir))? {
        let item = item.map_err(on("read", dir))?;
        let folder = item.file_type().map_err(on("read", dir))?.is_dir();
        let Some(own) = item.file_name().to_str().map(str::to_owned) else {
            // It cannot be wanted.
            match folder {
                true => remove(&item.path()),
                false => std::fs::remove_file(item.path()).map_err(on("remove", dir))?,
            }
            continue;
        };
        let name = format!("{prefix}{own}");
        if folder {
            list(&item.path(), &format!("{name}/"), rights, found)?;
        }
        found.insert(name, folder);
    }
    Ok(())
}

/// Opens a plain file without a second name, to be written over; how long it is.
fn used_again(path: &Path) -> Option<(File, u64)> {
    let plain = |file: &File| file.metadata().ok().filter(|meta| meta.is_file() && meta.nlink() == 1);
    let open = |write: bool| {
        OpenOptions::new().read(!write).write(write).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
    };
    let file = match open(true) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let read = open(false).ok()?;
            plain(&read)?;
            read.set_permissions(Permissions::from_mode(0o600)).ok()?;
            open(true).ok()?
        }
        opened => opened.ok()?,
    };
    let length = plain(&file)?.len();
    Some((file, length))
}

/// Cuts a file that was longer than what was written.
fn trim(file: &File, old: u64, length: u64) -> std::io::Result<()> {
    if old > length { file.set_len(length) } else { Ok(()) }
}

fn set_rights(file: &File, mode: u32) -> std::io::Result<()> {
    if file.metadata()?.mode() & 0o777 != mode { file.set_permissions(Permissions::from_mode(mode)) } else { Ok(()) }
}

/// Removes a folder, also where a program took away the right to. What cannot be removed is removed with what it is in.
pub fn remove(dir: &Path) {
    fn open(dir: &Path) {
        let _ = std::fs::set_permissions(dir, Permissions::from_mode(0o700));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// What is wanted: two small files, a copy, and an empty folder.
    fn make(root: &Path, from: &Path) -> Tree {
        let mut tree = Tree::at(root.to_owned()).unwrap();
        tree.write("a/one", b"one").unwrap();
        tree.write("two", b"").unwrap();
        tree.copy("a/copy", from, Rights::ReadOnly).unwrap();
        tree.folder("empty/er").unwrap();
        tree.strip().unwrap();
        tree
    }

    /// Names with kinds, rights and bytes.
    fn state(dir: &Path, prefix: &str, all: &mut Vec<String>) {
        let mut items: Vec<_> = std::fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
        items.sort_by_key(std::fs::DirEntry::file_name);
        for item in items {
            let name = format!("{prefix}{}", item.file_name().to_string_lossy());
            let meta = item.path().symlink_metadata().unwrap();
            if meta.is_dir() {
                all.push(format!("{name}/ {:o}", meta.mode()));
                state(&item.path(), &format!("{name}/"), all);
            } else {
                all.push(format!("{name} {:o} {:?}", meta.mode(), std::fs::read(item.path())));
            }
        }
    }

    #[test]
    fn whatever_a_program_left_the_next_one_finds_what_is_wanted_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (root, from, outside) = (dir.path().join("room"), dir.path().join("from"), dir.path().join("outside"));
        std::fs::write(&from, "content").unwrap();
        let now = |root: &Path| {
            let mut all = Vec::new();
            state(root, "", &mut all);
            all
        };
        make(&root, &from);
        let fresh = now(&root);
        assert_eq!(fresh.len(), 6, "{fresh:?}");
        let swap = |name: &str, with: &dyn Fn(&Path)| {
            let path = root.join(name);
            let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
            with(&path);
        };
        let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let attacks: [&dyn Fn(); 12] = [
            &|| {},
            &|| std::fs::write(root.join("a/one"), "a longer text").unwrap(),
            &|| std::fs::write(root.join("more"), "more").unwrap(),
            &|| std::fs::create_dir_all(root.join("empty/er/deep/er")).unwrap(),
            &|| swap("a", &|path| symlink(dir.path(), path).unwrap()),
            &|| swap("two", &|path| symlink(&outside, path).unwrap()),
            &|| swap("two", &|path| std::fs::hard_link(&outside, path).unwrap()),
            &|| swap("a", &|path| std::fs::write(path, "a file").unwrap()),
            &|| swap("a/one", &|path| std::fs::create_dir_all(path.join("a/b")).unwrap()),
            &|| mode(&root.join("two"), 0o777),
            &|| mode(&root.join("a"), 0o000),
            &|| mode(&root, 0o500),
        ];
        for (number, attack) in attacks.iter().enumerate() {
            for swept in [true, false] {
                let tree = make(&root, &from);
                std::fs::write(&outside, "of others").unwrap();
                attack();
                if swept {
                    tree.sweep().unwrap();
                }
                make(&root, &from);
                assert_eq!(now(&root), fresh, "{number} {swept}");
                assert_eq!(std::fs::read(&outside).unwrap(), b"of others", "{number} {swept}");
                assert_eq!(std::fs::read(&from).unwrap(), b"content");
            }
        }
    }

    #[test]
    fn small_files_are_used_again_and_large_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("room");
        let inode = |name: &str| std::fs::metadata(root.join(name)).map(|meta| meta.ino()).ok();
        let large = dir.path().join("large");
        std::fs::write(&large, vec![7; SMALL as usize + 1]).unwrap();
        let make = || {
            let mut tree = Tree::at(root.clone()).unwrap();
            tree.write("small", b"x").unwrap();
            tree.copy("large", &large, Rights::AsThere).unwrap();
            tree.strip().unwrap();
            tree
        };
        let tree = make();
        let before = inode("small");
        tree.sweep().unwrap();
        assert_eq!((inode("small"), inode("large")), (before, None));
        make();
        assert_eq!(inode("small"), before);
        assert_eq!(std::fs::read(root.join("large")).unwrap(), std::fs::read(&large).unwrap());
    }
}
