//! Unpacks malicious archives, and archives of other programs.

use dpt::base::diag::Diag;
use dpt::fetch::archive::{self, Limits};
use tempfile::TempDir;

use crate::fetch::Listener;
use crate::support::pack;

/// Unpacks all of an archive of these bytes.
fn unpack(name: &str, bytes: &[u8], limits: &Limits) -> (TempDir, Result<Vec<String>, Diag>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let into = dir.path().join("in/side");
    std::fs::create_dir_all(&into).unwrap();
    let names = archive::unpack(&path, &into, limits, &|_| true, &Listener::default());
    (dir, names)
}

/// Returns the message of a refused archive. Checks that nothing was written outside.
fn refused(name: &str, bytes: &[u8]) -> String {
    let (dir, names) = unpack(name, bytes, &Limits::default());
    let mut outside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    outside.sort();
    assert_eq!(outside.len(), 2, "{outside:?}");
    assert_eq!(std::fs::read_dir(dir.path().join("in")).unwrap().count(), 1);
    names.unwrap_err().message
}

#[test]
fn every_archive_format_is_unpacked() {
    let files: &[(&str, &[u8])] = &[("a/x.txt", b"one"), ("a/b/y.txt", b""), ("z", b"three")];
    let (zip, tar) = (pack::zip(files), pack::tar(files));
    for (name, bytes) in
        [("f.zip", zip.clone()), ("f.tar", tar.clone()), ("f.tar.gz", pack::gz(&tar)), ("misnamed", zip)]
    {
        let (dir, names) = unpack(name, &bytes, &Limits::default());
        assert_eq!(names.unwrap(), ["a/x.txt", "a/b/y.txt", "z"], "{name}");
        assert_eq!(std::fs::read(dir.path().join("in/side/a/x.txt")).unwrap(), b"one");
    }
    let (dir, names) = unpack("train.jsonl.gz", &pack::gz(b"{}\n"), &Limits::default());
    assert_eq!(names.unwrap(), ["train.jsonl"]);
    assert_eq!(std::fs::read(dir.path().join("in/side/train.jsonl")).unwrap(), b"{}\n");
    let (_dir, names) = unpack("f.tar", &pack::tar(&[("./a/./x", b"1")]), &Limits::default());
    assert_eq!(names.unwrap(), ["a/x"]);
}

#[test]
fn members_outside_the_folder_are_refused() {
    let evil: &[(&str, &[u8])] = &[("good", b"1"), ("../evil", b"2")];
    let message = "archive `f.zip` is refused: its member `../evil` would lie outside its folder";
    assert_eq!(refused("f.zip", &pack::zip(evil)), message);
    assert_eq!(refused("f.tar", &pack::tar(evil)), message.replace(".zip", ".tar"));
    assert_eq!(refused("f.tgz", &pack::gz(&pack::tar(evil))), message.replace(".zip", ".tgz"));
    for bad in ["/etc/evil", "a/../../evil", "a\\..\\evil", "c:evil", "a//b"] {
        let message = refused("f.tar", &pack::tar(&[(bad, b"2")]));
        assert!(message.contains("would lie outside its folder"), "{bad}: {message}");
    }
}

#[test]
fn links_to_outside_are_refused() {
    use tar::EntryType::{Char, Link, Symlink};
    for (target, kind) in [("../../etc", Symlink), ("/etc/passwd", Symlink), ("../x", Link), ("b/../../../x", Symlink)]
    {
        let message = refused("f.tar", &pack::tar_link("a/link", target, kind));
        assert_eq!(message, format!("archive `f.tar` is refused: its link `a/link` leads outside, to `{target}`"));
    }
    // A link that stays inside is harmless, but is not a file.
    let inside = pack::tar_link("a/link", "../b", Symlink);
    let message = "archive `f.tar` is refused: its member `a/link` is a link or a device, not a file";
    assert_eq!(refused("f.tar", &inside), message);
    assert_eq!(refused("f.tar", &pack::tar_link("a/link", "", Char)), message);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f.tar"), inside).unwrap();
    let names =
        archive::unpack(&dir.path().join("f.tar"), dir.path(), &Limits::default(), &|_| false, &Listener::default());
    assert!(names.unwrap().is_empty());
}

#[test]
fn truncated_archives_are_refused() {
    let noise: Vec<u8> = (0..50_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    let files: &[(&str, &[u8])] = &[("a", &noise), ("b", &noise)];
    let (zip, tar) = (pack::zip(files), pack::tar(files));
    let tgz = pack::gz(&tar);
    for (name, bytes) in [("f.zip", zip), ("f.tar", tar), ("f.tar.gz", tgz)] {
        for keep in [bytes.len() * 9 / 10, bytes.len() / 2] {
            let (_dir, names) = unpack(name, &bytes[..keep], &Limits::default());
            let diag = names.unwrap_err();
            assert!(diag.message.starts_with(&format!("archive `{name}` is cut short or damaged")), "{diag}");
            assert_eq!(diag.help.as_deref(), Some("nothing of it was used; get it again"));
        }
    }
}

#[test]
fn flipped_byte_is_detected() {
    let files: &[(&str, &[u8])] = &[("a", &[7; 5000])];
    let mut tgz = pack::gz(&pack::tar(files));
    let at = tgz.len() - 6;
    tgz[at] ^= 1;
    assert!(refused("f.tar.gz", &tgz).contains("cut short or damaged"));
    let mut zip = pack::zip(&[("a", &[7; 5000])]);
    let at = zip.windows(4).position(|w| w == b"PK\x01\x02").unwrap() + 16;
    zip[at] ^= 1;
    assert!(refused("f.zip", &zip).contains("cut short or damaged"));
}

#[test]
fn archives_above_the_limits_are_refused() {
    let small = Limits { members: 100, bytes: 1 << 20, file: 1 << 20, ratio: 1000, small: 1 << 20 };
    let zeros = vec![0u8; 2 << 20];
    let files: &[(&str, &[u8])] = &[("a", &zeros)];
    let too_large = "is refused: it would unpack to 2.1 MB or more, the limit for its size is 1.0 MB";
    for (name, bytes) in
        [("f.zip", pack::zip(files)), ("f.tar", pack::tar(files)), ("f.tgz", pack::gz(&pack::tar(files)))]
    {
        let (dir, names) = unpack(name, &bytes, &small);
        assert_eq!(names.unwrap_err().message, format!("archive `{name}` {too_large}"));
        assert!(!dir.path().join("in/side/a").exists(), "announced, so refused before it is written");
    }
    // Sizes that are missing or wrong are noticed while unpacking.
    let (_dir, names) = unpack("f.gz", &pack::gz(&zeros), &small);
    assert!(names.unwrap_err().message.contains("is refused: it would unpack to"));
    let mut liar = pack::zip(files);
    for (mark, at) in [(b"PK\x01\x02", 24), (b"PK\x03\x04", 22)] {
        let at = liar.windows(4).position(|w| w == mark).unwrap() + at;
        liar[at..at + 4].copy_from_slice(&10u32.to_le_bytes());
    }
    let (dir, names) = unpack("f.zip", &liar, &small);
    names.unwrap_err();
    assert!(std::fs::metadata(dir.path().join("in/side/a")).map_or(0, |m| m.len()) <= 1 << 20);
    // Data and weights never compress by a factor of 300.
    let (_dir, names) = unpack("f.gz", &pack::gz(&zeros), &Limits { small: 0, ratio: 300, ..Limits::default() });
    assert!(names.unwrap_err().message.contains("the limit for its size is"));
}

#[test]
fn impossible_size_is_refused() {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&pack::tar_header("a", 1 << 32, tar::EntryType::Regular), &b"x"[..]).unwrap();
    let message = refused("f.tar", &builder.into_inner().unwrap());
    assert_eq!(
        message,
        "archive `f.tar` is refused: it would unpack to 4.3 GB or more, the limit for its size is 268.4 MB"
    );
}

#[test]
fn too_many_and_repeated_members_are_refused() {
    let names: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b""[..])).collect();
    let few = Limits { members: 10, ..Limits::default() };
    for (name, bytes) in [("f.zip", pack::zip(&files)), ("f.tar", pack::tar(&files))] {
        let (_dir, result) = unpack(name, &bytes, &few);
        assert!(result.unwrap_err().message.contains("it has more members than"));
    }
    assert_eq!(
        refused("f.tar", &pack::tar(&[("a", b"1"), ("a", b"2")])),
        "archive `f.tar` is refused: `a` is in it twice"
    );
    assert_eq!(
        refused("f.zip", &pack::zip(&[("d/A", b"1"), ("d/a", b"2")])),
        "archive `f.zip` is refused: `d/A` and `d/a` differ in upper and lower case alone"
    );
}

#[test]
fn member_names_must_differ_in_the_whole_archive() {
    let message = |name: &str, bytes: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let result = archive::unpack(&path, dir.path(), &Limits::default(), &|n| n == "good", &Listener::default());
        result.map(|names| names.join(" ")).map_err(|diag| diag.message).unwrap_or_else(|message| message)
    };
    let files: &[(&str, &[u8])] = &[("good", b"1"), ("x", b"2"), ("X", b"3")];
    let differ = "is refused: `x` and `X` differ in upper and lower case alone";
    assert_eq!(message("f.zip", &pack::zip(files)), format!("archive `f.zip` {differ}"));
    assert_eq!(message("f.tar", &pack::tar(files)), format!("archive `f.tar` {differ}"));
    // The zip library writes no name twice: the second is renamed to the first, in its header and in the directory.
    let mut zip = pack::zip(&[("good", b"1"), ("x", b"2"), ("y", b"3")]);
    for mark in [&b"PK\x03\x04"[..], &b"PK\x01\x02"[..]] {
        let last = zip.windows(4).rposition(|w| w == mark).unwrap();
        let at = last + if mark[2] == 3 { 30 } else { 46 };
        assert_eq!(zip[at], b'y');
        zip[at] = b'x';
    }
    assert_eq!(message("f.zip", &zip), "archive `f.zip` is refused: `x` is in it twice");
    assert_eq!(
        message("f.tar", &pack::tar(&[("good", b"1"), ("x", b"2"), ("./x", b"3")])),
        "archive `f.tar` is refused: `x` is in it twice"
    );
    for bytes in [pack::zip(&[("x", b"1"), ("x/y", b"2")]), pack::tar(&[("x/y", b"1"), ("x", b"2")])] {
        assert!(message("f", &bytes).contains("`x` is in it as a file and as a folder"));
    }
    assert_eq!(message("f.zip", &pack::zip(&[("good", b"1"), ("x", b"2")])), "good x");
}

#[test]
fn member_with_two_names_is_refused() {
    // Programs that read a zip archive from its beginning see another name than those that read its directory.
    let mut zip = pack::zip(&[("train", b"1"), ("other", b"2")]);
    let at = zip.windows(4).position(|w| w == b"PK\x03\x04").unwrap() + 30;
    zip[at..at + 5].copy_from_slice(b"trick");
    assert_eq!(
        refused("f.zip", &zip),
        "archive `f.zip` is refused: its member `train` is called `trick` where its bytes begin"
    );
}

#[test]
fn unsupported_zip_archives_are_described() {
    /// Sets two bytes of every header (the first offset) and of every record of the directory (the second one).
    fn patched(zip: &[u8], (header, record): (usize, usize), value: u16) -> Vec<u8> {
        let mut zip = zip.to_vec();
        for (mark, at) in [(b"PK\x03\x04", header), (b"PK\x01\x02", record)] {
            let starts: Vec<_> = (0..zip.len() - 4).filter(|i| zip[*i..].starts_with(mark)).collect();
            for start in starts {
                zip[start + at..start + at + 2].copy_from_slice(&value.to_le_bytes());
            }
        }
        zip
    }
    let zip = pack::zip(&[("RTE/train.jsonl", b"{}")]);
    let diag = |bytes: &[u8]| unpack("RTE.zip", bytes, &Limits::default()).1.unwrap_err();
    for (method, name) in [(12, "bzip2"), (14, "lzma"), (9, "deflate64"), (93, "zstd"), (95, "xz"), (77, "method 77")] {
        let diag = diag(&patched(&zip, (8, 10), method));
        let what = format!("its member `RTE/train.jsonl` is packed by {name}, which is not read");
        assert_eq!(diag.message, format!("archive `RTE.zip` cannot be read: {what}"));
        assert!(diag.help.unwrap().contains("pack it again by deflate"));
    }
    let encrypted = diag(&patched(&zip, (6, 8), 1));
    assert_eq!(encrypted.message, "archive `RTE.zip` cannot be read: its member `RTE/train.jsonl` is encrypted");
    assert!(encrypted.help.unwrap().contains("without one"));
    // What is not wanted may be packed as it likes.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.zip");
    std::fs::write(&path, patched(&zip, (8, 10), 12)).unwrap();
    let names = archive::unpack(&path, dir.path(), &Limits::default(), &|_| false, &Listener::default());
    assert_eq!(names.unwrap(), ["RTE/train.jsonl"]);
    // Names as some Windows programs write them.
    let zip = pack::zip(&[("RTE/train.jsonl", b"{}")]);
    let backslash: Vec<u8> = zip.iter().map(|b| if *b == b'/' { b'\\' } else { *b }).collect();
    let diag = diag(&backslash);
    assert_eq!(
        diag.message,
        "archive `RTE.zip` is refused: its names are divided by `\\`, as some Windows programs write them: \
         `RTE\\train.jsonl`"
    );
    assert!(diag.help.unwrap().contains("divides names by `/`"));
}

#[test]
fn too_large_member_is_refused() {
    let files: &[(&str, &[u8])] = &[("a", &[1; 100]), ("b", &[2; 5000])];
    let small = Limits { file: 1000, ..Limits::default() };
    for (name, bytes) in [("f.zip", pack::zip(files)), ("f.tar", pack::tar(files))] {
        let (dir, names) = unpack(name, &bytes, &small);
        let message = names.unwrap_err().message;
        assert_eq!(
            message,
            format!(
                "archive `{name}` is refused: its member `b` would be 5.0 kB or more, the limit for one file is 1.0 kB"
            )
        );
        assert!(!dir.path().join("in/side/b").exists());
    }
    // Not announced.
    let (_dir, names) = unpack("f.gz", &pack::gz(&[0; 5000]), &small);
    assert!(names.unwrap_err().message.contains("its member `f` would be 5.0 kB or more"));
}

#[test]
fn unpack_limit_allows_larger_archives() {
    let zeros = vec![0u8; 300 << 20];
    let packed = pack::gz(&zeros);
    assert!(unpack("f.gz", &packed, &Limits::default()).1.unwrap_err().help.unwrap().contains("`unpack_limit`"));
    let (dir, names) = unpack("f.gz", &packed, &Limits::allowing(Some(300 << 20)));
    assert_eq!(names.unwrap(), ["f"]);
    assert_eq!(std::fs::metadata(dir.path().join("in/side/f")).unwrap().len(), 300 << 20);
    assert!(unpack("f.gz", &packed, &Limits::allowing(Some((300 << 20) - 1))).1.is_err());
}

#[test]
fn other_files_are_described_instead_of_unpacked() {
    let notes = |bytes: &[u8]| {
        let diag = unpack("BoolQ.zip", bytes, &Limits::default()).1.unwrap_err();
        assert_eq!(diag.message, "`BoolQ.zip` is not an archive (.zip, .tar, .tar.gz or .gz)");
        diag.notes[1].clone()
    };
    assert_eq!(notes(b"\n<!DOCTYPE html><html>"), "it is a web page, perhaps of a login or an error");
    assert_eq!(notes(b""), "it is empty");
    assert!(notes(b"version https://git-lfs.github.com/spec/v1\n").starts_with("it is a Git LFS pointer"));
    assert_eq!(notes(b"Rar!"), "it begins with [52, 61, 72, 21]");
    for (start, what) in [
        (&b"Rar!\x1a\x07\x01"[..], "it is a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive"),
        (b"\xfd7zXZ\0", "it is packed by xz"),
        (b"BZh91AY", "it is packed by bzip2"),
        (b"\x28\xb5\x2f\xfd", "it is packed by zstd"),
    ] {
        assert!(notes(start).starts_with(what), "{what}");
    }
}
