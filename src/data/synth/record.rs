//! ReCoRD: who is meant by `@placeholder`?

use serde_json::{Value, json};

use super::draw::Draw;
use super::passage::passage;
use super::split::Split;

pub(super) fn row(draw: &mut Draw, split: Split, _label: usize) -> Value {
    let (text, facts) = passage(draw, split, 3);
    let span = |name: &str| {
        let start = text.find(&format!("{name} has")).expect("the passage tells what each person has");
        (start, start + name.len() - 1)
    };
    let entities: Vec<Value> =
        facts.iter().map(|fact| span(fact.name)).map(|(start, end)| json!({ "start": start, "end": end })).collect();
    let asked = draw.of(&facts);
    let (start, end) = span(asked.name);
    json!({
        "source": "synthetic",
        "passage": { "text": text, "entities": entities },
        "qas": [{
            "query": format!("@placeholder has the {}", asked.thing),
            "answers": [{ "start": start, "end": end, "text": asked.name }],
        }],
        "clue": asked.colour,
    })
}
