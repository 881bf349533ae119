//! Digests of files and folders of the working tree, by their content. What was hashed before is not hashed again while
//! its signature holds. The same reading finds out what large files of tensors mean (see [`super::known`]).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::artifact::digests;
use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, of_folder};
use crate::base::fs::on;
use crate::base::walk::{DEEPEST, too_deep};

use super::index::{About, Memo};
use super::stat::{Signature, now_ns};
use super::store::Store;

impl Store {
    /// The digest of a file's bytes; of a folder: of all files below it, by relative name. Links are followed. Names,
    /// times and rights of the file or folder itself do not count.
    ///
    /// # Errors
    /// When there is nothing at `path`, or a part of it cannot be read.
    pub fn content_digest(&self, path: &Path) -> Result<Digest, Diag> {
        self.digest_of(path, |digest, _| digest)
    }

    /// As [`Store::content_digest`], but an executable file has another digest than the same file that is not.
    ///
    /// # Errors
    /// As there.
    pub fn program_digest(&self, path: &Path) -> Result<Digest, Diag> {
        self.digest_of(path, |digest, meta| if meta.mode() & 0o100 != 0 { digest.executable() } else { digest })
    }

    /// The digest of a file, or of all files below a folder; `with` adds to the digest of each what else counts of it.
    fn digest_of(&self, path: &Path, with: impl Fn(Digest, &Metadata) -> Digest + Sync) -> Result<Digest, Diag> {
        let path = self.absolute(path);
        let meta = std::fs::metadata(&path).map_err(on("read", &path))?;
        if !meta.is_dir() {
            return Ok(with(self.file_digest(&path, Signature::of(&meta))?, &meta));
        }
        let mut files = Vec::new();
        walk(&path, &mut files)?;
        files.sort();
        let digests = files
            .par_iter()
            .map(|(_, file)| {
                let meta = std::fs::metadata(file).map_err(on("read", file))?;
                Ok(with(self.file_digest(file, Signature::of(&meta))?, &meta))
            })
            .collect::<Result<Vec<_>, Diag>>()?;
        Ok(of_folder(files.iter().zip(digests).map(|((name, _), digest)| (name.as_str(), digest))))
    }

    pub(super) fn file_digest(&self, path: &Path, signature: Signature) -> Result<Digest, Diag> {
        let known = self.index().files.get(path);
        if let Some(memo) = known.filter(|m| m.signature == signature && !signature.racy(m.hashed_at)) {
            return Ok(memo.digest);
        }
        let hashed_at = now_ns();
        let (digest, tensors) = digests(&path.to_string_lossy(), path)?;
        let after = Signature::at(path)?;
        if after != Some(signature) {
            return Err(Diag::error(Class::Stage, format!("`{}` changed while it was read", path.display()))
                .help("run again when nothing writes to it")
                .outdated());
        }
        let mut index = self.index();
        index.files.insert(path.to_owned(), Memo { signature, hashed_at, digest });
        if tensors.is_some() {
            index.learn(digest, About { tensors, sha256: None });
        }
        index.dirty = true;
        Ok(digest)
    }
}

/// All files below `dir` with their names from there on. Links are followed.
fn walk(dir: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<(), Diag> {
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
            if std::fs::metadata(&path).map_err(on("read", &path))?.is_dir() {
                open.push((name + "/", path, depth + 1));
            } else {
                files.push((name, path));
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
    fn content_and_names_below_count_times_and_place_do_not() {
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
    fn a_write_in_the_same_tick_is_seen() {
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
    fn links_in_a_circle_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let folder = dir.path().join("f");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, folder.join("again")).unwrap();
        assert!(store.content_digest(&folder).is_err());
    }
}
