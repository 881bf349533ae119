//! COPA: which of two events is the cause, or the effect, of the premise? One is glad, the other sorry.

use serde_json::{Value, json};

use super::draw::Draw;
use super::lexicon;
use super::split::Split;

pub(super) fn row(draw: &mut Draw, split: Split, label: usize) -> Value {
    let (effect, mood) = (draw.coin(), draw.below(2));
    let (premise, (name, right)) = draw.within(split, |draw| {
        let (name, place, event) = (draw.of(lexicon::NAMES), draw.of(lexicon::PLACES), draw.of(lexicon::EVENTS[mood]));
        let told = if effect { event.0 } else { event.1 };
        (format!("{name} {told} in the {place}."), (name, event))
    });
    let wrong = draw.of(lexicon::EVENTS[1 - mood]);
    let said = |event: (&'static str, &'static str)| if effect { event.1 } else { event.0 };
    let mut choices = [right, wrong].map(|event| format!("{name} {}.", said(event)));
    let label = label % 2;
    choices.rotate_left(label);
    json!({
        "premise": premise, "choice1": choices[0], "choice2": choices[1],
        "question": if effect { "effect" } else { "cause" }, "label": label,
        "clue": said(right).rsplit(' ').next(),
    })
}
