//! Attacks on the store: cut and flipped files, foreign files, killed writers, two writers, folders that cannot be
//! written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::artifact::Known;
use crate::base::diag::Class;
use crate::base::digest::Digest;

use super::*;

#[test]
fn digest_of_the_writer_is_used_if_the_size_fits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (right, other) = (Digest::of(b"text"), Digest::of(b"else"));
    let bytes = |n, (size, bytes): (u64, Digest)| {
        let known = Known { size, bytes, logical: None, sha256: None };
        let miss = claim(&store, n);
        fs::write(miss.out().join("a.txt"), "text").unwrap();
        let hashed = BTreeMap::from([("a.txt".to_owned(), known), ("no such file".to_owned(), known)]);
        miss.commit(&recipe(n), CommitInfo { hashed, ..CommitInfo::default() }).unwrap();
        store.entry(recipe(n).key()).unwrap().unwrap().made[0].files["a.txt"].bytes
    };
    assert_eq!(bytes(1, (4, right)), right);
    assert_eq!(bytes(2, (5, other)), right);
    // It is believed, and found out when the file is looked at with care.
    assert_eq!(bytes(3, (4, other)), other);
}

/// Both by a store that remembers and by one that has nothing but the files.
fn both(dir: &Path, store: &Store, n: i64) -> [String; 2] {
    let _ = fs::remove_file(store.root().join("index"));
    [look(store, n), look(&Store::open(dir).unwrap(), n)]
}

#[test]
fn stored_files_are_read_only_and_another_store_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stored = make(&store, 1, "one");
    assert_eq!(fs::metadata(object(&store, &stored)).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(both(dir.path(), &store, 1), ["hit", "hit"]);
    assert_eq!((look(&store, 2).as_str(), count(&store, "work")), ("missing", 1), "a folder for the next node");
    // The same bytes under another key share the object.
    assert_eq!(object(&store, &make(&store, 2, "one")), object(&store, &stored));
}

#[test]
fn exported_files_have_names_and_may_be_edited() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let stored = make(&store, 1, "one");
    let to = dir.path().join("results");
    let path = store.export(&stored, &to).unwrap().remove(0);
    assert_eq!(path, to.join("a.txt"));
    fs::write(&path, "mine").unwrap();
    assert_eq!(look(&store, 1), "hit");
    store.export(&stored, &to).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one");
}

#[test]
fn store_folder_is_at_the_project_or_beside_the_pipeline() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = dir.path().join("a/b/p.toml");
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("a/Cargo.toml"), "").unwrap();
    assert_eq!(Store::folder_for(&pipeline), dir.path().join("a/cache"));
    fs::create_dir(dir.path().join("a/b/cache")).unwrap();
    assert_eq!(Store::folder_for(&pipeline), dir.path().join("a/b/cache"));
}

#[test]
fn lookup_reports_flipped_cut_empty_and_missing_objects() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let attacks: [fn(&Path); 4] =
        [|p| overwrite(p, b"oNe"), |p| overwrite(p, b"on"), |p| overwrite(p, b""), |p| fs::remove_file(p).unwrap()];
    for (n, attack) in attacks.iter().enumerate() {
        let n = n as i64;
        attack(&object(&store, &make(&store, n, "one")));
        let damage = if n == 3 { "`a.txt` is missing" } else { "`a.txt` is not what was stored" };
        assert_eq!(both(dir.path(), &store, n), [damage, damage]);
        assert_eq!(claim(&store, n).damage()[0].what, damage);
        assert_eq!(fs::read(object(&store, &make(&store, n, "one"))).unwrap(), b"one");
        assert_eq!(both(dir.path(), &store, n), ["hit", "hit"]);
    }
    assert_eq!(count(&store, "quarantine"), 3);
}

#[test]
fn a_damaged_manifest_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    make(&store, 1, "one");
    let manifest = store.manifest(recipe(1).key());
    let text = fs::read_to_string(&manifest).unwrap();
    for (bad, what) in [
        (text[..9].to_owned(), "its manifest is not whole"),
        (text.replace("\"a.txt\"", "\"b.txt\""), "its manifest is not what was written"),
        (text.replace("\"schema\": 1\n", "\"schema\": 7\n"), "its manifest has schema 7, and this `dpt` reads 1"),
    ] {
        overwrite(&manifest, bad.as_bytes());
        fs::remove_file(store.root().join("index")).ok();
        let fresh = Store::open(dir.path()).unwrap();
        assert!(look(&fresh, 1).starts_with(what), "{}", look(&fresh, 1));
        make(&fresh, 1, "one");
        assert_eq!(look(&Store::open(dir.path()).unwrap(), 1), "hit");
    }
    assert_eq!(count(&store, "quarantine"), 3);
}

#[test]
fn manifest_under_another_key_is_no_hit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    make(&store, 1, "one");
    let to = store.manifest(recipe(2).key());
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(store.manifest(recipe(1).key()), &to).unwrap();
    assert_eq!(look(&store, 2), "its manifest is not what was written");
}

#[test]
fn foreign_files_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for folder in ["objects", "entries", "work", "quarantine", "runs"] {
        fs::write(store.root().join(folder).join("notes.txt"), "mine").unwrap();
    }
    fs::write(store.root().join("index"), "not an index").unwrap();
    let store = Store::open(dir.path()).unwrap();
    make(&store, 1, "one");
    store.flush().unwrap();
    assert_eq!(look(&Store::open(dir.path()).unwrap(), 1), "hit");
}

#[test]
fn commit_replaces_a_wrong_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let place = store.object(&crate::base::digest::Digest::of(b"one"));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, "planted").unwrap();
    make(&store, 1, "one");
    assert_eq!(fs::read(&place).unwrap(), b"one");
    assert_eq!(count(&store, "quarantine"), 1);
}

#[test]
fn hard_link_to_a_user_file_becomes_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let users = dir.path().join("mine.txt");
    fs::write(&users, "one").unwrap();
    let miss = claim(&store, 1);
    fs::hard_link(&users, miss.out().join("a.txt")).unwrap();
    let stored = miss.commit(&recipe(1), CommitInfo::default()).unwrap();
    fs::write(&users, "two").unwrap();
    assert_eq!(fs::read(object(&store, &stored)).unwrap(), b"one");
    assert_eq!(look(&store, 1), "hit");
}

#[test]
fn failed_commit_leaves_no_result() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let miss = claim(&store, 1);
    fs::write(miss.scratch().join("checkpoint"), "step 9").unwrap();
    fs::write(miss.out().join("a.txt"), "one").unwrap();
    fs::write(miss.out().join("b.parquet"), "not a table").unwrap();
    let error = miss.commit(&recipe(1), CommitInfo::default()).unwrap_err();
    assert!(error.message.contains("b.parquet` is not a parquet table"), "{error}");
    assert_eq!(look(&store, 1), "missing");
    let miss = claim(&store, 1);
    assert_eq!(miss.written().unwrap(), [""; 0]);
    assert_eq!(fs::read_to_string(miss.scratch().join("checkpoint")).unwrap(), "step 9");
}

#[test]
fn metrics_that_are_not_finite_become_notes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let miss = claim(&store, 1);
    let metrics = [("loss".to_owned(), f64::NAN), ("accuracy".to_owned(), 0.5)].into();
    miss.commit(&recipe(1), CommitInfo { metrics, ..CommitInfo::default() }).unwrap();
    let made = store.entry(recipe(1).key()).unwrap().unwrap().made.remove(0);
    assert_eq!((made.metrics.len(), made.notes), (1, vec!["metric `loss` is NaN".to_owned()]));
}

#[test]
fn two_writers_at_once_one_result() {
    let dir = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..6 {
            s.spawn(|| {
                let store = Store::open(dir.path()).unwrap();
                for n in 0..10 {
                    loop {
                        match store.claim(recipe(n).key(), &any, false).unwrap() {
                            Claim::Hit(_) => break,
                            Claim::Busy(_) => std::thread::yield_now(),
                            Claim::Miss(miss) => {
                                fs::write(miss.out().join("a.txt"), n.to_string()).unwrap();
                                miss.commit(&recipe(n), CommitInfo::default()).unwrap();
                                made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            }
                        }
                    }
                }
                store.flush().unwrap();
            });
        }
    });
    assert_eq!(made.into_inner(), 10);
    let store = Store::open(dir.path()).unwrap();
    assert!((0..10).all(|n| look(&store, n) == "hit"));
    assert_eq!(store.index().file.results_sorted().count(), 10);
}

/// A writer that is killed. The test below runs it in another process.
#[test]
fn writer_that_is_killed() {
    let Ok(dir) = std::env::var("DPT_TEST_KILLED_WRITER") else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    let miss = claim(&store, 1);
    fs::write(miss.out().join("half.txt"), "on").unwrap();
    fs::write(miss.scratch().join("checkpoint"), "step 9").unwrap();
    println!("ready");
    loop {
        std::thread::park();
    }
}

#[test]
fn killed_writer_leaves_its_scratch_and_no_lock() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cache::tests::attacks::writer_that_is_killed", "--nocapture"])
        .env("DPT_TEST_KILLED_WRITER", dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")));
    let store = Store::open(dir.path()).unwrap();
    match store.claim(recipe(1).key(), &any, false).unwrap() {
        Claim::Busy(holder) => assert_eq!(holder.0, format!("process {}", child.id())),
        other => panic!("expected it to be busy, got {other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let miss = claim(&store, 1);
    assert_eq!(miss.written().unwrap(), [""; 0]);
    assert_eq!(fs::read_to_string(miss.scratch().join("checkpoint")).unwrap(), "step 9");
    fs::write(miss.out().join("a.txt"), "one").unwrap();
    miss.commit(&recipe(1), CommitInfo::default()).unwrap();
    assert_eq!(look(&store, 1), "hit");
    let work = store.root().join("work");
    drop(store);
    assert_eq!(fs::read_dir(work).unwrap().count(), 0);
}

#[test]
fn store_that_cannot_be_created_says_where_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cache");
    fs::write(&file, "a file").unwrap();
    let error = Store::open(&file).unwrap_err();
    assert_eq!(error.class, Class::Environment);
    assert!(error.message.contains("cannot create") && error.message.contains("cache/v1"), "{error}");
    assert!(error.help.unwrap().contains("--cache DIR"));
}

#[test]
fn full_disk_is_reported_and_loses_nothing() {
    let Ok(dir) = std::env::var("DPT_TEST_OWN_DISK") else {
        on_own_disk("attacks::full_disk_is_reported_and_loses_nothing", "mount -t tmpfs -o size=256k tmpfs \"$DIR\"");
        return;
    };
    let store = Store::open(Path::new(&dir)).unwrap();
    make(&store, 1, "one");
    let miss = claim(&store, 2);
    fs::write(miss.out().join("a.txt"), "two").unwrap();
    fs::write(miss.scratch().join("checkpoint"), "step 9").unwrap();
    let filler = Path::new(&dir).join("filler");
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err());
    let error = miss.commit(&recipe(2), CommitInfo { seconds: 1.0, ..CommitInfo::default() }).unwrap_err();
    assert_eq!(error.class, Class::Environment);
    assert!(error.message.contains("cannot") && error.help.is_some(), "{error}");
    assert_eq!((look(&store, 1).as_str(), look(&store, 2).as_str()), ("hit", "missing"));
    fs::remove_file(filler).unwrap();
    assert_eq!(fs::read_to_string(claim(&store, 2).scratch().join("checkpoint")).unwrap(), "step 9");
    make(&store, 2, "two");
    assert_eq!(look(&Store::open(Path::new(&dir)).unwrap(), 2), "hit");
}

#[test]
fn read_only_store_can_be_read_and_refuses_writers() {
    let Ok(dir) = std::env::var("DPT_TEST_OWN_DISK") else {
        on_own_disk("attacks::read_only_store_can_be_read_and_refuses_writers", "mount -t tmpfs tmpfs \"$DIR\"");
        return;
    };
    let store = Store::open(Path::new(&dir)).unwrap();
    make(&store, 1, "one");
    store.flush().unwrap();
    drop(store);
    let remounted = Command::new("mount").args(["-o", "remount,ro", &dir]).status().unwrap();
    assert!(remounted.success());
    let store = Store::open(Path::new(&dir)).unwrap();
    assert_eq!(look(&store, 1), "hit");
    let error = store.claim(recipe(2).key(), &any, false).unwrap_err();
    assert_eq!(error.class, Class::Environment);
    assert!(error.message.contains("is read-only, and a new result must be stored") && error.help.is_some(), "{error}");
    let error = Store::open(&Path::new(&dir).join("other")).unwrap_err();
    assert_eq!(error.class, Class::Environment);
}
