//! `dpt --help` and the help of each command: whole, so that a change is seen.

use crate::sandbox::Sandbox;

#[test]
fn the_first_help() {
    let ran = Sandbox::new().dpt(&["-h"]).code(0);
    let expected = "\
A declarative pipeline tool for decomposed prompt tuning

Usage: dpt <COMMAND>

Commands:
  run      Bring a pipeline up to date: run what is missing or stale, and nothing else
  status   Show what is fresh, what is stale and why; run nothing
  explain  Show why a node is fresh, stale or blocked, field by field, to the first cause
  diff     Compare two runs, or two revisions of a pipeline: parameters, nodes, metrics
  check    Check pipeline files: every problem at once, each with its line; run nothing
  graph    Draw a pipeline and how it stands: in the terminal, as a picture, as an interactive page
  pin      Record the sizes and digests of what a pipeline downloads, so that it stays the same
  cache    Look into the store of results, clear it up, carry results from one store to another
  lock     Record what a pipeline gave, for `dpt run --locked` to hold later runs against
  verify   Hash what is stored; with `--rerun`, run nodes again and compare
  adapter  Bring trained prompts in from Hugging Face PEFT, and out to it
  doctor   Check this machine: libtorch, devices, the store

Options:
  -h, --help     Print help (see more with '--help')
  -V, --version  Print version

First steps:
  dpt run pipelines/quickstart.toml       from nothing to a report, in about two minutes, offline
  dpt status pipelines/quickstart.toml    what is fresh
  dpt run --help                          all about running

Exit codes:
    0  done
    1  a stage failed
    2  wrong command line or invalid pipeline
    3  `--check` found something to run, or `--locked` a difference
    4  `verify` found a difference
    5  the store is damaged
    6  the machine lacks something (a device, libtorch, a source, disk space, a right to write)
   70  a bug in dpt
  130  interrupted
";
    assert_eq!(ran.stdout, expected);
    assert_eq!(ran.stderr, "");
}

#[test]
fn no_command_shows_the_help_and_is_an_error() {
    let ran = Sandbox::new().dpt(&[]).code(2);
    assert!(ran.stderr.contains("First steps:"), "{}", ran.stderr);
}

#[test]
fn a_wrong_command_is_an_error_with_the_right_one() {
    let ran = Sandbox::new().dpt(&["statsu", "x.toml"]).code(2);
    assert!(ran.stderr.contains("'status'"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_wrong_device_is_an_error_that_names_the_right_ones() {
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
