//! Random graphs, edited at random between runs on one store, with the store damaged now and then. Sound: what a run
//! calls done equals what a run from nothing makes. Minimal: the next run makes nothing, and a run makes no key twice.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::cache::FileRecord;
use crate::cache::gc::{self, GcLimits};
use crate::cache::inventory::Inventory;

/// The shape of a pipeline.
#[derive(Clone, Debug)]
struct Shape {
    /// For each node: whom of those before it it reads, its text (which it writes), its rate (which it does not).
    nodes: Vec<(u16, u8, u8)>,
}

/// An event between two runs.
#[derive(Clone, Debug)]
enum Edit {
    Text(usize, u8),
    Rate(usize, u8),
    Edge(usize, u16),
    Add(u16, u8),
    RemoveLast,
    /// An object gets another byte, is cut, or is removed.
    Damage(usize, u8),
    LoseIndex,
    /// Everything that this pipeline does not reach goes.
    Gc,
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop::collection::vec((any::<u16>(), 0..3u8, 0..3u8), 1..8).prop_map(|nodes| Shape { nodes })
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (any::<usize>(), 0..3u8).prop_map(|(i, n)| Edit::Text(i, n)),
        (any::<usize>(), 0..3u8).prop_map(|(i, n)| Edit::Rate(i, n)),
        (any::<usize>(), any::<u16>()).prop_map(|(i, mask)| Edit::Edge(i, mask)),
        (any::<u16>(), 0..3u8).prop_map(|(mask, n)| Edit::Add(mask, n)),
        Just(Edit::RemoveLast),
        (any::<usize>(), 0..3u8).prop_map(|(i, how)| Edit::Damage(i, how)),
        Just(Edit::LoseIndex),
        Just(Edit::Gc),
    ];
    prop::collection::vec(edit, 1..6)
}

fn build(shape: &Shape) -> Graph {
    let mut plan = Plan::default();
    let mut ids = Vec::new();
    for (i, (mask, words, rate)) in shape.nodes.iter().enumerate() {
        let rate = Value::Float(f64::from(*rate) / 4.0);
        let id = plan.node(&format!("n{i}"), &[], &[text(&format!("t{words}")), ("rate", rate)]);
        for (j, from) in ids.iter().enumerate() {
            if mask & (1 << j) != 0 {
                plan.edge(*from, id);
            }
        }
        ids.push(id);
    }
    plan.0
}

impl Edit {
    fn apply(&self, shape: &mut Shape, dir: &Path) {
        let n = shape.nodes.len();
        match *self {
            Edit::Text(i, words) => shape.nodes[i % n].1 = words,
            Edit::Rate(i, rate) => shape.nodes[i % n].2 = rate,
            Edit::Edge(i, mask) => shape.nodes[i % n].0 ^= mask,
            Edit::Add(mask, words) if n < 10 => shape.nodes.push((mask, words, 0)),
            Edit::RemoveLast if n > 1 => drop(shape.nodes.pop()),
            Edit::Add(..) | Edit::RemoveLast => {}
            Edit::Damage(i, how) => damage(dir, i, how),
            Edit::LoseIndex => drop(std::fs::remove_file(dir.join("cache/v1/index"))),
            Edit::Gc => gc(&build(shape), dir),
        }
    }
}

fn damage(dir: &Path, i: usize, how: u8) {
    let store = open(dir);
    let Inventory { objects, .. } = Inventory::of(&store).unwrap();
    let Some(digest) = objects.keys().nth(i % objects.len().max(1)) else { return };
    let path = store.object(digest);
    let mut bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    match how {
        0 => bytes[0] ^= 1,
        1 => drop(bytes.pop()),
        _ => return,
    }
    std::fs::write(&path, bytes).unwrap();
}

fn gc(graph: &Graph, dir: &Path) {
    let store = open(dir);
    let stub = Stub(|job: &Job, _: &dyn Progress, _: &Cancel| touch(job));
    let keys = crate::engine::gc_roots::of_graph(graph, &store, &options(), &stub, false).unwrap();
    let zero = std::time::Duration::ZERO;
    let limits = GcLimits { grace: zero, leftovers: zero, ..Default::default() };
    let keep = |key| keys.contains(&key);
    let plan = gc::plan(&store, &keep, limits).unwrap();
    gc::sweep(&store, &plan, &keep, limits, &store.alone().unwrap().unwrap()).unwrap();
    let left: BTreeSet<_> = Inventory::of(&store).unwrap().entries.iter().map(|entry| entry.key).collect();
    assert!(left.is_subset(&keys) && keys.is_subset(&left), "gc kept {left:?} of {keys:?}");
}

/// The files that each node made, by name and content.
fn results(graph: &Graph, summary: &RunSummary) -> Vec<Vec<(String, FileRecord)>> {
    assert_eq!(summary.totals.failed, 0, "{:?}", summary.failed);
    graph
        .ids()
        .map(|id| {
            let stored = summary.results[id.index()].as_ref().expect("each node has a result");
            stored.files.iter().map(|(name, file)| (name.clone(), file.clone())).collect()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fresh_results_equal_those_of_a_run_from_nothing(shape in shapes(), edits in edits()) {
        let dir = tempfile::tempdir().unwrap();
        let mut shape = shape;
        touched(&build(&shape), &open(dir.path()), options());
        for edit in edits {
            edit.apply(&mut shape, dir.path());
            let graph = build(&shape);
            let (summary, lines) = touched(&graph, &open(dir.path()), options());
            let nothing = tempfile::tempdir().unwrap();
            let (scratch, _) = touched(&graph, &open(nothing.path()), options());
            prop_assert_eq!(results(&graph, &summary), results(&graph, &scratch), "after {:?}: {:?}", edit, lines);
            // Every file that the entry names is there and right.
            let store = open(dir.path());
            for stored in summary.results.iter().flatten() {
                for file in stored.files.values() {
                    let bytes = std::fs::read(store.object(&file.bytes)).unwrap();
                    prop_assert_eq!(crate::base::digest::Digest::of(&bytes), file.bytes);
                }
            }
            let (again, lines) = touched(&graph, &store, options());
            prop_assert_eq!((again.totals.made, again.totals.fresh), (0, graph.len()), "after {:?}: {:?}", edit, lines);
        }
    }
}
