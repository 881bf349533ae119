//! Digests of files and folders of the working tree, by content. A file is not hashed again while its signature holds.
//! The same read also gives the logical digest of large files of tensors (see [`super::digests`]).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::artifact::{digests, each};
use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, of_folder};
use crate::base::fs::{changed, on};
use crate::base::look::{self, There};
use crate::base::walk::{DEEPEST, too_deep};
use crate::base::watch::{Unwatched, Watch};

use super::index::{FileMemo, OtherDigests};
use super::stat::{Signature, now_ns};
use super::store::Store;

impl Store {
    /// The digest of a file's bytes; of a folder: of all files below it, by relative name. Links are followed. Names,
    /// times and rights of the file or folder itself do not count, nor the [locks](look::is_editor_lock) of an editor.
    ///
    /// # Errors
    /// Fails if there is nothing at `path`, or if a part of it cannot be read.
    pub fn content_digest(&self, path: &Path) -> Result<Digest, Diag> {
        self.content_digest_watched(path, &Unwatched)
    }

    pub(super) fn content_digest_watched(&self, path: &Path, watch: &(dyn Watch + Sync)) -> Result<Digest, Diag> {
        self.digest_of(path, |digest, _| digest, watch)
    }

    /// As [`Store::content_digest`], except that an executable file has another digest than the same file that is not.
    ///
    /// # Errors
    /// As [`Store::content_digest`], and the error of `watch`.
    pub(super) fn program_digest_watched(&self, path: &Path, watch: &(dyn Watch + Sync)) -> Result<Digest, Diag> {
        self.digest_of(path, |digest, meta| if meta.mode() & 0o100 != 0 { digest.executable() } else { digest }, watch)
    }

    /// The digest of a file, or of all files below a folder. `with` adds to the digest of each what else counts for it.
    fn digest_of(
        &self,
        path: &Path,
        with: impl Fn(Digest, &Metadata) -> Digest + Sync,
        watch: &(dyn Watch + Sync),
    ) -> Result<Digest, Diag> {
        let path = self.absolute(path);
        if let There::File(meta) = look::required(&path)? {
            return Ok(with(self.file_digest(&path, Signature::of(&meta), watch)?, &meta));
        }
        let mut files = Vec::new();
        walk(&path, &mut files)?;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let digest =
            |file: &Below| Ok(with(self.file_digest(&file.path, Signature::of(&file.meta), watch)?, &file.meta));
        let digests = each(&files, |file| file.meta.len(), digest)?;
        Ok(of_folder(files.iter().zip(digests).map(|(file, digest)| (file.name.as_str(), digest))))
    }

    pub(super) fn file_digest(
        &self,
        path: &Path,
        signature: Signature,
        watch: &(dyn Watch + Sync),
    ) -> Result<Digest, Diag> {
        let known = self.index().files.get(path);
        if let Some(memo) = known.filter(|m| m.signature == signature && !signature.racy(m.hashed_at)) {
            return Ok(memo.digest);
        }
        let hashed_at = now_ns();
        let (digest, tensors) = digests(&path.to_string_lossy(), path, watch)?;
        if Signature::at(path)? != Some(signature) {
            return Err(changed(path));
        }
        watch.advance(1, 0);
        let mut index = self.index();
        index.files.insert(path.to_owned(), FileMemo { signature, hashed_at, digest });
        if tensors.is_some() {
            index.learn(digest, OtherDigests { tensors, sha256: None });
        }
        index.dirty = true;
        Ok(digest)
    }
}

/// A file below a folder.
struct Below {
    /// Its path relative to the folder.
    name: String,
    path: PathBuf,
    meta: Metadata,
}

/// All files below `dir` with their relative paths. Links are followed.
fn walk(dir: &Path, files: &mut Vec<Below>) -> Result<(), Diag> {
    let mut open = vec![(String::new(), dir.to_owned(), 0)];
    while let Some((prefix, dir, depth)) = open.pop() {
        if depth > DEEPEST {
            return Err(too_deep(&dir, DEEPEST));
        }
        for item in std::fs::read_dir(&dir).map_err(on("read", &dir))? {
            let path = item.map_err(on("read", &dir))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(Diag::error(Class::Stage, format!("the name of `{}` is not UTF-8", path.display()))
                    .help("rename it: names of files in a source folder are part of the key"));
            };
            let name = format!("{prefix}{name}");
            match look::required(&path) {
                Ok(There::Folder(_)) => open.push((name + "/", path, depth + 1)),
                Ok(There::File(meta)) => files.push(Below { name, path, meta }),
                Err(_) if look::is_editor_lock(&path) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn folder_digest_counts_content_and_names_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let make = |at: &str, text: &str| {
            let folder = dir.path().join(at);
            fs::create_dir_all(folder.join("sub")).unwrap();
            fs::write(folder.join("sub/b"), text).unwrap();
            fs::write(folder.join("a"), "a").unwrap();
            folder
        };
        let digest = |p: &Path| store.content_digest(p).unwrap();
        let (one, two) = (make("one", "x"), make("two", "x"));
        let before = digest(&one);
        assert_eq!(digest(&two), before);
        assert_ne!(digest(&make("three", "y")), before);
        fs::rename(two.join("a"), two.join("c")).unwrap();
        assert_ne!(digest(&two), before);
        fs::File::open(one.join("a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(digest(&one), before);
        fs::write(one.join("a"), "b").unwrap();
        assert_ne!(digest(&one), before);
        assert!(store.content_digest(&dir.path().join("none")).unwrap_err().message.contains("none`: no such file"));
    }

    #[test]
    fn write_in_the_same_tick_changes_the_digest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let path = dir.path().join("f");
        for i in 0..200 {
            let text = format!("{i:04}");
            fs::write(&path, &text).unwrap();
            assert_eq!(store.content_digest(&path).unwrap(), Digest::of(text.as_bytes()));
        }
    }

    #[test]
    fn editor_lock_is_ignored_and_other_dangling_links_fail() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let folder = dir.path().join("code");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.py"), "print()").unwrap();
        let before = store.content_digest(&folder).unwrap();
        std::os::unix::fs::symlink("someone@host.1234:1700000000", folder.join(".#a.py")).unwrap();
        assert_eq!(store.content_digest(&folder).unwrap(), before);
        std::os::unix::fs::symlink("../annex/b", folder.join("b.py")).unwrap();
        let error = store.content_digest(&folder).unwrap_err();
        assert!(error.message.ends_with("b.py`: it is a link to `../annex/b`, where there is nothing"), "{error}");
    }

    #[test]
    fn hashing_ends_early_when_the_watch_fails() {
        use crate::base::watch::Counting;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let folder = dir.path().join("code");
        fs::create_dir(&folder).unwrap();
        (0..100).for_each(|i| fs::write(folder.join(format!("{i}")), vec![1; 1 << 16]).unwrap());
        fs::write(dir.path().join("large"), vec![1; 20 << 20]).unwrap();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let third = || match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0..3 => Ok(()),
            _ => Err(Diag::error(Class::Interrupted, "enough")),
        };
        let tell = |_| ();
        for path in [folder, dir.path().join("large")] {
            asked.store(0, std::sync::atomic::Ordering::Relaxed);
            let counting = Counting::new(Default::default(), &third, &tell);
            assert_eq!(store.watched(&counting).content_digest(&path).unwrap_err().message, "enough");
            assert!(asked.load(std::sync::atomic::Ordering::Relaxed) < 20, "it goes on for long");
            store.content_digest(&path).unwrap();
        }
    }

    #[test]
    fn circular_links_fail() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let folder = dir.path().join("f");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, folder.join("again")).unwrap();
        assert!(store.content_digest(&folder).is_err());
    }
}
