//! Random graphs: each node once, after its inputs; a second run does nothing; two runs at once make each key once,
//! also when they are of different pipelines that share some of their nodes.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::cache::inventory::Inventory;

/// Up to 12 nodes; node `i` reads those of the nodes before it whose bit is set.
fn graphs() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 1..12)
}

fn build(masks: &[u16]) -> Graph {
    let mut plan = Plan::default();
    let mut ids = Vec::new();
    for (i, mask) in masks.iter().enumerate() {
        let id = plan.node(&format!("n{i}"), &[], &[text(&format!("t{i}"))]);
        for (j, from) in ids.iter().enumerate() {
            if mask & (1 << j) != 0 {
                plan.edge(*from, id);
            }
        }
        ids.push(id);
    }
    plan.0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_node_once_after_its_inputs(masks in graphs(), jobs in 1..5usize) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let graph = build(&masks);
        let order = Mutex::new(Vec::new());
        let (summary, _) = ran(&graph, &store, RunOptions { jobs, ..options() }, |job, _, _| {
            let outcome = touch(job);
            order.lock().unwrap().push(job.node.clone());
            outcome
        });
        let order = order.into_inner().unwrap();
        let at: HashMap<_, _> = order.iter().enumerate().map(|(i, node)| (node.clone(), i)).collect();
        prop_assert_eq!((order.len(), at.len(), summary.totals.made), (graph.len(), graph.len(), graph.len()));
        for id in graph.ids() {
            for (from, _) in graph.producers(id) {
                prop_assert!(at[&graph.node(from).to_string()] < at[&graph.node(id).to_string()]);
            }
        }
        prop_assert_eq!(touched(&graph, &store, options()).0.totals.fresh, graph.len());
    }

    #[test]
    fn two_runs_at_once_make_each_key_once(masks in graphs()) {
        let dir = tempfile::tempdir().unwrap();
        let graph = build(&masks);
        let made = Mutex::new(Vec::new());
        let one = || ran(&graph, &open(dir.path()), options(), |job, _, _| {
            made.lock().unwrap().push(job.node.clone());
            touch(job)
        }).0;
        let (a, b) = std::thread::scope(|s| {
            let other = s.spawn(one);
            (one(), other.join().unwrap())
        });
        let mut made = made.into_inner().unwrap();
        made.sort();
        let count = made.len();
        made.dedup();
        prop_assert_eq!((count, made.len()), (graph.len(), graph.len()));
        prop_assert_eq!(a.results, b.results);
    }

    #[test]
    fn two_pipelines_at_once_share_equal_results(masks in graphs(), more in graphs(), waits in any::<u64>()) {
        let dir = tempfile::tempdir().unwrap();
        let graphs = [build(&masks), build(&more)];
        let made = Mutex::new(Vec::new());
        let one = |graph: &Graph| {
            let heard = Heard::default();
            let stage = |job: &Job, _: &dyn Progress, _: &Cancel| {
                // Some nodes take longer than others, so that the runs meet in many ways.
                let shift = (job.node.len() * 7 + usize::from(job.node.as_bytes()[1])) % 61;
                let wait = (waits >> shift) & 3;
                std::thread::sleep(std::time::Duration::from_millis(wait));
                touch(job)
            };
            let summary = run(graph, &open(dir.path()), options(), &Stub(stage), &heard, &Cancel::new());
            let events = heard.0.into_inner().unwrap();
            made.lock().unwrap().extend(events.iter().filter_map(|event| match event {
                Event::NodeDone { key, .. } => Some(*key),
                _ => None,
            }));
            summary
        };
        let (a, b) = std::thread::scope(|s| {
            let other = s.spawn(|| one(&graphs[1]));
            (one(&graphs[0]), other.join().unwrap())
        });
        let keys: std::collections::BTreeSet<_> =
            a.results.iter().chain(&b.results).map(|stored| stored.as_ref().unwrap().key).collect();
        let mut made = made.into_inner().unwrap();
        made.sort();
        // One making for each key, and one entry; both runs ended well.
        prop_assert_eq!(&made, &keys.iter().copied().collect::<Vec<_>>());
        let inventory = Inventory::of(&open(dir.path())).unwrap();
        prop_assert_eq!(inventory.entries.iter().map(|e| e.key).collect::<std::collections::BTreeSet<_>>(), keys);
        prop_assert!(inventory.entries.iter().all(|entry| entry.made.len() == 1));
        prop_assert_eq!((a.totals.failed, b.totals.failed), (0, 0));
        // Each has the results of a run by itself.
        for (graph, summary) in graphs.iter().zip([&a, &b]) {
            let alone = tempfile::tempdir().unwrap();
            let scratch = touched(graph, &open(alone.path()), options()).0;
            let files = |results: &[Option<std::sync::Arc<crate::cache::Stored>>]| {
                results.iter().map(|stored| stored.as_ref().unwrap().files.clone()).collect::<Vec<_>>()
            };
            prop_assert_eq!(files(&summary.results), files(&scratch.results));
        }
    }
}
