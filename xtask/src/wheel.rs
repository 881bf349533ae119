//! Wheels: zip archives with a RECORD of the SHA-256 digest of every file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::{Context, Failed, Result};

/// An open wheel.
pub struct Wheel {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// File name to its digest, in RECORD's own spelling.
    record: BTreeMap<String, String>,
}

/// An unpacked wheel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files.
    pub files: usize,
    /// Bytes in them.
    pub bytes: u64,
}

impl Wheel {
    /// Opens a wheel and reads its RECORD.
    pub fn open(path: &Path) -> Result<Self> {
        let context = || format!("cannot read the wheel `{}`", path.display());
        let archive = ZipArchive::new(BufReader::new(File::open(path).context(context)?)).context(context)?;
        let mut wheel = Self { path: path.to_path_buf(), archive, record: BTreeMap::new() };
        wheel.record = parse_record(&wheel.dist_info("RECORD")?);
        Ok(wheel)
    }

    /// The `Requires-Dist` lines of its METADATA.
    pub fn requires(&mut self) -> Result<Vec<String>> {
        let metadata = self.dist_info("METADATA")?;
        // The headers end at the first empty line.
        let headers = metadata.lines().take_while(|line| !line.is_empty());
        Ok(headers.filter_map(|line| line.strip_prefix("Requires-Dist:")).map(|r| r.trim().to_owned()).collect())
    }

    /// Unpacks every file that `place` gives a path, each checked against RECORD.
    pub fn unpack(&mut self, place: impl Fn(&str) -> Option<PathBuf>) -> Result<Unpacked> {
        let mut unpacked = Unpacked::default();
        for i in 0..self.archive.len() {
            let context = || format!("cannot unpack `{}`", self.path.display());
            let mut member = self.archive.by_index(i).context(context)?;
            let name = member.name().context(context)?.into_owned();
            let Some(to) = place(&name).filter(|_| !member.is_dir()) else { continue };
            let expected = self
                .record
                .get(&name)
                .ok_or_else(|| Failed(format!("`{}`: `{name}` is not in its RECORD", self.path.display())))?;
            let (digest, bytes) = copy(&mut member, &to)?;
            if digest != *expected {
                // So that the next try downloads it again. When it stays, the next try says the same.
                let _ = std::fs::remove_file(&self.path);
                return Err(Failed(format!(
                    "`{}`: `{name}` is not what its RECORD says (sha256 {digest}, recorded {expected}); \
                     the download was damaged and is deleted: try again",
                    self.path.display()
                )));
            }
            unpacked.files += 1;
            unpacked.bytes += bytes;
        }
        Ok(unpacked)
    }

    fn dist_info(&mut self, file: &str) -> Result<String> {
        let end = format!(".dist-info/{file}");
        let is = |name: &String| name.ends_with(&end) && name.matches('/').count() == 1;
        let context = || format!("`{}` has no {file}: it is no wheel", self.path.display());
        let name = self.archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).find(is);
        let name = name.ok_or_else(|| Failed(context()))?;
        let mut text = String::new();
        self.archive.by_name(&name).context(context)?.read_to_string(&mut text).context(context)?;
        Ok(text)
    }
}

/// Writes a file; its digest as RECORD spells it, and its size.
fn copy(from: &mut impl Read, to: &Path) -> Result<(String, u64)> {
    let context = || format!("cannot write `{}`", to.display());
    std::fs::create_dir_all(to.parent().expect("a path in a folder")).context(context)?;
    let mut file = File::create(to).context(context)?;
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let n = from.read(&mut buffer).context(context)?;
        if n == 0 {
            return Ok((base64_url(&hasher.finalize()), bytes));
        }
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n]).context(context)?;
        bytes += n as u64;
    }
}

/// Lines `name,sha256=DIGEST,size`; a name with a comma is in quotes. RECORD itself has no digest.
fn parse_record(text: &str) -> BTreeMap<String, String> {
    let entry = |line: &str| {
        let (rest, _size) = line.rsplit_once(',')?;
        let (name, digest) = rest.rsplit_once(',')?;
        let name = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(name);
        Some((name.replace("\"\"", "\""), digest.strip_prefix("sha256=")?.trim_end_matches('=').to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// Base64 with `-` and `_`, without padding: RECORD's spelling.
fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, b| group << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(group >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A wheel with these files. `record` may lie.
    pub fn write_wheel(path: &Path, files: &[(&str, &[u8])], lie: bool) {
        use zip::write::SimpleFileOptions;
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        let mut record = String::new();
        for (name, bytes) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
            let digest = base64_url(&Sha256::digest(if lie { b"lie" } else { *bytes }));
            record += &format!("{name},sha256={digest},{}\n", bytes.len());
        }
        zip.start_file("x-1.dist-info/RECORD", SimpleFileOptions::default()).unwrap();
        zip.write_all((record + "x-1.dist-info/RECORD,,\n").as_bytes()).unwrap();
        zip.finish().unwrap();
    }

    #[test]
    fn digests_are_spelt_as_in_a_record() {
        // From the RECORD of a published wheel: an empty file.
        assert_eq!(base64_url(&Sha256::digest(b"")), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
        assert_eq!(base64_url(b"f"), "Zg");
        assert_eq!(base64_url(b"fo"), "Zm8");
        assert_eq!(base64_url(b"foo"), "Zm9v");
    }

    #[test]
    fn records_are_read() {
        let record = parse_record("a/b.so,sha256=AbC_-,12\n\"odd,name\",sha256=xyz=,0\nx.dist-info/RECORD,,\n");
        assert_eq!(record["a/b.so"], "AbC_-");
        assert_eq!(record["odd,name"], "xyz");
        assert_eq!(record.len(), 2);
    }

    #[test]
    fn only_what_is_wanted_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let (path, out) = (dir.path().join("x.whl"), dir.path().join("out"));
        write_wheel(&path, &[("torch/lib/a.so", b"aaaa"), ("torch/b.py", b"b")], false);
        let place = |name: &str| name.strip_prefix("torch/lib/").map(|file| out.join(file));
        let unpacked = Wheel::open(&path).unwrap().unpack(place).unwrap();
        assert_eq!(unpacked, Unpacked { files: 1, bytes: 4 });
        assert_eq!(std::fs::read(out.join("a.so")).unwrap(), b"aaaa");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_differs_from_the_record_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.whl");
        write_wheel(&path, &[("a.so", b"aaaa")], true);
        let result = Wheel::open(&path).unwrap().unpack(|name| Some(dir.path().join("out").join(name)));
        let Err(Failed(message)) = result else { panic!("taken") };
        assert!(message.contains("`a.so` is not what its RECORD says"), "{message}");
    }
}
