//! [`ObjectDir`]: the folder of objects, held open. A stat by a name relative to it spares the system the walk from the
//! root, which is half the cost of a stat.

use std::ffi::CStr;
use std::fs::File;
use std::path::Path;

use rustix::fs::FileType;

use crate::base::digest::Digest;

use super::stat::{Signature, stat_below};

/// The folder of objects.
#[derive(Debug)]
pub struct ObjectDir(Option<File>);

impl ObjectDir {
    /// Opens the folder at `path`. A folder that cannot be opened shows no objects.
    pub fn open(path: &Path) -> Self {
        Self(File::open(path).ok())
    }

    /// The signature of the object with these bytes. `None` if there is no such file, or if it cannot be told in this
    /// short way, for whatever reason: [`Signature::at`] then says why.
    pub fn signature(&self, bytes: &Digest) -> Option<Signature> {
        let name = name(bytes);
        let name = CStr::from_bytes_with_nul(&name).expect("the name ends with its only zero");
        let stat = stat_below(self.0.as_ref()?, name)?;
        FileType::from_raw_mode(stat.st_mode).is_file().then(|| Signature::of_stat(&stat))
    }
}

/// The name of an object below its folder, `ab/cdef…`, and a zero byte.
fn name(bytes: &Digest) -> [u8; 66] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut name = [0; 66];
    let mut at = 0;
    for byte in bytes.0 {
        if at == 2 {
            name[at] = b'/';
            at += 1;
        }
        name[at] = HEX[usize::from(byte >> 4)];
        name[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_dir_agrees_with_signature_at() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"x");
        let path = dir.path().join(&digest.hex()[..2]).join(&digest.hex()[2..]);
        let objects = ObjectDir::open(dir.path());
        assert_eq!(objects.signature(&digest), None);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"x").unwrap();
        assert_eq!(objects.signature(&digest), Signature::at(&path).unwrap());
        assert!(objects.signature(&digest).is_some());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(objects.signature(&digest), None);
        assert_eq!(ObjectDir::open(&path.join("none")).signature(&digest), None);
    }
}
