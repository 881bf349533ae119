//! Checks that a prompt and a backbone belong together.

use serde::Deserialize;

use crate::artifact::json as json_file;
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::model::cache;
use crate::model::config::T5Config;
use crate::prompt::AdapterInfo;
use dpt::stages::ctx::Input;

/// Checks that the adapter of `from` is for the model of `model`. Returns a note for the user if only the width could
/// be checked: an imported prompt does not say which model it was trained on.
///
/// # Errors
/// The adapter has another width, or was trained on another model.
pub(super) fn check(info: &AdapterInfo, from: &Input, model: &Input) -> Result<Option<String>, Diag> {
    let config = fs::read_to_string(model.file("config.json")?)?;
    let d_model = T5Config::parse(&config, "config.json")?.d_model;
    if info.d_model != d_model {
        return Err(Diag::error(
            Class::Stage,
            format!(
                "the prompt of `{}` has d_model {}, the model of `{}` has {d_model}",
                from.node, info.d_model, model.node
            ),
        )
        .help(match &info.backbone_name {
            Some(name) => format!("it is for `{name}`: name that model as `model`"),
            None => "name the model that it was trained on as `model`".to_owned(),
        }));
    }
    let Some(trained_on) = &info.backbone_digest else {
        let name = info.backbone_name.as_deref().map_or_else(String::new, |name| format!(" (`{name}`)"));
        return Ok(Some(format!(
            "the prompt of `{}` was imported: that its base model{name} is `{}` was not checked beyond its width",
            from.node, model.node
        )));
    };
    let digest = cache::digest(&model.digests).hex();
    if *trained_on != digest {
        return Err(Diag::error(
            Class::Stage,
            format!("the prompt of `{}` was trained on another model than `{}`", from.node, model.node),
        )
        .note(format!("trained on b3:{trained_on:.12}, given b3:{digest:.12}"))
        .help("a prompt works only on the model that it was trained on: name that one as `model`"));
    }
    Ok(None)
}

/// The model's name, if it has one.
///
/// # Errors
/// Its `backbone.json` cannot be read.
pub(super) fn name(model: &Input) -> Result<Option<String>, Diag> {
    #[derive(Deserialize)]
    struct Backbone {
        name: Option<String>,
    }
    match model.files.get("backbone.json") {
        Some(path) => Ok(json_file::read::<Backbone>(path)?.name),
        None => Ok(None),
    }
}
