//! Results under their own names: what a pipeline is for (a stage without axes that is a target, or that no other reads,
//! such as `report`) is copied out of the store to `results/PIPELINE/STAGE/`, where a person can open it.

use std::path::{Path, PathBuf};

use crate::base::diag::Diag;
use crate::base::fs::{self, on};
use crate::cache::{Store, Stored};
use crate::engine::graph::NodeId;
use crate::engine::run::RunSummary;
use crate::pipeline::Plan;

use super::common::is_last;

/// The name of the file that tells which result a folder holds.
const STAMP: &str = ".key";

/// Copies the results of a run out of the store below `folder`, unless they are there already. The folders, in graph
/// order.
///
/// # Errors
/// When a file cannot be copied.
pub fn export(
    plan: &Plan,
    summary: &RunSummary,
    targets: &[NodeId],
    store: &Store,
    folder: &Path,
) -> Result<Vec<PathBuf>, Diag> {
    let named = |id| targets.len() < plan.graph.len() && targets.contains(&id);
    let mut folders = Vec::new();
    for id in plan.graph.ids() {
        let node = plan.graph.node(id);
        let Some(stored) = summary.results[id.index()].as_deref() else { continue };
        if !node.axes.is_empty() || !(named(id) || is_last(&plan.graph, id)) {
            continue;
        }
        let to = folder.join("results").join(&plan.name).join(&node.stage);
        if !holds(&to, stored) {
            copy(store, stored, &to)?;
        }
        folders.push(to);
    }
    Ok(folders)
}

/// Whether the folder holds this very result, with all its files.
fn holds(folder: &Path, stored: &Stored) -> bool {
    let same = fs::read_to_string(&folder.join(STAMP)).is_ok_and(|stamp| stamp == stamp_of(stored));
    same && stored.files.keys().all(|name| folder.join(name).exists())
}

/// The key, and the bytes of each file: the same key may stand for new bytes after a repair.
fn stamp_of(stored: &Stored) -> String {
    let files = stored.files.iter().map(|(name, file)| format!("{} {name}\n", file.bytes.hex()));
    format!("{}\n{}", stored.key.hex(), files.collect::<String>())
}

/// Removes what the last copy left, then copies; the stamp goes last and means complete.
fn copy(store: &Store, stored: &Stored, to: &Path) -> Result<(), Diag> {
    if let Ok(stamp) = fs::read_to_string(&to.join(STAMP)) {
        std::fs::remove_file(to.join(STAMP)).map_err(on("remove", to))?;
        for name in stamp.lines().skip(1).filter_map(|line| line.split_once(' ')).map(|(_, name)| name) {
            // Already gone is as good.
            let _ = std::fs::remove_file(to.join(name));
        }
    }
    store.export(stored, to)?;
    Ok(fs::write_atomic(&to.join(STAMP), stamp_of(stored).as_bytes())?)
}
