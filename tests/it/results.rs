//! The copies in `results/`: nothing outside is changed, concurrent runs do not mix, and edits are kept.

use std::fs;
use std::os::unix::fs::symlink;

use crate::sandbox::Sandbox;
use crate::support::copies::{ALL, copies};

/// A stage that writes `count` files, each with the value of `n`.
fn many(count: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        &format!(
            "schema = 1\n[stage.s]\nkind = \"command\"\n\
             run = [\"sh\", \"-c\", \"for i in $(seq {count}); do echo $0 > out/o/$i; done\", \"{{param.n}}\"]\n\
             params = {{ n = 0 }}\noutputs = {{ o = \"o/\" }}\n"
        ),
    );
    fs::create_dir(sandbox.path().join("cache")).unwrap();
    sandbox
}

#[test]
fn names_and_links_to_outside_change_nothing() {
    let sandbox = copies(ALL);
    let outside = sandbox.path().join("outside");
    sandbox.write("outside/precious", "mine");
    sandbox.write("outside/one.txt", "mine");
    let folder = sandbox.path().join("cache/results/copies/all");
    fs::create_dir_all(&folder).unwrap();
    let precious = outside.join("precious");
    fs::write(folder.join(".key"), format!("00\n00 ../../../../outside/precious\n00 {}\n", precious.display()))
        .unwrap();
    symlink(&outside, folder.join("files")).unwrap();
    symlink(&precious, folder.join("fetched.json")).unwrap();

    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|item| item.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(fs::read_to_string(precious).unwrap(), "mine");
    assert_eq!(fs::read_to_string(outside.join("one.txt")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(folder.join("files/one.txt")).unwrap(), "1");
}

#[test]
fn results_folder_that_is_a_link_is_refused_and_the_run_succeeds() {
    let sandbox = copies(ALL);
    fs::create_dir_all(sandbox.path().join("cache")).unwrap();
    fs::create_dir(sandbox.path().join("elsewhere")).unwrap();
    symlink(sandbox.path().join("elsewhere"), sandbox.path().join("cache/results")).unwrap();
    let ran = sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert!(ran.stderr.contains("cache/results` is not a directory, but a link"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(sandbox.path().join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn concurrent_runs_do_not_mix_their_results() {
    let sandbox = many(60);
    let set = |n: usize| format!("stage.s.params.n={n}");
    for n in [1, 2] {
        sandbox.dpt(&["run", "p.toml", "--set", &set(n)]).code(0);
    }
    for round in 0..10 {
        let start = |n| sandbox.command(&["run", "p.toml", "--set", &set(n)]).spawn().unwrap();
        let both = [start(1), start(2)];
        both.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
        let last = 1 + round % 2;
        sandbox.dpt(&["run", "p.toml", "--set", &set(last)]).code(0);
        for i in 1..=60 {
            let text = fs::read_to_string(sandbox.path().join(format!("cache/results/p/s/o/{i}"))).unwrap();
            assert_eq!(text.trim(), last.to_string(), "file {i} in round {round}");
        }
    }
}

#[test]
fn edited_copy_is_kept_and_a_lost_or_empty_one_is_copied_again() {
    let sandbox = copies(ALL);
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    let file = |name: &str| sandbox.path().join("cache/results/copies/all/files").join(name);
    fs::write(file("one.txt"), "edited").unwrap();
    fs::write(file("two.txt"), "").unwrap();
    let ran = sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert!(ran.stderr.contains("`files/one.txt` was edited after being copied"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(file("one.txt")).unwrap(), "edited");
    assert_eq!(fs::read_to_string(file("two.txt")).unwrap(), "2");

    fs::remove_file(file("one.txt")).unwrap();
    let ran = sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert!(!ran.stderr.contains("edited"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(file("one.txt")).unwrap(), "1");

    sandbox.write("data/one.txt", "another");
    fs::write(file("one.txt"), "edited").unwrap();
    sandbox.dpt(&["run", "copies.toml"]).code(0);
    assert_eq!(fs::read_to_string(file("one.txt")).unwrap(), "another");
}

#[test]
fn files_of_an_old_result_are_removed_and_user_files_kept() {
    let sandbox = many(3);
    sandbox.dpt(&["run", "p.toml"]).code(0);
    let folder = sandbox.path().join("cache/results/p/s/o");
    fs::write(folder.join("mine.txt"), "mine").unwrap();
    let text = fs::read_to_string(sandbox.path().join("p.toml")).unwrap();
    sandbox.write("p.toml", &text.replace("seq 3", "seq 2"));
    sandbox.dpt(&["run", "p.toml"]).code(0);
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["1", "2", "mine.txt"]);
}

#[test]
fn two_pipeline_files_with_one_results_folder_are_noted() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path().join("cache")).unwrap();
    for name in ["a", "b"] {
        sandbox.write(
            &format!("{name}/sweep.toml"),
            &format!(
                "schema = 1\n[stage.train]\nkind = \"command\"\nshell = true\nrun = \"echo {name} > out/x.txt\"\n\
                 outputs = {{ x = \"x.txt\" }}\n"
            ),
        );
    }
    let told = "had the result of `a/sweep.toml` and now has that of `b/sweep.toml`: give one of them another `name` in \
                `[pipeline]`";
    let first = sandbox.dpt(&["run", "a/sweep.toml"]).code(0);
    assert!(!first.stderr.contains("had the result"), "{}", first.stderr);
    let second = sandbox.dpt(&["run", "b/sweep.toml"]).code(0);
    assert!(second.stderr.contains(told), "{}", second.stderr);
    fs::remove_file(sandbox.path().join("a/sweep.toml")).unwrap();
    sandbox.write("c/sweep.toml", &fs::read_to_string(sandbox.path().join("b/sweep.toml")).unwrap());
    fs::remove_file(sandbox.path().join("b/sweep.toml")).unwrap();
    let moved = sandbox.dpt(&["run", "c/sweep.toml"]).code(0);
    assert!(!moved.stderr.contains("had the result"), "a file that was moved is no other one: {}", moved.stderr);
}
