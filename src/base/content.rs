//! Recognises a file's content by its first bytes, for messages about a file that is not what its name promises.

/// Content that a file can have instead of the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// No bytes.
    Empty,
    /// The text that Git keeps in the place of a large file.
    LfsPointer,
    /// HTML.
    WebPage,
    /// XML, such as the error of an object store.
    Xml,
    /// A file that is compressed, or an archive: by which program.
    Packed(&'static str),
    /// A file of another known format: `a parquet table`.
    Format(&'static str),
    /// Text in UTF-16 or UTF-32.
    WideText(&'static str),
    /// Bytes that are no text.
    Binary,
}

/// How files of a format begin.
const MAGIC: &[(&[u8], Content)] = &[
    (b"\x1f\x8b", Content::Packed("gzip")),
    (b"PK\x03\x04", Content::Packed("zip")),
    (b"PK\x05\x06", Content::Packed("zip")),
    (b"\x28\xb5\x2f\xfd", Content::Packed("zstd")),
    (b"\xfd7zXZ\0", Content::Packed("xz")),
    (b"BZh", Content::Packed("bzip2")),
    (b"7z\xbc\xaf\x27\x1c", Content::Packed("7z")),
    (b"\x04\x22\x4d\x18", Content::Packed("lz4")),
    (b"Rar!\x1a\x07", Content::Packed("rar")),
    (b"PAR1", Content::Format("a parquet table")),
    (b"ARROW1", Content::Format("an Arrow file")),
    (b"Obj\x01", Content::Format("an Avro file")),
    (b"ORC", Content::Format("an ORC file")),
    (b"SQLite format 3\0", Content::Format("an SQLite database")),
    (b"\x89HDF\r\n\x1a\n", Content::Format("an HDF5 file")),
    (b"\x93NUMPY", Content::Format("a NumPy array")),
    (b"%PDF", Content::Format("a PDF document")),
    (b"\x89PNG", Content::Format("a PNG picture")),
    (b"\x7fELF", Content::Format("a compiled program")),
    (b"\x00\x00\xfe\xff", Content::WideText("UTF-32BE")),
    (b"\xff\xfe\x00\x00", Content::WideText("UTF-32LE")),
    (b"\xfe\xff", Content::WideText("UTF-16BE")),
    (b"\xff\xfe", Content::WideText("UTF-16LE")),
];

/// How many bytes [`Content::of`] looks at.
pub const START: usize = 512;

impl Content {
    /// A stand-in for a file of any kind: nothing, a pointer, or a page that a server sent instead.
    pub fn stand_in(start: &[u8]) -> Option<Self> {
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
        let begins = |tag: &[u8]| text.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag));
        if start.is_empty() {
            Some(Self::Empty)
        } else if start.starts_with(b"version https://git-lfs") {
            Some(Self::LfsPointer)
        } else if begins(b"<html") || begins(b"<!doc") || begins(b"<head") || begins(b"<script") {
            Some(Self::WebPage)
        } else if begins(b"<?xml") || begins(b"<error>") {
            Some(Self::Xml)
        } else {
            None
        }
    }

    /// What a file is that begins with `start`, where that can be told: one that stands in the place of another, or one
    /// of a format that begins in a known way.
    pub fn of(start: &[u8]) -> Option<Self> {
        let known = || MAGIC.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, content)| *content);
        let tar = || start.get(257..262).is_some_and(|mark| mark == b"ustar").then_some(Self::Packed("tar"));
        Self::stand_in(start).or_else(known).or_else(tar)
    }

    /// As [`Content::of`], where text is expected: `None` for anything that may be text in UTF-8.
    pub fn instead_of_text(start: &[u8]) -> Option<Self> {
        Self::of(start).or_else(|| {
            let zero = |from: usize| start.iter().skip(from).step_by(2).take(32).all(|byte| *byte == 0);
            match start.len() >= 4 && start.contains(&0) {
                true if zero(1) && !zero(0) => Some(Self::WideText("UTF-16LE")),
                true if zero(0) && !zero(1) => Some(Self::WideText("UTF-16BE")),
                _ => start.contains(&0).then_some(Self::Binary),
            }
        })
    }

    /// The same as a clause: `it is a web page, …`.
    pub fn clause(self) -> String {
        match self {
            Self::Empty => "it is empty".to_owned(),
            Self::LfsPointer => "it is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`".to_owned(),
            Self::WebPage => "it is a web page, perhaps of a login or an error".to_owned(),
            Self::Xml => "it is an XML document, perhaps the error of a server".to_owned(),
            Self::Packed("zip") => "it is a zip archive".to_owned(),
            Self::Packed("tar") => "it is a tar archive".to_owned(),
            Self::Packed(by) => format!("it is compressed with {by}"),
            Self::Format(format) => format!("it is {format}"),
            Self::WideText(encoding) => format!("it is text in {encoding}, and UTF-8 is expected"),
            Self::Binary => "it holds bytes that are no text".to_owned(),
        }
    }

    /// Returns advice for a file with this content.
    pub fn help(self) -> &'static str {
        match self {
            Self::Empty => "make the file again, and look why nothing was written to it",
            Self::LfsPointer => "run `git lfs pull` in the folder that the file comes from",
            Self::WebPage | Self::Xml => "open the address in a browser: it may ask for a login, or name another file",
            Self::Packed("gzip") => "unpack it with `gunzip`",
            Self::Packed("zip") => "unpack it with `unzip`",
            Self::Packed("tar") => "unpack it with `tar -xf`",
            Self::Packed("zstd") => "unpack it with `zstd -d`",
            Self::Packed("xz") => "unpack it with `xz -d`",
            Self::Packed("bzip2") => "unpack it with `bunzip2`",
            Self::Packed(_) => "unpack it",
            Self::Format(_) => "give the file the ending of its own format, or convert it",
            Self::WideText("UTF-16LE") => "convert it: `iconv -f UTF-16LE -t UTF-8`",
            Self::WideText("UTF-16BE") => "convert it: `iconv -f UTF-16BE -t UTF-8`",
            Self::WideText(_) => "convert it to UTF-8 with `iconv`",
            Self::Binary => "look whether it is the right file",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_from_its_first_bytes() {
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
        let cases: &[(&[u8], Option<Content>)] = &[
            (b"", Some(Content::Empty)),
            (b"version https://git-lfs.github.com/spec/v1\n", Some(Content::LfsPointer)),
            (b"\xef\xbb\xbf\n <!DOCTYPE html>", Some(Content::WebPage)),
            (b"<HTML>", Some(Content::WebPage)),
            (b"<?xml version='1.0'?><Error>", Some(Content::Xml)),
            (b"\x1f\x8b\x08\0", Some(Content::Packed("gzip"))),
            (b"PAR1\x15\x04", Some(Content::Format("a parquet table"))),
            (b"\xff\xfe{\0", Some(Content::WideText("UTF-16LE"))),
            (b"\xff\xfe\0\0{\0\0\0", Some(Content::WideText("UTF-32LE"))),
            (&wide("{\"a\": 1}"), Some(Content::WideText("UTF-16LE"))),
            (&big("{\"a\": 1}"), Some(Content::WideText("UTF-16BE"))),
            (b"\x01\x02\0\x03\x04", Some(Content::Binary)),
            (b"{\"a\": 1}", None),
            (b"\xef\xbb\xbf{}", None),
            (b"version 2", None),
        ];
        for (start, expected) in cases {
            assert_eq!(Content::instead_of_text(start), *expected, "{start:?}");
        }
        assert_eq!(Content::of(&wide("{}")), None, "where bytes are expected, zeros are no sign");
    }

    #[test]
    fn every_content_is_said_in_a_clause() {
        for (_, content) in MAGIC {
            assert!(content.clause().starts_with("it is ") && !content.help().is_empty());
        }
        assert_eq!(Content::Format("an Arrow file").clause(), "it is an Arrow file");
        assert_eq!(Content::Format("an SQLite database").clause(), "it is an SQLite database");
        assert_eq!(Content::Format("a parquet table").clause(), "it is a parquet table");
    }
}
