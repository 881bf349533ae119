//! The classic mistakes of caches, one test each, called like the mistake. What is in a key and what is not has its own
//! tests, field by field, in `keys.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::base::diag::Class;
use crate::base::digest::Digest;
use crate::base::watch::Unwatched;
use crate::cache::archive;
use crate::cache::inventory::Inventory;
use crate::cache::recipe::{FieldContent, FieldName, Recipe};
use crate::stages::stage::{Identity, Outside};

fn reads_file(params: &Params, outside: &Outside) -> Result<Identity, Diag> {
    let path = outside.base.join(params["text"].as_str().unwrap());
    Ok(Identity { params: vec![("text", None)], files: vec![("source".into(), path)] })
}

const READER: StageKind = StageKind { name: "reader", identity: Some(reads_file), ..TOUCH };

/// Runs a node that reads `data` below `dir`; returns the lines of the run.
fn reader(dir: &Path) -> Vec<String> {
    let mut plan = Plan::default();
    plan.of(&READER, "read", &[], &[text("data")]);
    let mut options = options();
    options.outside.base = dir.to_owned();
    touched(&plan.0, &open(dir), options).1
}

/// A graph of one node.
fn one(kind: &'static StageKind, params: &[(&str, Value)]) -> Graph {
    let mut plan = Plan::default();
    plan.of(kind, "a", &[], params);
    plan.0
}

#[test]
fn mtime_as_truth() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data");
    std::fs::write(&file, "one").unwrap();
    reader(dir.path());
    let old = std::fs::metadata(&file).unwrap().modified().unwrap();
    // Newer, the same bytes: fresh. Other bytes of the same length and age: stale.
    std::fs::write(&file, "one").unwrap();
    assert_eq!(reader(dir.path()), ["Fresh read"]);
    std::fs::write(&file, "two").unwrap();
    std::fs::File::open(&file).unwrap().set_modified(old).unwrap();
    assert!(reader(dir.path())[0].starts_with("queue read: file source"));
}

#[test]
fn code_not_in_the_key() {
    const NEWER: StageKind = StageKind { version: 2, ..TOUCH };
    let dir = tempfile::tempdir().unwrap();
    touched(&one(&TOUCH, &[]), &open(dir.path()), options());
    let (_, lines) = touched(&one(&NEWER, &[]), &open(dir.path()), options());
    assert_eq!(lines, ["queue a: stage version 1 -> 2", "done a"]);
}

#[test]
fn too_much_code_in_the_key() {
    const REWORDED: StageKind = StageKind { about: "the same, told in other words", ..TOUCH };
    let dir = tempfile::tempdir().unwrap();
    touched(&one(&TOUCH, &[]), &open(dir.path()), options());
    let (_, lines) = touched(&one(&REWORDED, &[]), &open(dir.path()), options());
    assert_eq!(lines, ["Fresh a"]);
}

/// The rule by which keys are made may not drift unseen: this key was made once and written down.
#[test]
fn code_of_the_key_itself() {
    let recipe = Recipe::new("train", 3)
        .with(FieldName::Param("learning_rate".into()), FieldContent::Value(Value::Float(0.3)))
        .with(FieldName::File("a/b".into()), FieldContent::Digest(Digest::of(b"x")));
    assert_eq!(recipe.key().hex(), GOLDEN);
}

const GOLDEN: &str = "957eb51d83e2d0de063417820c6206d0e8149cc088b75c2a203bd6d05c6b8d1f";

#[test]
fn defaults() {
    let dir = tempfile::tempdir().unwrap();
    touched(&one(&TOUCH, &[]), &open(dir.path()), options());
    // `late` came with version 2 of the declaration, and is at its default.
    let (_, lines) = touched(&one(&TOUCH, &[("late", Value::Float(2.0))]), &open(dir.path()), options());
    assert_eq!(lines, ["Fresh a"]);
    let (_, lines) = touched(&one(&TOUCH, &[("late", Value::Float(1.0))]), &open(dir.path()), options());
    assert_eq!(lines[0], "queue a: late is new: 1.0");
}

#[test]
fn removal_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    touched(&one(&TOUCH, &[("rate", Value::Float(0.3))]), &open(dir.path()), options());
    let (_, lines) = touched(&one(&TOUCH, &[]), &open(dir.path()), options());
    assert_eq!(lines[0], "queue a: rate is gone: was 0.3");
}

/// Texts that are easily taken for one another when they are put in a row.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b", "ab", "aa", "1", "1.0", "a=1", "a,b", "[a]", "\u{e9}", "e\u{301}"])
        .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        (-2..3i64).prop_map(Value::Int),
        (-2..3i64).prop_map(|n| Value::Float(n as f64)),
        word().prop_map(Value::Str),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map(word(), inner, 0..3).prop_map(|table| Value::Table(table.into())),
        ]
    })
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let content = prop_oneof![
        value().prop_map(FieldContent::Value),
        word().prop_map(FieldContent::Text),
        (0..3u64).prop_map(FieldContent::Number),
        word().prop_map(|w| FieldContent::Digest(Digest::of(w.as_bytes()))),
    ];
    let name = prop_oneof![
        word().prop_map(FieldName::Param),
        word().prop_map(FieldName::File),
        (word(), word()).prop_map(|(role, at)| FieldName::Producer { role, at }),
        (word(), word(), word()).prop_map(|(role, at, file)| FieldName::Input { role, at, file }),
    ];
    prop::collection::btree_map(name, content, 0..4).prop_map(|fields| {
        fields.into_iter().fold(Recipe::new("s", 1), |recipe, (name, content)| recipe.with(name, content))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No two different lists of fields encode alike.
    #[test]
    fn concatenation(a in recipes(), b in recipes()) {
        prop_assert_eq!(a == b, a.key() == b.key(), "{} and {}", a, b);
    }
}

#[test]
fn hash_map_directory_and_glob_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let folder = |name: &str, files: &[&str]| {
        let folder = dir.path().join(name);
        for file in files {
            std::fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            std::fs::write(folder.join(file), *file).unwrap();
        }
        store.content_digest(&folder).unwrap()
    };
    let forth: Vec<String> = (0..40).map(|i| format!("{}/{}", i % 3, i * 7919 % 101)).collect();
    let forth: Vec<&str> = forth.iter().map(String::as_str).collect();
    let back: Vec<&str> = forth.iter().rev().copied().collect();
    assert_eq!(folder("forth", &forth), folder("back", &back));
    // The same letter in two spellings is two names: a file system that keeps them apart must not be second-guessed.
    assert_ne!(folder("composed", &["\u{e9}"]), folder("decomposed", &["e\u{301}"]));
    let key = |params: &[(&str, Value)]| {
        let node = one(&TOUCH, params);
        crate::engine::key::recipe(node.node(node.ids().next().unwrap()), &Identity::default(), &[], &[]).key()
    };
    let (a, b) = (text("x"), ("rate", Value::Float(0.5)));
    assert_eq!(key(&[a.clone(), b.clone()]), key(&[b, a]));
}

#[test]
fn floats() {
    let key = |value: Value| Recipe::new("s", 1).with(FieldName::Param("x".into()), FieldContent::Value(value)).key();
    #[expect(clippy::excessive_precision, reason = "another spelling of the same number")]
    let same = [0.3, 3e-1, 0.299_999_999_999_999_988_9];
    assert!(same.iter().all(|x| key(Value::Float(*x)) == key(Value::Float(0.3))));
    assert_eq!(key(Value::Float(-0.0)), key(Value::Float(0.0)));
    assert_ne!(key(Value::Float(1.0)), key(Value::Int(1)));
    assert_ne!(key(Value::Float(0.1 + 0.2)), key(Value::Float(0.3)));
}

/// A stage that gives other bytes each time is allowed: whoever reads it follows what it made last.
#[test]
fn nondeterminism() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, ids) = Plan::chain(2);
    let times = AtomicUsize::new(0);
    let stage = |job: &Job, _: &dyn Progress, _: &Cancel| {
        let outcome = touch(job);
        if job.node == "n0" {
            let n = times.fetch_add(1, Ordering::SeqCst);
            json::write(&job.out.join("out.json"), &serde_json::json!({ "dice": n })).unwrap();
        }
        outcome
    };
    let (first, _) = ran(&graph, &open(dir.path()), options(), stage);
    let force = RunOptions { force: vec![ids[0]], ..options() };
    let (second, lines) = ran(&graph, &open(dir.path()), force, stage);
    assert_eq!(first.results[0].as_ref().unwrap().key, second.results[0].as_ref().unwrap().key);
    assert!(lines.iter().any(|line| line.starts_with("queue n1: input.all")), "{lines:?}");
    assert_eq!(ran(&graph, &open(dir.path()), options(), stage).1, ["Fresh n0", "Fresh n1"]);
}

#[test]
fn attempt_number_in_the_hash() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let keys = [0, 2].map(|fails| {
        let plain = one(&TOUCH, &[]);
        let mut node = plain.node(plain.ids().next().unwrap()).clone();
        node.resources.retries = 3;
        let mut graph = Graph::new();
        graph.add(node);
        let tries = AtomicUsize::new(0);
        let stage = |job: &Job, _: &dyn Progress, _: &Cancel| match tries.fetch_add(1, Ordering::SeqCst) < fails {
            true => Err(Diag::error(Class::Stage, "flaky")),
            false => touch(job),
        };
        let (summary, lines) = ran(&graph, &open(dirs[fails / 2].path()), options(), stage);
        assert_eq!(lines.iter().filter(|line| line.starts_with("retry")).count(), fails, "{lines:?}");
        let stored = summary.results[0].clone().unwrap();
        (stored.key, stored.files.clone())
    });
    assert_eq!(keys[0], keys[1]);
}

/// A consumer's key is made of what its producer made in this very run, not of what lies there from before.
#[test]
fn hashed_before_the_producer_ran() {
    let dir = tempfile::tempdir().unwrap();
    let graph = |words: &str| {
        let mut plan = Plan::default();
        let (a, b) = (plan.node("a", &[], &[text(words)]), plan.node("b", &[], &[]));
        plan.edge(a, b);
        plan.0
    };
    touched(&graph("old"), &open(dir.path()), options());
    let store = open(dir.path());
    let (summary, lines) = touched(&graph("new"), &store, options());
    assert_eq!(lines.iter().position(|line| line == "done a"), Some(1), "{lines:?}");
    let made = |i: usize| summary.results[i].clone().unwrap();
    let recipe = store.entry(made(1).key).unwrap().unwrap().recipe;
    let digests: Vec<_> =
        recipe.fields().iter().filter(|field| matches!(field.name, FieldName::Input { .. })).collect();
    assert_eq!(digests.len(), 1);
    assert_eq!(digests[0].content, FieldContent::Digest(made(0).files["out.json"].logical));
}

#[test]
fn digest_drifts_on_restore() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, _) = Plan::chain(2);
    let (first, _) = touched(&graph, &open(dir.path()), options());
    let archive = dir.path().join("a.tar");
    let keys = first.results.iter().flatten().map(|stored| stored.key).collect();
    archive::export(&open(dir.path()), &keys, &archive, &Unwatched).unwrap();
    std::fs::remove_dir_all(dir.path().join("cache")).unwrap();
    archive::import(&open(dir.path()), &archive, &Unwatched).unwrap();
    let (second, lines) = touched(&graph, &open(dir.path()), options());
    assert_eq!(lines, ["Fresh n0", "Fresh n1"]);
    assert_eq!(first.results, second.results);
}

#[test]
fn failures_cached() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, _) = Plan::chain(1);
    let fails = |_: &Job, _: &dyn Progress, _: &Cancel| Err(Diag::error(Class::Stage, "no luck"));
    let (summary, _) = ran(&graph, &open(dir.path()), options(), fails);
    assert_eq!(summary.totals.failed, 1);
    assert!(Inventory::of(&open(dir.path())).unwrap().entries.is_empty());
    assert_eq!(touched(&graph, &open(dir.path()), options()).1, ["queue n0: never made before", "done n0"]);
}

#[test]
fn hit_on_a_missing_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, _) = Plan::chain(2);
    let (first, _) = touched(&graph, &open(dir.path()), options());
    let files: BTreeMap<_, _> = open(dir.path()).paths(first.results[0].as_ref().unwrap());
    std::fs::remove_file(&files["out.json"]).unwrap();
    let (second, lines) = touched(&graph, &open(dir.path()), options());
    assert_eq!(lines[0], "queue n0: damaged: `out.json` is missing");
    assert_eq!(lines[1], "damaged n0: `out.json` is missing");
    assert_eq!((second.totals.made, second.totals.cut_off), (1, 1));
    assert_eq!(first.results[1], second.results[1]);
    assert!(files["out.json"].exists());
}
