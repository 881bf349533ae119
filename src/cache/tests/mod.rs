//! Tests of the store that take more than one of its files, and what they share.

mod archive;
mod attacks;
mod clocks;
mod gc;
mod shared;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::recipe::{FieldContent, FieldName};
use super::*;
use crate::base::value::Value;

fn recipe(n: i64) -> Recipe {
    Recipe::new("train", 1).with(FieldName::Param("n".into()), FieldContent::Value(Value::Int(n)))
}

fn any(_: &BTreeMap<String, String>) -> bool {
    true
}

/// Makes the result of recipe `n`: `a.txt` with this text.
fn make(store: &Store, n: i64, text: &str) -> std::sync::Arc<Stored> {
    let miss = claim(store, n);
    fs::write(miss.out().join("a.txt"), text).unwrap();
    miss.commit(&recipe(n), CommitInfo { node: format!("train[n={n}]"), ..CommitInfo::default() }).unwrap()
}

fn claim(store: &Store, n: i64) -> Miss<'_> {
    match store.claim(recipe(n).key(), &any, false).unwrap() {
        Claim::Miss(miss) => *miss,
        other => panic!("expected a miss, got {other:?}"),
    }
}

fn look(store: &Store, n: i64) -> String {
    match store.lookup(recipe(n).key(), &any).unwrap() {
        Lookup::Hit(_) => "hit".into(),
        Lookup::Missing => "missing".into(),
        Lookup::Other(_) => "other".into(),
        Lookup::Damaged(parts) => parts.iter().map(|p| p.what.clone()).collect::<Vec<_>>().join("; "),
    }
}

fn object(store: &Store, stored: &Stored) -> PathBuf {
    store.paths(stored)["a.txt"].clone()
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn count(store: &Store, folder: &str) -> usize {
    fs::read_dir(store.root().join(folder)).unwrap().count()
}

/// Runs test `name` of this binary again, alone, where `$DIR` is a file system of its own, mounted by `mount`. `false`:
/// this machine lets no user do that.
fn on_own_disk(name: &str, mount: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("{mount} && exec \"$0\" --exact cache::tests::{name} --nocapture");
    let run = |script: &str| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env("DIR", dir.path())
            .env("DPT_TEST_OWN_DISK", dir.path())
            .output()
    };
    if !run(mount).is_ok_and(|output| output.status.success()) {
        println!("skipped: no user may mount a file system here");
        return false;
    }
    let output = run(&script).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    true
}
