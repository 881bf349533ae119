//! Tests of the index: reading back, damage, merging, order and restarts.

use std::path::Path;
use std::sync::Arc;

use super::write::encode;
use super::*;
use crate::base::digest::Digest;
use crate::cache::entry::Stored;
use crate::cache::key::CacheKey;
use crate::cache::recipe::Recipe;
use crate::cache::stat::Signature;

const SIGNATURE: Signature = Signature { size: 1, mtime: -2, ctime: 3, inode: 4 };

fn key(version: u32) -> CacheKey {
    Recipe::new("train", version).key()
}

fn stored(version: u32, numerics: &[(&str, &str)]) -> Arc<Stored> {
    Arc::new(Stored::of(key(version), &crate::cache::entry::tests::made(numerics)))
}

fn sample() -> Index {
    let digest = Digest::of(b"x");
    let mut index = Index::default();
    index.results.insert(key(1), stored(1, &[("device", "cpu")]));
    index.results.insert(key(2), stored(2, &[]));
    index.objects.insert(digest, ObjectMemo { signature: SIGNATURE, settled: false });
    index.objects.insert(Digest::of(b"y"), ObjectMemo { signature: SIGNATURE, settled: true });
    index.files.insert("/a/é".into(), FileMemo { signature: SIGNATURE, hashed_at: 5, digest });
    index.files.insert("/a".into(), FileMemo { signature: SIGNATURE, hashed_at: i64::MAX, digest });
    index.learn(digest, OtherDigests { tensors: Some(Digest::of(b"tensors")), sha256: None });
    index.last.insert("p", NodeHash::of("one"), key(1));
    index.last.insert("p", NodeHash::of("gone"), key(3));
    index.last.insert("q", NodeHash::of("one"), key(2));
    index.folders.insert(0, SIGNATURE);
    index.folders.insert(7, SIGNATURE);
    index
}

/// Prints everything the index knows of what [`sample`] put in.
fn says(index: &mut Index) -> String {
    let results: Vec<_> = (1..4).map(|version| index.results.get(&key(version))).collect();
    let objects: Vec<_> = [b"x", b"y", b"z"].map(|bytes| index.objects.get(&Digest::of(bytes))).into();
    let files: Vec<_> = ["/a", "/a/é", "/b"].map(|path| index.files.get(Path::new(path))).into();
    let nodes = [("p", "one"), ("p", "gone"), ("q", "one"), ("q", "gone"), ("r", "one")];
    let last = nodes.map(|(pipeline, node)| index.last.get(pipeline, NodeHash::of(node)));
    let about = [b"x", b"y", b"z"].map(|bytes| index.other_digests.get(&Digest::of(bytes)));
    let folders = [0, 6, 7, 255].map(|number| index.folders.get(&number));
    format!("{results:?}\n{objects:?}\n{files:?}\n{last:?}\n{about:?}\n{folders:?}")
}

fn encoded(index: &Index, boot: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(index, boot, &mut bytes).unwrap();
    bytes
}

fn decoded(bytes: &[u8], boot: &str) -> Option<Index> {
    Some(Index::of_file(IndexFile::new(bytes.to_owned(), boot)?.into(), None))
}

/// A change of these numbers needs another `MAGIC`.
#[test]
fn rows_have_the_sizes_of_the_layout() {
    use super::rows::*;
    let sizes = [
        size_of::<ObjectRow>(),
        size_of::<ResultRow>(),
        size_of::<OutputRow>(),
        size_of::<FileRow>(),
        size_of::<PipelineRow>(),
        size_of::<NodeRow>(),
        size_of::<OtherDigestsRow>(),
        size_of::<FolderRow>(),
        size_of::<ListRow>(),
        size_of::<Counts>(),
    ];
    assert_eq!((MAGIC, sizes), (&b"dpt.index.5\n"[..], [72, 56, 48, 80, 16, 48, 104, 40, 8, 80]));
}

#[test]
fn index_reads_back_and_rejects_any_damage() {
    let mut index = sample();
    let bytes = encoded(&index, "boot");
    let mut back = decoded(&bytes, "boot").unwrap();
    assert_eq!(says(&mut back), says(&mut index));
    assert!(back.results.changed.is_empty() && back.objects.changed.is_empty());
    assert_eq!(encoded(&back, "boot"), bytes);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(decoded(&flipped, "boot").is_none());
        assert!(decoded(&bytes[..at], "boot").is_none());
    }
}

#[test]
fn index_rejects_references_to_missing_rows() {
    let mut bytes = encoded(&sample(), "boot");
    let whole = bytes.len() - 32;
    let mut good = 0;
    for at in 0..whole {
        let before = std::mem::replace(&mut bytes[at], 0xfe);
        let check = Digest::of(&bytes[..whole]);
        bytes[whole..].copy_from_slice(&check.0);
        if let Some(mut index) = decoded(&bytes, "boot") {
            says(&mut index);
            good += 1;
        }
        bytes[at] = before;
    }
    assert!(good > 0 && good < whole);
}

#[test]
fn index_merge_keeps_changes_of_both_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    write(&mut sample(), &path, false).unwrap();
    let (mut one, mut other) = (Index::read(&path), Index::read(&path));
    let seen = ObjectMemo { signature: SIGNATURE, settled: true };
    assert!(one.objects.insert(Digest::of(b"z"), seen) && !one.objects.insert(Digest::of(b"z"), seen));
    one.results.remove(&key(1));
    one.objects.remove(&Digest::of(b"y"));
    one.last.insert("p", NodeHash::of("gone"), key(4));
    one.keep_files(|path| path == Path::new("/a"));
    let said = says(&mut one);
    write(&mut one, &path, false).unwrap();
    assert_eq!((says(&mut one), says(&mut Index::read(&path))), (said.clone(), said));

    // What another process wrote meanwhile stays, except where this one has a value of its own.
    other.results.insert(key(3), stored(3, &[]));
    other.last.insert("p", NodeHash::of("one"), key(3));
    write(&mut other, &path, false).unwrap();
    let mut both = Index::read(&path);
    let known = |index: &Index| (1..4).map(|v| index.results.get(&key(v)).is_some()).collect::<Vec<_>>();
    assert_eq!((known(&both), known(&other)), (vec![false, true, true], vec![false, true, true]));
    assert_eq!(both.objects.get(&Digest::of(b"z")), Some(seen));
    assert_eq!(both.last.get("p", NodeHash::of("gone")), Some(key(4)));
    assert_eq!(both.last.get("p", NodeHash::of("one")), Some(key(3)));
}

#[test]
fn index_merge_keeps_both_digests_and_drops_unused_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    write(&mut sample(), &path, false).unwrap();
    let (mut one, mut other) = (Index::read(&path), Index::read(&path));
    let sha256 = Some([1; 32]);
    one.learn(Digest::of(b"y"), OtherDigests { tensors: Some(Digest::of(b"t")), sha256: None });
    one.learn(Digest::of(b"of nobody"), OtherDigests { tensors: None, sha256 });
    write(&mut one, &path, false).unwrap();
    other.learn(Digest::of(b"x"), OtherDigests { tensors: None, sha256 });
    other.learn(Digest::of(b"y"), OtherDigests { tensors: None, sha256 });
    write(&mut other, &path, false).unwrap();
    let both = Index::read(&path);
    let about = |bytes: &[u8]| both.other_digests.get(&Digest::of(bytes));
    assert_eq!(about(b"x"), Some(OtherDigests { tensors: Some(Digest::of(b"tensors")), sha256 }));
    assert_eq!(about(b"y"), Some(OtherDigests { tensors: Some(Digest::of(b"t")), sha256 }));
    assert_eq!(about(b"of nobody"), None);
}

#[test]
fn nodes_are_written_in_the_given_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let nodes: Vec<NodeHash> = (0..4).map(|n| NodeHash::of(&n)).collect();
    let mut index = Index::default();
    for node in nodes.iter().rev() {
        index.last.insert("p", *node, key(1));
    }
    index.last.insert("p", NodeHash::of("of another time"), key(2));
    index.last.order("p", nodes.iter().copied());
    index.results.insert(key(1), stored(1, &[]));
    write(&mut index, &path, false).unwrap();
    for (at, node) in nodes.iter().enumerate() {
        assert_eq!(index.last.row("p", *node), Some(at as u32));
        assert_eq!(index.file.node_result(at as u32).map(|row| index.file.key(row)), Some(key(1)));
    }
    assert_eq!(index.last.row("p", NodeHash::of("of another time")), Some(4));
    assert_eq!((index.file.node_result(4), index.last.row("p", NodeHash::of("none"))), (None, None));
}

#[test]
fn restart_keeps_settled_memos_only() {
    let bytes = encoded(&sample(), "one boot");
    let later = decoded(&bytes, "another").unwrap();
    let object = |index: &Index, bytes: &[u8]| index.objects.get(&Digest::of(bytes)).is_some();
    assert_eq!((object(&later, b"x"), object(&later, b"y")), (false, true));
    let file = |path: &str| later.files.get(Path::new(path)).is_some();
    assert_eq!((file("/a/é"), file("/a")), (false, true));
    assert!(later.results.get(&key(1)).is_some());
    assert_eq!(later.folders.get(&7), None);
    // What was forgotten is not written back as known.
    let again = decoded(&encoded(&later, "another"), "another").unwrap();
    assert_eq!((object(&again, b"x"), object(&again, b"y")), (false, true));
}
