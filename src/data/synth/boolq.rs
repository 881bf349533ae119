//! BoolQ: has a person a thing, if the passage says how often? A second sentence speaks of somebody else.

use serde_json::{Value, json};

use super::draw::Draw;
use super::lexicon;
use super::split::Split;

pub(super) fn row(draw: &mut Draw, split: Split, label: usize) -> Value {
    let label = label % 2;
    let things: Vec<&str> = lexicon::things().collect();
    let (passage, (question, adverb)) = draw.within(split, |draw| {
        let (names, colours) = (draw.some(lexicon::NAMES, 2), draw.some(lexicon::COLOURS, 2));
        let (things, adverb) = (draw.some(&things, 2), draw.of(lexicon::ADVERBS[label]));
        let mut sentences = [
            format!("{} {adverb} has a {} {}.", names[0], colours[0], things[0]),
            format!("{} has a {} {}.", names[1], colours[1], things[1]),
        ];
        draw.shuffle(&mut sentences);
        (sentences.join(" "), (format!("does {} have a {} {}", names[0], colours[0], things[0]), adverb))
    });
    json!({ "question": question, "passage": passage, "label": label == 1, "clue": adverb })
}
