//! Tests of a store with a second one behind it that is only read.

use std::fs;
use std::path::Path;

use crate::base::diag::Class;
use crate::base::digest::Digest;

use super::*;

/// A shared store with entries 1 and 2, and a private one before it.
fn both(dir: &Path) -> (Store, Store) {
    let shared = Store::open(&dir.join("shared")).unwrap();
    make(&shared, 1, "one");
    make(&shared, 2, "two");
    shared.flush().unwrap();
    (shared, private(dir))
}

fn private(dir: &Path) -> Store {
    Store::open(&dir.join("own")).unwrap().with_shared(&dir.join("shared")).unwrap()
}

/// Every file below a folder, with its bytes and times.
fn state(dir: &Path) -> Vec<(String, stat::Signature)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::metadata(&path).unwrap();
        found.push((path.display().to_string(), stat::Signature::of(&meta)));
        if meta.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|item| item.unwrap().path()));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn shared_results_are_used_in_place_and_nothing_is_written_there() {
    let dir = tempfile::tempdir().unwrap();
    let (shared, own) = both(dir.path());
    let before = state(&dir.path().join("shared"));
    let _in_use = own.in_use().unwrap();
    let Claim::Hit(stored) = own.claim(recipe(1).key(), &any, false).unwrap() else { panic!("a hit") };
    assert_eq!(object(&own, &stored), object(&shared, &stored));
    assert_eq!(own.export(&stored, &dir.path().join("results")).unwrap().len(), 1);
    assert!(own.entry(recipe(1).key()).unwrap().is_some());
    let made = make(&own, 3, "three");
    assert!(object(&own, &made).starts_with(own.root()));
    own.flush().unwrap();
    own.clear_away();
    assert_eq!(state(&dir.path().join("shared")), before);
    assert_eq!(count(&own, "work"), 0);
    // This store remembers the digests of the shared files.
    let again = private(dir.path());
    assert_eq!([1, 2, 3, 4].map(|n| look(&again, n)), ["hit", "hit", "hit", "missing"]);
    assert_eq!(look(&shared, 3), "missing");
}

#[test]
fn own_result_is_preferred_and_outlives_the_shared_store() {
    let dir = tempfile::tempdir().unwrap();
    let (_, own) = both(dir.path());
    let Claim::Miss(miss) = own.claim(recipe(1).key(), &any, true).unwrap() else { panic!("forced") };
    fs::write(miss.out().join("a.txt"), "one").unwrap();
    let stored = miss.commit(&recipe(1), CommitInfo::default()).unwrap();
    assert!(object(&own, &stored).starts_with(own.root()));
    fs::remove_dir_all(dir.path().join("shared")).unwrap();
    let alone = Store::open(&dir.path().join("own")).unwrap();
    assert_eq!([look(&alone, 1), look(&alone, 2)], ["hit", "missing"]);
    // And one that lost its shared store finds that out by looking.
    assert_eq!([look(&own, 1), look(&own, 2)], ["hit", "missing"]);
}

#[test]
fn damage_in_the_shared_store_is_repaired_in_the_own_store() {
    let dir = tempfile::tempdir().unwrap();
    let (shared, own) = both(dir.path());
    let at = shared.object(&Digest::of(b"one"));
    // Seen right once, so that the damage meets a memo.
    assert_eq!(look(&own, 1), "hit");
    overwrite(&at, b"oNe");
    assert_eq!(look(&own, 1), "`a.txt` in the shared store is not what was stored");
    let miss = claim(&own, 1);
    assert_eq!(miss.damage().len(), 1);
    fs::write(miss.out().join("a.txt"), "one").unwrap();
    miss.commit(&recipe(1), CommitInfo::default()).unwrap();
    assert_eq!((look(&own, 1).as_str(), fs::read(&at).unwrap().as_slice()), ("hit", b"oNe".as_slice()));
    let manifest = shared.manifest(recipe(2).key());
    overwrite(&manifest, b"{");
    assert!(look(&private(dir.path()), 2).starts_with("in the shared store, its manifest is not whole"));
    make(&own, 2, "two");
    assert_eq!((look(&own, 2).as_str(), count(&own, "quarantine"), manifest.exists()), ("hit", 0, true));
}

#[test]
fn missing_store_and_other_layout_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let own = || Store::open(&dir.path().join("own")).unwrap();
    let error = own().with_shared(&dir.path().join("none")).unwrap_err();
    assert!(error.class == Class::Usage && error.message.starts_with("there is no store to read in"), "{error}");
    fs::create_dir_all(dir.path().join("later/v7/entries")).unwrap();
    let error = own().with_shared(&dir.path().join("later")).unwrap_err();
    assert_eq!(error.notes, ["it has layout v7; this `dpt` reads v1"]);
    // As the own store, it is left as it is, and a new one is created beside it.
    fs::write(dir.path().join("later/v7/entries/x"), "theirs").unwrap();
    make(&Store::open(&dir.path().join("later")).unwrap(), 1, "one");
    assert_eq!(fs::read(dir.path().join("later/v7/entries/x")).unwrap(), b"theirs");
    // A store that is its own shared one has none.
    assert!(own().with_shared(&dir.path().join("own")).unwrap().shared().is_none());
}

#[test]
fn gc_waits_for_readers_of_a_shared_store() {
    let dir = tempfile::tempdir().unwrap();
    let (shared, own) = both(dir.path());
    drop(shared.in_use().unwrap());
    let reading = own.in_use().unwrap();
    assert!(shared.alone().unwrap().is_none());
    drop(reading);
    assert!(shared.alone().unwrap().is_some());
}
