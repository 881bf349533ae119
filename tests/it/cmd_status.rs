//! `dpt status`: every status, the patterns of a sweep, and that it creates nothing.

use std::fs;

use crate::cmd_run::sandbox;
use crate::support::copies::chain;

#[test]
fn status_has_a_row_for_each_stage() {
    let sandbox = sandbox();
    let before = sandbox.dpt(&["status", "copies.toml"]).code(0);
    let expected = "\
stage  nodes  fresh  missing
fetch      2               2  never made before
all        1               1  never made before
";
    assert_eq!(before.stdout, expected);
    assert_eq!(before.stderr, "3 nodes: 3 missing  (<TIME>)\n");
    assert!(!sandbox.path().join("cache").exists(), "looking makes no store");
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let after = sandbox.dpt(&["status", "copies.toml", "--nodes", "fetch"]).code(0);
    assert!(after.stdout.starts_with("fresh  fetch[one]  took <TIME>, "), "{}", after.stdout);
    let json = sandbox.dpt(&["status", "copies.toml", "--json", "all"]).code(0);
    let line: serde_json::Value = serde_json::from_str(json.stdout.trim_end()).unwrap();
    assert_eq!((line["node"].as_str(), line["status"].as_str()), (Some("all"), Some("fresh")));
    assert_eq!(line["schema"], 1);
}

#[test]
fn status_distinguishes_stale_blocked_damaged_and_unknown() {
    let sandbox = chain();
    sandbox.dpt(&["run", "chain.toml"]).code(0);
    sandbox.write("data/RTE/train.jsonl", "");
    let stale = sandbox.dpt(&["status", "chain.toml"]).code(0);
    let expected = "\
stage     nodes  fresh  stale  blocked
data          2      1      1           data[rte]: file train.jsonl changed
model         1      1
tokenize      2      1               1  tokenize[rte]: by data[rte]
";
    assert_eq!(stale.stdout, expected);
    let set =
        sandbox.dpt(&["status", "chain.toml", "--set", "stage.tokenize.max_source_length=8", "tokenize[cb]"]).code(0);
    assert!(set.stdout.contains("tokenize      1             1  max_source_length 64 -> 8\n"), "{}", set.stdout);

    for object in walk(&sandbox.path().join("cache/v1/objects")) {
        let bytes = fs::read(&object).unwrap();
        fs::remove_file(&object).unwrap();
        fs::write(&object, &bytes[..bytes.len() / 2]).unwrap();
    }
    let damaged = sandbox.dpt(&["status", "chain.toml", "data[cb]"]).code(0);
    assert!(damaged.stdout.contains("damaged: `"), "{}", damaged.stdout);
    assert_eq!(damaged.stderr, "1 node: 1 damaged  (<TIME>)\n");

    fs::remove_dir_all(sandbox.path().join("data")).unwrap();
    let unknown = sandbox.dpt(&["status", "chain.toml"]);
    assert!(unknown.stdout.contains("unknown"), "{}", unknown.stdout);
    assert_ne!(unknown.code, 0);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
