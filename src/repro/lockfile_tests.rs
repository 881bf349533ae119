//! The lock file: round trips, merges, and errors.

use std::fs;
use std::process::Command;

use proptest::prelude::*;

use super::*;

fn line(node: &str, value: f64) -> LockLine {
    let facts = ResultFacts {
        files: [("a.json".to_owned(), Digest::of(&value.to_le_bytes()))].into(),
        metrics: [("score".to_owned(), value)].into(),
        numerics: [("cpu".to_owned(), "maker-1-2 avx2".to_owned())].into(),
    };
    let key = crate::cache::Recipe::new(node, 1).key();
    LockLine::new(node.to_owned(), key, [("param.rank".to_owned(), "4".to_owned())].into(), facts)
}

fn lock<'a>(nodes: impl IntoIterator<Item = (&'a str, f64)>) -> LockFile {
    let mut lock = LockFile::default();
    nodes.into_iter().for_each(|(node, value)| lock.put(line(node, value)));
    lock
}

fn parse(text: &str) -> Result<LockFile, Vec<Diag>> {
    LockFile::parse(Path::new("x.lock"), text.to_owned())
}

/// Returns the only error of a text, with its label.
fn wrong(text: &str) -> String {
    let diags = parse(text).unwrap_err();
    assert_eq!(diags.len(), 1, "{diags:?}");
    let label = diags[0].label.clone().unwrap_or_default();
    format!("{}\n{label}", diags[0])
}

/// Returns the outcome of `git merge-file`: `Ok` without conflicts, `Err` with them, `None` if there is no `git`.
fn merge(base: &LockFile, ours: &LockFile, theirs: &LockFile) -> Option<Result<String, String>> {
    let dir = tempfile::tempdir().unwrap();
    for (name, lock) in [("base", base), ("ours", ours), ("theirs", theirs)] {
        fs::write(dir.path().join(name), lock.to_text()).unwrap();
    }
    let git = Command::new("git").args(["merge-file", "-p", "ours", "base", "theirs"]).current_dir(dir.path()).output();
    let Ok(git) = git else {
        eprintln!("skipped: no `git` here");
        return None;
    };
    let text = String::from_utf8(git.stdout).unwrap();
    Some(if git.status.success() { Ok(text) } else { Err(text) })
}

#[test]
fn text_is_sorted_with_one_line_a_node() {
    let text = lock([("train[b]", 1.0), ("eval[a]", 2.0), ("train[a]", 3.0)]).to_text();
    let nodes: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("{\"node\":\"")?.split('"').next()).collect();
    assert_eq!(nodes, ["eval[a]", "train[a]", "train[b]"]);
    assert!(text.starts_with("{\"dpt-lock\":1}\n\n{\"node\":") && text.ends_with("}\n"));
    assert_eq!(text, lock([("train[a]", 3.0), ("train[b]", 1.0), ("eval[a]", 2.0)]).to_text());
    assert_eq!(LockFile::default().to_text(), "{\"dpt-lock\":1}\n");
}

/// One of two neighbours changed on each side. This merges because an empty line separates them.
#[test]
fn changes_to_neighbouring_lines_merge() {
    let base = lock([("a", 1.0), ("b", 1.0), ("c", 1.0)]);
    let ours = lock([("a", 2.0), ("b", 1.0), ("c", 1.0)]);
    let theirs = lock([("a", 1.0), ("b", 3.0), ("c", 1.0)]);
    let Some(merged) = merge(&base, &ours, &theirs) else { return };
    assert_eq!(parse(&merged.unwrap()).unwrap(), lock([("a", 2.0), ("b", 3.0), ("c", 1.0)]));
}

#[test]
fn merge_conflict_is_reported_at_its_line() {
    let base = lock([("a", 1.0), ("b", 1.0)]);
    let Some(merged) = merge(&base, &lock([("a", 2.0), ("b", 1.0)]), &lock([("a", 3.0), ("b", 1.0)])) else { return };
    let error = wrong(&merged.unwrap_err());
    assert!(error.starts_with("unresolved merge conflict (x.lock:3:1)\n"), "{error}");
    assert!(error.contains("`dpt run PIPELINE`, then `dpt lock PIPELINE`"), "{error}");
}

#[test]
fn repeated_line_is_accepted_and_different_lines_of_one_node_are_not() {
    let (one, other) = (lock([("a", 1.0)]).to_text(), lock([("a", 2.0)]).to_text());
    let again = one.lines().last().unwrap();
    assert_eq!(parse(&format!("{one}{again}\r\n")).unwrap(), lock([("a", 1.0)]));
    let error = wrong(&format!("{one}{}", other.lines().last().unwrap()));
    assert!(
        error.starts_with("two different lines for `a` (x.lock:4:1)\n  = note: the first is at x.lock:3:1"),
        "{error}"
    );
}

#[test]
fn invalid_lock_is_reported_at_its_line() {
    assert!(wrong("").starts_with("the lock file is empty (x.lock:1:1)"));
    let newer = wrong("{\"dpt-lock\":2}\n\n{\"node\":7}\n");
    assert!(newer.starts_with("this lock file has version 2; this `dpt` reads version 1 (x.lock:1:1)"), "{newer}");
    let text = lock([("a", 1.0), ("b", 1.0)]).to_text();
    let bare = text.lines().skip(2).collect::<Vec<_>>().join("\n");
    assert!(
        wrong(&bare).starts_with("a lock file must begin with `{\"dpt-lock\":1}` (x.lock:1:1)"),
        "{}",
        wrong(&bare)
    );
    let cut = wrong(&text[..text.len() - 10]);
    assert!(cut.starts_with("not a line of a lock file (x.lock:5:") && cut.contains("EOF while"), "{cut}");
    let stranger = wrong(&text.replace("{\"node\":\"b\"", "{\"node\":\"b\",\"nod\":1"));
    assert!(stranger.contains("unknown field `nod`"), "{stranger}");
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = lock([("a", 1.0), ("b", 1.0)]).to_text().replace(":1.0", ":2.0") + "\nnot json\n";
    let messages: Vec<_> = parse(&text).unwrap_err().iter().map(|d| d.message.clone()).collect();
    let edited = |node| format!("the line of `{node}` was edited");
    assert_eq!(messages, [edited("a"), edited("b"), "not a line of a lock file".to_owned()]);
}

fn names() -> impl Strategy<Value = String> {
    "[a-z]{1,3}(\\[[a-z]=[a-z0-9é\"]{0,4}\\])?"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn lock_reads_back_as_written(nodes in prop::collection::btree_map(names(), -1e9f64..1e9, 0..12)) {
        let lock = lock(nodes.iter().map(|(node, value)| (node.as_str(), *value)));
        let text = lock.to_text();
        prop_assert_eq!(&parse(&text).unwrap(), &lock);
        prop_assert_eq!(parse(&text).unwrap().to_text(), text);
    }

    /// A changed character is an error, or changes nothing that is read.
    #[test]
    fn changed_character_is_refused(at in 16usize..400, to in "[0-9a-z]") {
        let lock = lock([("train[task=rte]", 0.5)]);
        let mut text = lock.to_text();
        let at = at.min(text.len() - 2);
        text.replace_range(at..at + 1, &to);
        prop_assert!(parse(&text).map_or(true, |read| read == lock), "{}", text);
    }

    /// Two branches that change different nodes: git merges them into a lock with both changes.
    #[test]
    fn disjoint_changes_merge_to_a_valid_lock(
        nodes in prop::collection::btree_map(names(), 0.0f64..1.0, 2..10),
        sides in prop::collection::vec(0..3, 10),
    ) {
        let base = lock(nodes.iter().map(|(node, value)| (node.as_str(), *value)));
        let side = |which: &[i32]| {
            let changed = nodes.iter().zip(&sides).map(|((node, value), side)| {
                (node.as_str(), if which.contains(side) { value + 1.0 } else { *value })
            });
            lock(changed)
        };
        if let Some(merged) = merge(&base, &side(&[1]), &side(&[2])) {
            prop_assert_eq!(parse(&merged.unwrap()).unwrap(), side(&[1, 2]));
        }
    }
}
