//! `tokenize`: a task's tables to token ids, by a template and a tokenizer; few-shot samples are drawn here, too. It
//! runs in parallel, and the result does not depend on the number of threads.

mod run;
mod targets;

use crate::base::diag::Diag;
use crate::base::value::{Params, Value};
use crate::data::task;
use crate::data::template::Template;

use super::stage::{Arity, Literal, Output, Param, Port, Provision, Runs, StageKind, Type};

use targets::{metric_mode, verbalizer};

/// The stage.
pub const KIND: StageKind = StageKind {
    name: "tokenize",
    about: "writes a task's rows as text by a template, and the text as token ids",
    params: &[
        Param::required("task", Type::Choice(task::TASK_NAMES), "the SuperGLUE task"),
        Param::with_default(
            "template",
            Type::Choice(&["plain", "dpt-paper"]),
            Literal::Str("plain"),
            "how rows are written: words as targets, or byte for byte as the DPT paper's code does it",
        ),
        Param::optional("verbalizer", Type::Table, "target texts in place of the template's: label = \"text\""),
        Param::optional(
            "metric_mode",
            Type::Choice(&["official", "dpt-paper"]),
            "which metrics count; by default SuperGLUE's own, with template `dpt-paper` that paper's",
        ),
        Param::with_default(
            "max_source_length",
            Type::Int(2, 65_536),
            Literal::Int(256),
            "longest source, in ids with `</s>`",
        ),
        Param::with_default(
            "max_target_length",
            Type::Int(2, 4096),
            Literal::Int(128),
            "longest target, in ids with `</s>`",
        ),
        Param::optional("splits", Type::Strs, "which splits to tokenise; by default all that there are"),
        Param::with_default(
            "order",
            Type::Choice(&["file", "dpt-paper"]),
            Literal::Str("file"),
            "the order of a split's rows: the file's, or torch's permutation with seed 42 as in the DPT paper's code",
        ),
        Param::optional(
            "shots",
            Type::Int(1, 1_000_000),
            "a few-shot draw from `train`: so many rows a class, in all where there are no classes; as many others become \
             `dev` where the data has no such split",
        ),
        Param::with_default("shots_seed", Type::Int(0, i64::MAX), Literal::Int(42), "the seed of that draw"),
        Param::with_default(
            "rte_fields",
            Type::Choice(&["glue", "superglue"]),
            Literal::Str("glue"),
            "RTE in template `dpt-paper`: `sentence1:`/`sentence2:`, or `premise:`/`hypothesis:`",
        ),
        Param::with_default(
            "record_prefix",
            Type::Bool,
            Literal::Bool(true),
            "ReCoRD in template `dpt-paper`: whether sources begin with `superglue-record`",
        ),
    ],
    inputs: &[
        Port {
            role: "data",
            accepts: &["rows"],
            files: &["*.parquet", "train.jsonl", "validation.jsonl", "dev.jsonl", "test.jsonl"],
            arity: Arity::One,
            doc: "the task's tables; of a `command`, also its splits as SuperGLUE's jsonl",
        },
        Port {
            role: "tokenizer",
            accepts: &[],
            files: &[
                "tokenizer.json",
                "spiece.model",
                "tokenizer_config.json",
                "special_tokens_map.json",
                "added_tokens.json",
                "config.json",
            ],
            arity: Arity::One,
            doc: "a checkpoint or a tokenizer; with a `config.json`, it is held against the model's vocabulary",
        },
    ],
    provides: &[Provision::always("tokens")],
    outputs: &[
        Output { name: "*.parquet", required: true, doc: "one table a split: ids, lengths, labels, choices" },
        Output { name: "tokens.json", required: true, doc: "task, verbalizer, metrics, and counts of each split" },
    ],
    runs: Runs::Here(run::run),
    check: Some(check),
    ..StageKind::BASE
};

fn check(params: &Params) -> Result<(), Diag> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    let (Some(name), Some(template)) = (text("task"), text("template").and_then(Template::find)) else { return Ok(()) };
    let task = task::find(name)?;
    if let Some(Value::Table(table)) = params.get("verbalizer") {
        verbalizer(task, template, Some(table))?;
    }
    task.check(template, metric_mode(text("metric_mode"), template))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(rows: &[(&str, &str)]) -> Params {
        rows.iter().map(|(k, v)| ((*k).to_owned(), Value::Str((*v).to_owned()))).collect()
    }

    #[test]
    fn choices_equal_the_registered_templates_and_modes() {
        for (param, known) in [
            ("template", crate::data::template::TEMPLATES.iter().map(|row| row.0).collect::<Vec<_>>()),
            ("metric_mode", task::METRIC_MODES.iter().map(|row| row.0).collect()),
        ] {
            let ty = KIND.params.iter().find(|p| p.name == param).unwrap().ty;
            let Type::Choice(names) = ty else { panic!("`{param}` is a choice") };
            assert_eq!(names, known);
        }
    }

    #[test]
    fn files_beside_a_tokenizer_are_read_but_do_not_replace_it() {
        let port = KIND.inputs.iter().find(|port| port.role == "tokenizer").unwrap();
        assert_eq!(port.own_files(), ["tokenizer.json", "spiece.model", "config.json"]);
        assert!(port.files.contains(&"added_tokens.json"));
    }

    #[test]
    fn parameters_are_checked_against_each_other() {
        assert!(check(&params(&[("task", "wsc"), ("template", "dpt-paper")])).is_ok());
        let e = check(&params(&[("task", "wsc"), ("template", "dpt-paper"), ("metric_mode", "official")]));
        assert!(e.unwrap_err().message.contains("write nouns"));

        let mut wrong = params(&[("task", "rte"), ("template", "plain")]);
        wrong.insert("verbalizer".into(), Value::Table(params(&[("entails", "yes")])));
        assert_eq!(check(&wrong).unwrap_err().message, "`verbalizer` names `entails`, not a label of `rte`");
    }
}
