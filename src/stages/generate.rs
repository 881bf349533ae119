//! `generate`: all eight SuperGLUE tasks in a small synthetic language, in SuperGLUE's own files, and the language's
//! tokenizer. Its outputs depend only on its parameters.

use serde::Deserialize;

use super::ctx::{Ctx, Outcome, Unit, Update};
use super::stage::{Literal, Output, Param, Provision, Runs, StageKind, StageResult, Type};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::base::value::{Params, Value};
use crate::data::synth::{self, Split, SynthTask};

/// The stage.
pub const KIND: StageKind = StageKind {
    name: "generate",
    about: "write SuperGLUE's tasks in a small synthetic language, and its tokenizer",
    params: &[
        Param::optional("tasks", Type::Strs, "which tasks; all eight where it is left out"),
        Param::with_default("seed", Type::Int(0, i64::MAX), Literal::Int(0), "what the rows are drawn by"),
        Param::with_default(
            "pretrain_rows",
            ROWS,
            Literal::Int(0),
            "rows a task to pretrain a backbone on; 0: no such file",
        ),
        Param::with_default("train_rows", ROWS, Literal::Int(256), "rows a task to train prompts on"),
        Param::with_default("val_rows", ROWS, Literal::Int(256), "rows a task to choose checkpoints by and report on"),
        Param::with_default("test_rows", ROWS, Literal::Int(256), "rows a task held out"),
    ],
    provides: &[Provision::always("corpus")],
    outputs: &[
        Output { name: "*/pretrain.jsonl", required: false, doc: "rows to pretrain on, with a `clue` each" },
        Output { name: "*/train.jsonl", required: false, doc: "rows in SuperGLUE's form, in a folder a task" },
        Output { name: "*/val.jsonl", required: false, doc: "the same, of other texts" },
        Output { name: "*/test.jsonl", required: false, doc: "the same, of other texts, with their labels" },
        Output { name: "tokenizer.json", required: true, doc: "Unigram over the words of the language" },
    ],
    runs: Runs::Here(run),
    check: Some(check),
    ..StageKind::BASE
};

/// How many rows one may ask for.
const ROWS: Type = Type::Int(0, 1_000_000);

#[derive(Deserialize)]
struct Settings {
    tasks: Option<Vec<String>>,
    seed: i64,
    pretrain_rows: usize,
    train_rows: usize,
    val_rows: usize,
    test_rows: usize,
}

/// Returns the task called `name`, or what to write instead.
fn task(name: &str) -> Result<&'static SynthTask, Diag> {
    synth::find(name).ok_or_else(|| {
        let known: Vec<_> = synth::TASKS.iter().map(|task| format!("`{}`", task.name)).collect();
        Diag::error(Class::Usage, format!("`tasks` names `{name}`, which is no task"))
            .note(format!("there are {}", known.join(", ")))
    })
}

fn check(params: &Params) -> Result<(), Diag> {
    if let Some(Value::List(names)) = params.get("tasks") {
        if names.is_empty() {
            return Err(Diag::error(Class::Usage, "`tasks` is empty").help("leave it out for all eight"));
        }
        names.iter().filter_map(Value::as_str).try_for_each(|name| task(name).map(drop))?;
    }
    Ok(())
}

fn run(ctx: &Ctx) -> StageResult {
    let settings: Settings = ctx.params()?;
    let tasks: Vec<&SynthTask> = match &settings.tasks {
        None => synth::TASKS.iter().collect(),
        Some(names) => names.iter().map(|name| task(name)).collect::<Result<_, _>>()?,
    };
    let sizes = [settings.pretrain_rows, settings.train_rows, settings.val_rows, settings.test_rows];
    let total = (tasks.len() * sizes.iter().sum::<usize>()) as u64;
    let mut done = 0;
    for task in &tasks {
        for (split, n) in Split::ALL.into_iter().zip(sizes).filter(|(_, n)| *n > 0) {
            let mut text = String::new();
            for row in synth::try_generate(task, split, n, settings.seed, || ctx.check_cancel())? {
                text.push_str(&row.to_string());
                text.push('\n');
            }
            fs::write_atomic(&ctx.out(&format!("{}/{}.jsonl", task.folder, split.name())), text.as_bytes())?;
            done += n as u64;
            ctx.progress.update(Update {
                what: "writing rows".into(),
                done,
                total: Some(total),
                unit: Unit::Examples,
                detail: format!("{} {}", task.name, split.name()),
            });
        }
    }
    let tokenizer = synth::tokenizer::tokenizer_json().to_string();
    fs::write_atomic(&ctx.out("tokenizer.json"), tokenizer.as_bytes())?;
    Ok(Outcome { metrics: [("rows".to_owned(), total as f64)].into(), ..Outcome::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_task_lists_the_tasks() {
        let tasks = |names: &[&str]| {
            let names = names.iter().map(|name| Value::Str((*name).to_owned())).collect();
            check(&[("tasks".to_owned(), Value::List(names))].into())
        };
        assert!(tasks(&["rte", "wsc"]).is_ok());
        assert!(tasks(&["rte", "mnli"]).unwrap_err().to_string().starts_with("`tasks` names `mnli`, which is no task"));
        assert!(tasks(&[]).is_err());
    }
}
