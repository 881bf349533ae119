//! Prompt methods in the shipped pipelines: their keys, and the lock file.

use std::path::{Path, PathBuf};

use dpt::base::digest::Digest;
use dpt::cache::{CacheKey, FileRecord, Stored};
use dpt::engine::graph::NodeId;
use dpt::engine::key::{self, Producer};
use dpt::pipeline::{self, LoadOptions, Plan};
use dpt::repro::lockfile::{LockFile, path_of};

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.toml")
}

fn plan(sets: &[(&str, &str)]) -> Plan {
    let sets = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    pipeline::load(&quickstart(), &LoadOptions { sets, ..LoadOptions::default() }).unwrap()
}

/// Returns a node's result as recorded in the lock file.
fn stored(lock: &LockFile, node: &str) -> Stored {
    let line = lock.get(node).unwrap_or_else(|| panic!("the lock has no `{node}`"));
    let record = |(name, logical): (&String, &Digest)| {
        (name.clone(), FileRecord { logical: *logical, bytes: *logical, size: 0, executable: false })
    };
    Stored {
        key: line.key,
        files: line.files.iter().map(record).collect(),
        numerics: line.numerics.clone(),
        seconds: 0.0,
    }
}

/// Returns the key of a node whose inputs are those of the lock file.
fn key_of(plan: &Plan, lock: &LockFile, id: NodeId) -> CacheKey {
    let graph = &plan.graph;
    let made: Vec<_> =
        graph.producers(id).map(|(from, port)| (from, port, stored(lock, &graph.node(from).to_string()))).collect();
    let mut producers: Vec<_> =
        made.iter().map(|(from, port, stored)| Producer { node: graph.node(*from), port, stored }).collect();
    key::sort(&mut producers);
    key::recipe(graph.node(id), &Default::default(), &[], &producers).key()
}

/// Checks the keys of all nodes with inputs, so that a changed key is noticed without a run.
#[test]
fn keys_of_the_quickstart_lock_follow_from_the_pipeline() {
    let (plan, lock) = (plan(&[]), LockFile::required(&path_of(&quickstart())).unwrap());
    let mut checked = 0;
    for id in plan.graph.ids().filter(|id| plan.graph.producers(*id).len() > 0) {
        let name = plan.graph.node(id).to_string();
        let line = lock.get(&name).unwrap_or_else(|| panic!("the lock has no `{name}`"));
        let params: Vec<_> = line.request.keys().filter_map(|name| name.strip_prefix("param.")).collect();
        let recipe = key::recipe(plan.graph.node(id), &Default::default(), &[], &[]);
        let fields: Vec<_> = recipe.fields().iter().map(|field| field.name.to_string()).collect();
        let own: Vec<_> = fields.iter().filter_map(|name| name.strip_prefix("param.")).collect();
        assert_eq!(params, own, "{name}");
        assert_eq!(line.key, key_of(&plan, &lock, id), "{name}");
        checked += 1;
    }
    assert_eq!(checked, lock.lines().len() - 5, "all but four data sets and the backbone");
}

/// A change of `rank` does not retrain methods without a rank.
#[test]
fn rank_changes_the_key_of_methods_that_have_one_only() {
    let lock = LockFile::required(&path_of(&quickstart())).unwrap();
    let (before, after) = (plan(&[]), plan(&[("params.rank", "6")]));
    let mut seen = [0, 0];
    for id in before.graph.ids().filter(|id| before.graph.node(*id).stage == "train") {
        let node = before.graph.node(id);
        let (_, method) = node.axes.iter().find(|(axis, _)| axis == "method").unwrap();
        let same = key_of(&before, &lock, id) == key_of(&after, &lock, id);
        let has_rank = method == "dpt";
        assert_eq!((same, node.params.contains_key("rank")), (!has_rank, has_rank), "{node}");
        seen[usize::from(has_rank)] += 1;
    }
    assert_eq!(seen, [4, 4]);
}
