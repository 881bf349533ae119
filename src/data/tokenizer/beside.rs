//! [`Beside`]: what the files beside a SentencePiece model say of its tokens. `tokenizer_config.json`,
//! `special_tokens_map.json` and `added_tokens.json` are read as Hugging Face's libraries read them. A statement that
//! would change ids and that is not supported is an error; one that is not known is a note.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value as Json};
use tokenizers::AddedToken;

use crate::base::diag::{Class, Diag};
use crate::base::fs;

/// The files, the one that counts first.
pub const FILES: [&str; 3] = [CONFIG, SPECIAL, ADDED];
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// More sentinels than any vocabulary has.
const MOST_EXTRA_IDS: u64 = 100_000;

/// The tokens that a T5 tokenizer has under these keys.
const FIXED: &[(&str, &str)] = &[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")];
/// Keys of other special tokens, in the order in which they get ids.
const NAMED: &[&str] = &["bos_token", "sep_token", "cls_token", "mask_token"];
/// Keys of lists of special tokens.
const LISTS: &[&str] = &["additional_special_tokens", "extra_special_tokens"];
/// The classes that tokenise as this crate does.
const CLASSES: &[&str] = &["T5Tokenizer", "T5TokenizerFast", "MT5Tokenizer", "MT5TokenizerFast"];
/// Keys with the one value that changes nothing; a key without a value or with `null` changes nothing either.
const NEUTRAL: &[(&str, Json)] = &[("split_special_tokens", Json::Bool(false)), ("add_prefix_space", Json::Bool(true))];
/// Keys that change no ids.
const HARMLESS: &[&str] = &[
    "added_tokens_decoder",
    "auto_map",
    "backend",
    "chat_template",
    "clean_up_tokenization_spaces",
    "extra_ids",
    "is_local",
    "legacy",
    "local_files_only",
    "max_length",
    "model_input_names",
    "model_max_length",
    "model_specific_special_tokens",
    "name_or_path",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "processor_class",
    "return_attention_mask",
    "return_token_type_ids",
    "sp_model_kwargs",
    "special_tokens_map_file",
    "stride",
    "tokenizer_class",
    "tokenizer_file",
    "truncation",
    "truncation_side",
    "truncation_strategy",
    "use_fast",
    "verbose",
    "vocab_file",
];

/// The content of the files.
#[derive(Default)]
pub(super) struct Beside {
    /// How many sentinels come after the pieces; `None`: the files do not say.
    pub extra_ids: Option<usize>,
    /// Tokens with the ids that they must have, by id, and the file that says so.
    pub added: Vec<(u32, AddedToken, &'static str)>,
    /// Special tokens without ids, in the order in which they get them.
    pub special: Vec<(AddedToken, &'static str)>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

impl Beside {
    /// Reads those of [`FILES`] that are among `files`.
    ///
    /// # Errors
    /// A file that is not of its form, or that asks for what is not supported.
    pub fn read(files: &BTreeMap<String, PathBuf>) -> Result<Self, Diag> {
        let mut beside = Self::default();
        let config = object(files, CONFIG)?;
        let map = object(files, SPECIAL)?;
        let mut by_id = BTreeMap::new();
        if let Some(config) = &config {
            beside.config(config)?;
            if let Some(decoder) = config.get("added_tokens_decoder").filter(|value| !value.is_null()) {
                by_id = added_tokens_decoder(decoder)?;
            }
        }
        // Hugging Face reads the older files only where the newer statement is missing.
        let newer = !by_id.is_empty();
        for (name, object) in [(CONFIG, &config), (SPECIAL, &map)] {
            if let Some(object) = object {
                beside.specials(name, object, newer && name == SPECIAL)?;
            }
        }
        if let Some(map) = &map {
            let strange = map.keys().filter(|key| !is_special(key));
            beside.notes.extend(strange.map(|key| not_understood(SPECIAL, key)));
        }
        if let Some(added) = object(files, ADDED)? {
            let is_special = |token: &str| {
                FIXED.iter().any(|(_, fixed)| *fixed == token) || beside.special.iter().any(|(s, _)| s.content == token)
            };
            for (token, id) in &added {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
                    wrong(ADDED, &format!("the id of `{token}` is {id}, which is not a whole number"))
                })?;
                match by_id.get(&id) {
                    Some((known, _)) if known.content == *token => (),
                    Some((known, from)) => {
                        let text = format!("id {id} is `{token}`, and `{}` in `{from}`", known.content);
                        return Err(wrong(ADDED, &text));
                    }
                    None if newer => {
                        return Err(wrong(ADDED, &format!("it adds `{token}`, which `{CONFIG}` does not have")));
                    }
                    None => {
                        by_id.insert(id, (AddedToken::from(token.clone(), is_special(token)), ADDED));
                    }
                }
            }
        }
        beside.added = by_id.into_iter().map(|(id, (token, from))| (id, token, from)).collect();
        Ok(beside)
    }

    /// The statements of `tokenizer_config.json` that are no tokens.
    fn config(&mut self, config: &Map<String, Json>) -> Result<(), Diag> {
        let given = |key: &str| config.get(key).filter(|value| !value.is_null());
        if let Some(value) = given("extra_ids") {
            let number = value.as_u64().filter(|n| *n <= MOST_EXTRA_IDS);
            let number =
                number.ok_or_else(|| wrong(CONFIG, &format!("`extra_ids` is {value}, not a number of tokens")))?;
            self.extra_ids = Some(number as usize);
        }
        if let Some(class) = given("tokenizer_class").filter(|class| !CLASSES.iter().any(|known| *class == *known)) {
            let known: Vec<_> = CLASSES.iter().map(|class| format!("`{class}`")).collect();
            return Err(wrong(CONFIG, &format!("`tokenizer_class` is {class}, which is not a T5 tokenizer"))
                .note(format!("supported are {}", known.join(", "))));
        }
        if let Some(kwargs) = given("sp_model_kwargs").filter(|kwargs| **kwargs != Json::Object(Map::new())) {
            return Err(wrong(CONFIG, &format!("`sp_model_kwargs` is {kwargs}, which is not supported")));
        }
        for (key, neutral) in NEUTRAL {
            if let Some(value) = given(key).filter(|value| *value != neutral) {
                return Err(wrong(CONFIG, &format!("`{key}` is {value}, which is not supported"))
                    .note(format!("only {neutral} is")));
            }
        }
        let neutral = |key: &str| NEUTRAL.iter().any(|(known, _)| *known == key);
        let known = |key: &str| HARMLESS.contains(&key) || neutral(key) || is_special(key);
        let strange =
            config.iter().filter(|(key, value)| !known(key) && !value.is_null() && **value != Json::Bool(false));
        self.notes.extend(strange.map(|(key, _)| not_understood(CONFIG, key)));
        Ok(())
    }

    /// The special tokens that `file` names. `only_check`: it gives no tokens, another file counts.
    fn specials(&mut self, file: &'static str, object: &Map<String, Json>, only_check: bool) -> Result<(), Diag> {
        let given = |key: &str| object.get(key).filter(|value| !value.is_null());
        for (key, fixed) in FIXED {
            if let Some(value) = given(key) {
                let token = special(file, key, value)?;
                if token.content != *fixed {
                    let text = format!("`{key}` is `{}`, and the one of a T5 is `{fixed}`", token.content);
                    return Err(wrong(file, &text));
                }
            }
        }
        if only_check {
            return Ok(());
        }
        let mut tokens = Vec::new();
        for key in NAMED {
            if let Some(value) = given(key) {
                tokens.push(special(file, key, value)?);
            }
        }
        for key in LISTS {
            let values: Vec<&Json> = match given(key) {
                None => continue,
                Some(Json::Array(values)) => values.iter().collect(),
                Some(Json::Object(values)) => values.values().collect(),
                Some(other) => return Err(wrong(file, &format!("`{key}` is {other}, not a list of tokens"))),
            };
            for value in values {
                tokens.push(special(file, key, value)?);
            }
        }
        for token in tokens {
            if !self.special.iter().any(|(known, _)| known.content == token.content) {
                self.special.push((token, file));
            }
        }
        Ok(())
    }
}

fn is_special(key: &str) -> bool {
    FIXED.iter().any(|(known, _)| *known == key) || NAMED.contains(&key) || LISTS.contains(&key)
}

/// The file called `name`, which must be a JSON object. `None`: it is not there.
fn object(files: &BTreeMap<String, PathBuf>, name: &str) -> Result<Option<Map<String, Json>>, Diag> {
    let Some(path) = files.get(name) else { return Ok(None) };
    match serde_json::from_slice(&fs::read(path)?) {
        Ok(Json::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(wrong(name, "it is not a JSON object")),
        Err(error) => Err(wrong(name, &format!("it is not JSON: {error}"))),
    }
}

/// The tokens of `added_tokens_decoder` by their ids.
fn added_tokens_decoder(decoder: &Json) -> Result<BTreeMap<u32, (AddedToken, &'static str)>, Diag> {
    let form = || wrong(CONFIG, "`added_tokens_decoder` is not an object of tokens by their ids");
    let decoder = decoder.as_object().ok_or_else(form)?;
    let one = |(id, value): (&String, &Json)| {
        let id = id.parse::<u32>().map_err(|_| form())?;
        let token = token(value, false).ok_or_else(form)?;
        Ok((id, (token, CONFIG)))
    };
    decoder.iter().map(one).collect()
}

/// A special token, as a text or as an object.
fn special(file: &str, key: &str, value: &Json) -> Result<AddedToken, Diag> {
    let mut token =
        token(value, true).ok_or_else(|| wrong(file, &format!("`{key}` has {value}, which is not a token")))?;
    token.special = true;
    Ok(token)
}

/// A token as Hugging Face writes it: its text, or an object with its text and flags. Flags that are left out:
/// `normalized` is the opposite of `special`, the others are off.
fn token(value: &Json, is_special: bool) -> Option<AddedToken> {
    if let Some(text) = value.as_str() {
        return (!text.is_empty()).then(|| AddedToken::from(text, is_special));
    }
    let object = value.as_object()?;
    let text = object.get("content")?.as_str().filter(|text| !text.is_empty())?;
    let flag = |key: &str, default: bool| object.get(key).map_or(Some(default), Json::as_bool);
    let special = flag("special", is_special)?;
    Some(
        AddedToken::from(text, special)
            .normalized(flag("normalized", !special)?)
            .lstrip(flag("lstrip", false)?)
            .rstrip(flag("rstrip", false)?)
            .single_word(flag("single_word", false)?),
    )
}

fn not_understood(file: &str, key: &str) -> String {
    format!("`{file}` has `{key}`, which is not known here and changes nothing")
}

fn wrong(file: &str, what: &str) -> Diag {
    Diag::error(Class::Stage, format!("`{file}` beside `spiece.model` cannot be used: {what}"))
        .help("a `tokenizer.json` says all by itself: `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`")
}
