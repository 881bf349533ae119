//! Whole pipelines, over stub stage kinds.

use super::*;
use crate::base::value::{Params, Value};
use crate::engine::graph::{Accept, NodeId};
use crate::stages::ctx::Outcome;
use crate::stages::stage::{Arity, Literal, Param, Port, Provision, Runs, StageResult, Type};

fn nothing(_: &crate::stages::ctx::Ctx) -> StageResult {
    Ok(Outcome::default())
}

fn even_rank(params: &Params) -> Result<(), Diag> {
    match params.get("rank") {
        Some(Value::Int(rank)) if rank % 2 == 1 => Err(Diag::error(Class::Stage, "`rank` must be even here")),
        _ => Ok(()),
    }
}

const fn kind(name: &'static str, params: &'static [Param], inputs: &'static [Port<'static>]) -> StageKind {
    StageKind { name, about: "a stub", params, inputs, runs: Runs::Here(nothing), ..StageKind::BASE }
}

const fn port(role: &'static str, accepts: &'static [&'static str], arity: Arity) -> Port<'static> {
    Port { role, accepts, files: &["*"], arity, doc: "what it reads" }
}

static DOWNLOAD: StageKind = kind("download", &[Param::required("source", Type::Source, "where from")], &[]);
static TOKENIZE: StageKind = kind(
    "tokenize",
    &[
        Param::required("task", Type::Choice(&["rte", "cb", "wsc"]), "which task"),
        Param::with_default("max_source", Type::Int(1, 4096), Literal::Int(256), "longest input"),
        Param::with_default("words", Type::Strs, Literal::Strs(&[]), "some words"),
    ],
    &[port("data", &["download"], Arity::One)],
);
static SVD: StageKind = kind(
    "svd-init",
    &[Param::with_default("rank", Type::Int(1, i64::MAX), Literal::Int(10), "inner size")],
    &[port("model", &["download"], Arity::One)],
);
static TRAIN: StageKind = StageKind {
    check: Some(even_rank),
    runs: Runs::Worker,
    ..kind(
        "train",
        &[
            Param::required("task", Type::Str, "which task"),
            Param::required("method", Type::Choice(&["dpt", "pt"]), "which method"),
            Param::with_default("seed", Type::Int(0, i64::MAX), Literal::Int(0), "seed"),
            Param::with_default("learning_rate", Type::Float(0.0, 10.0), Literal::Float(0.3), "rate"),
            Param::with_default("rank", Type::Int(1, i64::MAX), Literal::Int(10), "inner size"),
            Param::optional("steps", Type::Int(1, i64::MAX), "steps"),
            Param::optional("extra", Type::Table, "anything"),
        ],
        &[
            port("data", &["tokenize"], Arity::One),
            port("model", &["download"], Arity::One),
            port("init", &["svd-init"], Arity::Optional),
        ],
    )
};
static REPORT: StageKind = kind(
    "report",
    &[Param::with_default("title", Type::Str, Literal::Str("Report"), "its title")],
    &[port("runs", &["train"], Arity::Many), port("init", &["svd-init"], Arity::OptionalMany)],
);
static STUBS: &[&StageKind] = &[&DOWNLOAD, &TOKENIZE, &SVD, &TRAIN, &REPORT];

const WHOLE: &str = r#"
schema = 1
[pipeline]
name = "whole"
targets = ["report"]
[axes]
task = ["rte", "cb"]
method = ["dpt", "pt"]
seed = { from = 42, count = 2 }
[params]
lr = 0.1
[source.data]
url = "https://example.org/{params.where}"
files = { rte = "RTE.zip" }
[source.model]
url = "file:t5"
verify = false
[params.deep]
x = { y = 3 }
[stage.download]
source = "data"
[stage.backbone]
kind = "download"
source = "model"
[stage.tokenize]
axes = ["task"]
needs = { data = "download" }
words = "one"
[stage.svd_init]
axes = ["method"]
when = { method = "dpt" }
needs = { model = "backbone" }
[stage.train]
axes = ["seed", "method", "task"]
needs = { data = "tokenize", model = "backbone", init = "svd_init?" }
learning_rate = "{params.lr}"
extra = { note = "{task}-{seed}", n = "{seed}", deep = "{params.deep.x.y}" }
resources = { cpu = 2, timeout = "2m" }
[[stage.train.by]]
method = "pt"
learning_rate = 1
accept = "exact"
[[stage.train.by]]
task = ["cb"]
steps = 7
resources = { gpu = 0 }
[stage.report]
needs = { runs = "train[*]", init = "svd_init[*]" }
"#;

fn whole() -> String {
    WHOLE.replace("lr = 0.1\n", "lr = 0.1\nwhere = \"v2\"\n")
}

fn try_load(text: &str, sets: &[(&str, &str)]) -> Result<Plan, Vec<Diag>> {
    let sets = sets.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let options = LoadOptions { sets, mirrors: BTreeMap::new(), stages: STUBS, ..LoadOptions::default() };
    load_text(Path::new("test.toml"), text.to_owned(), &options)
}

fn loaded(text: &str, sets: &[(&str, &str)]) -> Plan {
    try_load(text, sets).unwrap_or_else(|diags| panic!("{}", messages(&diags).join("\n")))
}

fn messages(diags: &[Diag]) -> Vec<String> {
    diags.iter().map(Diag::to_string).collect()
}

fn names(plan: &Plan, ids: &[NodeId]) -> Vec<String> {
    ids.iter().map(|id| plan.graph.node(*id).short()).collect()
}

fn find(plan: &Plan, name: &str) -> NodeId {
    plan.select(&[name.to_owned()]).unwrap()[0]
}

fn params<'p>(plan: &'p Plan, name: &str) -> &'p Params {
    &plan.graph.node(find(plan, name)).params
}

fn reads(plan: &Plan, name: &str, role: &str) -> Vec<String> {
    let producers = plan.graph.producers(find(plan, name));
    let ids: Vec<_> = producers.into_iter().filter(|(_, p)| p.role == role).map(|(id, _)| id).collect();
    names(plan, &ids)
}

#[test]
fn a_sweep_is_expanded_and_connected() {
    let plan = loaded(&whole(), &[]);
    assert_eq!((plan.name.as_str(), plan.graph.len()), ("whole", 1 + 1 + 2 + 1 + 8 + 1));
    assert_eq!(names(&plan, &plan.targets), ["report"]);
    assert!(plan.warnings.is_empty(), "{:?}", messages(&plan.warnings));
    // The pipeline's order of axes, not the stage's.
    let node = plan.graph.node(find(&plan, "train[task=cb,method=pt,seed=43]"));
    assert_eq!(node.to_string(), "train[task=cb,method=pt,seed=43]");
    assert_eq!(
        names(&plan, &plan.select(&["train".into()]).unwrap())[..3],
        ["train[rte,dpt,42]", "train[rte,dpt,43]", "train[rte,pt,42]"]
    );
    assert_eq!(reads(&plan, "train[cb,dpt,43]", "data"), ["tokenize[cb]"]);
    assert_eq!(reads(&plan, "train[cb,dpt,43]", "init"), ["svd_init[dpt]"]);
    assert!(reads(&plan, "train[cb,pt,43]", "init").is_empty());
    assert_eq!(reads(&plan, "report", "runs").len(), 8);
}

#[test]
fn value_comes_from_row_table_axis_default_in_this_order() {
    let plan = loaded(&whole(), &[]);
    let dpt = params(&plan, "train[rte,dpt,42]");
    assert_eq!(dpt["learning_rate"], Value::Float(0.1));
    assert_eq!(
        (&dpt["rank"], &dpt["seed"], &dpt["task"]),
        (&Value::Int(10), &Value::Int(42), &Value::Str("rte".into()))
    );
    assert!(!dpt.contains_key("steps"));
    let pt = params(&plan, "train[cb,pt,43]");
    assert_eq!((&pt["learning_rate"], &pt["steps"]), (&Value::Float(1.0), &Value::Int(7)));
    let text = |s: &str| Value::Str(s.to_owned());
    let extra = Params::from([
        ("note".to_owned(), text("cb-43")),
        ("n".to_owned(), Value::Int(43)),
        ("deep".to_owned(), Value::Int(3)),
    ]);
    assert_eq!(pt["extra"], Value::Table(extra));
    assert_eq!(params(&plan, "tokenize[cb]")["words"], Value::List(vec![text("one")]));
}

#[test]
fn resources_and_accept_follow_the_rows() {
    let plan = loaded(&whole(), &[]);
    let node = plan.graph.node(find(&plan, "train[cb,pt,42]"));
    let r = &node.resources;
    assert_eq!((r.cpu, r.gpu, r.retries, r.timeout, node.accept), (2, 0, 0, Some(120), Accept::Exact));
    let node = plan.graph.node(find(&plan, "train[rte,dpt,42]"));
    assert_eq!((node.resources.gpu, node.accept), (1, Accept::Any), "a worker stage may use a GPU");
}

#[test]
fn a_source_becomes_a_table() {
    let plan = loaded(&whole(), &[]);
    let Value::Table(source) = &params(&plan, "download")["source"] else { panic!() };
    assert_eq!(source["name"], Value::Str("data".into()));
    assert_eq!(source["url"], Value::Str("https://example.org/v2".into()));
    assert_eq!(source["verify"], Value::Bool(true));
    assert_eq!(source["files"].to_string(), r#"{ rte = { path = "RTE.zip" } }"#);
}

#[test]
fn exclude_takes_out_and_include_adds() {
    let rows = "[[axes.exclude]]\ntask = \"cb\"\nmethod = [\"pt\"]\n[[axes.include]]\ntask = \"cb\"\nmethod = \"pt\"\nseed = 7\n[params]";
    let plan = loaded(&whole().replacen("[params]", rows, 1), &[]);
    assert_eq!(
        names(&plan, &plan.select(&["train[task=cb]".into()]).unwrap()),
        ["train[cb,dpt,42]", "train[cb,dpt,43]", "train[cb,pt,7]"]
    );
    assert_eq!(plan.select(&["tokenize".into()]).unwrap().len(), 2, "a stage without the axes keeps all");
    // What the command line narrows, `include` does not widen again.
    let plan = loaded(&whole().replacen("[params]", rows, 1), &[("axes.seed", "42")]);
    assert_eq!(plan.select(&["train".into()]).unwrap().len(), 3);
}

#[test]
fn gather_matches_shared_axes() {
    let by_task = whole().replace("[stage.report]", "[stage.report]\naxes = [\"task\"]");
    let plan = loaded(&by_task.replace("targets = [\"report\"]", ""), &[]);
    assert_eq!(plan.targets.len(), plan.graph.len(), "without targets: everything");
    assert_eq!(
        reads(&plan, "report[cb]", "runs"),
        ["train[cb,dpt,42]", "train[cb,dpt,43]", "train[cb,pt,42]", "train[cb,pt,43]"]
    );
    let one = by_task.replace("train[*]", "train[seed=42,*]");
    assert_eq!(reads(&loaded(&one, &[]), "report[cb]", "runs"), ["train[cb,dpt,42]", "train[cb,pt,42]"]);
    let all = by_task.replace("train[*]", "train[task=*,method=pt,seed=42]");
    assert_eq!(reads(&loaded(&all, &[]), "report[cb]", "runs"), ["train[rte,pt,42]", "train[cb,pt,42]"]);
    let listed = by_task.replace("\"train[*]\"", "[\"train[rte,pt,42]\", \"train[cb,dpt,43]\"]");
    assert_eq!(reads(&loaded(&listed, &[]), "report[cb]", "runs"), ["train[rte,pt,42]", "train[cb,dpt,43]"]);
}

#[test]
fn needs_may_name_a_parameter() {
    let text = whole()
        .replace("model = \"backbone\", init", "model = \"{params.model}\", init")
        .replace("lr = 0.1", "lr = 0.1\nmodel = \"backbone\"");
    assert_eq!(reads(&loaded(&text, &[]), "train[cb,pt,42]", "model"), ["backbone"]);
    assert_eq!(reads(&loaded(&text, &[("params.model", "download")]), "train[cb,pt,42]", "model"), ["download"]);
}

#[test]
fn set_changes_written_and_unwritten_settings() {
    let sets = [
        ("params.lr", "2"),
        ("params.deep.x.y", "4"),
        ("axes.task", "[\"cb\"]"),
        ("axes.seed", "7"),
        ("stage.train.rank", "4"),
        ("stage.train.extra.note", "plain text"),
        ("stage.report.title", "It's"),
        ("stage.train.resources.cpu", "8"),
        ("pipeline.targets", "train[cb,dpt,7]"),
        ("source.model.url", "file:elsewhere"),
    ];
    let plan = loaded(&whole(), &sets);
    assert_eq!(names(&plan, &plan.targets), ["train[cb,dpt,7]"]);
    let train = params(&plan, "train[cb,dpt,7]");
    assert_eq!((&train["learning_rate"], &train["rank"]), (&Value::Float(2.0), &Value::Int(4)));
    assert_eq!(train["extra"].to_string(), r#"{ deep = 4, n = 7, note = "plain text" }"#);
    assert_eq!(params(&plan, "report")["title"], Value::Str("It's".into()));
    assert_eq!(plan.graph.node(find(&plan, "train[cb,dpt,7]")).resources.cpu, 8);
}

#[test]
fn set_wins_over_rows_that_may_name_removed_values() {
    let plan = loaded(&whole(), &[("stage.train.learning_rate", "0.5"), ("axes.method", "pt")]);
    assert_eq!(params(&plan, "train[rte,pt,42]")["learning_rate"], Value::Float(0.5));
    assert!(plan.select(&["svd_init".into()]).is_err(), "no instance is left");
    let plan = loaded(&whole(), &[("axes.task", "rte")]);
    assert!(plan.warnings.is_empty(), "{:?}", messages(&plan.warnings));
}

#[test]
fn set_reaches_every_stage_that_has_the_parameter() {
    let plan = loaded(&whole(), &[("stage.*.learning_rate", "0.5"), ("stage.*.rank", "6"), ("stage.train.rank", "8")]);
    let of = |node: &str, name: &str| params(&plan, node)[name].clone();
    assert_eq!(of("train[rte,pt,42]", "learning_rate"), Value::Float(0.5), "and wins over `by`");
    assert_eq!(of("train[rte,dpt,42]", "rank"), Value::Int(8), "a single stage may be set behind it");
    // What is an axis stays one.
    let plan = loaded(&whole(), &[("stage.*.seed", "9")]);
    assert_eq!(params(&plan, "train[rte,dpt,9]")["seed"], Value::Int(9));
}

#[test]
fn wrong_set_is_reported_with_its_place() {
    let said = |key: &str, value: &str| {
        let diags = try_load(&whole(), &[(key, value)]).unwrap_err();
        let label = |d: &Diag| d.label.clone().map(|l| format!(" | {l}")).unwrap_or_default();
        diags.iter().map(|d| format!("{d}{}", label(d))).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(said("params.lrr", "1"), "`--set`: `params` has no `lrr` (--set:1:8) | did you mean `lr`?");
    assert!(said("axes.sed", "1").contains("`axes` has no `sed`"));
    assert!(said("stage.trian.rank", "1").contains("did you mean `train`?"));
    assert_eq!(
        said("stage.train.lerning_rate", "1"),
        "unknown key `lerning_rate` in stage `train` (--set:1:13) | did you mean `learning_rate`?"
    );
    assert_eq!(
        said("stage.train.rank", "ten"),
        "`rank` of stage `train` must be a whole number, at least 1 (--set:1:18) | this is a text"
    );
    assert_eq!(said("stage.*.rnak", "1"), "no stage has a parameter `rnak` (--set:1:9) | did you mean `rank`?");
    assert!(said("stages.train.rank", "1").contains("did you mean `stage`?"));
    assert!(said("params", "1").contains("would replace the whole table"));
    assert!(said("stage.train.by.rank", "1").contains("cannot reach into `by`"));
    assert!(said("a b", "1").contains("`a b` is not a key"));
    assert_eq!(sets::split("a.b = 1").unwrap(), ("a.b".to_owned(), "1".to_owned()));
    assert!(sets::split("a.b").is_err());
}

#[test]
fn targets_are_found_and_missing_ones_reported() {
    let plan = loaded(&whole(), &[]);
    let select = |t: &str| plan.select(&[t.to_owned()]).map(|ids| names(&plan, &ids));
    assert_eq!(select("train[*,dpt,42]").unwrap(), ["train[rte,dpt,42]", "train[cb,dpt,42]"]);
    assert_eq!(select("train[method=pt,task=rte]").unwrap(), ["train[rte,pt,42]", "train[rte,pt,43]"]);
    assert_eq!(plan.select(&["train[*]".into(), "train".into()]).unwrap().len(), 8);
    let said = |t: &str| select(t).unwrap_err()[0].to_string();
    assert!(said("trian").starts_with("there is no stage `trian`"));
    assert!(said("train[rtee,dpt,42]").starts_with("axis `task` has no value `rtee`"));
    assert!(said("train[rte]").contains("`train` has 3 axes"));
    assert!(said("train[x=1]").contains("stage `train` has no axis `x`"));
    assert!(said("svd_init[pt]").contains("there are `svd_init[dpt]`"));
}

#[test]
fn check_of_a_kind_is_reported_once() {
    let diags = try_load(&whole(), &[("stage.train.rank", "3")]).unwrap_err();
    assert_eq!(diags.len(), 1);
    assert_eq!(
        diags[0].to_string(),
        "`rank` must be even here (test.toml:34:8)\n  = note: in `train[task=rte,method=dpt,seed=42]`"
    );
    assert_eq!(diags[0].class, Class::Usage);
}

#[test]
fn circle_is_reported_by_its_nodes() {
    static A: StageKind = kind("a", &[], &[port("x", &[], Arity::Optional)]);
    let text = "schema = 1\n[stage.b]\nkind = \"a\"\nneeds = { x = \"a\" }\n[stage.a]\nneeds = { x = \"c\" }\n[stage.c]\nkind = \"a\"\nneeds = { x = \"b\" }\n";
    let options = LoadOptions { stages: &[&A], ..LoadOptions::default() };
    let diags = load_text(Path::new("t.toml"), text.to_owned(), &options).unwrap_err();
    assert_eq!(
        messages(&diags),
        ["these nodes wait for each other: `b` → `c` → `a` → `b` (t.toml:4:1)\n  \
         = note: `c` reads `b` as `x` (t.toml:9:11)\n  \
         = note: `a` reads `c` as `x` (t.toml:6:11)\n  \
         = note: `b` reads `a` as `x` (t.toml:4:11)"]
    );
}

#[test]
fn pins_beside_the_pipeline_are_merged_and_must_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    let pin = |sha256: &str| pins::Pin { path: "RTE.zip".into(), sha256: sha256.repeat(64).parse().unwrap(), bytes: 9 };
    let write = |sha256: &str| {
        let files = BTreeMap::from([("rte".to_owned(), pin(sha256))]);
        pins::write(&path, &pins::Pins::from([("data".to_owned(), files)])).unwrap();
    };
    write("a");
    let options = LoadOptions { stages: STUBS, ..LoadOptions::default() };
    let plan = load_text(&path, whole(), &options).unwrap();
    let files = params(&plan, "download")["source"].to_string();
    assert!(files.contains(r#"rte = { bytes = 9, path = "RTE.zip", sha256 = "aaaa"#), "{files}");
    let pinned = whole()
        .replace("rte = \"RTE.zip\"", &format!("rte = {{ path = \"RTE.zip\", sha256 = \"{}\" }}", "b".repeat(64)));
    let diags = load_text(&path, pinned, &options).unwrap_err();
    assert!(messages(&diags)[0].starts_with("`sha256` of `rte` is not what was pinned"), "{diags:?}");
}

#[test]
fn a_mirror_must_name_a_source() {
    let mirrors = BTreeMap::from([("dta".to_owned(), PathBuf::from("x"))]);
    let options = LoadOptions { mirrors, stages: STUBS, sets: Vec::new(), ..LoadOptions::default() };
    let diags = load_text(Path::new("t.toml"), whole(), &options).unwrap_err();
    assert_eq!(diags[0].message, "`--mirror dta=…` names an unknown source");
}

#[test]
fn a_missing_file_is_a_usage_error() {
    let diags = load(Path::new("no/such.toml"), &LoadOptions::default()).unwrap_err();
    assert_eq!(diags[0].class, Class::Usage);
    assert!(diags[0].message.contains("`no/such.toml`"));
}

#[test]
fn parameters_are_not_named_as_keys_of_the_stage_table() {
    for kind in STAGES.iter().chain(STUBS) {
        for param in kind.all_params() {
            assert!(!spec::STAGE_KEYS.contains(&param.name), "`{}` of `{}`", param.name, kind.name);
        }
    }
}

static FETCH: StageKind = StageKind {
    provides: &[Provision::when("rows", "format", "table"), Provision::when("adapter", "format", "adapter")],
    ..kind("fetch", &[Param::required("format", Type::Choice(&["table", "adapter"]), "what it is")], &[])
};
static NEW: StageKind = StageKind { provides: &[Provision::always("adapter")], ..kind("new", &[], &[]) };
static SCORE: StageKind = kind("score", &[], &[port("adapter", &["adapter"], Arity::One)]);

const PROVIDERS: &str = r#"
schema = 1
[axes]
format = ["table", "adapter"]
[stage.new]
[stage.fetch]
axes = ["format"]
[stage.by_new]
kind = "score"
needs = { adapter = "new" }
[stage.by_fetch]
kind = "score"
needs = { adapter = "fetch[FORMAT]" }
"#;

#[test]
fn port_takes_any_kind_that_provides_what_it_accepts() {
    let stages: &[&StageKind] = &[&FETCH, &NEW, &SCORE];
    let load = |format: &str| {
        let options = LoadOptions { stages, ..LoadOptions::default() };
        load_text(Path::new("t.toml"), PROVIDERS.replace("FORMAT", format), &options)
    };
    assert_eq!(load("adapter").unwrap().graph.len(), 5);
    assert_eq!(
        messages(&load("table").unwrap_err()),
        [
            "role `adapter` takes a stage that provides `adapter`, which `fetch[format=table]` does not (t.toml:13:21)\n  \
         = help: a `fetch` stage does with `format = \"adapter\"`"
        ]
    );
}

#[test]
fn port_refuses_a_kind_that_never_provides_what_it_accepts() {
    let options = LoadOptions { stages: &[&FETCH, &NEW, &SCORE], ..LoadOptions::default() };
    let text = PROVIDERS.replace("fetch[FORMAT]", "by_new");
    let diags = load_text(Path::new("t.toml"), text, &options).unwrap_err();
    assert_eq!(diags.len(), 1);
    assert_eq!(diags[0].message, "role `adapter` of stage `by_fetch` cannot take `by_new`, a stage of kind `score`");
    assert_eq!(diags[0].label.as_deref(), Some("takes `fetch` or `new`"));
}

/// Ten thousand nodes and twenty thousand edges; `--nocapture` tells the time.
#[test]
fn a_large_sweep_loads() {
    let text = whole().replace("count = 2", "count = 2498");
    let start = std::time::Instant::now();
    let plan = loaded(&text, &[]);
    println!("{} nodes in {:?}", plan.graph.len(), start.elapsed());
    assert_eq!(plan.graph.len(), 1 + 1 + 2 + 1 + 4 * 2498 + 1);
    assert_eq!(reads(&plan, "report", "runs").len(), 4 * 2498);
}
