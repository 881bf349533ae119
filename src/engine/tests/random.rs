//! Random graphs: each node once, after its inputs; a second run does nothing; two runs at once make each key once.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

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
}
