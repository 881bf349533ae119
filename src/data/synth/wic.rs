//! WiC: has a word of two senses the same sense in both sentences? The words near it decide.

use serde_json::{Value, json};

use super::draw::Draw;
use super::lexicon;
use super::split::Split;

pub(super) fn row(draw: &mut Draw, split: Split, label: usize) -> Value {
    let word = draw.of(lexicon::AMBIGUOUS);
    let same = label % 2 == 1;
    let first = draw.below(2);
    let mut sentence = |sense: usize| {
        let (text, ()) = draw.within(split, |draw| {
            let (near, look) = (draw.of(lexicon::SURROUNDINGS[sense]), draw.of(lexicon::LOOKS));
            let place = draw.of(&["near", "by"]);
            (format!("the {word} {place} the {near} was {look}."), ())
        });
        text
    };
    let (one, two) = (sentence(first), sentence(if same { first } else { 1 - first }));
    // Both sentences begin with `the `, then comes the word.
    let (start, end) = (4, 4 + word.len());
    json!({
        "word": word, "sentence1": one, "sentence2": two, "start1": start, "end1": end, "start2": start, "end2": end,
        "version": 1.1, "label": same, "clue": lexicon::SENSES[first],
    })
}
