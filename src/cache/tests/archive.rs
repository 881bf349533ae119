//! Tests of archives: an import restores what was exported, and a bad archive changes nothing.

use std::collections::BTreeSet;
use std::fs::{self as files, File};

use super::super::archive::{CONTENTS, Contents, VERSION, export, import, member, object_member};
use super::*;
use crate::base::digest::Digest;
use crate::base::watch::Unwatched;

fn keys(ns: &[i64]) -> BTreeSet<CacheKey> {
    ns.iter().map(|n| recipe(*n).key()).collect()
}

/// A store with entries 1 and 2, and one with nothing.
fn two(dir: &Path) -> (Store, Store) {
    let from = Store::open(&dir.join("from")).unwrap();
    make(&from, 1, "one");
    let miss = claim(&from, 2);
    crate::artifact::json::write(&miss.out().join("b.json"), &serde_json::json!({ "x": 1 })).unwrap();
    files::write(miss.out().join("a.txt"), "one").unwrap();
    miss.commit(&recipe(2), CommitInfo::default()).unwrap();
    (from, Store::open(&dir.join("to")).unwrap())
}

/// Nothing of an archive may be there.
fn untouched(store: &Store) {
    assert_eq!((count(store, "objects"), count(store, "entries"), count(store, "work")), (0, 0, 0));
}

#[test]
fn import_restores_what_was_exported() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = two(dir.path());
    for (i, name) in ["a.tar", "deep/er/a.tar.gz"].into_iter().enumerate() {
        let archive = dir.path().join(name);
        let packed = export(&from, &keys(&[1, 2]), &archive, &Unwatched).unwrap();
        assert_eq!((packed.entries, packed.objects), (2, 2));
        let imported = import(&to, &archive, &Unwatched).unwrap();
        assert_eq!(imported.packed, packed);
        assert_eq!((imported.known, imported.new_objects), if i == 0 { (0, 2) } else { (2, 0) });
    }
    assert_eq!([1, 2].map(|n| look(&Store::open(&dir.path().join("to")).unwrap(), n)), ["hit", "hit"]);
    for n in [1, 2] {
        let manifest = |store: &Store| files::read(store.manifest(recipe(n).key())).unwrap();
        assert_eq!(manifest(&from), manifest(&to));
    }
    assert_eq!(count(&to, "work"), 0);
    // Equal contents, equal archives.
    let bytes = |name: &str| {
        export(&from, &keys(&[1, 2]), &dir.path().join(name), &Unwatched).unwrap();
        files::read(dir.path().join(name)).unwrap()
    };
    assert_eq!(bytes("x.tar"), bytes("y.tar"));
}

#[test]
fn import_keeps_existing_results_and_repairs_damaged_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = two(dir.path());
    let archive = dir.path().join("a.tar");
    export(&from, &keys(&[1]), &archive, &Unwatched).unwrap();
    let own = make(&to, 1, "another making");
    assert_eq!(import(&to, &archive, &Unwatched).unwrap().known, 1);
    assert_eq!(files::read(object(&to, &own)).unwrap(), b"another making");
    let from_there = dir.path().join("third");
    let third = Store::open(&from_there).unwrap();
    let stored = make(&third, 1, "one");
    overwrite(&object(&third, &stored), b"oNe");
    import(&third, &archive, &Unwatched).unwrap();
    assert_eq!(look(&Store::open(&from_there).unwrap(), 1), "hit");
    assert_eq!(count(&third, "quarantine"), 1);
}

#[test]
fn import_of_a_cut_or_flipped_archive_stores_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = two(dir.path());
    let archive = dir.path().join("a.tar");
    export(&from, &keys(&[1, 2]), &archive, &Unwatched).unwrap();
    let bytes = files::read(&archive).unwrap();
    // The last 1024 bytes are the tar format's end mark.
    for at in (0..bytes.len() - 1024).step_by(97) {
        files::write(&archive, &bytes[..at]).unwrap();
        let error = import(&to, &archive, &Unwatched).unwrap_err();
        assert!(error.message.contains("a.tar` cannot be imported: "), "cut at {at}: {error}");
        untouched(&to);
    }
    for at in (0..bytes.len()).step_by(61) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        files::write(&archive, &flipped).unwrap();
        let fresh = Store::open(&dir.path().join(format!("flip{at}"))).unwrap();
        match import(&fresh, &archive, &Unwatched) {
            // A flip where nothing is said, in a header's padding, harms nothing.
            Ok(_) => assert_eq!([look(&fresh, 1), look(&fresh, 2)], ["hit", "hit"], "{at}"),
            Err(_) => untouched(&fresh),
        }
    }
}

/// An archive with these members, the first after the contents.
fn archive(path: &Path, contents: &Contents, members: &[(&str, tar::EntryType, &[u8])]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    let text = serde_json::to_vec(contents).unwrap();
    member(&mut tar, CONTENTS, text.len() as u64, text.as_slice()).unwrap();
    for (name, kind, data) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        // Set by hand: the library refuses what an attacker would write.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if kind.is_symlink() {
            header.set_link_name("/etc").unwrap();
        }
        header.set_cksum();
        tar.append(&header, *data).unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn import_refuses_unlisted_and_escaping_members() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let dir = tempfile::tempdir().unwrap();
    let to = Store::open(&dir.path().join("in/to")).unwrap();
    let path = dir.path().join("bad.tar");
    let hex = Digest::of(b"one").hex();
    let object = object_member(&hex);
    let contents = || Contents { version: VERSION, entries: BTreeSet::new(), objects: [(hex.clone(), 3)].into() };
    let stranger = object_member(&Digest::of(b"two").hex());
    let upper = format!("objects/{}", hex.to_uppercase());
    let cases: [(&str, tar::EntryType, &[u8]); 12] = [
        ("../../escaped", Regular, b"x"),
        ("/tmp/dpt-escaped", Regular, b"x"),
        ("objects/../../../escaped", Regular, b"x"),
        ("objects/", Directory, b""),
        (&object, Symlink, b""),
        (&object, Link, b""),
        (&object, Regular, b"two"),
        (&object, Regular, b"onetwo"),
        (&stranger, Regular, b"two"),
        (&upper, Regular, b"one"),
        ("entries/x.json", Regular, b"{}"),
        ("dpt-store.json", Regular, b"{}"),
    ];
    for (name, kind, data) in cases {
        archive(&path, &contents(), &[(name, kind, data)]);
        let error = import(&to, &path, &Unwatched).unwrap_err();
        assert!(error.message.contains("cannot be imported"), "{name}: {error}");
        untouched(&to);
    }
    archive(&path, &contents(), &[(&object, Regular, b"one"), (&object, Regular, b"one")]);
    assert!(import(&to, &path, &Unwatched).is_err(), "twice the same");
    assert!(!dir.path().join("escaped").exists() && !dir.path().join("in/escaped").exists());
    let odd = Contents { objects: [("../../x".to_owned(), 1)].into(), ..contents() };
    archive(&path, &odd, &[]);
    assert!(import(&to, &path, &Unwatched).unwrap_err().message.contains("which is not a digest"));
    let later = Contents { version: 9, ..contents() };
    archive(&path, &later, &[]);
    assert!(import(&to, &path, &Unwatched).unwrap_err().message.contains("it has version 9, and this `dpt` reads 1"));
    files::write(&path, "no archive").unwrap();
    assert!(import(&to, &path, &Unwatched).is_err());
    untouched(&to);
}

#[test]
fn import_refuses_a_wrong_logical_digest() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = two(dir.path());
    let mut entry = from.entry(recipe(2).key()).unwrap().unwrap();
    let file = entry.made[0].files.get_mut("b.json").unwrap();
    file.logical = Digest::of(b"what consumers' keys would then hold");
    entry.write(&from.manifest(recipe(2).key()), false).unwrap();
    let archive = dir.path().join("a.tar");
    export(&from, &keys(&[2]), &archive, &Unwatched).unwrap();
    let error = import(&to, &archive, &Unwatched).unwrap_err();
    assert!(error.message.contains("`b.json` does not mean what its manifest says"), "{error}");
    untouched(&to);
}

#[test]
fn export_refuses_a_damaged_result() {
    let dir = tempfile::tempdir().unwrap();
    let (from, _) = two(dir.path());
    let stored = make(&from, 3, "three");
    overwrite(&object(&from, &stored), b"tHree");
    let archive = dir.path().join("a.tar");
    let error = export(&from, &keys(&[3]), &archive, &Unwatched).unwrap_err();
    assert!(error.message.contains("is not what was stored: nothing was exported"), "{error}");
    assert!(!archive.exists());
    let missing = export(&from, &keys(&[9]), &archive, &Unwatched).unwrap_err();
    assert!(missing.message.starts_with("there is no entry"), "{missing}");
}
