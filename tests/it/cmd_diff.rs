//! `dpt diff`: runs, journals, pipeline files and git revisions.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::cmd_run::sandbox;
use crate::sandbox::Sandbox;
use crate::support::copies::chain;

const LONGER: [&str; 2] = ["--set", "stage.tokenize.max_source_length=8"];

/// Two runs of [`chain`], the second with shorter texts.
fn two_runs() -> Sandbox {
    let sandbox = chain();
    sandbox.dpt(&["run", "chain.toml"]).code(0);
    // Ids of runs begin with the second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    sandbox.dpt(&[&["run", "chain.toml"], &LONGER[..]].concat()).code(0);
    sandbox
}

fn journals(sandbox: &Sandbox) -> Vec<String> {
    let runs = fs::read_dir(sandbox.path().join("cache/v1/runs")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = runs.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    names.sort();
    names.iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn diff_compares_runs_by_id_and_by_journal() {
    let sandbox = two_runs();
    let diff = sandbox.dpt(&["diff", "last~1", "last"]).code(0);
    let expected = "
parameters
  tokenize  max_source_length  64 -> 8  2 nodes

nodes
  new key  tokenize
  3 nodes with the same key
";
    assert!(diff.stdout.starts_with("before  run 20") && diff.stdout.contains(expected), "{}", diff.stdout);
    assert_eq!(sandbox.dpt(&["diff", "last~1"]).code(0).stdout, diff.stdout);

    let [old, new] = &journals(&sandbox)[..] else { panic!("two journals") };
    assert_eq!(sandbox.dpt(&["diff", old, new]).code(0).stdout, diff.stdout);
    let elsewhere = Sandbox::new();
    assert_eq!(elsewhere.dpt(&["diff", old, new]).code(0).stdout, diff.stdout, "a journal's own store is used");

    let same = sandbox.dpt(&["diff", "last", "last"]).code(0);
    assert!(same.stdout.contains("\nnothing differs\n"), "{}", same.stdout);
    let all: Value = serde_json::from_str(&sandbox.dpt(&["diff", "last~1", "--all", "--json"]).code(0).stdout).unwrap();
    let rows = all["diff"]["metrics"].as_array().unwrap();
    let truncated = rows.iter().find(|row| row["name"] == "train.truncated" && row["axes"][0][1] == "rte").unwrap();
    assert_eq!(truncated["old"]["mean"], 0.0);
    assert!(truncated["new"]["mean"].as_f64().unwrap() > 0.0, "{truncated}");
}

#[test]
fn diff_of_journals_without_their_store_notes_unknown_parameters() {
    let sandbox = two_runs();
    let elsewhere = Sandbox::new();
    let names = ["a.jsonl", "b.jsonl"];
    for (from, to) in journals(&sandbox).iter().zip(names) {
        fs::copy(from, elsewhere.path().join(to)).unwrap();
    }
    let diff = elsewhere.dpt(&["diff", "a.jsonl", "b.jsonl"]).code(0);
    assert!(diff.stdout.contains("note: 5 of the 5 results of run a are not in the store"), "{}", diff.stdout);
    assert!(diff.stdout.contains("  new key  tokenize\n  3 nodes with the same key\n"), "{}", diff.stdout);
    assert!(!elsewhere.path().join("cache").exists(), "comparing makes no store");
}

fn git(sandbox: &Sandbox, words: &[&str]) {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(words).current_dir(sandbox.path());
    git.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", sandbox.path());
    let done = git.output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn diff_compares_git_revisions_of_a_pipeline() {
    let sandbox = chain();
    git(&sandbox, &["init", "-q"]);
    git(&sandbox, &["add", "chain.toml"]);
    git(&sandbox, &["commit", "-q", "-m", "one"]);
    let text = fs::read_to_string(sandbox.path().join("chain.toml")).unwrap();
    let text = text.replace("max_source_length = 64", "max_source_length = 32\nresources = { cpu = 2 }");
    sandbox.write("chain.toml", &text.replace("[\"rte\", \"cb\"]", "[\"rte\", \"cb\", \"copa\"]"));
    let diff = sandbox.dpt(&["diff", "chain.toml"]).code(0);
    let expected = "\
before  chain.toml at HEAD
now     chain.toml

parameters
  tokenize[rte|cb]  max_source_length  64 -> 32  2 nodes

parameters that are not in the key
  tokenize[rte|cb]  resources.cpu  1 -> 2  2 nodes

nodes
  added  data[copa], tokenize[copa]
";
    assert!(diff.stdout.replace("cb|rte", "rte|cb").starts_with(expected), "{}", diff.stdout);
    let markdown = sandbox.dpt(&["diff", "chain.toml", "HEAD", "--format", "markdown"]).code(0);
    assert!(
        markdown.stdout.contains("| nodes | parameter | change |  |\n| --- | --- | --- | --- |\n| tokenize["),
        "{}",
        markdown.stdout
    );

    git(&sandbox, &["commit", "-q", "-a", "-m", "two"]);
    let both = sandbox.dpt(&["diff", "chain.toml", "HEAD~1", "HEAD"]).code(0);
    assert_eq!(both.stdout.lines().skip(2).collect::<Vec<_>>(), diff.stdout.lines().skip(2).collect::<Vec<_>>());
    let none = sandbox.dpt(&["diff", "chain.toml", "HEAD~9"]).code(2);
    assert!(none.stderr.contains("`chain.toml` cannot be read at revision `HEAD~9`"), "{}", none.stderr);
    sandbox.dpt(&["diff", "chain.toml", "--", "--output=x"]).code(2);
    assert!(!sandbox.path().join("x").exists(), "a revision is no option of git");
    fs::remove_dir_all(sandbox.path().join(".git")).unwrap();
    let none = sandbox.dpt(&["diff", "chain.toml"]).code(2);
    assert!(none.stderr.contains("git says: not a git repository"), "{}", none.stderr);
}

#[test]
fn diff_compares_two_files_and_refuses_wrong_arguments() {
    let sandbox = sandbox();
    let text = fs::read_to_string(sandbox.path().join("copies.toml")).unwrap();
    sandbox.write("other.toml", &text.replace("\"one.txt\", \"two.txt\"", "\"one.txt\""));
    let diff = sandbox.dpt(&["diff", "copies.toml", "other.toml"]).code(0);
    assert!(diff.stdout.contains("  all  file  [\"one.txt\", \"two.txt\"] -> [\"one.txt\"]\n"), "{}", diff.stdout);
    let none = sandbox.dpt(&["diff", "last"]).code(2);
    assert!(none.stderr.contains("there is no run `last` in the store"), "{}", none.stderr);
    let set = sandbox.dpt(&["diff", "last", "--set", "axes.part=one"]).code(2);
    assert!(set.stderr.contains("apply to pipelines, not to runs"), "{}", set.stderr);
    sandbox.dpt(&["diff", "a", "b", "c"]).code(2);
    sandbox.dpt(&["diff", "none.jsonl", "none.jsonl"]).code(2);
}

#[test]
fn diff_of_two_pipelines_compares_nodes_by_name() {
    let sandbox = Sandbox::new();
    let pipeline = |axes: &str, stage: &str| {
        format!(
            "schema = 1\n{axes}\n[stage.note]\nkind = \"command\"\n{stage}\nrun = [\"cp\", \"params.json\", \"{{out.n}}\"]\n\
             outputs = {{ n = \"n.json\" }}\n"
        )
    };
    sandbox.write("one.toml", &pipeline("", "params = { a = 1 }"));
    let axes = "[axes]\ntask = [\"rte\", \"cb\"]";
    sandbox.write("two.toml", &pipeline(axes, "axes = [\"task\"]\nparams = { a = \"{task}\" }"));
    sandbox.dpt(&["run", "one.toml"]).code(0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    sandbox.dpt(&["run", "two.toml"]).code(0);
    for what in [["last~1", "last"], ["one.toml", "two.toml"]] {
        let diff = sandbox.dpt(&["diff", what[0], what[1]]).code(0);
        assert!(diff.stdout.contains("note: these are two pipelines, `one` and `two`"), "{}", diff.stdout);
        assert!(diff.stdout.contains("  added    note[task=*]\n  removed  note\n"), "{}", diff.stdout);
    }
    sandbox.dpt(&["diff", "last", "last~1"]).code(0);
}
