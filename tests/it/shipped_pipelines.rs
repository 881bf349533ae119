//! Every shipped pipeline is valid and has no warnings.

use std::collections::BTreeSet;
use std::path::Path;

use dpt::cli::check::ChangeArgs;
use dpt::cli::{check, graph, render};
use dpt::pipeline::{self, LoadOptions};

use crate::sandbox::Sandbox;

#[test]
fn shipped_pipelines_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut problems = String::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".toml") || name.ends_with(".pins.toml") {
            continue;
        }
        seen += 1;
        let diags = match pipeline::load(&path, &LoadOptions::default()) {
            Ok(plan) => {
                assert!(!plan.targets.is_empty(), "{name} has targets");
                plan.warnings
            }
            Err(diags) => diags,
        };
        problems.push_str(&anstream::adapter::strip_str(&render::diags(&diags)).to_string());
    }
    assert!(seen >= 2, "{} holds pipelines", folder.display());
    assert!(problems.is_empty(), "{problems}");
}

/// The reductions in the comments of `superglue_full.toml`.
#[test]
fn full_pipeline_can_be_reduced_as_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/superglue_full.toml");
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let options = LoadOptions {
        sets: vec![
            set("source.superglue.verify", "false"),
            set("params.backbone", "random_t5"),
            set("axes.task", r#"["rte", "cb"]"#),
            set("axes.seed", "42"),
            set("stage.train.epochs", "1"),
        ],
        ..LoadOptions::default()
    };
    let plan = pipeline::load(&path, &options).unwrap();
    let trainings = plan.select(&["train".to_owned()]).unwrap();
    assert_eq!(trainings.len(), 4);
    let mut from = plan.graph.producers(trainings[0]);
    assert!(from.any(|(id, _)| plan.graph.node(id).stage == "random_t5"));
}

/// The example at the top of `docs/pipeline.md`, with its summary and drawing.
#[test]
fn example_of_the_docs_is_valid() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pipeline.md")).unwrap();
    let block = |fence: &str| page.split(fence).nth(1).unwrap().split("```").next().unwrap().to_owned();
    let plan = pipeline::load_text(Path::new("rte_sweep.toml"), block("```toml\n"), &LoadOptions::default()).unwrap();
    let nodes: Vec<_> = plan.graph.ids().collect();
    let drawing = graph::draw(&plan, &nodes, graph::Format::Text, &[]).unwrap();
    let console = block("```console\n");
    let shown = format!(
        "$ dpt check rte_sweep.toml\nok: {}\n$ dpt graph rte_sweep.toml\n{}",
        check::summary(&plan),
        anstream::adapter::strip_str(&drawing)
    );
    assert_eq!(console, shown);
}

/// `--dtype` sets the type for training and evaluation; `--set` for a single stage wins.
#[test]
fn dtype_option_sets_the_type_of_the_backbone() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.toml");
    let dtypes = |sets: &[&str]| -> BTreeSet<String> {
        let sets = sets.iter().map(|s| (*s).to_owned()).collect();
        let changes = ChangeArgs { sets, dtype: Some("bfloat16".into()), ..ChangeArgs::default() };
        let plan = pipeline::load(&path, &changes.options().unwrap()).unwrap();
        let nodes = plan.graph.ids().map(|id| plan.graph.node(id));
        nodes.filter_map(|n| Some(format!("{} {}", n.kind.name, n.params.get("dtype")?))).collect()
    };
    assert_eq!(dtypes(&[]), ["eval \"bfloat16\"", "train \"bfloat16\""].map(str::to_owned).into());
    let set = dtypes(&["stage.eval.dtype=float32"]);
    assert_eq!(set, ["eval \"float32\"", "train \"bfloat16\""].map(str::to_owned).into());
    let path = path.to_str().unwrap();
    let wrong = Sandbox::new().dpt(&["check", path, "--dtype", "half"]).code(2);
    assert!(wrong.stderr.contains("[possible values: float32, bfloat16, float16]"), "{}", wrong.stderr);
    let tiny = Path::new(path).with_file_name("tiny_t5.toml");
    let none = Sandbox::new().dpt(&["check", tiny.to_str().unwrap(), "--dtype", "bfloat16"]).code(2);
    assert!(none.stderr.contains("no stage has a parameter `dtype`"), "{}", none.stderr);
}
