//! Limits that keep the check of a small pipeline file fast. Each is reported with its line.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use dpt::base::diag::Diag;
use dpt::pipeline::{LoadOptions, Plan, load_text};

/// Much longer than these checks take, and much shorter than without the limits.
const SOON: Duration = Duration::from_secs(60);

fn load(text: &str) -> Result<Plan, Vec<Diag>> {
    let start = Instant::now();
    let plan = load_text(Path::new("p.toml"), text.to_owned(), &LoadOptions::default());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    plan
}

/// Returns each problem with its line.
fn problems(text: &str) -> Vec<String> {
    let line = |diag: &Diag| diag.span.as_ref().map_or(0, |span| span.line_column().0);
    let all = load(text).expect_err("it has a limit");
    all.iter().map(|diag| format!("{}: {}", line(diag), diag.message)).collect()
}

/// A stage `s` with these arguments, and lines of its own.
fn stage(arguments: &str, lines: &str) -> String {
    format!("[stage.s]\nkind = \"command\"\nrun = [\"echo\", {arguments}]\noutputs = {{ x = \"x\" }}\n{lines}")
}

/// `first`, and `n` further parameters, each `next` with `@` for the name of the one before.
fn chain(first: &str, n: usize, next: &str) -> String {
    let mut text = format!("schema = 1\n[params]\na0 = {first}\n");
    for i in 1..=n {
        writeln!(text, "a{i} = {}", next.replace('@', &format!("{{params.a{}}}", i - 1))).unwrap();
    }
    text
}

const TOO_LARGE: &str = "this value becomes larger than 4.0 MB when its parameters are filled in";

#[test]
fn doubling_parameters_are_reported_where_they_get_too_large() {
    let doubled = chain("\"xxxxxxxxxx\"", 40, "\"@@\"") + &stage("\"{params.a40}\"", "");
    assert_eq!(problems(&doubled), [format!("18: {TOO_LARGE}")]);
    // Empty values double to empty values, but must still be visited.
    let empty = chain("\"\"", 40, "\"@@\"") + &stage("\"{params.a40}\"", "");
    assert_eq!(problems(&empty), [format!("18: {TOO_LARGE}")]);
    let lists = chain("[1]", 40, "[\"@\", \"@\"]") + &stage("\"x\"", "params = { p = \"{params.a40}\" }\n");
    assert!(problems(&lists)[0].ends_with(TOO_LARGE));
    let tables =
        chain("{ a = 1 }", 40, "{ a = \"@\", b = \"@\" }") + &stage("\"x\"", "params = { p = \"{params.a40}\" }\n");
    assert!(problems(&tables)[0].ends_with(TOO_LARGE));
    let by_axis =
        chain("\"{n}\"", 40, "\"@@\"") + "[axes]\nn = [1, 2]\n" + &stage("\"{params.a40}\"", "axes = [\"n\"]\n");
    assert!(problems(&by_axis)[0].ends_with(TOO_LARGE));
    let hundred = format!("\"{}\"", "@".repeat(100));
    let wide = chain("\"x\"", 5, &hundred) + &stage("\"{params.a5}\"", "");
    assert!(problems(&wide)[0].ends_with(TOO_LARGE));
    // References in a source, a condition, and the producer of a role.
    let chain = || chain("\"x\"", 40, "\"@@\"");
    let source = chain() + "[source.s]\nurl = \"file:{params.a40}\"\n";
    assert!(problems(&source)[0].ends_with(TOO_LARGE));
    let needs = chain() + &stage("\"x\"", "needs = { r = \"{params.a40}\" }\n");
    assert!(problems(&needs)[0].ends_with(TOO_LARGE));
    let by = chain()
        + "[axes]\nn = [1, 2]\n"
        + &stage("\"x\"", "axes = [\"n\"]\n[[stage.s.by]]\nn = 1\nrun = [\"{params.a40}\"]\n");
    assert!(problems(&by)[0].ends_with(TOO_LARGE));
}

#[test]
fn each_parameter_is_resolved_once() {
    // 2^60 paths, where every text is empty except a mistake at the end.
    let wrong = chain("\"{nothing}\"", 60, "\"@@\"") + &stage("\"{params.a60}\"", "");
    assert_eq!(problems(&wrong), ["3: `{nothing}` refers to nothing"]);
    let circle = chain("\"{params.a60}\"", 60, "\"@@\"") + &stage("\"{params.a60}\"", "");
    assert!(problems(&circle)[0].contains("refer to each other in a circle"));
    let unowned = chain("\"{n}\"", 60, "\"@@\"") + "[axes]\nn = [1, 2]\n" + &stage("\"{params.a60}\"", "");
    assert_eq!(problems(&unowned), ["3: stage `s` has no axis `n`, so `{n}` refers to nothing"]);
}

#[test]
fn large_values_and_long_chains_within_the_limits_are_valid() {
    let text = "x".repeat(1_000_000);
    let large = format!("schema = 1\n[params]\na = \"{text}\"\n") + &stage("\"{params.a}{params.a}{params.a}\"", "");
    load(&large).unwrap();
    let long = chain("\"x\"", 99, "\"@y\"") + &stage("\"{params.a99}\"", "");
    load(&long).unwrap();
    // Values without references are only as large as the file.
    let list = vec!["1"; 100_000].join(", ");
    load(&("schema = 1\n".to_owned() + &stage("\"x\"", &format!("params = {{ l = [{list}] }}\n")))).unwrap();
}

#[test]
fn too_deep_chains_and_nests_are_reported() {
    for asked in [
        "\"{params.a5000}\"".to_owned(),
        (1..=5000).map(|i| format!("\"{{params.a{i}}}\"")).collect::<Vec<_>>().join(","),
    ] {
        let all = problems(&(chain("\"x\"", 5000, "\"@\"") + &stage(&asked, "")));
        assert!(all[0].ends_with("more than 100 parameters refer to one another in a row"), "{all:?}");
    }
    let nested = chain("[1]", 90, "[\"@\"]") + &stage("\"x\"", "params = { p = \"{params.a90}\" }\n");
    assert!(problems(&nested)[0].ends_with("nested more than 80 deep when its parameters are filled in"));
    let deep = 100_000;
    for value in ["[".repeat(deep) + &"]".repeat(deep), "{a=".repeat(deep) + "1" + &"}".repeat(deep), "[".repeat(deep)]
    {
        problems(&format!("schema = 1\n[params]\nx = {value}\n"));
    }
    for text in [format!("{} = 1\n", vec!["a"; deep].join(".")), format!("[params.{}]\n", vec!["a"; deep].join("."))] {
        problems(&format!("schema = 1\n[params]\n{text}"));
    }
}

#[test]
fn large_values_are_counted_over_all_settings_and_nodes() {
    let text = "x".repeat(1_000_000);
    let params = format!("schema = 1\n[params]\na = \"{text}\"\nb = \"{{params.a}}{{params.a}}{{params.a}}\"\n");
    let mut many = params.clone() + "[source.s]\nurl = \"file:x\"\n[source.s.files]\n";
    (0..1000).for_each(|i| writeln!(many, "f{i} = \"{{params.b}}\"").unwrap());
    let together = "up to here, all values together become larger than 200.0 MB when their parameters are filled in";
    let all = problems(&many);
    assert!(all.iter().any(|problem| problem.ends_with(together)), "{}", all.len());
    assert_eq!(all.iter().filter(|problem| problem.ends_with(together)).count(), 1);
    let axes = "[axes]\nn = { from = 0, count = 1000 }\n";
    let sweep = params + axes + &stage("\"{params.b}\", \"{n}\"", "axes = [\"n\"]\n");
    let all = problems(&sweep);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].ends_with("the parameters of all instances together become larger than 200.0 MB"));
}

#[test]
fn only_the_node_limit_is_reported_when_exceeded() {
    let axes = "schema = 1\n[axes]\na = { from = 0, count = 2000 }\nb = { from = 0, count = 2000 }\n";
    let stages = stage(
        "\"{a}\"",
        "axes = [\"a\", \"b\"]\n[stage.t]\nkind = \"command\"\nneeds = { r = \"s[a=1,*]\" }\n\
         axes = [\"a\"]\nrun = [\"echo\", \"{a}\", \"{in.r}\"]\noutputs = { y = \"y\" }\n",
    );
    let targets = "[pipeline]\ntargets = [\"s[1,1]\"]\n";
    assert_eq!(
        problems(&(axes.to_owned() + targets + &stages)),
        ["7: the pipeline expands to more than 1000000 nodes"]
    );
}

#[test]
fn sweeps_have_limits_in_every_direction() {
    let stage = |axes: &str, more: &str| stage("\"x\"", &format!("axes = {axes}\n{more}"));
    // Rows of `include` that each add a product.
    let mut include = "schema = 1\n[axes]\na = { from = 0, count = 1000 }\nb = { from = 0, count = 900 }\n".to_owned();
    (0..1000).for_each(|i| writeln!(include, "[[axes.include]]\na = {}", 5000 + i).unwrap());
    assert!(problems(&(include + &stage("[\"a\", \"b\"]", "")))[0].ends_with("more than 1000000 nodes"));
    // Many axes of many values, many axes of one node, many long names.
    let mut axes = "schema = 1\n[axes]\n".to_owned();
    (0..50).for_each(|i| writeln!(axes, "a{i} = {{ from = 0, count = 1000000 }}").unwrap());
    assert!(problems(&axes)[0].ends_with("the axes have more than 1000000 values together"));
    let ones = |long: &str| {
        let mut text = "schema = 1\n[axes]\nn = { from = 0, count = 50000 }\n".to_owned();
        (0..300).for_each(|i| writeln!(text, "a{i} = [\"{long}\"]").unwrap());
        let names: Vec<_> = (0..300).map(|i| format!("\"a{i}\"")).collect();
        text + &stage(&format!("[\"n\", {}]", names.join(",")), "")
    };
    assert!(problems(&ones("x").replace("50000", "500000"))[0].contains("more than 32000000 values of axes"));
    assert!(problems(&ones(&"x".repeat(200)))[0].contains("values of the axes of all instances together"));
    // Rows and targets that are compared with every node.
    let many = "schema = 1\n[axes]\nn = { from = 0, count = 200000 }\n";
    let mut exclude = many.to_owned();
    (0..600).for_each(|i| writeln!(exclude, "[[axes.exclude]]\nn = {i}").unwrap());
    assert!(problems(&(exclude + &stage("[\"n\"]", "")))[0].contains("comparisons with the rows of `exclude`"));
    let mut by = many.to_owned() + &stage("[\"n\"]", "");
    (0..600).for_each(|i| writeln!(by, "[[stage.s.by]]\nn = {i}\nrun = [\"x\"]").unwrap());
    assert!(problems(&by)[0].contains("has 600 `by` rows for 200000 instances"));
    let targets: Vec<_> = (0..600).map(|i| format!("\"s[{i}]\"")).collect();
    let pipeline = format!("[pipeline]\ntargets = [{}]\n", targets.join(","));
    assert!(problems(&(many.to_owned() + &pipeline + &stage("[\"n\"]", "")))[0].contains("the targets take more than"));
    // Every node gathers all nodes.
    let gather = "schema = 1\n[axes]\na = { from = 0, count = 20000 }\nb = { from = 0, count = 20000 }\n".to_owned()
        + &stage("[\"a\"]", "")
        + "[stage.t]\nkind = \"command\"\naxes = [\"b\"]\nneeds = { r = \"s[*]\" }\nrun = [\"echo\", \"{in.r}\"]\n\
           outputs = { y = \"y\" }\n";
    let all = problems(&gather);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].ends_with("the pipeline has more than 10000000 edges between its nodes"));
}

#[test]
fn target_with_too_many_alternatives_is_reported() {
    let axes: Vec<_> = (0..40).map(|i| format!("a{i} = [1, 2]")).collect();
    let plan = load(&format!("schema = 1\n[axes]\n{}\n{}", axes.join("\n"), stage("\"x\"", ""))).unwrap();
    let target = format!("s[{}]", ["1|2"; 40].join(","));
    let problem = plan.select(&[target]).unwrap_err();
    assert_eq!(problem[0].message, "this target means more than 100000 targets");
}
