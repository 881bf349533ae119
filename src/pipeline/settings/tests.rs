//! Parameters that a stage has for some values of another parameter only.

use std::path::Path;

use crate::base::diag::Diag;
use crate::base::value::{Params, Value};
use crate::engine::key;
use crate::pipeline::{LoadOptions, Plan, load_text};
use crate::stages::ctx::{Ctx, Outcome};
use crate::stages::stage::{Literal, Param, Runs, StageKind, StageResult, Type, Variant, Variants};

fn nothing(_: &Ctx) -> StageResult {
    Ok(Outcome::default())
}

/// A stage over three methods: one with `rank` and a width that must be set, one with nothing of its own, and one with
/// `hidden` and another default of `schedule`.
static TUNE: StageKind = StageKind {
    name: "tune",
    about: "a stub",
    params: &[
        Param::with_default("seed", Type::Int(0, 99), Literal::Int(1), "seed"),
        Param::required("method", Type::Choice(&["low", "full", "net"]), "which method"),
        Param::with_default("schedule", Type::Choice(&["falls", "stays"]), Literal::Str("falls"), "how the rate goes"),
    ],
    variants: Some(Variants {
        of: "method",
        rows: &[
            Variant {
                word: "low",
                params: [
                    &[Param::with_default("rank", Type::Int(1, 99), Literal::Int(10), "inner size")],
                    &[Param::required("width", Type::Int(1, 99), "a width")],
                ],
                defaults: &[],
            },
            Variant { word: "full", params: [&[], &[]], defaults: &[] },
            Variant {
                word: "net",
                params: [&[Param::with_default("hidden", Type::Int(1, 999), Literal::Int(400), "units")], &[]],
                defaults: &[("schedule", Literal::Str("stays"))],
            },
        ],
    }),
    runs: Runs::Here(nothing),
    ..StageKind::BASE
};
static STUBS: &[&StageKind] = &[&TUNE];

const HEAD: &str = "schema = 1\n[pipeline]\nname = \"p\"\ntargets = [\"tune\"]\n";

/// Returns a pipeline whose stage `tune` goes over `methods` with these settings.
fn over(methods: &str, settings: &str) -> String {
    format!("{HEAD}[axes]\nmethod = {methods}\n[stage.tune]\naxes = [\"method\"]\n{settings}\n")
}

/// Returns a pipeline with one node of `method`.
fn alone(method: &str, settings: &str) -> String {
    format!("{HEAD}[stage.tune]\nmethod = \"{method}\"\n{settings}\n")
}

fn load(text: &str, sets: &[(&str, &str)]) -> Result<Plan, Vec<Diag>> {
    let sets = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    load_text(Path::new("p.toml"), text.to_owned(), &LoadOptions { sets, stages: STUBS, ..LoadOptions::default() })
}

/// Returns the parameters of the node of `method`.
fn params(text: &str, method: &str) -> Params {
    let plan = load(text, &[]).unwrap_or_else(|diags| panic!("{}", diags[0]));
    let mut nodes = plan.graph.ids().map(|id| plan.graph.node(id));
    Params::clone(&nodes.find(|node| node.params["method"] == Value::Str(method.into())).unwrap().params)
}

fn refused(text: &str) -> Diag {
    let mut diags = load(text, &[]).unwrap_err();
    assert_eq!(diags.len(), 1, "{diags:?}");
    diags.remove(0)
}

#[test]
fn parameter_set_for_all_methods_counts_for_those_that_have_it() {
    let text = over("[\"low\", \"full\", \"net\"]", "rank = 4\nwidth = 7");
    let low = params(&text, "low");
    assert_eq!((&low["rank"], &low["width"]), (&Value::Int(4), &Value::Int(7)));
    let full = params(&text, "full");
    assert_eq!(full.keys().collect::<Vec<_>>(), ["method", "schedule", "seed"]);
    assert_eq!(params(&text, "net").get("rank"), None);
}

#[test]
fn each_method_has_its_own_defaults_and_a_setting_wins() {
    let text = over("[\"low\", \"net\"]", "width = 7");
    let word = |text: &str| Value::Str(text.into());
    assert_eq!((&params(&text, "low")["rank"], &params(&text, "low")["schedule"]), (&Value::Int(10), &word("falls")));
    assert_eq!(
        (&params(&text, "net")["hidden"], &params(&text, "net")["schedule"]),
        (&Value::Int(400), &word("stays"))
    );
    let text = over("[\"net\", \"full\"]", "schedule = \"falls\"");
    assert_eq!(params(&text, "net")["schedule"], word("falls"));
    let by = over("[\"net\", \"full\"]", "[[stage.tune.by]]\nmethod = \"net\"\nhidden = 3");
    assert_eq!(params(&by, "net")["hidden"], Value::Int(3));
}

#[test]
fn parameter_of_another_method_is_refused_with_a_suggestion() {
    let diag = refused(&alone("full", "rank = 4"));
    assert_eq!(diag.message, "method `full` has no parameter `rank`");
    assert_eq!((&diag.notes[0][..], diag.help.as_deref()), ("it is a parameter of method `low`", Some("leave it out")));
    let shown = diag.span.as_ref().unwrap();
    assert_eq!(&shown.source.text[shown.range.clone()], "rank");

    let diag = refused(&over("[\"full\", \"net\"]", "rank = 4"));
    assert_eq!(diag.message, "methods `full` and `net` have no parameter `rank`");

    let by = over("[\"low\", \"full\"]", "width = 7\n[[stage.tune.by]]\nmethod = \"full\"\nrank = 4");
    assert_eq!(refused(&by).message, "method `full` has no parameter `rank`");

    let diag = refused(&over("[\"net\"]", "hiden = 3"));
    assert_eq!(
        (&diag.message[..], diag.label.as_deref()),
        ("unknown key `hiden` in stage `tune`", Some("did you mean `hidden`?"))
    );
}

#[test]
fn settings_of_a_method_left_out_by_set_are_no_error() {
    let text = over("[\"low\", \"full\"]", "rank = 4\nwidth = 7");
    let plan = load(&text, &[("axes.method", "[\"full\"]")]).unwrap();
    assert_eq!(plan.graph.len(), 1);
    let plan = load(&text, &[("stage.*.rank", "6")]).unwrap();
    let ranks: Vec<_> = plan.graph.ids().filter_map(|id| plan.graph.node(id).params.get("rank").cloned()).collect();
    assert_eq!(ranks, [Value::Int(6)]);
}

#[test]
fn parameter_that_a_method_requires_must_be_set_for_it() {
    let diag = refused(&over("[\"low\", \"full\"]", "rank = 4"));
    assert_eq!(diag.message, "stage `tune` lacks the parameter `width`");
    assert_eq!(diag.label.as_deref(), Some("needed for `tune[method=low]`"));
    assert!(load(&over("[\"full\", \"net\"]", ""), &[]).is_ok());
}

/// What a method does not have is no field of its key.
#[test]
fn parameter_of_another_method_does_not_change_a_key() {
    let keys = |rank: u32| {
        let text = over("[\"low\", \"full\", \"net\"]", &format!("rank = {rank}\nwidth = 7"));
        let plan = load(&text, &[]).unwrap();
        let key = |id| key::recipe(plan.graph.node(id), &Default::default(), &[], &[]).key();
        plan.graph.ids().map(key).collect::<Vec<_>>()
    };
    let (four, six) = (keys(4), keys(6));
    assert_ne!(four[0], six[0]);
    assert_eq!(four[1..], six[1..]);
}
