//! `report`: gathers evaluated runs into tables and pictures, in the formats that the pipeline asks for.

use arrow::array::{Float32Array, Float64Array, Int32Array, StringArray};
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::adapter::{self, AdapterInfo};
use crate::artifact::tensors::Tensors;
use crate::artifact::{json as json_file, table};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::base::suggest::nearest;
use crate::base::value::{Params, Value};
use crate::report::inputs::{Evaluated, Initialised, Inputs, Origin, ScorePoint, Trained};
use crate::report::render::{self, RENDERERS, kind::Renderer};
use crate::report::summary::{ReportOptions, Summary};
use crate::svd::matrix::Matrix;

use super::ctx::{Ctx, Input, Outcome};
use super::stage::{Arity, Literal, Output, Param, Port, Runs, SCORES, StageKind, StageResult, Type};

/// The declaration.
pub const KIND: StageKind = StageKind {
    name: "report",
    about: "gathers evaluated runs into tables and pictures: Markdown, one HTML page, JSON, CSV, LaTeX",
    params: &[
        Param::with_default("title", Type::Str, Literal::Str("Results"), "the title"),
        Param::with_default(
            "over",
            Type::Str,
            Literal::Str("seed"),
            "the axis over which mean and standard deviation are taken",
        ),
        Param::with_default(
            "require",
            Type::Choice(&["complete", "partial"]),
            Literal::Str("complete"),
            "`complete`: a cell of the table that lacks a value of `over` is an error; `partial`: it is marked",
        ),
        // Not in the key at its default: reports made before it existed stay valid.
        Param {
            since: 2,
            ..Param::with_default(
                "formats",
                Type::Strs,
                Literal::Strs(&["md", "html", "json"]),
                "what to write: `md`, `html`, `json`, `csv` (a file for each table), `latex` (the same, and a document)",
            )
        },
    ],
    inputs: &[
        Port { role: "runs", accepts: &[SCORES], files: &["eval.json"], arity: Arity::Many, doc: "the evaluated runs" },
        Port {
            role: "training",
            accepts: &["curves"],
            files: &[adapter::INFO, adapter::TENSORS, adapter::INITIAL, "curves.parquet", "evals.parquet"],
            arity: Arity::OptionalMany,
            doc: "their trainings: curves, spectra, and how far each prompt went",
        },
        Port {
            role: "init",
            accepts: &["initial-tensors"],
            files: &["svd_init.json", "spectrum.parquet"],
            arity: Arity::OptionalMany,
            doc: "what trainings started from",
        },
    ],
    outputs: &OUTPUTS,
    runs: Runs::Here(run),
    check: Some(check),
    ..StageKind::BASE
};

/// The files of every renderer, so that a new one needs no entry here.
const OUTPUTS: [Output; count_files()] = {
    let mut outputs = [Output { name: "", required: false, doc: "" }; count_files()];
    let (mut renderer, mut at) = (0, 0);
    while renderer < RENDERERS.len() {
        let files = RENDERERS[renderer].files;
        let mut file = 0;
        while file < files.len() {
            outputs[at] = Output { name: files[file].name, required: false, doc: files[file].about };
            file += 1;
            at += 1;
        }
        renderer += 1;
    }
    outputs
};

const fn count_files() -> usize {
    let (mut renderer, mut files) = (0, 0);
    while renderer < RENDERERS.len() {
        files += RENDERERS[renderer].files.len();
        renderer += 1;
    }
    files
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportParams {
    title: String,
    over: String,
    require: String,
    formats: Vec<String>,
}

fn check(params: &Params) -> Result<(), Diag> {
    match params.get("formats") {
        Some(Value::List(formats)) => renderers(formats.iter().filter_map(Value::as_str)).map(|_| ()),
        _ => Ok(()),
    }
}

/// Returns the renderers of these formats, each once.
///
/// # Errors
/// Fails if there is none, or no renderer of that name.
fn renderers<'a>(formats: impl Iterator<Item = &'a str>) -> Result<Vec<&'static Renderer>, Diag> {
    let names = || RENDERERS.iter().map(|renderer| renderer.name);
    let known = || names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut renderers: Vec<&'static Renderer> = Vec::new();
    for format in formats {
        let Some(renderer) = RENDERERS.iter().find(|renderer| renderer.name == format) else {
            let diag =
                Diag::error(Class::Usage, format!("`formats` names `{format}`, which is not a format of a report"))
                    .note(format!("the formats are {}", known()));
            return Err(match nearest(format, names()) {
                Some(near) => diag.help(format!("did you mean `{near}`?")),
                None => diag,
            });
        };
        if !renderers.iter().any(|known| known.name == renderer.name) {
            renderers.push(renderer);
        }
    }
    if renderers.is_empty() {
        return Err(Diag::error(Class::Usage, "`formats` is empty, so the report would have no file")
            .help(format!("name at least one of {}", known())));
    }
    Ok(renderers)
}

fn run(ctx: &Ctx) -> StageResult {
    let params: ReportParams = ctx.params()?;
    let renderers = renderers(params.formats.iter().map(String::as_str))?;
    let inputs = Inputs {
        runs: ctx.many("runs").iter().map(evaluated).collect::<Result<_, _>>()?,
        trainings: ctx.many("training").par_iter().map(trained).collect::<Result<_, _>>()?,
        inits: ctx.many("init").iter().map(initialised).collect::<Result<_, _>>()?,
    };
    ctx.check_cancel()?;
    let options = ReportOptions { title: params.title, over: params.over, complete: params.require == "complete" };
    let summary = Summary::of(&inputs, &options)?;
    for file in render::render(&summary, &inputs, &renderers)? {
        let path = ctx.out(&file.name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write_atomic(&path, file.text.as_bytes())?;
    }

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

/// Returns the soft prompt of the tensors in `file`; `None` when the method has no such prompt.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::base::digest::Digest;
    use crate::engine::graph::{Accept, Node, Resources};
    use crate::engine::job::check_outputs;
    use crate::engine::key;
    use crate::report::tests::sample::evaluated;
    use crate::stages::ctx::{Cancel, Job};
    use crate::stages::stage::Identity;
    use crate::testing::Recorder;

    /// Writes a run's `eval.json` into `folder` and returns it as an input.
    fn run_input(folder: &Path, task: &str, method: &str) -> Input {
        let run = evaluated(task, method, 42, 0.75);
        let path = folder.join(format!("{task}-{method}.json"));
        json_file::write(&path, &run.record).unwrap();
        Input {
            node: run.origin.node,
            axes: run.origin.axes,
            key: run.origin.key,
            files: [("eval.json".to_owned(), path)].into(),
            digests: [("eval.json".to_owned(), Digest::of(task.as_bytes()))].into(),
            executable: Default::default(),
        }
    }

    /// Runs the stage on two runs; returns the names of its files.
    fn files_of(formats: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let text = |text: &str| Value::Str(text.into());
        let mut params = with_formats(formats);
        params.insert("title".into(), text("Two runs"));
        params.insert("over".into(), text("seed"));
        params.insert("require".into(), text("complete"));
        let runs = vec![run_input(folder.path(), "rte", "dpt"), run_input(folder.path(), "cb", "dpt")];
        let inputs = BTreeMap::from([("runs".to_owned(), runs)]);
        let job = Job { kind: KIND.name.into(), params, inputs, out: out.clone(), threads: 1, ..Job::default() };
        run(&Ctx { job: &job, progress: &Recorder::default(), cancel: &Cancel::default() }).unwrap();
        let mut files = Vec::new();
        for folder in [out.clone(), out.join("tables")] {
            for entry in folder.read_dir().into_iter().flatten().map(Result::unwrap).filter(|e| e.path().is_file()) {
                files.push(entry.path().strip_prefix(&out).unwrap().display().to_string());
            }
        }
        files.sort();
        check_outputs(&KIND, &files).unwrap();
        files
    }

    #[test]
    fn stage_writes_the_files_of_the_named_formats_only() {
        assert_eq!(files_of(&["md", "html", "json"]), ["report.html", "report.json", "report.md"]);
        let tables = ["parameters", "provenance", "results", "runs"].map(|table| format!("tables/{table}.csv"));
        assert_eq!(files_of(&["csv"]), tables);
        assert_eq!(files_of(&["latex"]).len(), 5, "a document and four tables");
    }

    fn with_formats(formats: &[&str]) -> Params {
        let list = formats.iter().map(|format| Value::Str((*format).into())).collect();
        [("formats".to_owned(), Value::List(list))].into_iter().collect()
    }

    #[test]
    fn default_formats_are_not_in_the_key() {
        let key = |params: Params| {
            let node = Node {
                stage: "report".into(),
                kind: &KIND,
                axes: Vec::new(),
                params: Arc::new(params),
                resources: Resources::default(),
                accept: Accept::Any,
                span: None,
            };
            key::recipe(&node, &Identity::default(), &[], &[]).key()
        };
        let before = key(Params::default());
        assert_eq!(key(with_formats(&["md", "html", "json"])), before);
        assert_ne!(key(with_formats(&["md", "html", "json", "csv"])), before);
    }

    #[test]
    fn unknown_and_missing_formats_are_refused() {
        let error = |formats: &[&str]| check(&with_formats(formats)).unwrap_err();
        let unknown = error(&["md", "latx"]);
        assert_eq!(unknown.message, "`formats` names `latx`, which is not a format of a report");
        assert_eq!(unknown.notes, ["the formats are `md`, `html`, `json`, `csv`, `latex`"]);
        assert_eq!(unknown.help.as_deref(), Some("did you mean `latex`?"));
        assert_eq!(error(&[]).message, "`formats` is empty, so the report would have no file");
        assert!(check(&with_formats(&["latex", "csv"])).is_ok());
    }

    #[test]
    fn format_named_twice_is_written_once() {
        let names: Vec<_> = renderers(["csv", "md", "csv"].into_iter()).unwrap().iter().map(|r| r.name).collect();
        assert_eq!(names, ["csv", "md"]);
    }

    #[test]
    fn outputs_are_the_files_of_the_renderers() {
        let names: Vec<_> = KIND.outputs.iter().map(|output| output.name).collect();
        assert_eq!(names, ["report.md", "report.html", "report.json", "tables/*.csv", "report.tex", "tables/*.tex"]);
    }
}
