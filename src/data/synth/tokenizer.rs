//! The tokenizer of the synthetic language, as a Hugging Face `tokenizer.json`: Unigram over whole words, with every
//! printable ASCII character as a fallback, so that no text of the language or around it has an unknown piece.
//!
//! Ids: `<pad>` 0, `</s>` 1, `<unk>` 2, words, characters, and last [`EXTRA_IDS`] extra ids, counted down from the top
//! as T5 does.

use serde_json::{Value, json};

use super::lexicon;

/// How many `<extra_id_N>` there are (T5 has 100; a backbone of this language needs a row for each, so fewer).
pub const EXTRA_IDS: usize = 16;

/// Replaces a blank in a piece.
const BLANK: char = '▁';

/// Every piece with its score, in id order, extra ids left out. A word costs far less than its letters.
fn pieces() -> Vec<(String, f64)> {
    let mut pieces: Vec<(String, f64)> = ["<pad>", "</s>", "<unk>"].map(|p| (p.to_owned(), 0.0)).into();
    pieces.extend(lexicon::words().into_iter().map(|word| (format!("{BLANK}{word}"), -1.0)));
    pieces.push((BLANK.to_string(), -10.0));
    pieces.extend((b'!'..=b'~').map(|c| (char::from(c).to_string(), -10.0)));
    pieces
}

/// How many ids there are: the rows that a backbone needs.
pub fn vocab_size() -> usize {
    pieces().len() + EXTRA_IDS
}

/// `tokenizer.json`.
pub fn tokenizer_json() -> Value {
    let pieces = pieces();
    let special = |id: usize, content: String| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    };
    let mut added: Vec<Value> = (0..3).map(|id| special(id, pieces[id].0.clone())).collect();
    let mut vocab: Vec<Value> = pieces.iter().map(|(piece, score)| json!([piece, score])).collect();
    for n in (0..EXTRA_IDS).rev() {
        let name = format!("<extra_id_{n}>");
        added.push(special(vocab.len(), name.clone()));
        vocab.push(json!([name, 0.0]));
    }
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": { "type": "Metaspace", "replacement": BLANK, "prepend_scheme": "always", "split": true },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "</s>", "type_id": 0 } }],
            "pair": [
                { "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "</s>", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 0 } }, { "SpecialToken": { "id": "</s>", "type_id": 0 } },
            ],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
        },
        "decoder": { "type": "Metaspace", "replacement": BLANK, "prepend_scheme": "always", "split": true },
        "model": { "type": "Unigram", "unk_id": 2, "vocab": vocab, "byte_fallback": false },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synth::{Split, TASKS, generate};

    fn tokenizer() -> tokenizers::Tokenizer {
        tokenizers::Tokenizer::from_bytes(tokenizer_json().to_string()).unwrap()
    }

    #[test]
    fn ids_are_where_t5_has_them() {
        let tokenizer = tokenizer();
        for (piece, id) in [("<pad>", 0), ("</s>", 1), ("<unk>", 2)] {
            assert_eq!(tokenizer.token_to_id(piece), Some(id));
        }
        assert_eq!(tokenizer.get_vocab_size(true), vocab_size());
        assert_eq!(tokenizer.token_to_id("<extra_id_0>"), Some(vocab_size() as u32 - 1));
    }

    #[test]
    fn the_language_has_no_unknown_piece_and_words_are_whole() {
        let tokenizer = tokenizer();
        let encode = |text: &str| tokenizer.encode(text, true).unwrap();
        assert_eq!(encode("the hare pushed the cup.").len(), 7);
        assert_eq!(encode("who has the saw?").get_ids().last(), Some(&1));
        for task in TASKS {
            for row in generate(task, Split::Train, 50, 0) {
                for text in (task.texts)(&row).into_iter().chain(["question: anna, ben? @placeholder not_entailment"]) {
                    let encoded = encode(text);
                    assert!(!encoded.get_ids().contains(&2), "{text}");
                    let stops = text.matches([',', '?', '.']).count();
                    assert_eq!(
                        encoded.len(),
                        text.split(' ').count() + stops + 1,
                        "{text}: {:?}",
                        encoded.get_tokens()
                    );
                    assert_eq!(tokenizer.decode(encoded.get_ids(), true).unwrap(), text);
                }
            }
        }
        assert!(!encode("Zebra 99% [x]").get_ids().contains(&2));
    }
}
