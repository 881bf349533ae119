//! `dpt --help` and the help of each command.

use crate::sandbox::Sandbox;

#[test]
fn top_level_help_is_as_pinned() {
    let ran = Sandbox::new().dpt(&["-h"]).code(0);
    let expected = "\
A declarative pipeline tool for decomposed prompt tuning

Usage: dpt <COMMAND>

Commands:
  run      Bring a pipeline up to date: run only what is missing or stale
  status   Show which nodes are fresh or stale, and why; run nothing
  explain  Explain why a node is fresh, stale or blocked, down to the first cause
  diff     Compare parameters, nodes and metrics of two runs or two pipeline revisions
  check    Check pipeline files and report all problems with their lines; run nothing
  graph    Draw a pipeline in the terminal, as a picture or as an interactive page
  pin      Record sizes and digests of a pipeline's downloads, so that later downloads are checked
  cache    Inspect and clean the store of results, or move results between stores
  lock     Record the results of a pipeline in a lock file, for `dpt run --locked` to compare with
  verify   Check the stored files; with `--rerun`, run nodes again and compare the results
  adapter  Import prompts from Hugging Face PEFT, or export them to it
  doctor   Check this machine: libtorch, devices, the store

Options:
  -h, --help     Print help (see more with '--help')
  -V, --version  Print version

First steps:
  dpt run pipelines/quickstart.toml       train, evaluate and write a report, offline
  dpt status pipelines/quickstart.toml    show what is up to date
  dpt run --help                          show all options of a run

Exit codes:
    0  success
    1  a stage failed
    2  wrong command line or invalid pipeline
    3  `--check` found something to run, or `--locked` a difference
    4  `verify` found a difference
    5  the store is damaged
    6  the machine lacks something (a device, libtorch, a source, disk space, a write permission)
   70  a bug in dpt
  130  interrupted
";
    assert_eq!(ran.stdout, expected);
    assert_eq!(ran.stderr, "");
}

#[test]
fn missing_command_shows_the_help_and_fails() {
    let ran = Sandbox::new().dpt(&[]).code(2);
    assert!(ran.stderr.contains("First steps:"), "{}", ran.stderr);
}

#[test]
fn misspelt_command_is_refused_with_a_suggestion() {
    let ran = Sandbox::new().dpt(&["statsu", "x.toml"]).code(2);
    assert!(ran.stderr.contains("'status'"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn unknown_device_is_refused_with_the_valid_ones() {
    let ran = Sandbox::new().dpt(&["run", "x.toml", "--device", "gpu"]).code(2);
    assert!(ran.stderr.contains("write `auto`, `cpu`, `cuda` or `cuda:N`"), "{}", ran.stderr);
}

#[test]
fn every_command_has_help_with_an_example() {
    let sandbox = Sandbox::new();
    for command in dpt::cli::COMMANDS {
        let ran = sandbox.dpt(&[command.name, "--help"]).code(0);
        assert!(ran.stdout.starts_with(command.about), "{}", ran.stdout);
        assert!(ran.stdout.contains(&format!("  dpt {}", command.name)), "{}", ran.stdout);
    }
}
