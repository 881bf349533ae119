//! Drawings of a small sweep.

use super::*;
use crate::pipeline::{LoadOptions, load_text};
use crate::stages::ctx::{Ctx, Outcome};
use crate::stages::stage::{Arity, Port, Runs, StageKind, StageResult};

fn nothing(_: &Ctx) -> StageResult {
    Ok(Outcome::default())
}

const fn kind(name: &'static str, inputs: &'static [Port]) -> StageKind {
    StageKind {
        name,
        version: 1,
        about: "a stub",
        params: &[],
        inputs,
        outputs: &[],
        runs: Runs::Here(nothing),
        identity: None,
        check: None,
    }
}

const fn port(role: &'static str, arity: Arity) -> Port {
    Port { role, accepts: &[], files: &["*"], arity, doc: "" }
}

static KINDS: &[&StageKind] = &[
    &kind("download", &[]),
    &kind("tokenize", &[port("data", Arity::One), port("tokenizer", Arity::One)]),
    &kind("svd-init", &[port("model", Arity::One)]),
    &kind("train", &[port("data", Arity::One), port("model", Arity::One), port("init", Arity::Optional)]),
    &kind("eval", &[port("adapter", Arity::One), port("data", Arity::One), port("model", Arity::One)]),
    &kind("report", &[port("runs", Arity::Many)]),
];

const SWEEP: &str = r#"
schema = 1
[pipeline]
name = "sweep"
[axes]
task = ["rte", "cb"]
method = ["dpt", "pt"]
[stage.download]
axes = ["task"]
[stage.backbone]
kind = "download"
[stage.tokenize]
axes = ["task"]
needs = { data = "download", tokenizer = "backbone" }
[stage.svd_init]
axes = ["method"]
when = { method = "dpt" }
needs = { model = "backbone" }
[stage.train]
axes = ["task", "method"]
needs = { data = "tokenize", model = "backbone", init = "svd_init?" }
[stage.eval]
axes = ["task", "method"]
needs = { adapter = "train", data = "tokenize", model = "backbone" }
[stage.report]
needs = { runs = "eval[*]" }
"#;

fn drawn(format: Format, expand: bool, targets: &[&str]) -> String {
    let options = LoadOptions { stages: KINDS, ..LoadOptions::default() };
    let plan = load_text("sweep.toml".as_ref(), SWEEP.to_owned(), &options).unwrap();
    let targets: Vec<_> = targets.iter().map(|t| (*t).to_owned()).collect();
    let nodes = match targets.is_empty() {
        true => plan.graph.ids().collect(),
        false => needed(&plan.graph, plan.select(&targets).unwrap()),
    };
    anstream::adapter::strip_str(&draw(&plan, &nodes, format, expand)).to_string()
}

#[test]
fn the_terminal_drawing_folds_axes_and_draws_rails() {
    let expected = "\
●        download  ×2  task
│  ●     backbone  ×1                 download
●──┤     tokenize  ×2  task                     data = download, tokenizer = backbone
│  ├──●  svd_init  ×1  method=dpt               model = backbone
├──┼──●  train     ×4  task · method            data = tokenize, model = backbone, init = svd_init?
●──┴──╯  eval      ×4  task · method            adapter = train, data = tokenize, model = backbone
●        report    ×1                           runs = eval[*]
";
    assert_eq!(drawn(Format::Text, false, &[]), expected);
}

#[test]
fn targets_leave_only_what_they_need() {
    let expected = "\
download
  download[cb]

backbone
  backbone

tokenize
  tokenize[cb]  data = download[cb]  tokenizer = backbone

train
  train[cb,pt]  data = tokenize[cb]  model = backbone
";
    assert_eq!(drawn(Format::Text, true, &["train[cb,pt]"]), expected);
    let report = drawn(Format::Text, true, &[]);
    assert!(report.ends_with("report\n  report  runs = eval[rte,dpt], … eval[cb,pt] (4)\n"), "{report}");
}

#[test]
fn what_the_targets_do_not_need_is_named() {
    let text = SWEEP.replace("name = \"sweep\"", "targets = [\"train[rte,pt]\"]");
    let options = LoadOptions { stages: KINDS, ..LoadOptions::default() };
    let plan = load_text("sweep.toml".as_ref(), text, &options).unwrap();
    assert_eq!(unneeded(&plan.graph, &needed(&plan.graph, plan.targets.clone())), ["svd_init", "eval", "report"]);
}

#[test]
fn dot_and_mermaid() {
    let dot = r#"digraph "sweep" {
  rankdir = LR;
  node [shape = box, style = rounded];
  n0 [label = "download\ntask=rte"];
  n1 [label = "backbone"];
  n2 [label = "tokenize\ntask=rte"];
  n0 -> n2 [label = "data"];
  n1 -> n2 [label = "tokenizer"];
}
"#;
    assert_eq!(drawn(Format::Dot, false, &["tokenize[rte]"]), dot);
    let mermaid = drawn(Format::Mermaid, false, &[]);
    assert!(mermaid.starts_with("flowchart LR\n  n0[\"download ×2<br/>task\"]\n"), "{mermaid}");
    assert!(mermaid.ends_with("\n  n5 ==>|runs| n6\n"), "{mermaid}");
    let all = drawn(Format::Dot, true, &[]);
    assert_eq!(all.matches(" -> ").count(), 2 * 2 + 1 + 4 * 2 + 2 + 4 * 3 + 4);
}

#[test]
fn json_has_stages_edges_and_on_demand_nodes() {
    let folded: serde_json::Value = serde_json::from_str(&drawn(Format::Json, false, &[])).unwrap();
    assert_eq!(folded["stages"][4]["nodes"], 4);
    assert_eq!(folded["edges"].as_array().unwrap().len(), 10);
    assert!(folded.get("nodes").is_none());
    let all: serde_json::Value = serde_json::from_str(&drawn(Format::Json, true, &[])).unwrap();
    assert_eq!(all["nodes"].as_array().unwrap().len(), 15);
    assert_eq!(all["nodes"][14]["reads"][0][1], "eval[task=rte,method=dpt]");
}
