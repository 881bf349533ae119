//! Inputs of the stages that train or score: splits, the checks that data, parameters and model belong together, and
//! the split that picks the best step.

use crate::artifact::{json as json_file, table};
use crate::base::diag::{Class, Diag};
use crate::data::encoded::{self, Encoded, Tokens};
use crate::learn::evaluate::SplitEvaluator;
use crate::model::t5::T5;
use dpt::stages::ctx::Input;
use dpt::stages::train::SelectOn;

/// The description of `data`, `tokens.json`.
///
/// # Errors
/// It is of another task than `task`; its description cannot be read.
pub(crate) fn tokens(data: &Input, task: Option<&str>) -> Result<Tokens, Diag> {
    let tokens: Tokens = json_file::read(data.file("tokens.json")?)?;
    match task {
        Some(task) if task != tokens.task => {
            let message = format!("`task` is `{task}`, and the data is of task `{}`", tokens.task);
            Err(Diag::error(Class::Stage, message).note(format!("the data comes from `{}`", data.node)))
        }
        _ => Ok(tokens),
    }
}

/// The examples of a split. `param` is the parameter that names it, if one does.
///
/// # Errors
/// The data has no such split; it cannot be read.
pub(crate) fn split(data: &Input, split: &str, param: Option<&str>) -> Result<Vec<Encoded>, Diag> {
    let name = format!("{split}.parquet");
    let Some(path) = data.files.get(&name) else {
        let diag = no_split(data, &format!("the data has no split `{split}`"));
        return Err(match param {
            Some(param) => diag.help(format!("set `{param}` to one of these")),
            None => diag,
        });
    };
    encoded::from_batch(&table::read(path)?, &name)
}

/// The split that picks the best step; `None`: the last step is kept.
///
/// # Errors
/// The data has no split of that name, or none to pick on.
pub(crate) fn select_on(wanted: Option<SelectOn>, data: &Input) -> Result<Option<String>, Diag> {
    let has = |split: &str| data.files.contains_key(&format!("{split}.parquet"));
    let no_split = |message: &str| {
        no_split(data, message).help("set `select_on` to one of these, or to `none` to keep the last step")
    };
    match wanted {
        Some(SelectOn::None) => Ok(None),
        Some(split) if has(split.name()) => Ok(Some(split.name().to_owned())),
        Some(split) => Err(no_split(&format!("`select_on = \"{split}\"` names a split that the data has not"))),
        None => match ["dev", "validation"].into_iter().find(|split| has(split)) {
            Some(split) => Ok(Some(split.to_owned())),
            None => Err(no_split("the data has no split to pick the best step on")),
        },
    }
}

/// Scores on about `limit` examples (0: all) of the split that picks the best step; `None` if none does.
///
/// # Errors
/// A split that is missing or empty, or has no targets; unknown metrics.
pub(crate) fn evaluator<'a>(
    data: &Input,
    select_on: Option<&str>,
    tokens: &'a Tokens,
    limit: usize,
    batch_size: usize,
) -> Result<Option<SplitEvaluator<'a>>, Diag> {
    let Some(name) = select_on else { return Ok(None) };
    let examples = split(data, name, Some("select_on"))?;
    SplitEvaluator::new(name, examples, tokens, limit, batch_size).map(Some)
}

fn no_split(data: &Input, message: &str) -> Diag {
    let splits = data.files.keys().filter_map(|file| file.strip_suffix(".parquet"));
    let has: Vec<_> = splits.map(|split| format!("`{split}`")).collect();
    Diag::error(Class::Stage, message).note(format!("`{}` has {}", data.node, has.join(", ")))
}

/// Checks that all token ids of the data are rows of the model's table.
///
/// # Errors
/// The tokenizer has more tokens.
pub(crate) fn check_vocabulary_size(tokens: &Tokens, data: &Input, t5: &T5, model: &Input) -> Result<(), Diag> {
    let rows = t5.config().vocab_size;
    if tokens.vocab_size as i64 > rows {
        let message = format!("the tokenizer has {} tokens, the model {rows}", tokens.vocab_size);
        return Err(other_tokenizer(Diag::error(Class::Stage, message), data, model));
    }
    Ok(())
}

/// The same, and that both sides pad and end with the same tokens, as training needs.
///
/// # Errors
/// They differ.
pub(crate) fn check_vocabulary(tokens: &Tokens, data: &Input, t5: &T5, model: &Input) -> Result<(), Diag> {
    check_vocabulary_size(tokens, data, t5, model)?;
    let config = t5.config();
    for (what, theirs, ours) in
        [("pad", tokens.pad_id, config.pad_token_id), ("end", tokens.eos_id, config.eos_token_id)]
    {
        if i64::from(theirs) != ours {
            let message = format!("the tokenizer's {what} token is {theirs}, the model's {ours}");
            return Err(other_tokenizer(Diag::error(Class::Stage, message), data, model));
        }
    }
    Ok(())
}

fn other_tokenizer(diag: Diag, data: &Input, model: &Input) -> Diag {
    diag.note(format!("the data comes from `{}`, the model from `{}`", data.node, model.node))
        .help("tokenise with the tokenizer of the same model")
}
