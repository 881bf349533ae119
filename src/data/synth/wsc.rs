//! WSC: does `it` mean the animal or the object? What is said of it fits only one of them.

use serde_json::{Value, json};

use super::draw::Draw;
use super::lexicon;
use super::split::Split;

pub(super) fn row(draw: &mut Draw, split: Split, label: usize) -> Value {
    let (text, (nouns, meant)) = draw.within(split, |draw| {
        let nouns = [draw.of(lexicon::BEASTS), draw.of(lexicon::OBJECTS)];
        let (deed, meant) = (draw.of(lexicon::DEEDS), draw.below(2));
        let reason = draw.of(lexicon::REASONS[meant]);
        let told = if draw.coin() {
            format!("the {} {deed} the {}", nouns[0], nouns[1])
        } else {
            format!("the {} was {deed} by the {}", nouns[1], nouns[0])
        };
        (format!("{told} because it was {reason}."), (nouns, meant))
    });
    let label = label % 2;
    let noun = nouns[if label == 1 { meant } else { 1 - meant }];
    let index = |word: &str| text.split(' ').position(|w| w == word).expect("a word of the text");
    json!({
        "text": text, "label": label == 1,
        "target": {
            "span1_text": format!("the {noun}"), "span1_index": index(noun) - 1,
            "span2_text": "it", "span2_index": index("it"),
        },
        "clue": lexicon::ROLES[meant],
    })
}
