//! Imports a trained prompt: an adapter of PEFT, or one that dpt wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::adapter::{self, AdapterInfo, peft};
use crate::artifact::json;
use crate::artifact::tensors::Tensors;
use crate::base::diag::{Class, Diag};

use super::checkpoint::{CheckpointKind, gather};
use super::fetch::Fetch;
use super::spec::FoundFiles;

/// Fetches what `found` says and writes it as an adapter for `task`, where that is said.
pub(super) fn run(fetch: &mut Fetch, task: Option<&str>, found: FoundFiles) -> Result<(), Diag> {
    let files = gather(fetch, CheckpointKind::Adapter, found)?;
    let out = |name: &str| fetch.ctx.out(name);
    let Some(config) = files.get(peft::CONFIG) else { return of_dpt(fetch, task, &files) };
    let weights = peft::WEIGHTS.iter().find_map(|name| Some((*name, files.get(*name)?)));
    let (name, weights) = weights.expect("the names were checked");
    let prompt = peft::read_files(config, name, weights).map_err(|diag| Diag { class: Class::Stage, ..diag })?;
    let info = AdapterInfo {
        backbone_name: prompt.base_model,
        task: task.map(str::to_owned),
        ..AdapterInfo::imported(prompt.virtual_tokens, prompt.d_model)
    };
    let folder = out(adapter::INFO).parent().expect("an output lies in a folder").to_owned();
    adapter::write_whole(&folder, &info, &prompt.values)
}

/// One that dpt wrote is taken as it is.
fn of_dpt(fetch: &Fetch, task: Option<&str>, files: &BTreeMap<String, PathBuf>) -> Result<(), Diag> {
    let mut info = adapter::read_info(&files[adapter::INFO])?;
    if let (Some(said), Some(of)) = (task, &info.task)
        && said != of
    {
        return Err(Diag::error(Class::Stage, format!("`task` is `{said}`, but the prompt was trained for `{of}`"))
            .help("leave `task` out, or name the prompt of that task"));
    }
    info.task = info.task.or(task.map(str::to_owned));
    for name in [adapter::TENSORS, adapter::INITIAL] {
        let Some(path) = files.get(name) else { continue };
        // Its tensors must be those of its method.
        adapter::folded(&info, &Tensors::open(path)?)?;
        let bytes = crate::base::fs::read(path)?;
        crate::base::fs::replace(&fetch.ctx.out(name), &bytes, false)?;
    }
    json::write(&fetch.ctx.out(adapter::INFO), &info)
}
