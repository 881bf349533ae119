//! `report`: gathers evaluated runs into tables and pictures, as Markdown, as one HTML page and as JSON.

use arrow::array::{Float32Array, Float64Array, Int32Array, StringArray};
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::adapter::{self, AdapterInfo};
use crate::artifact::tensors::Tensors;
use crate::artifact::{json as json_file, table};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::report::material::{Evaluated, Initialised, Material, Origin, ScorePoint, Trained};
use crate::report::summary::{Options, Summary};
use crate::report::{html, markdown};
use crate::svd::matrix::Matrix;

use super::ctx::{Ctx, Input, Outcome};
use super::stage::{Arity, Output, Param, Port, Runs, StageKind, StageResult, Type};

/// The declaration.
pub const KIND: StageKind = StageKind {
    name: "report",
    version: 1,
    about: "gathers evaluated runs into tables and pictures: Markdown, one HTML page, JSON",
    params: &[
        Param::with_default("title", Type::Str, "\"Results\"", "the title"),
        Param::with_default("over", Type::Str, "\"seed\"", "the axis over which mean and standard deviation are taken"),
        Param::with_default(
            "require",
            Type::Choice(&["complete", "partial"]),
            "\"complete\"",
            "`complete`: a cell of the table that lacks a value of `over` is an error; `partial`: it is marked",
        ),
    ],
    variants: None,
    inputs: &[
        Port { role: "runs", accepts: &["eval"], files: &["eval.json"], arity: Arity::Many, doc: "the evaluated runs" },
        Port {
            role: "training",
            accepts: &["train"],
            files: &[adapter::INFO, adapter::TENSORS, adapter::INITIAL, "curves.parquet", "evals.parquet"],
            arity: Arity::OptionalMany,
            doc: "their trainings: curves, spectra, and how far each prompt went",
        },
        Port {
            role: "init",
            accepts: &["svd-init"],
            files: &["svd_init.json", "spectrum.parquet"],
            arity: Arity::OptionalMany,
            doc: "what trainings started from",
        },
    ],
    provides: &[],
    outputs: &[
        Output { name: "report.md", required: true, doc: "the tables, as Markdown" },
        Output { name: "report.html", required: true, doc: "tables and pictures, one page that needs nothing else" },
        Output { name: "report.json", required: true, doc: "every figure, for programs" },
    ],
    runs: Runs::Here(run),
    identity: None,
    check: None,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportParams {
    title: String,
    over: String,
    require: String,
}

fn run(ctx: &Ctx) -> StageResult {
    let params: ReportParams = ctx.params()?;
    let material = Material {
        runs: ctx.many("runs").iter().map(evaluated).collect::<Result<_, _>>()?,
        trainings: ctx.many("training").par_iter().map(trained).collect::<Result<_, _>>()?,
        inits: ctx.many("init").iter().map(initialised).collect::<Result<_, _>>()?,
    };
    ctx.check_cancel()?;
    let options = Options { title: params.title, over: params.over, complete: params.require == "complete" };
    let summary = Summary::of(&material, &options)?;
    json_file::write(&ctx.out("report.json"), &summary)?;
    fs::write_atomic(&ctx.out("report.md"), markdown::render(&summary).as_bytes())?;
    fs::write_atomic(&ctx.out("report.html"), html::render(&summary, &material)?.as_bytes())?;

    let mut outcome = Outcome::default();
    for mean in &summary.means {
        if let Some(score) = &mean.score {
            outcome.metrics.insert(format!("mean {}", mean.variant), score.mean);
        }
    }
    outcome.metrics.insert("runs".into(), summary.runs.len() as f64);
    outcome.notes.extend(summary.missing.iter().map(|missing| format!("missing: {missing}")));
    for name in summary.random_backbones() {
        outcome.notes.push(format!("backbone `{name}` is random: scores near chance are what is to be expected"));
    }
    Ok(outcome)
}

fn origin(input: &Input, file: &str) -> Result<Origin, Diag> {
    input.file(file)?;
    let digest = *input
        .digests
        .get(file)
        .ok_or_else(|| Diag::error(Class::Bug, format!("`{file}` of `{}` came without its digest", input.node)))?;
    Ok(Origin { node: input.node.clone(), axes: input.axes.clone(), key: input.key, digest })
}

/// Reads a JSON file of a producer; says whose it is when it does not fit.
fn record<T: DeserializeOwned>(input: &Input, file: &str) -> Result<T, Diag> {
    json_file::read(input.file(file)?).map_err(|e| e.note(format!("made by `{}`", input.node)))
}

fn evaluated(input: &Input) -> Result<Evaluated, Diag> {
    Ok(Evaluated { origin: origin(input, "eval.json")?, record: record(input, "eval.json")? })
}

fn trained(input: &Input) -> Result<Trained, Diag> {
    let info: AdapterInfo = record(input, adapter::INFO)?;
    let task = info.task.clone().ok_or_else(|| {
        Diag::error(Class::Stage, format!("`{}` does not say its task", adapter::INFO))
            .note(format!("made by `{}`", input.node))
    })?;
    let curves = table::read(input.file("curves.parquet")?)?;
    let steps: &Int32Array = table::column(&curves, "step")?;
    let losses: &Float32Array = table::column(&curves, "loss")?;
    let evals = table::read(input.file("evals.parquet")?)?;
    let eval_steps: &Int32Array = table::column(&evals, "step")?;
    let splits: &StringArray = table::column(&evals, "split")?;
    let metrics: &StringArray = table::column(&evals, "metric")?;
    let values: &Float64Array = table::column(&evals, "value")?;
    Ok(Trained {
        origin: origin(input, adapter::INFO)?,
        start: prompt(input, &info, adapter::INITIAL)?,
        prompt: prompt(input, &info, adapter::TENSORS)?,
        init: info.init,
        task,
        method: info.method,
        select: info.select_on.zip(info.select_metric),
        loss: (0..curves.num_rows()).map(|i| (f64::from(steps.value(i)), f64::from(losses.value(i)))).collect(),
        scores: (0..evals.num_rows())
            .map(|i| ScorePoint {
                step: f64::from(eval_steps.value(i)),
                split: splits.value(i).to_owned(),
                metric: metrics.value(i).to_owned(),
                value: values.value(i),
            })
            .collect(),
    })
}

/// The soft prompt of the tensors in `file`; `None` when the method has no such prompt.
fn prompt(input: &Input, info: &AdapterInfo, file: &str) -> Result<Option<Matrix>, Diag> {
    let tensors = Tensors::open(input.file(file)?)?;
    adapter::folded(info, &tensors).map_err(|diag| diag.note(format!("in `{file}` of `{}`", input.node)))
}

fn initialised(input: &Input) -> Result<Initialised, Diag> {
    let spectrum = table::read(input.file("spectrum.parquet")?)?;
    let column = |name: &str| -> Result<Vec<f64>, Diag> {
        let values: &Float64Array = table::column(&spectrum, name)?;
        Ok(values.values().to_vec())
    };
    Ok(Initialised {
        origin: origin(input, "svd_init.json")?,
        record: record(input, "svd_init.json")?,
        energy: column("energy")?,
        centred: column("centred_energy")?,
        gaussian: column("gaussian_energy")?,
    })
}
