//! The members of a zip archive as its central directory lists them, one by one. The zip library keeps one member for
//! each name, so a name that comes twice is seen only here. Unpacks nothing.

use std::io::{self, Read, Seek, SeekFrom};

/// How a record of the central directory begins, and the size of its fixed part.
const RECORD: (&[u8], usize) = (b"PK\x01\x02", 46);
/// The same for the header before a member's bytes.
const HEADER: (&[u8], usize) = (b"PK\x03\x04", 30);

/// The names of all records from `start` on, as they are written.
pub(super) fn names(file: &mut (impl Read + Seek), start: u64) -> io::Result<Vec<Vec<u8>>> {
    file.seek(SeekFrom::Start(start))?;
    let mut names = Vec::new();
    while let Some(fixed) = fixed(file, RECORD)? {
        let size = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
        let mut name = vec![0; size(28)];
        file.read_exact(&mut name)?;
        names.push(name);
        let rest = size(30) + size(32);
        io::copy(&mut file.by_ref().take(rest as u64), &mut io::sink())?;
    }
    Ok(names)
}

/// The name in the header at `start`, before a member's bytes.
pub(super) fn header_name(file: &mut (impl Read + Seek), start: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let fixed = fixed(file, HEADER)?.ok_or_else(|| io::Error::other("a member has no header"))?;
    let mut name = vec![0; usize::from(u16::from_le_bytes([fixed[26], fixed[27]]))];
    file.read_exact(&mut name)?;
    Ok(name)
}

/// The fixed part of what begins with `mark`; `None` if something else or nothing is there.
fn fixed(file: &mut impl Read, (mark, size): (&[u8], usize)) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.by_ref().take(size as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() == size && bytes.starts_with(mark)))
}

/// The name of a packing method, by its number in the format's specification.
pub(super) fn method(number: u16) -> String {
    let name = match number {
        1 => "shrink",
        2..=5 => "reduce",
        6 => "implode",
        9 => "deflate64",
        12 => "bzip2",
        14 => "lzma",
        20 | 93 => "zstd",
        95 => "xz",
        97 => "wavpack",
        98 => "ppmd",
        _ => return format!("method {number}"),
    };
    name.to_owned()
}
