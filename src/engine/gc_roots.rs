//! The keys of the results that runs and pipelines use: the roots of a garbage collection, and of an export.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::base::diag::Diag;
use crate::base::fs::{self, on};
use crate::cache::{CacheKey, Store};

use super::executor::Executor;
use super::freshness::{Freshness, status};
use super::graph::Graph;
use super::options::RunOptions;

/// A run and the results that it made or found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunKeys {
    /// The run's id.
    pub run: String,
    /// Its pipeline's name.
    pub pipeline: String,
    /// The keys that its journal names.
    pub keys: BTreeSet<CacheKey>,
    /// Why a part of its journal cannot be read. Then it may have made and found more than `keys`.
    pub broken: Option<String>,
}

/// The runs whose journals lie in `folder`, latest first. A run that changed nothing left none.
///
/// Every key in a journal counts, whatever its event is, so that journals of other versions of `dpt` count too. The
/// last line of a run that was killed may be cut short.
///
/// # Errors
/// Fails if the folder cannot be read.
pub fn runs(folder: &Path) -> Result<Vec<RunKeys>, Diag> {
    /// The nodes of an event with their keys. In other events the field is a number.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Nodes {
        KeyMaker(BTreeMap<String, CacheKey>),
        Other(serde::de::IgnoredAny),
    }
    impl Default for Nodes {
        fn default() -> Self {
            Self::KeyMaker(BTreeMap::new())
        }
    }
    #[derive(Deserialize)]
    struct Line {
        key: Option<CacheKey>,
        #[serde(default)]
        nodes: Nodes,
        pipeline: Option<String>,
    }
    let mut names = Vec::new();
    for item in std::fs::read_dir(folder).map_err(on("read", folder))? {
        let name = item.map_err(on("read", folder))?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".jsonl").map(str::to_owned));
    }
    // A run's id begins with its time.
    names.sort();
    names.reverse();
    let mut runs = Vec::new();
    for run in names {
        let mut reach = RunKeys { run, ..RunKeys::default() };
        let text = fs::read(&folder.join(format!("{}.jsonl", reach.run))).unwrap_or_else(|error| {
            reach.broken = Some(error.to_string());
            Vec::new()
        });
        for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line = match serde_json::from_slice::<Line>(line) {
                Ok(line) => line,
                Err(_) if !line.ends_with(b"\n") => break,
                Err(error) => {
                    reach.broken.get_or_insert_with(|| format!("line {} is not an event: {error}", number + 1));
                    continue;
                }
            };
            reach.keys.extend(line.key);
            if let Nodes::KeyMaker(nodes) = line.nodes {
                reach.keys.extend(nodes.into_values());
            }
            if let Some(name) = line.pipeline.filter(|_| reach.pipeline.is_empty()) {
                reach.pipeline = name;
            }
        }
        runs.push(reach);
    }
    Ok(runs)
}

/// The results that the nodes of a graph have now. With `before` also those that each had when it was last found or
/// made, so that a pipeline that is being edited loses nothing.
///
/// # Errors
/// Fails if the key of a node is unknown, because something outside the store cannot be read.
pub fn of_graph(
    graph: &Graph,
    store: &Store,
    options: &RunOptions,
    executor: &dyn Executor,
    before: bool,
) -> Result<BTreeSet<CacheKey>, Diag> {
    let mut keys = BTreeSet::new();
    for node in status(graph, store, options, executor) {
        match node.freshness {
            Freshness::Fresh { stored } => drop(keys.insert(stored.key)),
            Freshness::Broken { error } => return Err(error),
            _ => {}
        }
        if before {
            keys.extend(store.last_key(&options.pipeline, &graph.node(node.id).to_string()));
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Recipe;

    #[test]
    fn gc_roots_include_keys_of_unknown_events() {
        let dir = tempfile::tempdir().unwrap();
        let key = |n| Recipe::new("train", n).key();
        let line = |n| format!("{{\"at\":1,\"event\":\"of-tomorrow\",\"key\":\"{}\"}}\n", key(n).hex());
        let started = "{\"at\":1,\"event\":\"run-started\",\"run\":\"a\",\"pipeline\":\"p\"}\n";
        std::fs::write(dir.path().join("1.jsonl"), format!("{started}{}", line(1))).unwrap();
        std::fs::write(dir.path().join("2.jsonl"), format!("{}{}{{\"cut", line(2), line(3))).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let runs = runs(dir.path()).unwrap();
        let short: Vec<_> = runs.iter().map(|run| (run.run.as_str(), run.pipeline.as_str(), run.keys.len())).collect();
        assert_eq!(short, [("2", "", 2), ("1", "p", 1)]);
        assert!(runs[1].keys.contains(&key(1)));
    }

    #[test]
    fn broken_journal_line_is_reported_and_a_cut_last_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let whole = "{\"at\":1,\"event\":\"run-started\",\"run\":\"a\",\"pipeline\":\"p\"}\n";
        let texts: [(&str, Vec<u8>); 4] = [
            ("1", format!("{whole}{{\"cut").into_bytes()),
            ("2", format!("{whole}oops\n{whole}").into_bytes()),
            ("3", [whole.as_bytes(), b"\xff\n"].concat()),
            ("4", vec![]),
        ];
        for (name, text) in &texts {
            std::fs::write(dir.path().join(format!("{name}.jsonl")), text).unwrap();
        }
        std::fs::create_dir(dir.path().join("5.jsonl")).unwrap();
        let runs = runs(dir.path()).unwrap();
        let broken: Vec<_> = runs.iter().map(|run| (run.run.as_str(), run.broken.is_some())).collect();
        assert_eq!(broken, [("5", true), ("4", false), ("3", true), ("2", true), ("1", false)]);
        assert!(runs[3].broken.as_deref().unwrap().starts_with("line 2 is not an event"), "{runs:?}");
    }
}
