//! Tests of verification: what it finds, and what it sets aside.

use super::super::verify::{SetAside, VerifyReport, VerifyScope, verify};
use super::*;
use crate::base::digest::Digest;

fn all(store: &Store) -> VerifyReport {
    verify(store, &VerifyScope::Store, &|_| {}, &|| false).unwrap()
}

/// Flips a bit and puts the times back, as a failing disk would: only the bytes tell.
fn rot(path: &Path) {
    let meta = fs::metadata(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(meta.modified().unwrap())).unwrap();
}

fn setup() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn verify_counts_a_whole_store() {
    let (_dir, store) = setup();
    make(&store, 1, "one");
    make(&store, 2, "two!");
    make(&store, 3, "one");
    let v = all(&store);
    assert_eq!((v.entries, v.objects, v.bytes, v.unnamed), (3, 2, 7, 0));
    assert!(v.broken.is_empty() && v.absent.is_empty());
}

#[test]
fn verify_sets_damaged_objects_aside_and_names_their_nodes() {
    let (_dir, store) = setup();
    let stored = make(&store, 1, "one");
    make(&store, 2, "one");
    rot(&object(&store, &stored));
    let v = all(&store);
    assert_eq!(v.broken.len(), 1);
    let broken = &v.broken[0];
    assert_eq!((broken.what.as_str(), &broken.aside), ("`a.txt` is not what was stored", &SetAside::Moved));
    assert_eq!(broken.nodes, ["train[n=1]", "train[n=2]"]);
    assert!(broken.note.as_ref().unwrap().contains(&format!("recorded {}", Digest::of(b"one"))));
    assert!(!object(&store, &stored).exists());
    assert_eq!(fs::read_dir(store.root().join("quarantine")).unwrap().count(), 1);
    // Both results are gone, and can be made again.
    for n in [1, 2] {
        assert!(matches!(store.lookup(recipe(n).key(), &|_| true).unwrap(), Lookup::Damaged(_)));
    }
    make(&store, 1, "one");
    assert!(all(&store).broken.is_empty());
}

#[test]
fn verify_reports_missing_objects_cut_manifests_and_foreign_files() {
    let (_dir, store) = setup();
    let stored = make(&store, 1, "one");
    make(&store, 2, "two");
    fs::remove_file(object(&store, &stored)).unwrap();
    let manifest = store.manifest(recipe(2).key());
    let text = fs::read(&manifest).unwrap();
    fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    fs::write(object(&store, &stored).with_file_name("readme.txt"), "x").unwrap();
    fs::write(object(&store, &stored).with_file_name(".tmp-1"), "x").unwrap();
    let v = all(&store);
    let mut told: Vec<_> = v.broken.iter().map(|b| (b.what.clone(), b.aside.clone())).collect();
    told.sort_by_key(|(what, _)| what.clone());
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], ("`a.txt` is missing".to_owned(), SetAside::Missing));
    assert!(told[1].0.ends_with("readme.txt` is not an object of this store"), "{told:?}");
    assert!(told[2].0.contains("its manifest is not whole"), "{told:?}");
    // The object of the entry whose manifest is lost is now one that no entry names.
    assert_eq!((v.entries, v.unnamed), (1, 1));
    let again = all(&store);
    assert_eq!(again.broken.len(), 1, "what was set aside is not told twice: {:?}", again.broken);
}

#[test]
fn verify_of_some_keys_leaves_others_alone() {
    let (_dir, store) = setup();
    let stored = make(&store, 1, "one");
    make(&store, 2, "two");
    rot(&object(&store, &stored));
    let keys = [recipe(2).key(), recipe(3).key()].into();
    let v = verify(&store, &VerifyScope::Keys(keys), &|_| {}, &|| false).unwrap();
    assert_eq!((v.entries, v.objects, v.absent, v.broken.len()), (1, 1, vec![recipe(3).key()], 0));
}

#[test]
fn asked_to_end_it_hashes_no_more() {
    let (_dir, store) = setup();
    make(&store, 1, "one");
    assert_eq!(verify(&store, &VerifyScope::Store, &|_| {}, &|| true).unwrap().objects, 0);
}

/// A large and a small object. Those that are right are trusted afterwards without being hashed.
#[test]
fn what_was_hashed_is_remembered() {
    let (dir, store) = setup();
    let stored = make(&store, 1, &"x".repeat(20 << 20));
    assert_eq!(all(&store).bytes, 20 << 20);
    store.flush().unwrap();
    let second = Store::open(dir.path()).unwrap();
    assert!(second.index().objects.get(&stored.files["a.txt"].bytes).is_some());
}
