//! Checks that each file of a checkpoint is what its name says, and that the files named by an index have its tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::artifact::json;
use crate::artifact::weights::Weights;
use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};
use crate::fetch::archive::describe;

use super::names::{CONFIG, INDICES, is_shard_of};

/// An index, as far as it is read.
#[derive(Deserialize)]
struct Index {
    /// Tensor name to file name.
    weight_map: BTreeMap<String, String>,
}

/// Returns the names of the files that index `name`, which lies at `path`, names, sorted.
pub(super) fn shards(name: &str, path: &Path) -> Result<BTreeSet<String>, Diag> {
    let Index { weight_map } = json::read(path).map_err(|e| by_name(e, name, path))?;
    let shards: BTreeSet<String> = weight_map.into_values().collect();
    match shards.iter().find(|s| !is_shard_of(name, s)) {
        Some(bad) => {
            let (_, start, end) = INDICES.iter().find(|(index, ..)| *index == name).expect("an index is in the table");
            Err(Diag::error(Class::Stage, format!("`{name}` names `{bad}` as a file of weights"))
                .note(format!("expected names such as `{start}00001-of-00002{end}`")))
        }
        None if shards.is_empty() => Err(Diag::error(Class::Stage, format!("`{name}` names no files of weights"))),
        None => Ok(shards),
    }
}

pub(super) fn no_shard(shard: &str, index: &str) -> Diag {
    Diag::error(Class::Stage, format!("`{index}` names `{shard}`, which is missing"))
        .help("the checkpoint is incomplete: get all files of it")
}

/// Fails if a file is not what its name says, as far as its header shows. `advice` is the help of the error.
pub(super) fn check_file(name: &str, path: &Path, advice: &str) -> Result<(), Diag> {
    let wrong =
        |why: &str| Err(Diag::error(Class::Stage, format!("`{name}` is not what its name says: {why}")).help(advice));
    let start = beginning(path)?;
    if let Some(why) = describe(&start) {
        return wrong(&why);
    }
    if name.ends_with(".safetensors") || name.ends_with(".bin") {
        let file = Weights::open(name, path).map_err(|e| by_name(e, name, path))?;
        return if file.names().is_empty() { wrong("it holds no tensors") } else { Ok(()) };
    }
    if name.ends_with(".json") {
        let value: Json = json::read(path).map_err(|e| by_name(e, name, path))?;
        if !value.is_object() {
            return wrong("it is not a JSON object");
        }
        if name == CONFIG {
            return check_config(&value);
        }
    }
    // A SentencePiece model is a protobuf message that begins with its pieces.
    if name == "spiece.model" && start[0] != 0x0a {
        return wrong("it does not begin as a SentencePiece model does");
    }
    Ok(())
}

/// Messages name the file, not the folder that it lies in for the moment.
fn by_name(mut diag: Diag, name: &str, path: &Path) -> Diag {
    diag.message = diag.message.replace(&path.display().to_string(), name);
    diag
}

/// Fails if a configuration is not one of a T5, so far as a download cares: the model checks the rest.
fn check_config(config: &Json) -> Result<(), Diag> {
    if let Some(kind) = config.get("model_type").and_then(Json::as_str).filter(|k| !k.ends_with("t5")) {
        return Err(Diag::error(Class::Stage, format!("`config.json` is of a model of type `{kind}`, not of a T5")));
    }
    for field in ["d_model", "vocab_size"] {
        if !config.get(field).is_some_and(Json::is_u64) {
            return Err(Diag::error(Class::Stage, format!("`config.json` has no whole number `{field}`"))
                .help("it must be the configuration of a T5 in Hugging Face's form"));
        }
    }
    Ok(())
}

/// Fails if a tensor is not in the file that the index names for it.
pub(super) fn check_shards(index: &str, files: &BTreeMap<String, PathBuf>) -> Result<(), Diag> {
    let Index { weight_map } = json::read(&files[index])?;
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for shard in weight_map.values().collect::<BTreeSet<_>>() {
        let path = files.get(shard).ok_or_else(|| no_shard(shard, index))?;
        names.insert(shard, Weights::open(shard, path)?.names().into_iter().collect());
    }
    let lost: Vec<_> = weight_map.iter().filter(|(tensor, shard)| !names[shard.as_str()].contains(*tensor)).collect();
    match lost.first() {
        None => Ok(()),
        Some((tensor, shard)) => {
            Err(Diag::error(Class::Stage, format!("`{shard}` has no tensor `{tensor}`, which `{index}` places there"))
                .note(format!("{} of {} tensors are not where they should be", lost.len(), weight_map.len()))
                .help("the files are of different checkpoints: get all of them again"))
        }
    }
}

fn beginning(path: &Path) -> Result<Vec<u8>, Diag> {
    use std::io::Read;
    let mut start = Vec::new();
    fs::open(path)?.take(64).read_to_end(&mut start).map_err(on("read", path))?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_other_models_are_refused() {
        let config = |text: &str| check_config(&serde_json::from_str(text).unwrap());
        assert!(config(r#"{"model_type": "t5", "d_model": 4, "vocab_size": 8}"#).is_ok());
        assert!(config(r#"{"model_type": "mt5", "d_model": 4, "vocab_size": 8}"#).is_ok());
        let diag = config(r#"{"model_type": "bert", "hidden_size": 4}"#).unwrap_err();
        assert_eq!(diag.message, "`config.json` is of a model of type `bert`, not of a T5");
        assert!(config(r#"{"d_model": "4", "vocab_size": 8}"#).unwrap_err().message.contains("`d_model`"));
    }
}
