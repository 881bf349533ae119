//! [`ObjectDir`]: the folder of objects, held open: a look at an object by a name that is relative to it spares the system
//! the walk down from the root, which is half of the cost of a look.

use std::ffi::CStr;
use std::fs::File;
use std::path::Path;

use crate::base::digest::Digest;

use super::stat::{Signature, stat_below};

/// The name of an object below its folder, `ab/cdef…`, and a zero byte.
type Name = [u8; 66];

/// The folder of objects.
#[derive(Debug)]
pub struct ObjectDir(Option<File>);

impl ObjectDir {
    /// At `path`. One that cannot be opened shows no object.
    pub fn open(path: &Path) -> Self {
        Self(File::open(path).ok())
    }

    /// The signature of the object with these bytes. `None` when that cannot be told in this short way, for whatever
    /// reason: [`Signature::at`] will say.
    pub fn signature(&self, bytes: &Digest) -> Option<Signature> {
        let name = name(bytes);
        let name = CStr::from_bytes_with_nul(&name).expect("it ends with its one zero");
        let stat = stat_below(self.0.as_ref()?, name)?;
        (stat.st_mode & libc::S_IFMT == libc::S_IFREG).then(|| Signature::of_stat(&stat))
    }
}

fn name(bytes: &Digest) -> Name {
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
    fn the_short_way_says_what_the_long_one_says() {
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
