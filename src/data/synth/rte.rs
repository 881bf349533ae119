//! RTE: whoever bought a dog bought an animal. Where the hypothesis does not follow, the kind or the person is another.

use serde_json::{Value, json};

use super::draw::Draw;
use super::lexicon;
use super::split::Split;

pub(super) fn row(draw: &mut Draw, split: Split, label: usize) -> Value {
    let (premise, (mut name, verb, mut kind)) = draw.within(split, |draw| {
        let (name, verb, place) = (draw.of(lexicon::NAMES), draw.of(lexicon::GETTING), draw.of(lexicon::PLACES));
        let (kind, things) = draw.of(lexicon::KINDS);
        let thing = draw.of(things);
        (format!("{name} {verb} {} in the {place}.", lexicon::a(thing)), (name, verb, kind))
    });
    let clue = kind;
    let follows = label.is_multiple_of(2);
    if !follows {
        if draw.below(4) == 0 {
            name = draw.other(lexicon::NAMES, &[name]);
        } else {
            let kinds: Vec<&str> = lexicon::KINDS.iter().map(|(kind, _)| *kind).collect();
            kind = draw.other(&kinds, &[kind]);
        }
    }
    json!({
        "premise": premise, "hypothesis": format!("{name} {verb} {}.", lexicon::a(kind)),
        "label": if follows { "entailment" } else { "not_entailment" },
        "clue": clue,
    })
}
