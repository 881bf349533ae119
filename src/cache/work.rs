//! [`WorkFolders`]: the private folders of running nodes, `work/KEY`. A folder whose node is done is handed on to the
//! next node. Creating and removing a handful of folders for each node would cost more than many a node's own work, and
//! some file systems search past every removed folder when they create one.
//!
//! Knows no entry and no stage, only that two of a folder's three parts are empty when it is handed on.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::fault;
use crate::base::fs::{FsError, on};
use crate::base::walk;

use super::key::CacheKey;
use super::stat::now_ns;

/// The prefix of folders that wait for a node. After a kill, gc removes them.
pub const SPARE: &str = "spare-";

/// The working folders of this process.
#[derive(Debug)]
pub struct WorkFolders {
    root: PathBuf,
    spare: Mutex<Vec<PathBuf>>,
}

/// The working folder of the maker of a key.
#[derive(Debug)]
pub struct WorkFolder<'a> {
    all: &'a WorkFolders,
    path: PathBuf,
}

impl WorkFolders {
    /// The folders below `root`.
    pub fn at(root: PathBuf) -> Self {
        Self { root, spare: Mutex::default() }
    }

    /// Returns the folder of `key`, whose lock the caller holds. Its `out` is empty; its `scratch` is as a killed or
    /// failed maker left it.
    ///
    /// # Errors
    /// Fails if it cannot be created.
    pub fn take(&self, key: CacheKey) -> Result<WorkFolder<'_>, FsError> {
        let folder = WorkFolder { all: self, path: self.path(key) };
        let spare = self.spare().pop();
        if let Some(spare) = spare {
            let renamed = fault::point("work.reuse").and_then(|()| std::fs::rename(&spare, &folder.path));
            if renamed.is_ok() {
                return Ok(folder);
            }
            self.spare().push(spare);
        }
        match fault::point("work.create").and_then(|()| std::fs::create_dir(&folder.path)) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                self.put_aside(&folder.out())?;
                self.put_aside(&folder.reuse())?;
            }
            Err(e) => return Err(on("create", &folder.path)(e)),
        }
        for part in [folder.out(), folder.scratch(), folder.reuse()] {
            match std::fs::create_dir(&part) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(on("create", &part)(e)),
                _ => {}
            }
        }
        Ok(folder)
    }

    /// Removes what a dead maker left. If a program of that maker still writes there, gc removes it later.
    fn put_aside(&self, left: &Path) -> Result<(), FsError> {
        let aside = self.root.join(format!("{SPARE}{}-{}", std::process::id(), now_ns()));
        match fault::point("work.remove").and_then(|()| std::fs::rename(left, &aside)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            moved => moved.map_err(on("move", left))?,
        }
        let _ = walk::remove(&aside);
        Ok(())
    }

    /// Removes the folders that wait for a node.
    pub fn clear_away(&self) {
        for path in self.spare().drain(..) {
            // If this fails, gc removes it.
            let _ = fault::point("work.remove").and_then(|()| walk::remove(&path));
        }
    }

    /// The path of the folder of `key`, whether it is there or not.
    pub fn path(&self, key: CacheKey) -> PathBuf {
        self.root.join(key.hex())
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WorkFolders {
    fn drop(&mut self) {
        self.clear_away();
    }
}

impl WorkFolder<'_> {
    /// Where the stage writes its files.
    pub fn out(&self) -> PathBuf {
        self.path.join("out")
    }

    /// Outlives a kill and a failure. Emptied when the result is stored.
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// Handed on with its contents.
    pub fn reuse(&self) -> PathBuf {
        self.path.join("reuse")
    }

    /// Hands the folder on, after the result was stored.
    pub fn hand_on(&self) {
        let name = format!("{SPARE}{}-{}", std::process::id(), now_ns());
        let spare = self.all.root.join(name);
        let handed = empty(&self.out())
            .and_then(|()| empty(&self.scratch()))
            .is_ok_and(|()| fault::point("work.remove").and_then(|()| std::fs::rename(&self.path, &spare)).is_ok());
        if handed {
            self.all.spare().push(spare);
        } else {
            // If this fails, gc removes it.
            let _ = walk::remove(&self.path);
        }
    }

    /// Leaves the folder without a result. The next maker may go on from what is in `scratch`.
    pub fn leave(&self) {
        if fault::point("work.remove").is_err() {
            return;
        }
        // If this fails, the next holder of the key removes it.
        let _ = walk::remove(&self.out());
        let _ = walk::remove(&self.reuse());
        let _ = std::fs::remove_dir(self.scratch());
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Empties a folder.
fn empty(dir: &Path) -> Result<(), FsError> {
    walk::open(dir).and_then(walk::empty).map_err(on("empty", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use std::fs::{read_dir, write};

    fn key(n: u8) -> CacheKey {
        CacheKey(Digest::of(&[n]))
    }

    #[test]
    fn handed_on_folder_has_two_empty_parts() {
        let dir = tempfile::tempdir().unwrap();
        let all = WorkFolders::at(dir.path().to_owned());
        let one = all.take(key(1)).unwrap();
        for part in [one.out(), one.scratch(), one.reuse()] {
            std::fs::create_dir_all(part.join("deep/er")).unwrap();
            write(part.join("deep/er/f"), "x").unwrap();
        }
        one.hand_on();
        assert!(!all.path(key(1)).exists());
        let two = all.take(key(2)).unwrap();
        assert_eq!([two.out(), two.scratch(), two.reuse()].map(|part| read_dir(part).unwrap().count()), [0, 0, 1]);
        // Nobody waits for a second one: it is made.
        let three = all.take(key(3)).unwrap();
        assert_eq!(read_dir(three.reuse()).unwrap().count(), 0);
        two.hand_on();
        three.hand_on();
        drop(all);
        assert_eq!(read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn scratch_of_a_dead_maker_is_found_before_a_spare_folder() {
        let dir = tempfile::tempdir().unwrap();
        let all = WorkFolders::at(dir.path().to_owned());
        let dead = WorkFolders::at(dir.path().to_owned());
        let left = dead.take(key(1)).unwrap();
        for part in [left.out(), left.scratch(), left.reuse()] {
            write(part.join("f"), "x").unwrap();
        }
        all.take(key(2)).unwrap().hand_on();
        let found = all.take(key(1)).unwrap();
        let counts = [found.out(), found.scratch(), found.reuse()].map(|part| read_dir(part).unwrap().count());
        assert_eq!(counts, [0, 1, 0]);
        found.leave();
        assert!(found.scratch().join("f").exists() && !found.out().exists());
        all.take(key(3)).unwrap().leave();
        assert!(!all.path(key(3)).exists());
    }
}
