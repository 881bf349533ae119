//! Tests of gc: what it keeps, what it removes, in which order, and that it disturbs no run.

use std::fs as files;

use std::time::Duration;

use super::super::gc::{GcLimits, Sweep, older, plan, sweep};
use super::super::inventory::{Inventory, list};
use super::*;
use crate::base::digest::Digest;

/// Removes everything that is not kept, however young.
fn all() -> GcLimits {
    GcLimits { grace: Duration::ZERO, leftovers: Duration::ZERO, ..GcLimits::default() }
}

fn key(n: i64) -> CacheKey {
    recipe(n).key()
}

/// Plans and sweeps, keeping these.
fn gc(store: &Store, kept: &[i64], limits: GcLimits) -> Sweep {
    let keep = |key| kept.iter().any(|n| recipe(*n).key() == key);
    let plan = plan(store, &keep, limits).unwrap();
    let alone = store.alone().unwrap().expect("nobody else is there");
    let done = sweep(store, &plan, &keep, limits, &alone).unwrap();
    assert_eq!((done.entries.len(), done.bytes()), (plan.entries.len(), plan.bytes()));
    done
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    (dir, store)
}

/// How many objects there are.
fn objects(store: &Store) -> usize {
    Inventory::of(store).unwrap().objects.len()
}

#[test]
fn gc_keeps_kept_entries_whole_and_removes_the_rest() {
    let (dir, store) = store();
    (0..4).for_each(|n| drop(make(&store, n, if n < 2 { "shared" } else { "own" })));
    store.flush().unwrap();
    assert_eq!(objects(&store), 2);
    let done = gc(&store, &[1, 2], all());
    let mut gone: Vec<_> = done.entries.iter().map(|gone| gone.node.as_str()).collect();
    gone.sort();
    assert_eq!((gone, done.kept, done.bytes()), (vec!["train[n=0]", "train[n=3]"], 2, 0));
    assert_eq!(objects(&store), 2, "objects that are shared with what stays, stay");
    let done = gc(&store, &[2], all());
    assert_eq!((done.bytes(), objects(&store)), (6, 1));
    for store in [store, Store::open(&dir.path().join("cache")).unwrap()] {
        assert_eq!([0, 1, 2, 3].map(|n| look(&store, n)), ["missing", "missing", "hit", "missing"]);
        assert!(gc(&store, &[2], all()).is_empty());
    }
}

#[test]
fn a_plan_removes_nothing() {
    let (_dir, store) = store();
    make(&store, 1, "one");
    assert_eq!(plan(&store, &|_| false, all()).unwrap().entries.len(), 1);
    assert_eq!(look(&store, 1), "hit");
}

#[test]
fn what_is_young_stays() {
    let (_dir, store) = store();
    make(&store, 1, "one");
    drop(claim(&store, 2).scratch());
    let orphan = store.own_object(&Digest::of(b"orphan"));
    files::create_dir_all(orphan.parent().unwrap()).unwrap();
    files::write(&orphan, "orphan").unwrap();
    assert!(gc(&store, &[], GcLimits::default()).is_empty());
    let old = GcLimits { older_than: Some(Duration::from_secs(60)), ..all() };
    assert_eq!((gc(&store, &[], old).entries.len(), orphan.exists()), (0, false));
    assert_eq!(gc(&store, &[], all()).entries.len(), 1);
}

#[test]
fn clock_set_back_makes_nothing_old() {
    let now = 1_000_000_000_000;
    assert!(!older(now + 5, now, Duration::from_secs(1)) && !older(i64::MAX, now, Duration::from_secs(1)));
    assert!(older(0, now, Duration::from_secs(1000)) && !older(0, now, Duration::from_secs(1001)));
    assert!(!older(0, i64::MAX - 1, Duration::MAX));
}

#[test]
fn gc_to_a_size_removes_cheap_results_first() {
    let (_dir, store) = store();
    // Seconds a byte: 0.1, 1, 0.01.
    for (n, len, seconds) in [(1, 10, 1.0), (2, 20, 20.0), (3, 300, 3.0)] {
        let miss = claim(&store, n);
        files::write(miss.out().join("a.txt"), vec![b'a' + n as u8; len]).unwrap();
        miss.commit(&recipe(n), CommitInfo { seconds, ..CommitInfo::default() }).unwrap();
    }
    store.clear_away();
    let limit = |max| GcLimits { max_size: Some(max), ..all() };
    assert!(gc(&store, &[], limit(330)).is_empty());
    let keys = |sweep: Sweep| sweep.entries.iter().map(|gone| gone.key).collect::<Vec<_>>();
    assert_eq!(keys(plan(&store, &|_| false, limit(29)).unwrap()), [key(3), key(1)]);
    assert_eq!(keys(gc(&store, &[], limit(30))), [key(3)]);
    assert_eq!([1, 2, 3].map(|n| look(&store, n)), ["hit", "hit", "missing"]);
    // Kept entries stay, whatever the size.
    assert_eq!(keys(gc(&store, &[2], limit(0))), [key(1)]);
    assert_eq!(look(&store, 2), "hit");
}

#[test]
fn a_store_in_use_is_left_alone() {
    let (dir, store) = store();
    make(&store, 1, "one");
    let in_use = Store::open(&dir.path().join("cache")).unwrap().in_use().unwrap();
    assert!(store.alone().unwrap().is_none());
    drop(in_use);
    assert!(store.alone().unwrap().is_some());
}

#[test]
fn sweep_keeps_what_was_needed_after_the_plan() {
    let (dir, store) = store();
    make(&store, 1, "one");
    make(&store, 2, "two");
    let plan = plan(&store, &|_| false, all()).unwrap();
    // Another process makes one more, which shares a file with an entry to remove.
    make(&Store::open(&dir.path().join("cache")).unwrap(), 3, "two");
    let done = sweep(&store, &plan, &|k| k == key(1), all(), &store.alone().unwrap().unwrap()).unwrap();
    assert_eq!(done.entries.iter().map(|gone| gone.key).collect::<Vec<_>>(), [key(2)]);
    let fresh = Store::open(&dir.path().join("cache")).unwrap();
    assert_eq!([1, 2, 3].map(|n| look(&fresh, n)), ["hit", "missing", "hit"]);
}

#[test]
fn gc_removes_leftovers_of_dead_runs_and_no_held_folder() {
    let (_dir, store) = store();
    let stored = make(&store, 1, "one");
    // A dead run with a checkpoint, a dead one without, and one that is alive.
    for (n, checkpoint) in [(2, true), (3, false)] {
        let miss = claim(&store, n);
        if checkpoint {
            files::write(miss.scratch().join("checkpoint"), "step 9").unwrap();
        }
        // As a kill leaves them: the folder stays, the lock goes.
        let folder = store.work().path(key(n));
        let copy = folder.with_extension("copy");
        std::fs::create_dir_all(copy.join("scratch")).unwrap();
        if checkpoint {
            std::fs::rename(miss.scratch().join("checkpoint"), copy.join("scratch/checkpoint")).unwrap();
        }
        drop(miss);
        std::fs::rename(copy, folder).unwrap();
    }
    let alive = claim(&store, 4);
    files::write(alive.scratch().join("checkpoint"), "step 1").unwrap();
    files::write(object(&store, &stored).with_file_name(".tmp-x"), "half").unwrap();
    files::write(store.root().join("quarantine/bad"), "bad").unwrap();
    files::create_dir_all(store.root().join("work").join(format!("{}1-2", crate::cache::archive::UNPACKING))).unwrap();
    files::write(store.root().join("work/mine.txt"), "foreign").unwrap();

    let week = GcLimits { leftovers: Duration::from_secs(604_800), ..all() };
    let done = gc_work(&store, week);
    assert_eq!(done, (2, 0, 1), "checkpoints and quarantine are kept for a week");
    assert!(store.root().join("work").join(key(2).hex()).join("scratch/checkpoint").exists());
    gc_work(&store, all());
    let left: Vec<_> = list(&store.root().join("work")).unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(alive.scratch().join("checkpoint").exists() && store.root().join("work/mine.txt").exists());
    assert_eq!((count(&store, "quarantine"), look(&store, 1).as_str()), (0, "hit"));
}

/// Sweeps, keeping entry 1; how many working folders, quarantined and temporary files went.
fn gc_work(store: &Store, limits: GcLimits) -> (usize, usize, usize) {
    let keep = |k| k == key(1);
    let plan = plan(store, &keep, limits).unwrap();
    let done = sweep(store, &plan, &keep, limits, &store.alone().unwrap().unwrap()).unwrap();
    (done.work.len(), done.quarantine.len(), done.temporary.len())
}

#[test]
fn gc_does_not_follow_links() {
    let (dir, store) = store();
    let outside = dir.path().join("outside");
    files::create_dir(&outside).unwrap();
    for name in ["letter.txt", ".tmp-mine"] {
        files::write(outside.join(name), "precious").unwrap();
    }
    files::remove_dir(store.root().join("quarantine")).unwrap();
    for link in ["quarantine", "objects/ab", "entries/ab"] {
        std::os::unix::fs::symlink(&outside, store.root().join(link)).unwrap();
    }
    assert!(gc(&store, &[], all()).is_empty());
    assert_eq!(files::read_dir(&outside).unwrap().count(), 2);
}

#[test]
fn gc_keeps_objects_of_unreadable_entries() {
    let (_dir, store) = store();
    let stored = make(&store, 1, "of a later dpt");
    let manifest = store.manifest(key(1));
    let text = files::read_to_string(&manifest).unwrap();
    files::remove_file(&manifest).unwrap();
    files::write(&manifest, text.replace("\"schema\": 1\n", "\"schema\": 7\n")).unwrap();
    make(&store, 2, "two");
    let done = gc(&store, &[], all());
    assert_eq!((done.unreadable, done.entries.len()), (1, 1));
    assert!(object(&store, &stored).exists() && manifest.exists());
}
