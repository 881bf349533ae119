//! `dpt explain`: every status, the first cause of a changed input, and that it writes nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::support::copies::chain;

fn explain(sandbox: &Sandbox, words: &[&str]) -> String {
    let ran = sandbox.dpt(&[&["explain", "chain.toml"], words].concat()).code(0);
    assert_eq!(ran.stderr, "");
    keys(&ran.stdout)
}

/// Replaces keys, run ids and dates by `<KEY>`, `<RUN>` and `<DATE>`.
fn keys(text: &str) -> String {
    let text = regex::Regex::new(r"b3:[0-9a-f]{12}").unwrap().replace_all(text, "<KEY>").into_owned();
    let text = regex::Regex::new(r"20\d{6}-\d{6}-\d+").unwrap().replace_all(&text, "<RUN>").into_owned();
    regex::Regex::new(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC").unwrap().replace_all(&text, "<DATE>").into_owned()
}

fn json(sandbox: &Sandbox, words: &[&str]) -> Value {
    let ran = sandbox.dpt(&[&["explain", "chain.toml", "--json"], words].concat());
    serde_json::from_str(ran.stdout.trim_end()).unwrap()
}

/// Returns names, sizes and times of all files of the store.
fn footprint(folder: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let meta = entry.metadata().unwrap();
        found.push((entry.path().display().to_string(), meta.len(), meta.modified().unwrap()));
        if meta.is_dir() {
            found.extend(footprint(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn explain_shows_missing_and_blocked_nodes() {
    let sandbox = chain();
    let missing = explain(&sandbox, &["data[rte]"]);
    assert!(
        missing.starts_with("data[rte] is missing: never made before; the next run makes it\n  key         <KEY>\n"),
        "{missing}"
    );
    let blocked = explain(&sandbox, &["tokenize[rte]"]);
    let expected = "\
tokenize[rte] is blocked: by data[rte], model; it has no result, so it will run after them
  key         not known yet
  <- data[rte] is missing: never made before
  <- model is missing: never made before
  not in key  cpu 1, gpu 0, retries 0
";
    assert_eq!(blocked, expected);
    assert!(!sandbox.path().join("cache").exists(), "explaining makes no store");
}

#[test]
fn explain_shows_the_result_of_a_fresh_node() {
    let sandbox = chain();
    sandbox.dpt(&["run", "chain.toml"]).code(0);
    let fresh = explain(&sandbox, &["tokenize[task=rte]"]);
    assert!(
        fresh.starts_with("tokenize[rte] is fresh: the store has a result for its recipe, which a run will use\n"),
        "{fresh}"
    );
    assert!(
        fresh.contains("\n  made        <DATE> in <TIME>, by run <RUN>\n  because     never made before\n"),
        "{fresh}"
    );
    let recipe = explain(&sandbox, &["tokenize[task=rte]", "--recipe"]);
    assert!(recipe.contains("\n  recipe\n    schema = 1\n    stage = tokenize\n"), "{recipe}");
    let json = json(&sandbox, &["tokenize[rte]"]);
    assert_eq!((json["status"].as_str(), json["schema"].as_u64()), (Some("fresh"), Some(1)));
    assert!(json["made"]["seconds"].as_f64().unwrap() >= 0.0);
}

#[test]
fn explain_shows_line_and_row_of_a_changed_parameter() {
    let sandbox = chain();
    sandbox.dpt(&["run", "chain.toml"]).code(0);
    let text = fs::read_to_string(sandbox.path().join("chain.toml")).unwrap();
    let line = text.lines().count() + 3;
    sandbox.write("chain.toml", &format!("{text}\n[[stage.tokenize.by]]\nmax_source_length = 8\ntask = \"rte\"\n"));
    let before = footprint(&sandbox.path().join("cache"));
    let stale = explain(&sandbox, &["tokenize[rte]"]);
    let expected = format!(
        "\
tokenize[rte] is stale: the next run makes it again
  key         <KEY> -> <KEY>
  against     the last result, made <DATE> in <TIME>
  param max_source_length  64 -> 8  chain.toml:{line} (by task = \"rte\")
  unchanged   input tokenizer, input data, max_target_length, order, record_prefix, rte_fields and 3 more
  not in key  cpu 1, gpu 0, retries 0
"
    );
    assert_eq!(stale, expected);
    assert_eq!(footprint(&sandbox.path().join("cache")), before, "nothing is written");
    let json = json(&sandbox, &["tokenize[rte]"]);
    let change = &json["changes"][0];
    assert_eq!(
        (&change["field"], &change["old"], &change["new"]),
        (&"param.max_source_length".into(), &64.into(), &8.into())
    );
    assert_eq!((&change["origin"]["line"], &change["origin"]["by"]), (&line.into(), &"task = \"rte\"".into()));
}

#[test]
fn explain_uses_journals_without_the_index() {
    let sandbox = chain();
    sandbox.dpt(&["run", "chain.toml"]).code(0);
    fs::remove_file(sandbox.path().join("cache/v1/index")).unwrap();
    let told = explain(&sandbox, &["tokenize[rte]", "--set", "stage.tokenize.max_source_length=8"]);
    assert!(told.starts_with("tokenize[rte] is stale: the next run makes it again\n"), "{told}");
    assert!(told.contains("  param max_source_length  64 -> 8  --set\n"), "{told}");
}

#[test]
fn explain_follows_a_changed_input_to_its_file() {
    let sandbox = chain();
    sandbox.dpt(&["run", "chain.toml"]).code(0);
    let rows = fs::read_to_string(sandbox.path().join("data/RTE/train.jsonl")).unwrap();
    sandbox.write("data/RTE/train.jsonl", &rows.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>());
    let blocked = explain(&sandbox, &["tokenize[rte]"]);
    assert!(blocked.contains("is blocked: by data[rte]; it runs again only if their results change\n"), "{blocked}");
    assert!(blocked.contains("  <- data[rte] is stale\n     file train.jsonl  <KEY> -> <KEY>\n"), "{blocked}");
    let own = explain(&sandbox, &["tokenize[rte]", "--set", "stage.tokenize.max_source_length=8"]);
    assert!(own.contains("by data[rte]; it will run in any case, since its own recipe has changed\n"), "{own}");
    assert!(own.contains("  param max_source_length  64 -> 8  --set\n"), "{own}");

    sandbox.dpt(&["run", "chain.toml", "--only", "data"]).code(0);
    let stale = explain(&sandbox, &["tokenize[rte]"]);
    let expected = "\
  input data  <KEY> -> <KEY>  train.parquet
    <- data[rte] ran again  run <RUN>
       file train.jsonl  <KEY> -> <KEY>
";
    assert!(stale.contains(expected), "{stale}");
    let json = json(&sandbox, &["tokenize[rte]"]);
    let cause = &json["changes"][0]["causes"][0];
    assert_eq!(cause["node"], "data[task=rte]");
    assert_eq!(cause["changes"][0]["field"], "file.train.jsonl");
}

#[test]
fn explain_compares_with_a_run_or_a_stored_result() {
    let sandbox = chain();
    sandbox.dpt(&["run", "chain.toml"]).code(0);
    let old = json(&sandbox, &["tokenize[rte]"])["key"].as_str().unwrap().to_owned();
    let set = ["--set", "stage.tokenize.max_source_length=8"];
    sandbox.dpt(&[&["run", "chain.toml"], &set[..]].concat()).code(0);
    let key = format!("b3:{}", &old[..12]);
    for against in ["last~1", key.as_str()] {
        let told = explain(&sandbox, &[&["tokenize[rte]", "--against", against], &set[..]].concat());
        assert!(
            told.contains("tokenize[rte] is fresh") && told.contains("  param max_source_length  64 -> 8  --set\n"),
            "{told}"
        );
    }
    let none = sandbox.dpt(&["explain", "chain.toml", "model", "--against", "last~9"]).code(2);
    assert!(none.stderr.contains("there is no run `last~9` in the store"), "{}", none.stderr);
    let none = sandbox.dpt(&["explain", "chain.toml", "model", "--against", "b3:0000"]).code(2);
    assert!(none.stderr.contains("the store has no result with the key `b3:0000`"), "{}", none.stderr);
}

#[test]
fn explain_shows_damaged_removed_failed_and_unknown_nodes() {
    let sandbox = chain();
    sandbox.dpt(&["run", "chain.toml"]).code(0);
    let made = json(&sandbox, &["model"]);
    let file = made["made"]["files"]["config.json"]["bytes"].as_str().unwrap().to_owned();
    let object = sandbox.path().join("cache/v1/objects").join(&file[..2]).join(&file[2..]);
    let bytes = fs::read(&object).unwrap();
    fs::remove_file(&object).unwrap();
    fs::write(&object, &bytes[1..]).unwrap();
    let damaged = explain(&sandbox, &["model"]);
    assert!(
        damaged.starts_with("model is damaged: the next run moves its result to quarantine and makes it again\n"),
        "{damaged}"
    );
    assert!(damaged.contains("  damaged: `config.json` is not what was stored\n"), "{damaged}");

    let key = json(&sandbox, &["data[cb]"])["key"].as_str().unwrap().to_owned();
    fs::remove_file(sandbox.path().join(format!("cache/v1/entries/{}/{}.json", &key[..2], &key[2..]))).unwrap();
    fs::remove_file(sandbox.path().join("cache/v1/index")).unwrap();
    let removed = json(&sandbox, &["data[cb]"]);
    assert_eq!(removed["status"], "missing");

    sandbox.write("data/CB/train.jsonl", "no json\n");
    sandbox.dpt(&["run", "chain.toml", "data[cb]"]).code(1);
    let failed = explain(&sandbox, &["data[cb]"]);
    assert!(failed.contains("\n  last try    failed: ") && failed.contains("line 1"), "{failed}");

    fs::remove_dir_all(sandbox.path().join("data")).unwrap();
    let gone = sandbox.dpt(&["explain", "chain.toml", "data[cb]"]).code(6);
    assert!(gone.stdout.starts_with("data[cb] is unknown: its key cannot be made\n"), "{}", gone.stdout);
    assert!(gone.stderr.contains("names a place that is not there"), "{}", gone.stderr);
}

#[test]
fn explain_needs_exactly_one_node() {
    let sandbox = chain();
    let many = sandbox.dpt(&["explain", "chain.toml", "tokenize"]).code(2);
    assert!(many.stderr.contains("`tokenize` matches 2 nodes, but `explain` takes one"), "{}", many.stderr);
    assert!(many.stderr.contains("they are tokenize[rte], tokenize[cb]"), "{}", many.stderr);
    let none = sandbox.dpt(&["explain", "chain.toml", "tokenise"]).code(2);
    assert!(none.stderr.contains("did you mean `tokenize`?"), "{}", none.stderr);
}
