//! `--set`: invalid values are errors as in the file, and numbers that are not TOML are reported.

use std::path::Path;

use dpt::base::diag::Diag;
use dpt::pipeline::{LoadOptions, Plan, load_text};

use crate::sandbox::Sandbox;

/// A pipeline whose parameters have these values.
fn load(values: &str, sets: &[(&str, &str)]) -> Result<Plan, Vec<Diag>> {
    let text = format!(
        "schema = 1\n[axes]\nseed = {{ from = 1, count = 2 }}\ntask = [\"rte\"]\n[params]\n{values}\n\
         [stage.s]\nkind = \"command\"\naxes = [\"seed\", \"task\"]\nparams = {{ x = \"{{params.x}}\" }}\n\
         run = [\"cp\", \"params.json\", \"{{out.t}}\"]\noutputs = {{ t = \"t.json\" }}\n"
    );
    let sets = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    load_text(Path::new("p.toml"), text, &LoadOptions { sets, ..LoadOptions::default() })
}

/// Returns the message and help of `--set params.x=VALUE`, an error or a note. The file has `old`.
fn said(old: &str, value: &str) -> Option<String> {
    let diags = load(&format!("x = {old}"), &[("params.x", value)]).map_or_else(|diags| diags, |plan| plan.warnings);
    assert!(diags.len() <= 1, "{diags:?}");
    diags.into_iter().next().map(|diag| diag.message)
}

#[test]
fn set_refuses_the_numbers_that_a_file_refuses() {
    for value in ["nan", "inf", "-inf", "+nan", "1e999", "99999999999999999999", "[1, nan]", "{ a = inf }"] {
        let file = load(&format!("x = {value}"), &[]).unwrap_err().remove(0);
        for old in ["0.3", "\"text\"", "[1]"] {
            // A single word may replace a text.
            if old == "\"text\"" && !value.starts_with(['[', '{']) {
                continue;
            }
            let errors = load(&format!("x = {old}"), &[("params.x", value)]).unwrap_err();
            assert_eq!((errors.len(), &errors[0].message), (1, &file.message), "{value}");
            assert_eq!(errors[0].span.as_ref().unwrap().source.path, Path::new("--set"));
        }
    }
    let errors = load("x = 1", &[("axes.seed", "nan")]).unwrap_err();
    assert_eq!(errors[0].message, "`nan` is not a finite number");
    let errors = load("x = 1", &[("stage.*.params", "{ x = inf }")]).unwrap_err();
    assert_eq!(errors[0].message, "`inf` is not a finite number");
}

#[test]
fn set_notes_numbers_that_are_not_toml() {
    for (typed, written) in
        [(".5", "0.5"), ("5.", "5.0"), ("1.e-5", "1e-5"), ("-.5", "-0.5"), ("01", "1"), ("-007", "-7"), ("0,5", "0.5")]
    {
        for old in ["0.3", "3", "[1, 2]"] {
            let expected = format!("`{typed}` is taken as a text; a number is written `{written}`");
            assert_eq!(said(old, typed), Some(expected), "{old}");
        }
        assert_eq!(said("\"text\"", typed), None, "the file has a text");
    }
    assert_eq!(said("3", "1,000").unwrap(), "`1,000` is taken as a text");
    assert_eq!(said("3", "many").unwrap(), "`many` is taken as a text");
    assert_eq!(said("true", "False").unwrap(), "`False` is taken as a text; a boolean is written `false`");
    assert_eq!(said("[1]", "[1,").unwrap(), "`[1,` is taken as a text");
    let diag = load("x = 3", &[("params.x", ".5")]).unwrap().warnings.remove(0);
    assert_eq!(diag.notes, ["the file has a whole number there, at p.toml:6:5"]);
    assert_eq!(diag.help.unwrap(), "if it is meant as a text, put it in quotes: `--set 'params.x=\"…\"'`");
    let diag = load("x = 3", &[("axes.seed", "01")]).unwrap().warnings.remove(0);
    assert_eq!(diag.message, "`01` is taken as a text; a number is written `1`");
}

#[test]
fn set_of_valid_values_has_no_note() {
    for (old, value) in [
        ("3", "4"),
        ("3", "0.5"),
        ("0.3", "1e-5"),
        ("3", "\".5\""),
        ("3", "'nan'"),
        ("\"a\"", "nan.txt"),
        ("\"2023-01-01\"", "2024-01-01"),
        ("\"a\"", "a,b"),
        ("[\"a\"]", "b"),
        ("[]", "b"),
        ("true", "false"),
    ] {
        assert_eq!(said(old, value), None, "{old} {value}");
    }
    assert!(load("x = 3", &[("axes.task", "cb")]).unwrap().warnings.is_empty());
}

#[test]
fn set_may_replace_a_text_by_a_word_such_as_nan() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        "schema = 1\n[params]\nname = \"first\"\nrate = 0.5\n[stage.s]\nkind = \"command\"\n\
         params = { name = \"{params.name}\", rate = \"{params.rate}\" }\nrun = [\"cp\", \"params.json\", \"{out.t}\"]\n\
         outputs = { t = \"t.txt\" }\n",
    );
    sandbox.dpt(&["run", "p.toml", "--set", "params.name=nan"]).code(0);
    let text = std::fs::read_to_string(sandbox.path().join("cache/results/p/s/t.txt")).unwrap();
    assert!(text.contains("\"name\": \"nan\""), "{text}");
    let refused = sandbox.dpt(&["run", "p.toml", "--set", "params.rate=nan"]).code(2);
    assert!(refused.stderr.contains("`nan` is not a finite number"), "{}", refused.stderr);
}

#[test]
fn set_of_a_parameter_without_params_names_the_stage_form() {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", "schema = 1\n[stage.rows]\nkind = \"generate\"\ntasks = [\"rte\"]\n");
    let ran = sandbox.dpt(&["check", "p.toml", "--set", "params.rank=4"]).code(2);
    assert!(ran.stderr.contains("`params` has no `rank`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("help: write `stage.NAME.rank` to set the parameter of a stage\n"), "{}", ran.stderr);
}
