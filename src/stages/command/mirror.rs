//! [`Mirror`]: a folder that is brought to a wanted state from any other. Folders and small files that exist already
//! are reused with new content, because to make and remove them for each program costs more than many a program.
//! Nothing in it is trusted: whatever is not wanted is removed.
//!
//! A file is reused only if it is a plain file without a second name; links are never followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::artifact::{Counted, byte_digest};
use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, of_folder};
use crate::base::fs::{self, on};
use crate::base::look;
use crate::base::stat::Signature;
use crate::base::walk::{self, DEEPEST};

/// Larger files are not kept for the next program, and are copied by the system, which may share their blocks.
const SMALL: u64 = 1 << 16;

/// The rights of a file that can only be read.
pub const READ_ONLY: u32 = 0o444;
/// The rights of a copy that can be read and started as a program.
pub const READ_AND_EXECUTE: u32 = 0o555;

/// A folder, and the items that are wanted in it.
#[derive(Debug)]
pub struct Mirror {
    root: PathBuf,
    /// The rights of a folder that is made here.
    rights: u32,
    /// Items that were found and not asked for yet, by name below the root; `true` for a folder.
    found: BTreeMap<String, bool>,
    /// Items that were asked for.
    wanted: BTreeMap<String, WantedItem>,
}

/// The kind of an item that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WantedItem {
    Folder,
    /// A file that may remain for the next program.
    Small,
    /// A file that may not remain.
    Large,
}

impl Mirror {
    /// Opens the folder at `root`, and makes it if it does not exist.
    ///
    /// # Errors
    /// Fails if it cannot be made or read.
    pub fn at(root: PathBuf) -> Result<Self, Diag> {
        let mut found = BTreeMap::new();
        let parent = root.parent().unwrap_or(&root);
        let rights = std::fs::metadata(parent).map_err(on("read", parent))?.mode() & 0o777;
        match std::fs::create_dir(&root) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => found = list(&root, rights)?,
            Err(e) => return Err(on("create", &root)(e).into()),
        }
        Ok(Self { root, rights, found, wanted: BTreeMap::new() })
    }

    /// Returns the path of `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes a folder, and all above it.
    ///
    /// # Errors
    /// Fails if it cannot be made.
    pub fn folder(&mut self, name: &str) -> Result<(), Diag> {
        if self.wanted.contains_key(name) {
            return Ok(());
        }
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above)?;
        }
        self.wanted.insert(name.to_owned(), WantedItem::Folder);
        let path = self.path(name);
        match self.found.remove(name) {
            Some(true) => return Ok(()),
            Some(false) => fs::remove_file(&path)?,
            None => {}
        }
        Ok(std::fs::create_dir(&path).map_err(on("create", &path))?)
    }

    /// Writes a file with these bytes.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Diag> {
        let path = self.path(name);
        let (mut file, old) = self.file(name, bytes.len() as u64)?;
        let written = file.write_all(bytes).and_then(|()| trim(&file, old, bytes.len() as u64));
        Ok(written.and_then(|()| set_rights(&file, self.rights & 0o666)).map_err(on("write", &path))?)
    }

    /// Copies a file, with the rights `mode`.
    ///
    /// # Errors
    /// Fails if it cannot be read or written.
    pub fn copy(&mut self, name: &str, from: &Path, mode: u32) -> Result<(), Diag> {
        let source = fs::open(from)?;
        let meta = source.metadata().map_err(on("read", from))?;
        let (copy, _) = self.fill(name, from, &source, meta.len())?;
        Ok(set_rights(&copy, mode).map_err(on("write", &self.path(name)))?)
    }

    /// Copies a file or folder of the user's, which must be what the key counts. Links are followed. The copy is
    /// hashed, except for a large file whose signature says that it is still the counted one.
    ///
    /// # Errors
    /// Fails if it cannot be read or written, or if it changed after it was counted.
    pub fn copy_counted(&mut self, name: &str, from: &Path, counted: &Counted) -> Result<(), Diag> {
        let changed = |found: Digest| {
            Diag::error(Class::Stage, format!("`{}` changed after its key was made", from.display()))
                .note(format!("counted {}, copied {found}", counted.digest))
                .help("run again when nothing writes to it")
                .outdated()
        };
        let (source, meta) = still_there(from, look::open_any(from))?;
        let found = if meta.is_dir() {
            self.copy_folder(name, from)?
        } else {
            let speaks = |meta: &Metadata| counted.signature == Some(Signature::of(meta));
            let known = || {
                let after = source.metadata().map_err(on("read", from))?;
                Ok((speaks(&meta) && speaks(&after)).then_some(counted.digest))
            };
            self.fill_counted(name, from, &source, &meta, &known)?
        };
        if found == counted.digest { Ok(()) } else { Err(changed(found)) }
    }

    /// Copies a folder, and returns the digest of the copy.
    fn copy_folder(&mut self, name: &str, from: &Path) -> Result<Digest, Diag> {
        let mut digests: BTreeMap<String, Digest> = BTreeMap::new();
        self.folder(name)?;
        let mut open = vec![(String::new(), from.to_owned(), 0)];
        while let Some((prefix, dir, depth)) = open.pop() {
            if depth > DEEPEST {
                return Err(walk::too_deep(&dir, DEEPEST));
            }
            for item in still_there(&dir, std::fs::read_dir(&dir).map_err(on("read", &dir)))? {
                let path = item.map_err(on("read", &dir))?.path();
                let Some(own) = path.file_name().and_then(|own| own.to_str()) else {
                    let message = format!("`{}` has a name that is not UTF-8", path.display());
                    return Err(Diag::error(Class::Stage, message).lasting());
                };
                let own = format!("{prefix}{own}");
                let to = format!("{name}/{own}");
                let (source, meta) = match look::open_any(&path) {
                    Err(_) if look::is_editor_lock(&path) => continue,
                    opened => still_there(&path, opened)?,
                };
                if meta.is_dir() {
                    self.folder(&to)?;
                    open.push((own + "/", path, depth + 1));
                    continue;
                }
                digests.insert(own, self.fill_counted(&to, &path, &source, &meta, &|| Ok(None))?);
            }
        }
        Ok(of_folder(digests.iter().map(|(name, digest)| (name.as_str(), *digest))))
    }

    /// As [`Mirror::fill`], with the rights of the original. Returns the digest of the copy; for a large file, `known`
    /// may give it after the copy.
    fn fill_counted(
        &mut self,
        name: &str,
        from: &Path,
        source: &File,
        meta: &Metadata,
        known: &dyn Fn() -> Result<Option<Digest>, Diag>,
    ) -> Result<Digest, Diag> {
        let (copy, hashed) = self.fill(name, from, source, meta.len())?;
        let path = self.path(name);
        // A program can see whether a file is executable, so the key has it too.
        let marked = |digest: Digest| if meta.mode() & 0o100 != 0 { digest.executable() } else { digest };
        let digest = match hashed {
            Some(digest) => marked(digest),
            None => match known()? {
                Some(digest) => digest,
                None => marked(byte_digest(&path)?),
            },
        };
        set_rights(&copy, meta.mode() & 0o777).map_err(on("write", &path))?;
        Ok(digest)
    }

    /// Fills file `name` with the content of `source`, which was opened at `from` and had `length` bytes. Returns the
    /// digest of the bytes if they passed through memory.
    fn fill(&mut self, name: &str, from: &Path, source: &File, length: u64) -> Result<(File, Option<Digest>), Diag> {
        let path = self.path(name);
        let (file, old) = self.file(name, length)?;
        if length > SMALL {
            trim(&file, old, 0).map_err(on("write", &path))?;
            fs::copy_into(source, &file).map_err(on("copy", from))?;
            return Ok((file, None));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        let mut source = source;
        source.read_to_end(&mut bytes).map_err(on("read", from))?;
        let written = (&file).write_all(&bytes).and_then(|()| trim(&file, old, bytes.len() as u64));
        written.map_err(on("write", &path))?;
        Ok((file, Some(Digest::of(&bytes))))
    }

    /// Opens file `name` to write it from its beginning. Returns its present length; `length` is its future one.
    fn file(&mut self, name: &str, length: u64) -> Result<(File, u64), Diag> {
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above)?;
        }
        // Of two items with one name, the later one counts.
        let size = if length <= SMALL { WantedItem::Small } else { WantedItem::Large };
        let again = self.wanted.insert(name.to_owned(), size).map(|_| false);
        let path = self.path(name);
        match self.found.remove(name).or(again) {
            Some(true) => {
                walk::remove(&path).map_err(on("remove", &path))?;
                let below = format!("{name}/");
                self.found.retain(|other, _| !other.starts_with(&below));
            }
            Some(false) => match used_again(&path) {
                Some(opened) => return Ok(opened),
                None => fs::remove_file(&path)?,
            },
            None => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        Ok((file.map_err(on("create", &path))?, 0))
    }

    /// Removes what was found and not asked for.
    ///
    /// # Errors
    /// Fails if it cannot be removed.
    pub fn strip(&mut self) -> Result<(), Diag> {
        let found = std::mem::take(&mut self.found);
        clear(&self.root, found.into_iter())
    }

    /// Removes what the program added, and files that are too large to remain for the next program. Restores the rights
    /// of folders that a program changed.
    ///
    /// # Errors
    /// Fails if it cannot be removed.
    pub fn sweep(&self) -> Result<(), Diag> {
        let folders =
            self.wanted.iter().filter(|(_, wanted)| **wanted == WantedItem::Folder).map(|(name, _)| name.as_str());
        let mut real: BTreeSet<&str> = BTreeSet::new();
        // Names come in order, a folder before what is in it.
        for name in [""].into_iter().chain(folders) {
            let above = name.rsplit_once('/').map_or("", |(above, _)| above);
            let dir = if name.is_empty() { self.root.clone() } else { self.path(name) };
            if !name.is_empty() && !real.contains(above) {
                continue;
            }
            let Some(meta) = std::fs::symlink_metadata(&dir).ok().filter(Metadata::is_dir) else { continue };
            real.insert(name);
            if meta.mode() & 0o777 != self.rights {
                std::fs::set_permissions(&dir, Permissions::from_mode(self.rights)).map_err(on("change", &dir))?;
            }
            for item in std::fs::read_dir(&dir).map_err(on("read", &dir))? {
                let item = item.map_err(on("read", &dir))?;
                let own = item.file_name().to_str().map(|own| match name {
                    "" => own.to_owned(),
                    _ => format!("{name}/{own}"),
                });
                let is_folder = item.file_type().map_err(on("read", &dir))?.is_dir();
                let remains = match own.and_then(|own| self.wanted.get(&own)) {
                    Some(WantedItem::Folder) => is_folder,
                    Some(WantedItem::Small) => !is_folder,
                    Some(WantedItem::Large) | None => false,
                };
                if !remains {
                    let path = item.path();
                    walk::remove(&path).map_err(on("remove", &PathBuf::from(walk::shortened(&path))))?;
                }
            }
        }
        Ok(())
    }
}

/// Returns what was opened of something that the key counts. If it is gone, it changed after it was counted.
fn still_there<T>(path: &Path, opened: Result<T, fs::FsError>) -> Result<T, Diag> {
    opened.map_err(|error| match error.source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            Diag::error(Class::Stage, format!("`{}` was removed after its key was made", path.display())).outdated()
        }
        _ => error.into(),
    })
}

/// Removes these items. A folder is removed with all that is in it.
fn clear(root: &Path, names: impl Iterator<Item = (String, bool)>) -> Result<(), Diag> {
    let mut gone: BTreeSet<String> = BTreeSet::new();
    for (name, folder) in names {
        // Names come in order, a folder before what is in it.
        if name.rsplit_once('/').is_some_and(|(above, _)| gone.contains(above)) {
            gone.insert(name);
            continue;
        }
        let path = root.join(&name);
        walk::remove(&path).map_err(on("remove", &path))?;
        if folder {
            gone.insert(name);
        }
    }
    Ok(())
}

/// Lists everything below `root` by name; `true` for a folder. Restores the rights of folders that a program changed.
/// Removes what cannot be wanted: a name that is not UTF-8, and what is deeper than anything of ours.
fn list(root: &Path, rights: u32) -> Result<BTreeMap<String, bool>, Diag> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), root.to_owned(), 0)];
    while let Some((prefix, dir, depth)) = open.pop() {
        let meta = std::fs::symlink_metadata(&dir).map_err(on("read", &dir))?;
        if meta.mode() & 0o777 != rights {
            std::fs::set_permissions(&dir, Permissions::from_mode(rights)).map_err(on("change", &dir))?;
        }
        for item in std::fs::read_dir(&dir).map_err(on("read", &dir))? {
            let item = item.map_err(on("read", &dir))?;
            let folder = item.file_type().map_err(on("read", &dir))?.is_dir();
            let path = item.path();
            let Some(own) =
                item.file_name().to_str().map(|own| format!("{prefix}{own}")).filter(|_| depth < 2 * DEEPEST)
            else {
                walk::remove(&path).map_err(on("remove", &dir))?;
                continue;
            };
            if folder {
                open.push((format!("{own}/"), path, depth + 1));
            }
            found.insert(own, folder);
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Returns what is wanted: two small files, a copy, and an empty folder.
    fn make(root: &Path, from: &Path) -> Mirror {
        let mut mirror = Mirror::at(root.to_owned()).unwrap();
        mirror.write("a/one", b"one").unwrap();
        mirror.write("two", b"").unwrap();
        mirror.copy("a/copy", from, READ_ONLY).unwrap();
        mirror.folder("empty/er").unwrap();
        mirror.strip().unwrap();
        mirror
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
    fn mirror_has_only_wanted_items_whatever_a_program_left() {
        let dir = tempfile::tempdir().unwrap();
        let (root, from, outside) = (dir.path().join("work"), dir.path().join("from"), dir.path().join("outside"));
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
                let mirror = make(&root, &from);
                std::fs::write(&outside, "of others").unwrap();
                attack();
                if swept {
                    mirror.sweep().unwrap();
                }
                make(&root, &from);
                assert_eq!(now(&root), fresh, "{number} {swept}");
                assert_eq!(std::fs::read(&outside).unwrap(), b"of others", "{number} {swept}");
                assert_eq!(std::fs::read(&from).unwrap(), b"content");
            }
        }
    }

    #[test]
    fn small_files_are_reused_and_large_ones_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        let inode = |name: &str| std::fs::metadata(root.join(name)).map(|meta| meta.ino()).ok();
        let large = dir.path().join("large");
        std::fs::write(&large, vec![7; SMALL as usize + 1]).unwrap();
        let make = || {
            let mut mirror = Mirror::at(root.clone()).unwrap();
            mirror.write("small", b"x").unwrap();
            mirror.copy("large", &large, 0o644).unwrap();
            mirror.strip().unwrap();
            mirror
        };
        let mirror = make();
        let before = inode("small");
        mirror.sweep().unwrap();
        assert_eq!((inode("small"), inode("large")), (before, None));
        make();
        assert_eq!(inode("small"), before);
        assert_eq!(std::fs::read(root.join("large")).unwrap(), std::fs::read(&large).unwrap());
    }
}
