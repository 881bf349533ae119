//! The names of the files that a checkpoint, a tokenizer or an adapter has.

use std::collections::BTreeSet;

use crate::adapter::{self, peft};
use crate::base::diag::{Class, Diag};
use crate::data::tokenizer::beside;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// Configuration, weights, and the tokenizer where there is one.
    Checkpoint,
    /// Only the tokenizer, and the configuration if there is one.
    Tokenizer,
    /// A trained prompt, as PEFT or as we write it.
    Adapter,
}

pub(super) const CONFIG: &str = "config.json";
const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
const INDEX: &str = "model.safetensors.index.json";
/// Files with weights, the best first: the first that is there is taken. An index names the files that have them.
pub(super) const WEIGHTS: &[&str] = &["model.safetensors", INDEX, "pytorch_model.bin", TORCH_INDEX];
/// Each index, and how the files that it names begin and end.
pub(super) const INDICES: &[(&str, &str, &str)] =
    &[(INDEX, "model-", ".safetensors"), (TORCH_INDEX, "pytorch_model-", ".bin")];
/// Files with a tokenizer; all that are there are taken.
pub(super) const TOKENIZERS: &[&str] = &[SPIECE, "tokenizer.json"];
const SPIECE: &str = "spiece.model";
/// What else is taken when the pipeline names it.
const OTHERS: &[&str] =
    &["generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// Files of an adapter by who wrote it, the one that says what it is first.
const ADAPTERS: &[(&str, &[&str])] = &[
    ("PEFT", &[peft::CONFIG, peft::WEIGHTS[0], peft::WEIGHTS[1]]),
    ("dpt", &[adapter::INFO, adapter::TENSORS, adapter::INITIAL]),
];

impl CheckpointKind {
    /// Returns whether a file called `name` belongs to it.
    pub(super) fn takes(self, name: &str) -> bool {
        if self == CheckpointKind::Adapter {
            return ADAPTERS.iter().any(|(_, names)| names.contains(&name));
        }
        let weights = WEIGHTS.contains(&name) || is_shard(name) || name == "generation_config.json";
        let all = name == CONFIG || TOKENIZERS.contains(&name) || OTHERS.contains(&name) || weights;
        all && (self == CheckpointKind::Checkpoint || !weights)
    }

    /// Returns its name with the article, for messages.
    pub(super) fn a_kind(self) -> &'static str {
        match self {
            CheckpointKind::Checkpoint => "a checkpoint",
            CheckpointKind::Tokenizer => "a tokenizer",
            CheckpointKind::Adapter => "an adapter",
        }
    }
}

/// Returns whether `name` is a file that the index can name: `model-00001-of-00002.safetensors`.
pub(super) fn is_shard_of(index: &str, name: &str) -> bool {
    INDICES.iter().filter(|(of, ..)| *of == index).any(|(_, start, end)| {
        name.strip_prefix(start).and_then(|n| n.strip_suffix(end)).is_some_and(|n| !n.contains(['/', '\\']))
    })
}

fn is_shard(name: &str) -> bool {
    INDICES.iter().any(|(index, ..)| is_shard_of(index, name))
}

/// Returns the index among the names of files, if there is one.
pub(super) fn index_of<'n>(mut names: impl Iterator<Item = &'n str>) -> Option<&'static str> {
    names.find_map(|name| INDICES.iter().find(|(index, ..)| *index == name)).map(|(index, ..)| *index)
}

pub(super) fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns whether weights in `name` are not needed where `best` is there.
pub(super) fn superfluous(name: &str, best: Option<&str>) -> bool {
    let weights = WEIGHTS.contains(&name) || is_shard(name);
    match best {
        Some(best) => weights && name != best && !is_shard_of(best, name),
        None => false,
    }
}

/// `a/b.json` → `a/`.
pub(super) fn parent(path: &str) -> &str {
    &path[..path.len() - last_part(path).len()]
}

/// Returns the usual files of `kind` that are `there`. Of several with the same content only the best is asked for.
pub(super) fn usual(
    kind: CheckpointKind,
    there: impl Fn(&str) -> Result<bool, Diag>,
) -> Result<Vec<&'static str>, Diag> {
    let all = |names: &[&'static str]| {
        let found = names.iter().map(|name| Ok(there(name)?.then_some(*name)));
        Ok::<Vec<&str>, Diag>(found.collect::<Result<Vec<_>, Diag>>()?.into_iter().flatten().collect())
    };
    let first = |names: &[&'static str]| {
        for name in names {
            if there(name)? {
                return Ok::<Option<&str>, Diag>(Some(*name));
            }
        }
        Ok(None)
    };
    if kind == CheckpointKind::Adapter {
        for (_, names) in ADAPTERS {
            if !there(names[0])? {
                continue;
            }
            let mut found = vec![names[0]];
            match names[0] == peft::CONFIG {
                true => found.extend(first(&names[1..])?),
                false => found.extend(all(&names[1..])?),
            }
            return Ok(found);
        }
        // What there is of the better known one, for the message.
        return all(ADAPTERS[0].1);
    }
    let mut names = all(&[CONFIG])?;
    if kind == CheckpointKind::Checkpoint {
        names.extend(first(WEIGHTS)?);
    }
    names.extend(all(TOKENIZERS)?);
    if is_said_beside(&names) {
        names.extend(all(&beside::FILES)?);
    }
    Ok(names)
}

/// Returns whether the files beside the tokenizer among `names` say what it is, too: only beside a SentencePiece model.
pub(super) fn is_said_beside(names: &[&str]) -> bool {
    TOKENIZERS.iter().filter(|tokenizer| names.contains(*tokenizer)).eq([&SPIECE])
}

/// Fails if the files are not a whole checkpoint, tokenizer or adapter.
pub(super) fn check_names(kind: CheckpointKind, names: &BTreeSet<&str>, place: &str) -> Result<(), Diag> {
    let has = |wanted: &[&str]| wanted.iter().any(|n| names.contains(n));
    let lacks = match kind {
        CheckpointKind::Checkpoint if !has(&[CONFIG]) => "`config.json`".to_owned(),
        CheckpointKind::Checkpoint if !has(WEIGHTS) => {
            format!("weights: {}", WEIGHTS.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))
        }
        CheckpointKind::Tokenizer if !has(TOKENIZERS) => "`spiece.model` or `tokenizer.json`".to_owned(),
        CheckpointKind::Adapter if has(&[peft::CONFIG]) && !has(peft::WEIGHTS) => {
            format!("`{}` and no `{}`", peft::WEIGHTS[0], peft::WEIGHTS[1])
        }
        CheckpointKind::Adapter if !has(&[peft::CONFIG, adapter::INFO]) => {
            format!("`{}` (of PEFT) and no `{}` (of dpt)", peft::CONFIG, adapter::INFO)
        }
        CheckpointKind::Adapter if !has(peft::WEIGHTS) && !has(&[adapter::TENSORS]) => {
            format!("`{}`", adapter::TENSORS)
        }
        _ => return Ok(()),
    };
    let diag = Diag::error(Class::Stage, format!("{place} is not {}: it has no {lacks}", kind.a_kind()));
    Err(match names.is_empty() {
        true => diag,
        false => diag.note(format!("it has {}", names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_weights_are_chosen_and_others_ignored() {
        let there = |names: &'static [&'static str]| move |name: &str| Ok(names.contains(&name));
        let all = there(&["config.json", "model.safetensors", "pytorch_model.bin", "spiece.model"]);
        assert_eq!(
            usual(CheckpointKind::Checkpoint, all).unwrap(),
            ["config.json", "model.safetensors", "spiece.model"]
        );
        assert_eq!(usual(CheckpointKind::Tokenizer, all).unwrap(), ["config.json", "spiece.model"]);
        let beside = there(&["spiece.model", "tokenizer_config.json", "added_tokens.json"]);
        let found = usual(CheckpointKind::Tokenizer, beside).unwrap();
        assert_eq!(found, ["spiece.model", "tokenizer_config.json", "added_tokens.json"]);
        let whole = there(&["tokenizer.json", "spiece.model", "tokenizer_config.json"]);
        assert_eq!(
            usual(CheckpointKind::Tokenizer, whole).unwrap(),
            ["spiece.model", "tokenizer.json"],
            "it says all by itself"
        );
        let old = there(&["config.json", "pytorch_model.bin"]);
        assert_eq!(usual(CheckpointKind::Checkpoint, old).unwrap(), ["config.json", "pytorch_model.bin"]);
        assert!(superfluous("pytorch_model.bin", Some(INDEX)));
        assert!(!superfluous("model-00001-of-00002.safetensors", Some(INDEX)));
        assert!(superfluous("model-00001-of-00002.safetensors", Some("model.safetensors")));
        assert!(superfluous("model-00001-of-00002.safetensors", Some(TORCH_INDEX)));
        assert!(!superfluous("pytorch_model-00001-of-00002.bin", Some(TORCH_INDEX)));
        assert!(!superfluous("spiece.model", Some(INDEX)));
    }

    #[test]
    fn shard_names_are_recognised() {
        assert!(is_shard("model-00001-of-00002.safetensors"));
        assert!(
            !is_shard("model.safetensors") && !is_shard("model-../x.safetensors") && !is_shard("flax_model.msgpack")
        );
        assert!(is_shard("pytorch_model-00001-of-00002.bin") && !is_shard("pytorch_model-/../x.bin"));
        assert!(!is_shard_of(INDEX, "pytorch_model-00001-of-00002.bin"), "an index names files of its own form");
        assert_eq!((parent("a/b/c"), parent("c"), last_part("a/b/c")), ("a/b/", "", "c"));
    }
}
