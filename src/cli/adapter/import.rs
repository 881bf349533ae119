//! `dpt adapter import`: converts a PEFT adapter to an adapter of dpt.

use std::path::{Path, PathBuf};

use crate::adapter::{self, AdapterInfo, peft};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::base::look;
use crate::cli::CommandResult;
use crate::cli::common::shown;
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::data::task;
use crate::model::config::T5Config;

use super::place::fill;

/// The end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  dpt adapter import ../my-adapter
      write adapters/my-adapter
  dpt adapter import ../my-adapter --to prompts/mine --task rte

A pipeline can also download an adapter from a folder or from the hub, imported or in PEFT's format:
  [source.mine]
  url = \"file:../my-adapter\"
  [stage.mine]
  kind = \"download\"
  source = \"mine\"
  format = \"adapter\"
and `eval` reads it with `needs = { adapter = \"mine\", … }`.";

/// The arguments of `dpt adapter import`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A folder with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`)
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// The folder to write [default: `adapters/` followed by the name of DIR]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// The task that it was trained for, such as `rte`; `eval` then checks that its data is of this task
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// The folder of its base model, to check that they fit [default: the model that the adapter names, if it is a
    /// folder]
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Replace an existing adapter
    #[arg(long)]
    force: bool,
}

/// Imports the adapter.
///
/// # Errors
/// Fails if the adapter is of another kind, does not fit its base model, or the folder to write exists.
pub(super) fn run(args: &Args) -> CommandResult {
    import(args).map_err(|diag| vec![diag])
}

fn import(args: &Args) -> Result<Exit, Diag> {
    if let Some(task) = args.task.as_deref() {
        task::find(task)?;
    }
    let prompt = peft::read(&args.from)?;
    let named = match prompt.base_model.as_ref().map(|name| args.from.join(name)) {
        Some(at) if look::is_folder(&at)? => Some(at),
        _ => None,
    };
    let model = args.model.clone().or(named);
    if let Some(model) = &model {
        compare(model, prompt.d_model)?;
    }
    let to = match &args.to {
        Some(to) => to.clone(),
        None => Path::new("adapters").join(name_of(&args.from)?),
    };
    let info = AdapterInfo {
        backbone_name: prompt.base_model.clone(),
        task: args.task.clone(),
        ..AdapterInfo::imported(prompt.virtual_tokens, prompt.d_model)
    };
    fill(&to, args.force, adapter::INFO, |folder| adapter::write_whole(folder, &info, &prompt.values))?;
    render::out(&format!("{}\n", to.display()));
    render::err(&format!("imported {}\n", info.describe()));
    render::err(&match (&model, &prompt.base_model) {
        (Some(model), _) => format!("its width fits the model in {}\n", shown(model)),
        (None, Some(name)) => {
            format!("not checked: does it fit its base model `{name}`? `--model DIR` checks the width\n")
        }
        (None, None) => "not checked: it names no base model; `--model DIR` checks the width\n".to_owned(),
    });
    Ok(Exit::Done)
}

/// Returns the last component of the folder's absolute path.
fn name_of(folder: &Path) -> Result<std::ffi::OsString, Diag> {
    let whole = folder.canonicalize().map_err(fs::on("read", folder))?;
    whole.file_name().map(ToOwned::to_owned).ok_or_else(|| {
        Diag::error(Class::Usage, "the folder has no name").help("name the folder to write with `--to FOLDER`")
    })
}

fn compare(model: &Path, d_model: usize) -> Result<(), Diag> {
    let path = model.join("config.json");
    let config = T5Config::parse(&fs::read_to_string(&path)?, &path.display().to_string())?;
    if config.d_model != d_model as i64 {
        return Err(Diag::error(
            Class::Usage,
            format!(
                "the prompt has width {d_model}, but the model in `{}` has d_model {}",
                model.display(),
                config.d_model
            ),
        )
        .help("with `--model`, name the model that the prompt was trained on"));
    }
    Ok(())
}
