//! [`Tokenizer`]: text to a T5's ids and back, from `tokenizer.json` or from SentencePiece's `spiece.model` alone. From
//! the latter it is built as Hugging Face's T5 converter does: Unigram over the pieces and 100 sentinels
//! `<extra_id_99>` … `<extra_id_0>` after them, the model's own character map, white space as `▁`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use tokenizers::AddedToken;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fs;

/// How many sentinels a T5 tokenizer has.
const EXTRA_IDS: usize = 100;

/// A T5 tokenizer. Every text ends in `</s>`; any post-processing, truncation or padding that a `tokenizer.json` asks
/// for is not used, the lengths being the stage's own.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    digest: Digest,
    vocab_size: usize,
    pad: i32,
    eos: i32,
    unk: i32,
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
    /// From the files of a checkpoint, by their names: `tokenizer.json` where there is one, else `spiece.model`. Where
    /// there is a `config.json` too, the tokenizer is held against its `vocab_size`.
    ///
    /// # Errors
    /// Neither file is there, a file is damaged or of another kind, it lacks `<pad>`, `</s>` or `<unk>`, or it has ids
    /// that the model has no row for.
    pub fn load(files: &BTreeMap<String, PathBuf>) -> Result<Self, Diag> {
        let tokenizer = if let Some(path) = files.get("tokenizer.json") {
            Self::from_json(&fs::read(path)?, &path.display().to_string())?
        } else if let Some(path) = files.get("spiece.model") {
            Self::from_spiece(&fs::read(path)?, &path.display().to_string())?
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
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| broken(origin, &e.to_string()))?;
        Self::new(inner, Digest::of(bytes), origin)
    }

    /// From the bytes of a `spiece.model`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`Tokenizer::load`]; also a SentencePiece model that is not Unigram.
    pub fn from_spiece(bytes: &[u8], origin: &str) -> Result<Self, Diag> {
        let model = ModelProto::decode(bytes).map_err(|e| broken(origin, &e.to_string()))?;
        let trainer = model.trainer.unwrap_or_default();
        let kind = trainer.model_type.unwrap_or(1);
        if kind != 1 {
            let kind = ["", "", "byte pairs", "words", "characters"].get(kind as usize).unwrap_or(&"an unknown kind");
            return Err(broken(origin, &format!("it is a SentencePiece model of {kind}, T5 has a Unigram model")));
        }
        let mut vocab: Vec<(String, f64)> = Vec::with_capacity(model.pieces.len() + EXTRA_IDS);
        vocab.extend(
            model.pieces.into_iter().map(|p| (p.piece.unwrap_or_default(), f64::from(p.score.unwrap_or_default()))),
        );
        let sentinels: Vec<String> = (0..EXTRA_IDS).rev().map(|i| format!("<extra_id_{i}>")).collect();
        if !vocab.iter().any(|(piece, _)| *piece == sentinels[0]) {
            vocab.extend(sentinels.iter().map(|sentinel| (sentinel.clone(), 0.0)));
        }
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
        let special = ["<pad>", "</s>", "<unk>"].into_iter().map(str::to_owned).chain(sentinels);
        let special = special.filter(|token| inner.token_to_id(token).is_some()).collect::<Vec<_>>();
        inner
            .add_special_tokens(special.into_iter().map(|token| AddedToken::from(token, true)))
            .map_err(|e| broken(origin, &e.to_string()))?;
        Self::new(inner, Digest::of(bytes), origin)
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
        Ok(Self { inner, digest, vocab_size, pad, eos, unk })
    }

    /// Holds the tokenizer against the model of `config.json`. A model may have more rows than there are ids (T5: 32128
    /// for 32100), never fewer.
    fn check_config(&self, path: &Path) -> Result<(), Diag> {
        let text = fs::read_to_string(path)?;
        let config: serde_json::Value = serde_json::from_str(&text)
            .map_err(|e| Diag::error(Class::Stage, format!("`{}` is not JSON: {e}", path.display())))?;
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

    /// `<unk>`: stands for what the vocabulary does not have.
    pub fn unk(&self) -> i32 {
        self.unk
    }

    /// blake3 of the file that it was made from.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The id of exactly this token, `▁` for a blank.
    pub fn id_of(&self, token: &str) -> Option<i32> {
        self.inner.token_to_id(token).map(|id| id as i32)
    }
}

fn broken(origin: &str, what: &str) -> Diag {
    Diag::error(Class::Stage, format!("`{origin}` is not a tokenizer that can be used: {what}"))
}

/// Hugging Face's clean-up of English spacing, which was its default up to transformers 4: no blank before `. ? ! ,` and
/// before `n't 'm 's 've 're`, none around a lone `'`.
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
        let trainer = TrainerSpec { model_type: Some(model_type), byte_fallback: None, unk_id: Some(2) };
        ModelProto { pieces: pieces.collect(), trainer: Some(trainer), normalizer: None }.encode_to_vec()
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
