//! `dpt adapter export`: writes a trained prompt as an adapter that PEFT can load.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::adapter::peft::{self, BaseModel};
use crate::adapter::{self, AdapterInfo};
use crate::artifact::json as json_file;
use crate::artifact::tensors::Tensors;
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::base::look;
use crate::cache::{Store, Stored};
use crate::cli::CommandResult;
use crate::cli::check::ChangeArgs;
use crate::cli::common::{self, StoreArgs, shown};
use crate::cli::exit::Exit;

use crate::cli::render;
use crate::cli::status_table::brief;
use crate::engine::freshness::{Freshness, status};
use crate::engine::graph::NodeId;
use crate::engine::options::RunOptions;
use crate::model::config::T5Config;
use crate::pipeline::Plan;
use crate::worker::device::DeviceChoice;

use super::place::fill;

/// The end of the help text.
pub(super) const EXAMPLES: &str = "\
The exported prompt is computed from the method's tensors, such as the product of two factors. In Python:
  model = AutoModelForSeq2SeqLM.from_pretrained(NAME)
  model = PeftModel.from_pretrained(model, DIR)

Examples:
  dpt adapter export pipelines/superglue_full.toml 'train[rte,dpt,42]' --to rte-prompt
      export the prompt of that node from the store
  dpt adapter export pipelines/quickstart.toml 'train[rte,dpt,42]' --to p --base-model me/tiny-t5
  dpt adapter export adapters/mine --to p --model ../t5-base
      export a folder with adapter.json and adapter.safetensors";

/// The arguments of `dpt adapter export`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A pipeline file, or a folder with `adapter.json` and `adapter.safetensors`
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// If FROM is a pipeline: the node that trained the prompt, such as `train[rte,dpt,42]`
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The base model's name at the hub or its path, for PEFT [default: the pipeline's source]
    #[arg(long, value_name = "NAME")]
    base_model: Option<String>,
    /// If FROM is a folder: the folder of the base model, to write its layers and heads to the adapter's config
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Replace an existing adapter
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// An adapter to export.
struct FoundAdapter {
    info: AdapterInfo,
    tensors: PathBuf,
    /// `config.json` of the base model.
    config: Option<PathBuf>,
    /// The source of the base model, from `backbone.json`.
    source: Option<String>,
    /// How it was made, for `dpt.json`.
    made: serde_json::Value,
}

/// Exports the adapter.
///
/// # Errors
/// Fails if there is no adapter, if it is more than a prompt, if the node is not up to date, or if the folder exists.
pub(super) fn run(args: &Args) -> CommandResult {
    let found = match (&args.node, args.from.is_dir()) {
        (Some(node), false) => from_store(args, node)?,
        (None, true) => from_folder(args).map_err(|diag| vec![diag])?,
        (Some(_), true) => {
            let diag = Diag::error(Class::Usage, format!("`{}` is a folder and has no nodes", args.from.display()));
            return Err(vec![diag.help("leave out the node, or name the pipeline file instead of the folder")]);
        }
        (None, false) => {
            let diag = Diag::error(Class::Usage, "a node is needed to export from a pipeline");
            let command = format!("dpt adapter export {} 'train[…]' --to …", args.from.display());
            return Err(vec![diag.help(format!("name one, as in `{command}`; `dpt status --nodes` lists them"))]);
        }
    };
    export(args, &found).map_err(|diag| vec![diag])?;
    Ok(Exit::Done)
}

fn export(args: &Args, found: &FoundAdapter) -> Result<(), Diag> {
    let FoundAdapter { info, .. } = found;
    let prompt = adapter::prompt(info, &Tensors::open(&found.tensors)?)?;
    let mut base = found.source.as_deref().map(at_hub).unwrap_or_default();
    if let Some(path) = &found.config {
        let config = T5Config::parse(&fs::read_to_string(path)?, "config.json")?;
        if config.d_model != info.d_model {
            let message =
                format!("the prompt has width {}, but the model has d_model {}", info.d_model, config.d_model);
            let help = "with `--model`, name the model that the prompt was trained on";
            return Err(Diag::error(Class::Usage, message).help(help));
        }
        (base.layers, base.heads) = (Some(config.num_layers), Some(config.num_heads));
    }
    if args.base_model.is_some() {
        base = BaseModel { name: args.base_model.clone(), revision: None, ..base };
    }
    base.name = base.name.or_else(|| info.backbone_name.clone());
    let provenance = json!({ "dpt": env!("CARGO_PKG_VERSION"), "adapter": info, "made": found.made });
    fill(&args.to, args.force, peft::CONFIG, |folder| {
        peft::write(folder, &prompt, &base)?;
        json_file::write(&folder.join("dpt.json"), &provenance)?;
        if !args.to.join("README.md").exists() {
            fs::write_atomic(&folder.join("README.md"), card(info, &base).as_bytes())?;
        }
        Ok(())
    })?;
    render::out(&format!("{}\n", args.to.display()));
    let name = base.name.as_deref().unwrap_or("none");
    render::err(&format!("exported {}; its base model is `{name}`\n", info.describe()));
    if args.base_model.is_none() && base.revision.is_none() {
        render::err("this is its name in the pipeline: with `--base-model`, name one that PEFT can load\n");
    }
    Ok(())
}

/// Returns the model of a hub URL such as `https://huggingface.co/OWNER/NAME/resolve/REVISION`.
fn at_hub(source: &str) -> BaseModel {
    let path = source.strip_prefix("https://huggingface.co/").unwrap_or_default();
    match path.trim_end_matches('/').split_once("/resolve/") {
        Some((name, revision)) if !name.is_empty() && !revision.contains('/') => {
            BaseModel { name: Some(name.to_owned()), revision: Some(revision.to_owned()), ..BaseModel::default() }
        }
        _ => BaseModel::default(),
    }
}

/// Returns the model card that a hub shows.
fn card(info: &AdapterInfo, base: &BaseModel) -> String {
    let base_model = base
        .name
        .as_deref()
        .map_or_else(String::new, |name| format!("base_model: {}\n", serde_json::Value::from(name)));
    let task = info.task.as_deref().map_or_else(String::new, |task| format!(" for {task}"));
    let name = base.name.as_deref().unwrap_or("BASE_MODEL");
    format!(
        "---\nlibrary_name: peft\n{base_model}tags:\n- prompt-tuning\n---\n\n\
         # A soft prompt{task}\n\n\
         Made with [dpt](https://arxiv.org/abs/2310.10094) by method {}; `dpt.json` says how.\n\n\
         ```python\n\
         from peft import PeftModel\n\
         from transformers import AutoModelForSeq2SeqLM\n\n\
         model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained({name:?}), \"path/of/this/folder\")\n\
         ```\n",
        info.describe()
    )
}

fn from_folder(args: &Args) -> Result<FoundAdapter, Diag> {
    let folder = &args.from;
    let path = folder.join(adapter::INFO);
    if !look::is_file(&path)? {
        let diag = Diag::error(Class::Usage, format!("`{}` has no `{}`", folder.display(), adapter::INFO));
        return Err(if folder.join(peft::CONFIG).is_file() {
            diag.note("it is already a PEFT adapter")
        } else {
            diag.note("expected the files that `train` or `dpt adapter import` write")
        });
    }
    let config = args.model.as_ref().map(|model| model.join("config.json"));
    Ok(FoundAdapter {
        info: adapter::read_info(&path)?,
        tensors: folder.join(adapter::TENSORS),
        config,
        source: None,
        made: json!(null),
    })
}

fn from_store(args: &Args, target: &str) -> Result<FoundAdapter, Vec<Diag>> {
    let plan = args.changes.load(&args.from)?;
    let id = one_node(&plan, target)?;
    let store = args.store.open(&args.from)?;
    // A store that cannot be locked can still be read.
    let _in_use = store.in_use();
    let options = RunOptions {
        pipeline: plan.name.clone(),
        targets: vec![id],
        outside: plan.outside.clone(),
        ..RunOptions::default()
    };
    let executor = common::local(DeviceChoice::Auto, 1, &store, &plan.name);
    let nodes = status(&plan.graph, &store, &options, &executor);
    let stored = |id: NodeId| nodes.iter().find(|node| node.id == id).map(|node| &node.freshness);
    let stored = match stored(id) {
        Some(Freshness::Fresh { stored }) => stored.clone(),
        other => return Err(vec![not_done(args, &plan, id, other)]),
    };
    let model = plan.graph.producers(id).find(|(_, port)| port.role == "model").map(|(from, _)| from);
    let model = nodes.iter().find_map(|node| match &node.freshness {
        Freshness::Fresh { stored } if Some(node.id) == model => Some(stored.clone()),
        _ => None,
    });
    found(args, &plan, id, &store, &stored, model.as_deref()).map_err(|diag| vec![diag])
}

fn one_node(plan: &Plan, target: &str) -> Result<NodeId, Vec<Diag>> {
    match plan.select(&[target.to_owned()])?[..] {
        [one] => Ok(one),
        ref many => {
            let names: Vec<_> = many.iter().take(4).map(|id| format!("`{}`", plan.graph.node(*id).short())).collect();
            let more = if many.len() > 4 { ", …" } else { "" };
            let diag = Diag::error(Class::Usage, format!("`{target}` matches {} nodes", many.len()))
                .note(format!("{}{more}", names.join(", ")));
            Err(vec![diag.help("name a single node")])
        }
    }
}

fn not_done(args: &Args, plan: &Plan, id: NodeId, how: Option<&Freshness>) -> Diag {
    let node = plan.graph.node(id).short();
    let pipeline = shown(&args.from);
    let diag = Diag::error(Class::Usage, format!("`{node}` is not up to date"));
    let diag = match how {
        Some(Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. }) => diag.note(brief(reasons)),
        Some(Freshness::Blocked { by }) => {
            let names: Vec<_> = by.iter().map(|id| format!("`{}`", plan.graph.node(*id).short())).collect();
            diag.note(format!("it waits for {}", names.join(", ")))
        }
        Some(Freshness::Broken { error }) => diag.note(error.message.clone()),
        _ => diag,
    };
    diag.help(format!("`dpt run {pipeline} '{node}'` makes it"))
}

fn found(
    args: &Args,
    plan: &Plan,
    id: NodeId,
    store: &Store,
    stored: &Stored,
    model: Option<&Stored>,
) -> Result<FoundAdapter, Diag> {
    let node = plan.graph.node(id);
    let mut files = store.paths(stored);
    let (Some(info), Some(tensors)) = (files.remove(adapter::INFO), files.remove(adapter::TENSORS)) else {
        return Err(Diag::error(Class::Usage, format!("the result of `{}` is not an adapter", node.short()))
            .note(format!("its kind is `{}`; `train` makes adapters", node.kind.name)));
    };
    let mut of_model: BTreeMap<String, PathBuf> = model.map(|model| store.paths(model)).unwrap_or_default();
    let config = of_model.remove("config.json").or_else(|| args.model.as_ref().map(|dir| dir.join("config.json")));
    let source = of_model.remove("backbone.json").map(|path| origin(&path)).transpose()?.flatten();
    let entry = store.entry(stored.key)?;
    let making = entry.iter().flat_map(|entry| &entry.made).find(|made| made.numerics == stored.numerics);
    let made = json!({
        "pipeline": plan.name,
        "node": node.to_string(),
        "key": stored.key.hex(),
        "metrics": making.map(|made| &made.metrics),
    });
    Ok(FoundAdapter { info: adapter::read_info(&info)?, tensors, config, source, made })
}

fn origin(backbone: &Path) -> Result<Option<String>, Diag> {
    #[derive(Deserialize)]
    struct Backbone {
        source: Option<String>,
    }
    Ok(json_file::read::<Backbone>(backbone)?.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_url_names_model_and_revision() {
        let found = at_hub("https://huggingface.co/google-t5/t5-base/resolve/a9723ea");
        assert_eq!((found.name.as_deref(), found.revision.as_deref()), (Some("google-t5/t5-base"), Some("a9723ea")));
        for other in ["local files", "https://example.org/t5/resolve/main", "https://huggingface.co/t5-base"] {
            assert_eq!(at_hub(other), BaseModel::default());
        }
    }
}
