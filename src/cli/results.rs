//! Copies the final results of a pipeline from the store to `results/PIPELINE/STAGE/`, under their own names. Final are
//! stages without axes that are targets or that no other stage reads, such as `report`.
//!
//! - Nothing outside `results/` is written or removed, see [`ClosedDir`]. A repository may contain any files there.
//! - Only one process at a time writes to `results/`. It holds a lock of the store.
//! - Files are synced before the stamp is written, so the stamp means that they are complete, even after a power cut.
//! - The stamp records the signature of each copy. A file with another signature was edited by the user, and is kept
//!   until the stage has a new result. Files that are missing, or empty and should not be, are copied again.

mod stamp;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::base::closed_dir::ClosedDir;
use crate::base::diag::Diag;
use crate::base::fs::{self, on};
use crate::base::stat::Signature;
use crate::base::watch::Unwatched;
use crate::cache::durable::sync_all;
use crate::cache::{FileRecord, Store, Stored};
use crate::engine::graph::NodeId;
use crate::engine::options::RunSummary;
use crate::pipeline::Plan;

use super::common::{is_last, shown};
use stamp::{STAMP, Stamp, StampedFile};

/// The folders with results, and notes about them.
#[derive(Debug, Default)]
pub struct ExportedResults {
    /// The folders, in graph order.
    pub folders: Vec<PathBuf>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// Copies the results of a run to `folder`/`results`, unless they are up to date. The caller holds the lock against gc.
///
/// # Errors
/// Fails if a file cannot be copied.
pub fn export(
    plan: &Plan,
    summary: &RunSummary,
    targets: &[NodeId],
    store: &Store,
    folder: &Path,
) -> Result<ExportedResults, Diag> {
    let named = |id| targets.len() < plan.graph.len() && targets.contains(&id);
    let mut exported = ExportedResults::default();
    let mut results = None;
    for id in plan.graph.ids() {
        let node = plan.graph.node(id);
        let Some(stored) = summary.results[id.index()].as_deref() else { continue };
        if !node.axes.is_empty() || !(named(id) || is_last(&plan.graph, id)) {
            continue;
        }
        let results = match &results {
            Some(results) => results,
            None => results.insert(ClosedDir::create(&folder.join("results"))?),
        };
        let to = results.create_subdir(&plan.name)?.create_subdir(&node.stage)?;
        let job = Copy { results, to: &to, stored, store, pipeline: pipeline_file(&plan.path, folder) };
        exported.notes.extend(job.bring_up_to_date()?);
        exported.folders.push(to.path().to_owned());
    }
    Ok(exported)
}

/// Returns the path of the pipeline file relative to the project, so that it stays the same when the project is moved.
fn pipeline_file(path: &Path, folder: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (path, folder) = (absolute(path), absolute(folder));
    let project = folder.parent().unwrap_or(&folder);
    path.strip_prefix(project).unwrap_or(&path).display().to_string()
}

/// A result to copy to its folder.
struct Copy<'a> {
    results: &'a ClosedDir,
    to: &'a ClosedDir,
    stored: &'a Stored,
    store: &'a Store,
    /// The pipeline file of the result.
    pipeline: String,
}

impl Copy<'_> {
    /// Copies the result, or the files of it that are missing. Returns notes for the user.
    fn bring_up_to_date(&self) -> Result<Vec<String>, Diag> {
        if let Some(stamp) = self.stamp()?
            && let (missing, edited) = self.compare(&stamp)?
            && missing.is_empty()
        {
            return Ok(edited.into_iter().collect());
        }
        let _alone = self.store.lock_results()?;
        // Another run may have copied it meanwhile.
        let old = Stamp::read(self.to)?;
        let mut notes = Vec::new();
        match &old {
            Some(stamp) if stamp.is_of(self.stored) => {
                let (missing, edited) = self.compare(stamp)?;
                notes.extend(edited);
                self.copy(&missing, Some(stamp))?;
            }
            _ => {
                notes.extend(old.as_ref().and_then(|stamp| self.taken_from(stamp)));
                // Without a stamp, the folder counts as incomplete.
                self.to.remove_file(STAMP)?;
                for file in old.iter().flat_map(|stamp| &stamp.files) {
                    if !self.stored.files.keys().any(|name| *name == *file.name) {
                        self.to.remove_file(&file.name)?;
                    }
                }
                self.copy(&self.stored.files.keys().map(|name| name.to_string()).collect::<Vec<_>>(), None)?;
            }
        }
        Ok(notes)
    }

    /// Returns the stamp if it belongs to this result and pipeline file.
    fn stamp(&self) -> Result<Option<Stamp>, Diag> {
        Ok(Stamp::read(self.to)?.filter(|stamp| stamp.is_of(self.stored) && stamp.pipeline == self.pipeline))
    }

    /// Checks each copy once. Returns the files that are missing or wrongly empty, and a note about files that were
    /// edited.
    fn compare(&self, stamp: &Stamp) -> Result<(Vec<String>, Option<String>), Diag> {
        let (mut missing, mut edited) = (Vec::new(), Vec::new());
        for file in &stamp.files {
            let found = self.to.signature(&file.name)?;
            if lost(found, file) {
                missing.push(file.name.clone());
            } else if found.is_some_and(|found| (found.size, found.mtime) != (file.size, file.mtime)) {
                edited.push(format!("`{}`", file.name));
            }
        }
        let were = if edited.len() == 1 { "was" } else { "were" };
        let told = (!edited.is_empty()).then(|| {
            format!(
                "in {}, {} {were} edited after being copied; a new result will replace the file",
                shown(self.to.path()),
                shortened(&edited)
            )
        });
        Ok((missing, told))
    }

    /// Returns a note if the folder held the result of another pipeline file with the same name.
    fn taken_from(&self, stamp: &Stamp) -> Option<String> {
        if stamp.pipeline.is_empty() || stamp.pipeline == self.pipeline {
            return None;
        }
        let project = self.results.path().parent()?.parent()?;
        project.join(&stamp.pipeline).exists().then(|| {
            format!(
                "{} had the result of `{}` and now has that of `{}`: give one of them another `name` in `[pipeline]`",
                shown(self.to.path()),
                stamp.pipeline,
                self.pipeline
            )
        })
    }

    /// Copies the named files, syncs them and writes the stamp. `stamp` lists the files that are kept.
    fn copy(&self, names: &[String], stamp: Option<&Stamp>) -> Result<(), Diag> {
        let wanted: BTreeSet<&String> = names.iter().collect();
        let kept: HashMap<&str, &StampedFile> =
            stamp.iter().flat_map(|stamp| &stamp.files).map(|file| (file.name.as_str(), file)).collect();
        let records: Vec<_> = self.stored.files.iter().collect();
        let copy = |(name, record): &(&String, &FileRecord)| match kept.get(name.as_str()) {
            Some(kept) if !wanted.contains(name) => Ok((*kept).clone()),
            _ => self.copy_file(name, record),
        };
        let files = records.par_iter().map(copy).collect::<Result<Vec<_>, Diag>>()?;
        // The files, then their folders.
        let copied: Vec<PathBuf> = names.iter().map(|name| self.to.path().join(name)).collect();
        let folders: BTreeSet<&Path> = copied.iter().filter_map(|path| path.parent()).collect();
        sync_all(&copied, "copy.sync", &Unwatched)?;
        sync_all(&folders.into_iter().collect::<Vec<_>>(), "copy.sync", &Unwatched)?;
        Stamp { key: self.stored.key.hex(), pipeline: self.pipeline.clone(), files }.write(self.to)
    }

    fn copy_file(&self, name: &str, record: &FileRecord) -> Result<StampedFile, Diag> {
        let object = fs::open(&self.store.object(&record.bytes))?;
        let mode = if record.executable { 0o777 } else { 0o666 };
        let file = self.to.write(name, mode, |file| fs::copy_into(&object, file).map(drop))?;
        let signature = Signature::of(&file.metadata().map_err(on("read", &self.to.path().join(name)))?);
        let digest = record.for_programs().hex();
        Ok(StampedFile { name: name.to_owned(), digest, size: signature.size, mtime: signature.mtime })
    }
}

/// Returns `true` if a copy is missing, or empty although the result's file is not, as after a power cut.
fn lost(found: Option<Signature>, file: &StampedFile) -> bool {
    found.is_none_or(|found| found.size == 0 && file.size > 0)
}

/// Joins the names, or the first three of many.
fn shortened(names: &[String]) -> String {
    match names.len() {
        0..=4 => names.join(", "),
        many => format!("{} and {} more", names[..3].join(", "), many - 3),
    }
}
