//! Passages: sentences that say who has which thing.

use super::draw::Draw;
use super::lexicon;
use super::split::Split;

/// Who has which thing, of which colour: what passages are made of.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) colour: &'static str,
    pub(super) thing: &'static str,
}

/// A passage of `n` facts, of different people, colours and things.
pub(super) fn passage(draw: &mut Draw, split: Split, n: usize) -> (String, Vec<Fact>) {
    let things: Vec<&str> = lexicon::things().collect();
    draw.within(split, |draw| {
        let (names, colours) = (draw.some(lexicon::NAMES, n), draw.some(lexicon::COLOURS, n));
        let things = draw.some(&things, n);
        let facts: Vec<Fact> = (0..n).map(|i| Fact { name: names[i], colour: colours[i], thing: things[i] }).collect();
        let text: Vec<String> = facts.iter().map(|f| format!("{} has a {} {}.", f.name, f.colour, f.thing)).collect();
        (text.join(" "), facts)
    })
}
