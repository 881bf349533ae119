//! Runs a download: finds what to read, fetches it, and lets the format make its outputs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::base::diag::{Class, Diag};
use crate::stages::ctx::Ctx;
use crate::stages::stage::{Outside, StageResult};

use super::fetch::Fetch;
use super::spec::{Format, Found, Spec};
use super::{adapter, checkpoint, files, superglue};

pub(super) fn run(ctx: &Ctx) -> StageResult {
    let spec = Spec::read(&ctx.job.params)?;
    let outside = Outside { base: ctx.job.base.clone(), mirrors: ctx.job.mirrors.clone() };
    let found = find(&spec, &outside)?;
    same_files(ctx, &spec, &found)?;
    let mut fetch = Fetch::new(ctx, &spec);
    match &spec.format {
        Format::Superglue { task, splits } => superglue::run(&mut fetch, *task, splits, found)?,
        Format::Checkpoint => checkpoint::run(&mut fetch, checkpoint::Kind::Checkpoint, found)?,
        Format::Tokenizer => checkpoint::run(&mut fetch, checkpoint::Kind::Tokenizer, found)?,
        Format::Adapter { task } => adapter::run(&mut fetch, task.as_deref(), found)?,
        Format::Files => files::run(&mut fetch, found)?,
    }
    fetch.finish()
}

/// Finds what `spec` reads: on the net, or in the local place that stands for it.
pub(super) fn find(spec: &Spec, outside: &Outside) -> Result<Found, Diag> {
    let place = spec.source.place(&outside.base, &outside.mirrors)?;
    match &spec.format {
        Format::Superglue { task, splits } => superglue::find(spec, task.folder(), task.name(), splits, &place),
        Format::Checkpoint => checkpoint::find(spec, checkpoint::Kind::Checkpoint, &place),
        Format::Tokenizer => checkpoint::find(spec, checkpoint::Kind::Tokenizer, &place),
        Format::Adapter { .. } => checkpoint::find(spec, checkpoint::Kind::Adapter, &place),
        Format::Files => files::find(spec, &place),
    }
}

/// Fails if the local files are not those that the key counts, because one was added or removed since.
fn same_files(ctx: &Ctx, spec: &Spec, found: &Found) -> Result<(), Diag> {
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
