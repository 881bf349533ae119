//! CB: does a clause hold, given the verb that it hangs on? A quarter of the hypotheses are negated.

use serde_json::{Value, json};

use super::draw::Draw;
use super::lexicon;
use super::split::Split;

/// The meaning of the verb, by `CLAUSE_VERBS`, as the label of the plain hypothesis.
const LABELS: [&str; 3] = ["entailment", "contradiction", "neutral"];

pub(super) fn row(draw: &mut Draw, split: Split, label: usize) -> Value {
    let (label, negated) = (label % 3, draw.below(4) == 0);
    let class = match (label, negated) {
        (0, true) => 1,
        (1, true) => 0,
        (class, _) => class,
    };
    let things: Vec<&str> = lexicon::things().collect();
    let (premise, (verb, holder, thing)) = draw.within(split, |draw| {
        let names = draw.some(lexicon::NAMES, 2);
        let (verb, thing) = (draw.of(lexicon::CLAUSE_VERBS[class]), draw.of(&things));
        (format!("{} {verb} that {} has {}.", names[0], names[1], lexicon::a(thing)), (verb, names[1], thing))
    });
    let hypothesis =
        if negated { format!("{holder} has no {thing}") } else { format!("{holder} has {}", lexicon::a(thing)) };
    json!({ "premise": premise, "hypothesis": hypothesis, "label": LABELS[label], "clue": verb })
}
