//! `dpt graph`: formats, files and statuses, on a pipeline of two downloads and their reader.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::support::copies::copies;

/// Each node's state in the JSON drawing.
fn states(sandbox: &Sandbox, args: &[&str]) -> Vec<(String, String)> {
    let args: Vec<&str> = ["graph", "copies.toml", "--status", "-f", "json"].iter().chain(args).copied().collect();
    let drawing: Value = serde_json::from_str(&sandbox.dpt(&args).code(0).stdout).unwrap();
    let text = |node: &Value, name: &str| node[name].as_str().unwrap().to_owned();
    drawing["nodes"].as_array().unwrap().iter().map(|node| (text(node, "short"), text(node, "state"))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn graph_shows_statuses_and_runs_nothing() {
    let sandbox = copies("");
    let missing = pairs(&[("fetch[one]", "missing"), ("fetch[two]", "missing")]);
    assert_eq!(states(&sandbox, &[]), missing);
    assert_eq!(states(&sandbox, &[]), missing, "looking made nothing");
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let fresh = pairs(&[("fetch[one]", "fresh"), ("fetch[two]", "fresh")]);
    assert_eq!(states(&sandbox, &[]), fresh);

    sandbox.write("data/two.txt", "second");
    assert_eq!(states(&sandbox, &[]), pairs(&[("fetch[one]", "fresh"), ("fetch[two]", "stale")]));
    let listed = sandbox.dpt(&["graph", "copies.toml", "--status", "--expand"]).code(0).stdout;
    assert!(listed.contains("  fetch[two]  stale  "), "{listed}");
    sandbox.write("data/two.txt", "2");

    // One object goes.
    let object = fs::read_dir(sandbox.path().join("cache/v1/objects")).unwrap().next().unwrap().unwrap().path();
    let object = fs::read_dir(object).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(object).unwrap();
    let damaged = states(&sandbox, &[]);
    assert!(damaged.iter().any(|(_, state)| state == "damaged"), "{damaged:?}");
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert_eq!(states(&sandbox, &[]), fresh);
}

#[test]
fn json_and_page_have_key_time_and_files_of_fresh_nodes() {
    let sandbox = copies("");
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let drawing = sandbox.dpt(&["graph", "copies.toml", "--status", "-f", "json"]).code(0).stdout;
    let drawing: Value = serde_json::from_str(&drawing).unwrap();
    let node = &drawing["nodes"][0];
    assert_eq!(node["key"].as_str().unwrap().len(), 64, "{node}");
    assert!(node["seconds"].as_f64().is_some(), "{node}");
    let files = node["files"].as_object().unwrap();
    assert_eq!(files["files/one.txt"]["bytes"], 1, "{node}");

    let page = sandbox.dpt(&["graph", "copies.toml", "--status", "-f", "html"]).code(0).stdout;
    assert!(page.contains(node["key"].as_str().unwrap()));
    // The recipe that was stored, with what entered the key from outside.
    assert!(page.contains("\"file.one.txt = b3:"), "{page}");
    assert!(page.contains("\"files/one.txt\""));
}

#[test]
fn file_ending_sets_the_format() {
    let sandbox = copies("");
    let starts = [
        ("g.svg", "<svg "),
        ("g.html", "<!DOCTYPE html>"),
        ("g.dot", "digraph "),
        ("g.gv", "digraph "),
        ("g.mmd", "flowchart LR\n"),
        ("G.JSON", "{\n  \"schema\": 1,"),
        ("sub/g.txt", "●  fetch  ×2  part  download\n"),
    ];
    for (name, start) in starts {
        let ran = sandbox.dpt(&["graph", "copies.toml", "-o", name]).code(0);
        assert!(ran.stdout.is_empty() && ran.stderr.starts_with(&format!("wrote {name} (")), "{}", ran.stderr);
        let text = fs::read_to_string(sandbox.path().join(name)).unwrap();
        assert!(text.starts_with(start), "{name}: {text}");
        let format = sandbox.dpt(&["graph", "copies.toml", "-o", name]).code(0);
        assert_eq!(format.code, 0);
        assert_eq!(fs::read_to_string(sandbox.path().join(name)).unwrap(), text, "{name} is the same again");
    }
    let left: Vec<_> = fs::read_dir(sandbox.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tmp")), "{left:?}");
    let ran = sandbox.dpt(&["graph", "copies.toml", "-o", "g.pdf"]).code(2);
    assert!(ran.stderr.starts_with("error: `g.pdf` has no known ending\n"), "{}", ran.stderr);
    sandbox.dpt(&["graph", "copies.toml", "-o", "g.pdf", "-f", "svg"]).code(0);
    sandbox.write("file", "");
    let ran = sandbox.dpt(&["graph", "copies.toml", "-o", "file/g.svg"]).code(6);
    assert!(ran.stderr.contains("file/g.svg"), "{}", ran.stderr);
}

#[test]
fn terminal_drawing_follows_width_and_locale() {
    let sandbox = copies("");
    let plain = sandbox.dpt(&["graph", "copies.toml"]).code(0).stdout;
    assert_eq!(plain, "●  fetch  ×2  part  download\n");
    let ran = sandbox.ran(sandbox.command(&["graph", "copies.toml"]).env("LC_ALL", "C")).code(0);
    assert_eq!(ran.stdout, "o  fetch  x2  part  download\n");
    let ran = sandbox.ran(sandbox.command(&["graph", "copies.toml"]).env("LANG", "C.UTF-8")).code(0);
    assert_eq!(ran.stdout, plain);
    let ran = sandbox.ran(sandbox.command(&["graph", "copies.toml"]).env("CLICOLOR_FORCE", "1")).code(0);
    assert!(ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    let mut both = sandbox.command(&["graph", "copies.toml"]);
    let ran = sandbox.ran(both.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")).code(0);
    assert_eq!(ran.stdout, plain);
}

#[test]
fn unknown_stage_cannot_be_expanded() {
    let ran = copies("").dpt(&["graph", "copies.toml", "--expand=fetsh"]).code(2);
    let expected = "error: there is no stage `fetsh` to expand in this drawing\n   = help: did you mean `fetch`?\n";
    assert_eq!(ran.stderr, expected);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the command that `docs/graph.md` gives for the picture.
#[test]
fn picture_of_the_readme_is_up_to_date() {
    let pipeline = root().join("pipelines/quickstart.toml");
    let drawn = Sandbox::new().dpt(&["graph", pipeline.to_str().unwrap(), "-f", "svg"]).code(0).stdout;
    let kept = fs::read_to_string(root().join("docs/images/quickstart-graph.svg")).unwrap();
    let help = "`dpt graph pipelines/quickstart.toml -o docs/images/quickstart-graph.svg` makes it anew";
    assert!(kept == drawn, "docs/images/quickstart-graph.svg is out of date: {help}");
    roxmltree::Document::parse(&kept).unwrap();
}

#[test]
fn graphviz_accepts_the_dot() {
    if Command::new("dot").arg("-V").stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: `dot` is not installed");
        return;
    }
    let sandbox = Sandbox::new();
    for pipeline in ["quickstart", "superglue_full"] {
        let path = root().join(format!("pipelines/{pipeline}.toml"));
        for extra in [&[][..], &["--expand"], &["--expand=train", "--status"]] {
            let args: Vec<&str> = ["graph", path.to_str().unwrap(), "--cache", "store", "-o", "g.dot"]
                .iter()
                .chain(extra)
                .copied()
                .collect();
            sandbox.dpt(&args).code(0);
            let dot = Command::new("dot").args(["-Tsvg", "g.dot"]).current_dir(sandbox.path()).output().unwrap();
            assert!(dot.status.success() && dot.stderr.is_empty(), "{}", String::from_utf8_lossy(&dot.stderr));
            roxmltree::Document::parse_with_options(
                std::str::from_utf8(&dot.stdout).unwrap(),
                roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
            )
            .unwrap();
        }
    }
}
