//! [`Tokenizer`]: text to a T5's ids and back, from `tokenizer.json` or only from SentencePiece's `spiece.model`. From
//! the latter it is built as Hugging Face's T5 converter does: Unigram over the pieces and the sentinels
//! `<extra_id_99>` … `<extra_id_0>` after them, the model's own character map, white space as `▁`. How many sentinels
//! there are, and which tokens were added after training, is said by the files [`beside`] the model.

pub mod beside;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost::Message;
use tokenizers::AddedToken;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

use crate::artifact::json;
use crate::base::content::{Content, START};
use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, FieldHasher};
use crate::base::fs;

use beside::Beside;

/// How many sentinels a T5 tokenizer has where nothing else is said.
const EXTRA_IDS: usize = 100;
/// Kinds of pieces.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// A T5 tokenizer. Every text ends in `</s>`; any post-processing, truncation or padding that a `tokenizer.json` asks
/// for is not used, the lengths being the stage's own.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    digest: Digest,
    vocab_size: usize,
    pad: i32,
    eos: i32,
    unk: i32,
    notes: Vec<String>,
}

/// The part of SentencePiece's `ModelProto` that is needed (field numbers of `sentencepiece_model.proto`).
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    /// 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    /// 1 unigram, 2 byte pairs, 3 words, 4 characters.
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    unk_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
}

impl Tokenizer {
    /// From the files of a checkpoint, by their names: `tokenizer.json` where there is one, else `spiece.model` with
    /// the files [`beside`] it. Where there is a `config.json` too, the tokenizer is held against its `vocab_size`.
    ///
    /// # Errors
    /// Neither file is there, a file is damaged or of another kind, it lacks `<pad>`, `</s>` or `<unk>`, a file beside
    /// it asks for what is not supported, or it has ids that the model has no row for.
    pub fn load(files: &BTreeMap<String, PathBuf>) -> Result<Self, Diag> {
        let tokenizer = if let Some(path) = files.get("tokenizer.json") {
            Self::from_json(&fs::read(path)?, &path.display().to_string())?
        } else if let Some(path) = files.get("spiece.model") {
            Self::build(&fs::read(path)?, &path.display().to_string(), Beside::read(files)?)?
        } else {
            let has: Vec<_> = files.keys().map(|name| format!("`{name}`")).collect();
            let has = if has.is_empty() { "no files".to_owned() } else { has.join(", ") };
            return Err(Diag::error(Class::Stage, "there is neither a `tokenizer.json` nor a `spiece.model`")
                .note(format!("there is {has}")));
        };
        if let Some(path) = files.get("config.json") {
            tokenizer.check_config(path)?;
        }
        Ok(tokenizer)
    }

    /// From the bytes of a `tokenizer.json`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn from_json(bytes: &[u8], origin: &str) -> Result<Self, Diag> {
        check_start(bytes, Content::instead_of_text, origin)?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| broken(origin, &e.to_string()))?;
        Self::new(inner, Digest::of(bytes), origin)
    }

    /// From the bytes of a `spiece.model` with nothing beside it; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`Tokenizer::load`]; also a SentencePiece model that is not Unigram.
    pub fn from_spiece(bytes: &[u8], origin: &str) -> Result<Self, Diag> {
        Self::build(bytes, origin, Beside::default())
    }

    fn build(bytes: &[u8], origin: &str, beside: Beside) -> Result<Self, Diag> {
        check_start(bytes, Content::of, origin)?;
        let model = ModelProto::decode(bytes).map_err(|e| broken(origin, &e.to_string()))?;
        let trainer = model.trainer.unwrap_or_default();
        let kind = trainer.model_type.unwrap_or(1);
        if kind != 1 {
            let kind = ["", "", "byte pairs", "words", "characters"].get(kind as usize).unwrap_or(&"an unknown kind");
            return Err(broken(origin, &format!("it is a SentencePiece model of {kind}, T5 has a Unigram model")));
        }
        let of_model = own_tokens(&model.pieces);
        let mut vocab: Vec<(String, f64)> = Vec::with_capacity(model.pieces.len() + EXTRA_IDS);
        vocab.extend(
            model.pieces.into_iter().map(|p| (p.piece.unwrap_or_default(), f64::from(p.score.unwrap_or_default()))),
        );
        let sentinels = sentinels(&vocab, &beside);
        let pieces = vocab.len();
        let own: BTreeSet<String> =
            vocab.iter().filter(|(piece, _)| piece.starts_with('<')).map(|(piece, _)| piece.clone()).collect();
        vocab.extend(sentinels.iter().filter(|sentinel| !own.contains(*sentinel)).map(|s| (s.clone(), 0.0)));
        let unk = usize::try_from(trainer.unk_id.unwrap_or(0)).ok();
        let unigram = Unigram::from(vocab, unk, trainer.byte_fallback.unwrap_or(false))
            .map_err(|e| broken(origin, &e.to_string()))?;

        let mut inner = tokenizers::Tokenizer::new(unigram);
        let charsmap = model.normalizer.and_then(|n| n.precompiled_charsmap).unwrap_or_default();
        if !charsmap.is_empty() {
            let charsmap =
                Precompiled::from(&charsmap).map_err(|e| broken(origin, &format!("its character map: {e}")))?;
            inner.with_normalizer(Some(charsmap)).map_err(|e| broken(origin, &e.to_string()))?;
        }
        let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
        inner.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), metaspace.clone().into()])));
        inner.with_decoder(Some(metaspace));
        // Of two statements about one token the first counts: what was added after training, then what every T5 has.
        let digest = digest(bytes, &beside, sentinels.len());
        let every = ["<pad>", "</s>", "<unk>"].into_iter().map(str::to_owned).chain(sentinels);
        let every = every.filter(|token| inner.token_to_id(token).is_some()).map(|token| AddedToken::from(token, true));
        let mut tokens: Vec<AddedToken> = beside.added.iter().map(|(_, token, _)| token.clone()).collect();
        tokens.extend(every.chain(of_model));
        let known = |token: &AddedToken| inner.token_to_id(&token.content).is_some() || tokens.contains(token);
        let (old, new): (Vec<_>, Vec<_>) = beside.special.into_iter().partition(|(token, _)| known(token));
        tokens.extend(old.into_iter().chain(new.iter().cloned()).map(|(token, _)| token));
        for some in tokens.chunk_by(|a, b| a.special == b.special) {
            let (some, special) = (some.iter().cloned(), some[0].special);
            let added = if special { inner.add_special_tokens(some) } else { inner.add_tokens(some) };
            added.map_err(|e| broken(origin, &e.to_string()))?;
        }
        let mut notes = beside.notes;
        for (AddedToken { content, .. }, file) in new {
            let id = inner.token_to_id(&content).map_or("none".to_owned(), |id| id.to_string());
            let text = content.escape_debug();
            notes.push(format!("`{file}` names the token `{text}` without an id: it is token {id}"));
        }
        for (id, token, file) in &beside.added {
            let has = inner.token_to_id(&token.content);
            if has != Some(*id) {
                let has = has.map_or("none".to_owned(), |id| id.to_string());
                let text = token.content.escape_debug();
                return Err(broken(origin, &format!("`{file}` gives the token `{text}` id {id}, and it has id {has}"))
                    .note(format!(
                        "the model has {pieces} pieces, and {} sentinels",
                        inner.get_vocab_size(false) - pieces
                    ))
                    .help("take `spiece.model` and the files beside it from one checkpoint"));
            }
        }
        let mut tokenizer = Self::new(inner, digest, origin)?;
        tokenizer.notes = notes;
        Ok(tokenizer)
    }

    fn new(mut inner: tokenizers::Tokenizer, digest: Digest, origin: &str) -> Result<Self, Diag> {
        inner.with_truncation(None).map_err(|e| broken(origin, &e.to_string()))?;
        inner.with_padding(None);
        let id = |token: &str| match inner.token_to_id(token) {
            Some(id) => Ok(id as i32),
            None => Err(broken(origin, &format!("it has no token `{token}`"))),
        };
        let (pad, eos, unk) = (id("<pad>")?, id("</s>")?, id("<unk>")?);
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |largest| largest as usize + 1);
        Ok(Self { inner, digest, vocab_size, pad, eos, unk, notes: Vec::new() })
    }

    /// Holds the tokenizer against the model of `config.json`. A model may have more rows than there are ids (T5: 32128
    /// for 32100), never fewer.
    fn check_config(&self, path: &Path) -> Result<(), Diag> {
        let config: serde_json::Value = json::read(path)?;
        let Some(rows) = config.get("vocab_size").and_then(serde_json::Value::as_u64) else {
            return Err(Diag::error(Class::Stage, format!("`{}` has no whole number `vocab_size`", path.display())));
        };
        if (self.vocab_size as u64) > rows {
            let message =
                format!("the tokenizer has {} ids, the model has rows for {rows} (`vocab_size`)", self.vocab_size);
            return Err(Diag::error(Class::Stage, message).help("take the tokenizer and the model of one checkpoint"));
        }
        Ok(())
    }

    /// The same tokenizer as the text of a `tokenizer.json`, for Hugging Face's libraries.
    pub fn to_json(&self) -> String {
        self.inner.to_string(true).expect("a tokenizer that was read can be written")
    }

    /// The ids of `text`, `</s>` last. Names of special tokens in the text become those tokens, as in Hugging Face's
    /// fast tokenizer.
    pub fn encode(&self, text: &str) -> Vec<i32> {
        let encoding = self.inner.encode_fast(text, false).expect("a model with `<unk>` takes any text");
        let mut ids = Vec::with_capacity(encoding.len() + 1);
        ids.extend(encoding.get_ids().iter().map(|id| *id as i32));
        ids.push(self.eos);
        ids
    }

    /// The same, at most `max` ids: the first `max - 1` and `</s>`. Also how many ids there were before the cut.
    pub fn encode_truncated(&self, text: &str, max: usize) -> (Vec<i32>, usize) {
        let mut ids = self.encode(text);
        let length = ids.len();
        if length > max {
            ids.truncate(max.saturating_sub(1));
            ids.push(self.eos);
        }
        (ids, length)
    }

    /// The text of `ids` without special tokens, as Hugging Face gives it with its clean-up turned off. Ids that the
    /// tokenizer does not have are passed over.
    pub fn decode(&self, ids: &[i32]) -> String {
        self.decode_as(ids, true)
    }

    /// The same with special tokens written out.
    pub fn decode_all(&self, ids: &[i32]) -> String {
        self.decode_as(ids, false)
    }

    /// The text of `ids` as the DPT paper's code compares it: without special tokens, cleaned up ([`clean_up`]),
    /// trimmed.
    pub fn decode_clean(&self, ids: &[i32]) -> String {
        clean_up(&self.decode(ids)).trim().to_owned()
    }

    fn decode_as(&self, ids: &[i32], skip_special: bool) -> String {
        let ids: Vec<u32> = ids.iter().filter_map(|id| u32::try_from(*id).ok()).collect();
        self.inner.decode(&ids, skip_special).expect("ids of one model always join")
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// `<pad>`: fills batches and starts the decoder.
    pub fn pad(&self) -> i32 {
        self.pad
    }

    /// `</s>`: ends every text.
    pub fn eos(&self) -> i32 {
        self.eos
    }

    /// `<unk>`: replaces what the vocabulary does not have.
    pub fn unk(&self) -> i32 {
        self.unk
    }

    /// Notes for the user about the files that it was made from.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// blake3 of the file that it was made from; also of what the files beside it add to that.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The id of exactly this token, `▁` for a blank.
    pub fn id_of(&self, token: &str) -> Option<i32> {
        self.inner.token_to_id(token).map(|id| id as i32)
    }
}

/// The tokens that SentencePiece itself keeps whole: control pieces, which are special, and those that a user defined.
fn own_tokens(pieces: &[Piece]) -> Vec<AddedToken> {
    let own = |piece: &&Piece| matches!(piece.kind, Some(CONTROL | USER_DEFINED));
    let token = |piece: &Piece| {
        let text = piece.piece.clone().unwrap_or_default();
        AddedToken::from(text, piece.kind == Some(CONTROL)).normalized(false)
    };
    pieces.iter().filter(own).map(token).filter(|token| !token.content.is_empty()).collect()
}

/// The sentinels that come after the pieces, in their order: as many as the files beside the model say, else 100; none
/// where they are pieces already, as in mT5.
fn sentinels(vocab: &[(String, f64)], beside: &Beside) -> Vec<String> {
    let is_sentinel = |piece: &str| {
        let number = piece.trim_start_matches('▁').strip_prefix("<extra_id_").and_then(|rest| rest.strip_suffix('>'));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let name = |i| format!("<extra_id_{i}>");
    match beside.extra_ids {
        Some(count) => (0..count).rev().map(name).collect(),
        None if vocab.iter().any(|(piece, _)| is_sentinel(piece)) => {
            let own =
                vocab.iter().map(|(piece, _)| piece).filter(|piece| is_sentinel(piece) && !piece.starts_with('▁'));
            own.cloned().collect()
        }
        None => (0..EXTRA_IDS).rev().map(name).collect(),
    }
}

/// The digest of the model's bytes; with what the files beside it say, where they say more than is usual.
fn digest(bytes: &[u8], beside: &Beside, sentinels: usize) -> Digest {
    let model = Digest::of(bytes);
    let usual = beside.extra_ids.is_none_or(|count| count == EXTRA_IDS);
    if usual && beside.added.is_empty() && beside.special.is_empty() {
        return model;
    }
    let mut hasher = FieldHasher::new("dpt.tokenizer.1");
    hasher.field(&model.0).number(sentinels as u64);
    let added = beside.added.iter().map(|(id, token, _)| (u64::from(*id), token));
    for (id, token) in added.chain(beside.special.iter().map(|(token, _)| (u64::MAX, token))) {
        let flags = [token.special, token.normalized, token.lstrip, token.rstrip, token.single_word].map(u8::from);
        hasher.number(id).field(token.content.as_bytes()).field(&flags);
    }
    hasher.finish()
}

/// Returns `true` if a file that begins like another, by `of`, may be a tokenizer: says what it is instead.
fn check_start(bytes: &[u8], of: fn(&[u8]) -> Option<Content>, origin: &str) -> Result<(), Diag> {
    match of(&bytes[..bytes.len().min(START)]) {
        Some(content) => Err(broken(origin, &content.clause()).help(content.help())),
        None => Ok(()),
    }
}

fn broken(origin: &str, what: &str) -> Diag {
    Diag::error(Class::Stage, format!("`{origin}` is not a tokenizer that can be used: {what}"))
}

/// Hugging Face's clean-up of English spacing, which was its default up to transformers 4: no blank before `. ? ! ,`
/// and before `n't 'm 's 've 're`, none around a lone `'`.
pub fn clean_up(text: &str) -> String {
    const RULES: &[(&str, &str)] = &[
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    RULES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A SentencePiece model of a few pieces, as its trainer would write it.
    fn spiece(model_type: i32) -> Vec<u8> {
        let pieces = ["<pad>", "</s>", "<unk>", "▁", "a", "b", "▁ab", "."];
        let pieces = pieces.iter().enumerate().map(|(i, piece)| Piece {
            piece: Some((*piece).to_owned()),
            score: Some(if i < 3 { 0.0 } else { -(i as f32) }),
            kind: Some(if i == 2 {
                2
            } else if i < 2 {
                3
            } else {
                1
            }),
        });
        model_of(pieces.collect(), model_type)
    }

    fn model_of(pieces: Vec<Piece>, model_type: i32) -> Vec<u8> {
        let trainer = TrainerSpec { model_type: Some(model_type), byte_fallback: None, unk_id: Some(2) };
        ModelProto { pieces, trainer: Some(trainer), normalizer: None }.encode_to_vec()
    }

    /// The same model with these pieces of kind "user defined" at its end.
    fn spiece_with(user_defined: &[&str]) -> Vec<u8> {
        let mut model = ModelProto::decode(&spiece(1)[..]).unwrap();
        let own = |piece: &&str| Piece { piece: Some((*piece).to_owned()), score: Some(0.0), kind: Some(USER_DEFINED) };
        model.pieces.extend(user_defined.iter().map(own));
        model_of(model.pieces, 1)
    }

    /// A tokenizer from these files.
    fn load(model: Vec<u8>, beside: &[(&str, &str)]) -> Result<Tokenizer, Diag> {
        let dir = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        let beside = beside.iter().map(|(name, text)| (*name, text.as_bytes()));
        for (name, bytes) in [("spiece.model", &model[..])].into_iter().chain(beside) {
            let path = dir.path().join(name);
            fs::write_atomic(&path, bytes).unwrap();
            files.insert(name.to_owned(), path);
        }
        Tokenizer::load(&files)
    }

    const CONFIG: &str = "tokenizer_config.json";

    #[test]
    fn extra_ids_beside_the_model_are_the_number_of_sentinels() {
        for (text, sentinels) in [
            (r#"{"extra_ids": 96, "tokenizer_class": "T5Tokenizer"}"#, 96),
            (r#"{"extra_ids": 0}"#, 0),
            (r#"{"extra_ids": null}"#, 100),
            (r#"{"eos_token": "</s>", "pad_token": {"content": "<pad>", "lstrip": false}}"#, 100),
        ] {
            let t = load(spiece(1), &[(CONFIG, text)]).unwrap();
            assert_eq!(t.vocab_size(), 8 + sentinels, "{text}");
            let first = (sentinels > 0).then_some(7 + sentinels as i32);
            assert_eq!(t.id_of("<extra_id_0>"), first, "{text}");
            assert!(t.notes().is_empty(), "{:?}", t.notes());
        }
    }

    #[test]
    fn sentinels_that_are_pieces_are_not_added_again() {
        let of_mt5 = spiece_with(&["▁<extra_id_1>", "▁<extra_id_0>"]);
        for beside in [&[][..], &[(CONFIG, r#"{"extra_ids": 0}"#)]] {
            let t = load(of_mt5.clone(), beside).unwrap();
            assert_eq!((t.vocab_size(), t.id_of("▁<extra_id_0>"), t.id_of("<extra_id_0>")), (10, Some(9), None));
            assert_eq!(t.encode("<extra_id_0> ab"), [9, 6, 1]);
        }
        let t = load(of_mt5, &[(CONFIG, r#"{"extra_ids": 2}"#)]).unwrap();
        assert_eq!((t.vocab_size(), t.id_of("<extra_id_0>")), (12, Some(11)));
        let t = load(spiece_with(&["<extra_id_1>", "<extra_id_0>"]), &[]).unwrap();
        assert_eq!((t.vocab_size(), t.encode("ab <extra_id_0>")), (10, vec![6, 9, 1]));
    }

    #[test]
    fn user_defined_pieces_are_kept_whole() {
        let t = load(spiece_with(&["<sep>"]), &[]).unwrap();
        assert_eq!(t.encode("ab<sep>ab <sep> b"), [6, 8, 6, 8, 3, 5, 1]);
        assert_eq!(t.decode(&[6, 8, 6]), "ab<sep> ab", "it is no special token");
    }

    #[test]
    fn added_tokens_have_the_ids_that_the_files_say() {
        let older = ("added_tokens.json", "{\"<sep>\": 108, \"\\n\": 109}");
        let newer = r#"{"added_tokens_decoder": {
            "0": {"content": "<pad>", "special": true},
            "108": {"content": "<sep>", "lstrip": false, "normalized": true, "rstrip": false, "single_word": false,
                    "special": false},
            "109": {"content": "\n", "special": false}}}"#;
        for beside in [vec![older], vec![(CONFIG, newer)], vec![(CONFIG, newer), older]] {
            let t = load(spiece(1), &beside).unwrap();
            assert_eq!(t.vocab_size(), 110);
            assert_eq!(t.encode("ab <sep> ab\nb"), [6, 108, 6, 109, 3, 5, 1]);
            assert_eq!(t.decode(&[6, 108, 6, 0]), "ab<sep> ab");
            assert_ne!(t.digest(), Digest::of(&spiece(1)), "other files, another tokenizer");
            let again = Tokenizer::from_json(t.to_json().as_bytes(), "tokenizer.json").unwrap();
            assert_eq!(again.encode("ab <sep> ab\nb"), t.encode("ab <sep> ab\nb"));
        }
        assert_eq!(load(spiece(1), &[(CONFIG, "{}")]).unwrap().digest(), Digest::of(&spiece(1)));
    }

    #[test]
    fn added_token_of_another_id_is_refused() {
        let e = load(spiece(1), &[("added_tokens.json", r#"{"<sep>": 120}"#)]).err().unwrap();
        assert!(e.message.ends_with("`added_tokens.json` gives the token `<sep>` id 120, and it has id 108"), "{e}");
        let newer = (CONFIG, r#"{"added_tokens_decoder": {"108": {"content": "<sep>"}}}"#);
        for text in [r#"{"<other>": 108}"#, r#"{"<sep>": 108, "<other>": 109}"#] {
            assert!(load(spiece(1), &[newer, ("added_tokens.json", text)]).is_err(), "{text}");
        }
    }

    #[test]
    fn special_token_without_an_id_gets_the_next_one_and_is_told() {
        let t = load(spiece(1), &[("special_tokens_map.json", r#"{"additional_special_tokens": ["<sep>", "."]}"#)]);
        let t = t.unwrap();
        assert_eq!(t.encode("ab <sep>"), [6, 108, 1]);
        assert_eq!(t.decode(&[6, 108, 7]), "ab", "both are special");
        assert_eq!(t.notes(), ["`special_tokens_map.json` names the token `<sep>` without an id: it is token 108"]);
    }

    #[test]
    fn unknown_statement_beside_the_model_is_told() {
        let t = load(spiece(1), &[(CONFIG, r#"{"do_lower_case": true, "legacy": true, "foo": null, "bar": false}"#)]);
        assert_eq!(
            t.unwrap().notes(),
            ["`tokenizer_config.json` has `do_lower_case`, which is not known here and changes nothing"]
        );
    }

    #[test]
    fn unsupported_statement_beside_the_model_is_refused() {
        for (file, text, about) in [
            (CONFIG, "[]", "it is not a JSON object"),
            (CONFIG, "{", "it is not JSON"),
            (CONFIG, r#"{"extra_ids": -1}"#, "`extra_ids` is -1"),
            (CONFIG, r#"{"extra_ids": "100"}"#, "`extra_ids` is"),
            (CONFIG, r#"{"tokenizer_class": "ByT5Tokenizer"}"#, "`tokenizer_class` is \"ByT5Tokenizer\""),
            (CONFIG, r#"{"sp_model_kwargs": {"enable_sampling": true}}"#, "`sp_model_kwargs` is"),
            (CONFIG, r#"{"add_prefix_space": false}"#, "`add_prefix_space` is false"),
            (CONFIG, r#"{"eos_token": "<eos>"}"#, "`eos_token` is `<eos>`"),
            (CONFIG, r#"{"additional_special_tokens": "<sep>"}"#, "`additional_special_tokens` is \"<sep>\""),
            (CONFIG, r#"{"added_tokens_decoder": ["<sep>"]}"#, "`added_tokens_decoder` is not an object"),
            ("special_tokens_map.json", r#"{"pad_token": {"content": "<p>"}}"#, "`pad_token` is `<p>`"),
            ("added_tokens.json", r#"{"<sep>": "108"}"#, "the id of `<sep>` is \"108\""),
        ] {
            let e = load(spiece(1), &[(file, text)]).err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(e.message.starts_with(&format!("`{file}` beside `spiece.model` cannot be used: {about}")), "{e}");
        }
    }

    /// The bytes of a SentencePiece model that knows `words`, each as one piece, and no others.
    pub(crate) fn spiece_of(words: &[&str]) -> Vec<u8> {
        let words: Vec<_> = words.iter().map(|word| format!("▁{word}")).collect();
        let pieces = ["<pad>", "</s>", "<unk>", "▁"].into_iter().chain(words.iter().map(String::as_str));
        let pieces = pieces.map(|piece| Piece { piece: Some(piece.to_owned()), score: Some(-1.0), kind: Some(1) });
        let trainer = TrainerSpec { model_type: Some(1), byte_fallback: None, unk_id: Some(2) };
        ModelProto { pieces: pieces.collect(), trainer: Some(trainer), normalizer: None }.encode_to_vec()
    }

    #[test]
    fn pieces_sentinels_and_specials() {
        let t = Tokenizer::from_spiece(&spiece(1), "spiece.model").unwrap();
        assert_eq!((t.pad(), t.eos(), t.unk(), t.vocab_size()), (0, 1, 2, 108));
        assert_eq!((t.id_of("<extra_id_0>"), t.id_of("<extra_id_99>")), (Some(107), Some(8)));
        assert_eq!(t.encode("ab  <extra_id_0>"), [6, 107, 1]);
        assert_eq!(t.encode(""), [1]);
        assert_eq!(t.encode("zz"), [3, 2, 1]);
        assert_eq!(t.decode(&[0, 6, 3, 4, 1, 107, 99_999, -100]), "ab a");
        assert_eq!(t.decode_clean(&[6, 3, 7, 1]), "ab.");
    }

    #[test]
    fn the_same_through_tokenizer_json() {
        let t = Tokenizer::from_spiece(&spiece(1), "spiece.model").unwrap();
        let j = Tokenizer::from_json(t.to_json().as_bytes(), "tokenizer.json").unwrap();
        assert_eq!((j.vocab_size(), j.pad(), j.eos(), j.unk()), (108, 0, 1, 2));
        for text in ["ab a.b <extra_id_3>zz", "", "  b\n\ta "] {
            assert_eq!(j.encode(text), t.encode(text), "{text:?}");
            assert_eq!(j.decode_clean(&j.encode(text)), t.decode_clean(&t.encode(text)), "{text:?}");
        }
    }

    #[test]
    fn truncation_keeps_the_end_mark() {
        let t = Tokenizer::from_spiece(&spiece(1), "spiece.model").unwrap();
        assert_eq!(t.encode_truncated("ab ab ab ab", 3), (vec![6, 6, 1], 5));
        assert_eq!(t.encode_truncated("ab ab", 3), (vec![6, 6, 1], 3));
        assert_eq!(t.encode_truncated("ab", 1), (vec![1], 2));
    }

    #[test]
    fn other_models_and_damaged_files_are_refused() {
        let e = |r: Result<Tokenizer, Diag>| r.err().unwrap().message;
        assert_eq!(
            e(Tokenizer::from_spiece(&spiece(2), "m")),
            "`m` is not a tokenizer that can be used: it is a SentencePiece model of byte pairs, T5 has a Unigram model"
        );
        assert!(e(Tokenizer::from_spiece(&spiece(1)[..20], "m")).starts_with("`m` is not a tokenizer"));
        assert!(e(Tokenizer::from_spiece(b"", "m")).starts_with("`m` is not a tokenizer"));
        assert!(e(Tokenizer::from_json(b"{}", "m")).starts_with("`m` is not a tokenizer"));
        let pointer = b"version https://git-lfs.github.com/spec/v1\n";
        for read in [Tokenizer::from_json, Tokenizer::from_spiece] {
            assert!(e(read(pointer, "m")).contains("it is a Git LFS pointer"));
            assert!(e(read(b"<html>", "m")).contains("it is a web page"));
        }
    }

    #[test]
    fn held_against_the_models_vocabulary() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        let mut put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write_atomic(&path, bytes).unwrap();
            files.insert(name.to_owned(), path);
            files.clone()
        };
        assert!(Tokenizer::load(&BTreeMap::new()).is_err());
        assert!(Tokenizer::load(&put("spiece.model", &spiece(1))).is_ok());
        assert!(Tokenizer::load(&put("config.json", br#"{"vocab_size": 128}"#)).is_ok());
        let e = Tokenizer::load(&put("config.json", br#"{"vocab_size": 100}"#)).err().unwrap();
        assert_eq!(e.message, "the tokenizer has 108 ids, the model has rows for 100 (`vocab_size`)");
    }
}
