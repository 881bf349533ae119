//! Tests of wrong clocks and times: set back, set forward, restored by hand.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::digest::Digest;

use super::super::index::{self, FileMemo, Index, ObjectMemo};
use super::super::stat::{Signature, now_ns};
use super::*;

fn set(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_modified(time).unwrap();
}

fn digest(store: &Store, path: &Path) -> Digest {
    store.content_digest(path).unwrap()
}

#[test]
fn edit_behind_a_restored_time_changes_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "one").unwrap();
    let times =
        [UNIX_EPOCH, SystemTime::now() - Duration::from_secs(99), SystemTime::now() + Duration::from_secs(9999)];
    for (i, time) in times.into_iter().enumerate() {
        let [before, after] = [format!("a{i}"), format!("b{i}")];
        fs::write(&path, &before).unwrap();
        set(&path, time);
        // Long enough for the memo to count, were it not for the edit.
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(digest(&store, &path), Digest::of(before.as_bytes()));
        fs::write(&path, &after).unwrap();
        set(&path, time);
        assert_eq!(digest(&store, &path), Digest::of(after.as_bytes()), "{time:?}");
    }
}

#[test]
fn memo_of_a_clock_ahead_is_not_trusted_for_a_future_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "new").unwrap();
    let hour = 3_600_000_000_000;
    let ahead = SystemTime::now() + Duration::from_secs(7200);
    set(&path, ahead);
    let signature = Signature::at(&path).unwrap().unwrap();
    // Hashed when the clock showed an hour less than the file's own time: anything may have been written since.
    let memo = FileMemo { signature, hashed_at: now_ns() + hour, digest: Digest::of(b"old") };
    store.index().files.insert(std::path::absolute(&path).unwrap(), memo);
    assert_eq!(digest(&store, &path), Digest::of(b"new"));
}

#[test]
fn objects_with_other_times_are_hashed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let at = object(&store, &make(&store, 1, "one"));
    for time in [UNIX_EPOCH, SystemTime::now() + Duration::from_secs(9999)] {
        set(&at, time);
        assert_eq!(look(&store, 1), "hit", "the bytes are right, whatever the time");
    }
    let time = fs::metadata(&at).unwrap().modified().unwrap();
    overwrite(&at, b"oNe");
    set(&at, time);
    assert_eq!(look(&store, 1), "`a.txt` is not what was stored");
}

/// A power cut may do this to a result that was not synced: other bytes behind the same size and times, and an index
/// that speaks for them.
#[test]
fn unsynced_object_is_hashed_after_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let at = object(&store, &make(&store, 1, "one"));
    overwrite(&at, b"\0\0\0");
    let signature = Signature::at(&at).unwrap().unwrap();
    let mut lies = Index::read(&store.root().join("index"));
    lies.results.insert(recipe(1).key(), std::sync::Arc::new(store.look_stored(1)));
    lies.objects.insert(Digest::of(b"one"), ObjectMemo { signature, settled: false });
    index::write_with_boot(&mut lies, &store.root().join("index"), "the start of the machine before this one", false)
        .unwrap();
    assert_eq!(look(&Store::open(dir.path()).unwrap(), 1), "`a.txt` is not what was stored");
    // The same without a start in between is the memo's whole point.
    index::write(&mut lies, &store.root().join("index"), false).unwrap();
    assert_eq!(look(&Store::open(dir.path()).unwrap(), 1), "hit");
}

impl Store {
    fn look_stored(&self, n: i64) -> Stored {
        let entry = self.entry(recipe(n).key()).unwrap().unwrap();
        Stored::of(entry.key, &entry.made[0])
    }
}
