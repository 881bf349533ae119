//! Runs a download: finds what to read, fetches it, and lets the format make its outputs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::base::diag::{Class, Diag};
use crate::stages::ctx::Ctx;
use crate::stages::stage::{Outside, StageResult};

use super::fetch::Fetch;
use super::spec::{DownloadFormat, DownloadSpec, FoundFiles};
use super::{adapter, checkpoint, files, superglue};

pub(super) fn run(ctx: &Ctx) -> StageResult {
    let spec = DownloadSpec::read(&ctx.job.params)?;
    let outside = Outside { base: ctx.job.base.clone(), mirrors: ctx.job.mirrors.clone() };
    let found = find(&spec, &outside)?;
    same_files(ctx, &spec, &found)?;
    let mut fetch = Fetch::new(ctx, &spec);
    match &spec.format {
        DownloadFormat::Superglue { task, splits } => superglue::run(&mut fetch, *task, splits, found)?,
        DownloadFormat::Checkpoint => checkpoint::run(&mut fetch, checkpoint::CheckpointKind::Checkpoint, found)?,
        DownloadFormat::Tokenizer => checkpoint::run(&mut fetch, checkpoint::CheckpointKind::Tokenizer, found)?,
        DownloadFormat::Adapter { task } => adapter::run(&mut fetch, task.as_deref(), found)?,
        DownloadFormat::Files => files::run(&mut fetch, found)?,
    }
    fetch.finish()
}

/// Finds what `spec` reads: on the net, or in the local place that stands for it.
pub(super) fn find(spec: &DownloadSpec, outside: &Outside) -> Result<FoundFiles, Diag> {
    let place = spec.source.place(&outside.base, &outside.mirrors)?;
    match &spec.format {
        DownloadFormat::Superglue { task, splits } => superglue::find(spec, task.folder(), task.name(), splits, &place),
        DownloadFormat::Checkpoint => checkpoint::find(spec, checkpoint::CheckpointKind::Checkpoint, &place),
        DownloadFormat::Tokenizer => checkpoint::find(spec, checkpoint::CheckpointKind::Tokenizer, &place),
        DownloadFormat::Adapter { .. } => checkpoint::find(spec, checkpoint::CheckpointKind::Adapter, &place),
        DownloadFormat::Files => files::find(spec, &place),
    }
}

/// Fails if the local files are not those that the key counts, because one was added or removed since.
fn same_files(ctx: &Ctx, spec: &DownloadSpec, found: &FoundFiles) -> Result<(), Diag> {
    let now: BTreeSet<PathBuf> = spec.counted(found).into_iter().map(|(_, path)| path).collect();
    let before: BTreeSet<PathBuf> = ctx.job.sources.keys().cloned().collect();
    match now.symmetric_difference(&before).next() {
        Some(path) if !before.is_empty() => {
            let what = if now.contains(path) { "was added" } else { "was removed" };
            let message = format!("`{}` {what} after the key was made", path.display());
            Err(Diag::error(Class::Stage, message).help("run again when nothing writes to the folder").outdated())
        }
        _ => Ok(()),
    }
}
