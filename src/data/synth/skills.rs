//! Skills: what one may be asked to do with the same input. A backbone is pretrained to do each of them on a sign, so
//! that a soft prompt has something to choose from; without the right prompt it does not answer the task.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::base::diag::{Class, Diag};
use crate::data::task::{Task, rows};
use crate::data::template::{Purpose, Rendering, Template};
use crate::data::tokenizer::Tokenizer;

/// A task on an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skill {
    /// Do the task.
    Answer,
    /// Give a wrong answer.
    Wrong,
    /// Name the word that the answer hangs on.
    Clue,
    /// Repeat the first word after the first field name.
    First,
    /// Repeat the last word.
    Last,
}

impl Skill {
    /// All of them, in the order of [`Lesson::targets`].
    pub const ALL: [Skill; 5] = [Skill::Answer, Skill::Wrong, Skill::Clue, Skill::First, Skill::Last];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Skill::Answer => "answer",
            Skill::Wrong => "wrong",
            Skill::Clue => "clue",
            Skill::First => "first",
            Skill::Last => "last",
        }
    }

    /// The token whose row of the embedding table is its sign: an extra id.
    ///
    /// # Errors
    /// When the tokenizer has no such token.
    pub fn sign(self, tokenizer: &Tokenizer) -> Result<i64, Diag> {
        let token = format!("<extra_id_{}>", self as usize);
        tokenizer.id_of(&token).map(i64::from).ok_or_else(|| {
            Diag::error(Class::Stage, format!("the tokenizer has no `{token}`, the sign of skill `{}`", self.name()))
                .help("pretrain with the `tokenizer.json` of stage `generate`")
        })
    }
}

/// One input, and its output for each skill.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The source's ids.
    pub source: Vec<i32>,
    /// For each of [`Skill::ALL`] the targets that will do, at least one.
    pub targets: [Vec<Vec<i32>>; 5],
}

/// The lessons in the rows of `text`, jsonl of `task` with clues; `origin` names it in messages. Sources and answers
/// are written by the template `plain`.
///
/// # Errors
/// Rows that are not of the task's form, or have no clue.
pub fn lessons(task: &dyn Task, text: &str, origin: &str, tokenizer: &Tokenizer) -> Result<Vec<Lesson>, Diag> {
    let batch = task.parse_jsonl(text, origin)?;
    let clues = clues(text);
    let how = Rendering::new(task, Template::Plain, Purpose::Evaluate);
    let classes: Vec<String> = how.verbalizer.iter().map(|(_, text)| text.to_owned()).collect();
    let mut lessons = Vec::new();
    for row in rows(task, &batch, origin)? {
        for example in task.render(&row, &how) {
            let clue = clues.get(&example.id);
            let (Some(clue), Some(answer)) = (clue, example.target) else {
                return Err(Diag::error(
                    Class::Stage,
                    format!("`{origin}`: row {} has no clue or no label", example.id),
                )
                .help("pretrain on the `pretrain.jsonl` of stage `generate`"));
            };
            let choices = example.choices.as_ref().unwrap_or(&classes);
            let wrong = choices.iter().filter(|choice| **choice != answer).map(|choice| tokenizer.encode(choice));
            let words: Vec<&str> = example.source.split(' ').collect();
            let one = |text: &str| vec![tokenizer.encode(text)];
            lessons.push(Lesson {
                source: tokenizer.encode(&example.source),
                targets: [
                    one(&answer),
                    wrong.collect(),
                    one(clue),
                    one(words.get(1).unwrap_or(&"")),
                    one(words.last().map_or("", |word| word.trim_end_matches('.'))),
                ],
            });
        }
    }
    Ok(lessons)
}

/// The clue of each example, by the id that the task gives it: of a row, or of the question in it.
fn clues(text: &str) -> BTreeMap<String, String> {
    let mut clues = BTreeMap::new();
    for row in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let idx = row["idx"].to_string();
        let of = |value: &Value| value["clue"].as_str().map(str::to_owned);
        let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for query in items(&row["qas"]) {
            clues.extend(of(&row).map(|clue| (format!("{idx}-{}", query["idx"]), clue)));
        }
        for question in items(&row["passage"]["questions"]) {
            for answer in items(&question["answers"]) {
                clues.extend(of(&question).map(|clue| (format!("{idx}-{}-{}", question["idx"], answer["idx"]), clue)));
            }
        }
        clues.extend(of(&row).map(|clue| (idx, clue)));
    }
    clues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synth::tokenizer::tokenizer_json;
    use crate::data::synth::{Split, TASKS, generate};
    use crate::data::task;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_json(tokenizer_json().to_string().as_bytes(), "tokenizer.json").unwrap()
    }

    fn jsonl(name: &str, split: Split, n: usize) -> String {
        let synth = TASKS.iter().find(|task| task.name == name).unwrap();
        generate(synth, split, n, 0).iter().map(|row| format!("{row}\n")).collect()
    }

    #[test]
    fn rows_of_every_task_are_of_superglues_form_and_give_lessons() {
        let tokenizer = tokenizer();
        for synth in TASKS {
            let task = task::find(synth.name).unwrap();
            assert_eq!(task.folder(), synth.folder);
            for split in [Split::Train, Split::Val, Split::Test] {
                task.parse_jsonl(&jsonl(synth.name, split, 8), "x.jsonl").unwrap();
            }
            let lessons = lessons(task, &jsonl(synth.name, Split::Pretrain, 8), "x.jsonl", &tokenizer).unwrap();
            assert_eq!(lessons.len(), if synth.name == "multirc" { 32 } else { 8 });
            for lesson in lessons {
                assert!(!lesson.source.contains(&tokenizer.unk()));
                assert!(lesson.targets.iter().all(|targets| !targets.is_empty()));
                let answer = &lesson.targets[Skill::Answer as usize][0];
                assert!(!lesson.targets[Skill::Wrong as usize].contains(answer));
            }
        }
    }

    #[test]
    fn what_each_skill_makes_of_a_row() {
        let tokenizer = tokenizer();
        let row = r#"{"idx": 3, "premise": "ben found a dog in the park.", "hypothesis": "ben found an animal.", "label": "entailment", "clue": "animal"}"#;
        let lesson = &lessons(task::find("rte").unwrap(), row, "x.jsonl", &tokenizer).unwrap()[0];
        let said = Skill::ALL.map(|skill| tokenizer.decode(&lesson.targets[skill as usize][0]));
        assert_eq!(said, ["entailment", "not_entailment", "animal", "ben", "park"]);
        assert_eq!(
            tokenizer.decode(&lesson.source),
            "hypothesis: ben found an animal. premise: ben found a dog in the park."
        );
        let signs = Skill::ALL.map(|skill| tokenizer.decode_all(&[skill.sign(&tokenizer).unwrap() as i32]));
        assert_eq!(signs[0], "<extra_id_0>");
        assert_eq!(signs[4], "<extra_id_4>");
    }

    #[test]
    fn rows_without_clues_are_refused() {
        let error =
            lessons(task::find("rte").unwrap(), &jsonl("rte", Split::Train, 2), "x.jsonl", &tokenizer()).unwrap_err();
        assert_eq!(error.message, "`x.jsonl`: row 0 has no clue or no label");
    }
}
