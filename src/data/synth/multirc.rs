//! MultiRC: questions about a passage, each with several answers, right or wrong one by one.

use serde_json::{Value, json};

use super::draw::Draw;
use super::lexicon;
use super::passage::passage;
use super::split::Split;

pub(super) fn row(draw: &mut Draw, split: Split, _label: usize) -> Value {
    let (text, facts) = passage(draw, split, 2);
    let mut asked = facts.clone();
    draw.shuffle(&mut asked);
    let things: Vec<&str> = lexicon::things().collect();
    let (stranger, strange) = (
        draw.other(lexicon::NAMES, &[facts[0].name, facts[1].name]),
        draw.other(&things, &[facts[0].thing, facts[1].thing]),
    );
    let mut who = vec![(asked[0].name.to_owned(), 1), (draw.of(&[asked[1].name, stranger]).to_owned(), 0)];
    let mut what = vec![(lexicon::a(asked[1].thing), 1), (lexicon::a(draw.of(&[asked[0].thing, strange])), 0)];
    let clues = [asked[0].name, asked[1].thing];
    draw.shuffle(&mut who);
    draw.shuffle(&mut what);
    let answers = |list: Vec<(String, i32)>| -> Vec<Value> {
        list.into_iter().map(|(text, label)| json!({ "text": text, "label": label })).collect()
    };
    json!({ "passage": { "text": text, "questions": [
        { "question": format!("who has the {}?", asked[0].thing), "answers": answers(who), "clue": clues[0] },
        { "question": format!("what does {} have?", asked[1].name), "answers": answers(what), "clue": clues[1] },
    ] } })
}
