//! [`Stamp`]: records which result a folder in `results/` has, and the size and time of each copied file.

use std::io::{Read, Write};

use crate::base::closed_dir::ClosedDir;
use crate::base::diag::Diag;
use crate::base::fs::on;
use crate::base::name::is_relative_file;
use crate::cache::Stored;

/// The name of the stamp's file.
pub const STAMP: &str = ".key";
/// The first line. From a stamp of another layout, only the file names are used.
const LAYOUT: &str = "dpt results 2";
/// The maximum size that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// A stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The key of the result, in hex; empty in a stamp of another layout.
    pub key: String,
    /// The pipeline file of the result, relative to the project.
    pub pipeline: String,
    /// The copied files.
    pub files: Vec<StampedFile>,
}

/// A copied file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedFile {
    /// A relative path without `..`.
    pub name: String,
    /// The blake3 digest of its bytes and its executable bit, in hex.
    pub digest: String,
    /// Its size after copying, in bytes.
    pub size: u64,
    /// Its modification time after copying, in nanoseconds since 1970.
    pub mtime: i64,
}

impl Stamp {
    /// Returns `true` if the stamp belongs to this result. The key alone is not enough: after a repair it may have new
    /// bytes.
    pub fn is_of(&self, stored: &Stored) -> bool {
        let digests = stored.files.iter().map(|(name, file)| (name.to_string(), file.for_programs().hex()));
        let ours = self.files.iter().map(|file| (file.name.clone(), file.digest.clone()));
        self.key == stored.key.hex() && digests.eq(ours)
    }

    /// Reads the stamp of a folder. Ignores names that lead outside the folder, which `dpt` never writes.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn read(folder: &ClosedDir) -> Result<Option<Self>, Diag> {
        let Some((file, _)) = folder.open_file(STAMP)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map_err(on("read", &folder.path().join(STAMP)))?;
        Ok(Some(Self::parse(&String::from_utf8_lossy(&bytes))))
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        if lines.next() != Some(LAYOUT) {
            // Layout 1: a key, then a line `DIGEST NAME` for each file.
            let names = lines.filter_map(|line| line.split_once(' ')).map(|(_, name)| name);
            let file = |name: &str| StampedFile { name: name.to_owned(), digest: String::new(), size: 0, mtime: 0 };
            return Self { files: names.filter(|name| is_ours(name)).map(file).collect(), ..Self::default() };
        }
        let mut stamp = Self::default();
        for line in lines {
            match line.split_once(' ') {
                Some(("key", key)) => stamp.key = key.to_owned(),
                Some(("pipeline", file)) => stamp.pipeline = file.to_owned(),
                Some(("file", rest)) => stamp.files.extend(StampedFile::parse(rest)),
                _ => {}
            }
        }
        stamp
    }

    /// Writes the stamp, synced and by a rename. From then on the folder counts as complete.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn write(&self, folder: &ClosedDir) -> Result<(), Diag> {
        let mut text = format!("{LAYOUT}\nkey {}\npipeline {}\n", self.key, self.pipeline);
        for StampedFile { name, digest, size, mtime } in &self.files {
            text += &format!("file {digest} {size} {mtime} {name}\n");
        }
        folder.write(STAMP, 0o666, |file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })?;
        Ok(folder.sync()?)
    }
}

impl StampedFile {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next();
        let (digest, size, mtime, name) = (part()?, part()?.parse().ok()?, part()?.parse().ok()?, part()?);
        is_ours(name).then(|| Self { name: name.to_owned(), digest: digest.to_owned(), size, mtime })
    }
}

/// Returns `true` if a stamp may list this file name.
fn is_ours(name: &str) -> bool {
    is_relative_file(name) && name != STAMP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_reads_back_as_written() {
        let temp = tempfile::tempdir().unwrap();
        let folder = ClosedDir::create(&temp.path().join("r")).unwrap();
        assert_eq!(Stamp::read(&folder).unwrap(), None);
        let file = |name: &str| StampedFile { name: name.into(), digest: "ab".into(), size: 3, mtime: -7 };
        let stamp = Stamp {
            key: "00ff".into(),
            pipeline: "some dir/p.toml".into(),
            files: vec![file("a.txt"), file("sub/with blank.txt")],
        };
        stamp.write(&folder).unwrap();
        assert_eq!(Stamp::read(&folder).unwrap(), Some(stamp));
    }

    #[test]
    fn names_outside_the_folder_are_ignored() {
        for text in [
            "00\n00 ../x\n00 /etc/x\n00 ok.txt\n00 .key\n",
            "dpt results 2\nkey 00\nfile aa 1 2 ../x\nfile aa 1 2 /etc/x\nfile aa 1 2 ok.txt\nfile aa 1 ok.txt\nrubbish\n",
        ] {
            let names: Vec<_> = Stamp::parse(text).files.into_iter().map(|file| file.name).collect();
            assert_eq!(names, ["ok.txt"]);
        }
    }
}
