//! Faults at every step that writes the store: the process is killed, or the step fails as on a full disk. Then the
//! command runs again. Nothing may be lost, no damaged file may be used, the bytes must be equal, and nothing may be
//! left after a gc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dpt::base::digest::Digest;
use dpt::base::fault::POINTS;

use crate::sandbox::{Ran, Sandbox};

/// One node that is slow enough to be synced, with enough files for several threads, and two that are not.
const PIPELINE: &str = r#"
schema = 1

[pipeline]
name = "faults"

[source.here]
url = "file:data"

[stage.rows]
kind = "command"
run = ["sh", "-c", "sleep 0.2; echo {param.text} > {out.rows}; for i in 1 2 3 4 5 6; do echo $i > {out.more}/$i; done"]
outputs = { rows = "rows.txt", more = "more/" }
params = { text = "some" }

[stage.one]
kind = "download"
source = "here"
format = "files"
file = ["one.txt"]

[stage.both]
kind = "download"
source = "here"
format = "files"
file = ["one.txt", "two.txt"]
"#;

/// A command, and the state of the store before it.
struct Scenario {
    name: &'static str,
    prepare: fn(&Sandbox),
    args: &'static [&'static str],
}

const RUN: &[&str] = &["run", "faults.toml", "-j", "1"];
const GC: &[&str] =
    &["cache", "gc", "-y", "--keep-pipeline", "faults.toml", "--grace", "0s", "--leftovers-older-than", "0s"];

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "run", prepare: |_| {}, args: RUN },
    Scenario { name: "repair", prepare: damage, args: RUN },
    Scenario { name: "gc", prepare: litter, args: GC },
    Scenario { name: "export", prepare: |s| drop(s.dpt(RUN).code(0)), args: &["cache", "export", "out.tar", "--all"] },
    Scenario { name: "import", prepare: packed, args: &["cache", "import", "in.tar"] },
];

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::in_memory();
    sandbox.write("faults.toml", PIPELINE);
    sandbox.write("data/one.txt", "1");
    sandbox.write("data/two.txt", "22");
    sandbox
}

/// A result with a flipped byte, and an index that cannot notice it.
fn damage(sandbox: &Sandbox) {
    sandbox.dpt(RUN).code(0);
    let object = object(sandbox, b"22");
    fs::remove_file(&object).unwrap();
    fs::write(&object, "23").unwrap();
    fs::remove_file(store(sandbox).join("index")).unwrap();
}

/// A store with unused results and leftovers of dead processes.
fn litter(sandbox: &Sandbox) {
    sandbox.write("data/one.txt", "old");
    sandbox.dpt(RUN).code(0);
    sandbox.dpt(&["run", "faults.toml", "-j", "1", "--set", "stage.rows.params.text=other"]).code(0);
    sandbox.write("data/one.txt", "1");
    sandbox.dpt(RUN).code(0);
    let store = store(sandbox);
    let key = Digest::of(b"dead").hex();
    fs::create_dir_all(store.join("work").join(&key).join("scratch")).unwrap();
    fs::write(store.join("work").join(&key).join("scratch/checkpoint"), "step 9").unwrap();
    fs::write(store.join("quarantine/bad"), "bad").unwrap();
    fs::write(store.join(".tmp-half"), "half").unwrap();
}

/// An empty store, and an archive with all results.
fn packed(sandbox: &Sandbox) {
    sandbox.dpt(RUN).code(0);
    sandbox.dpt(&["cache", "export", "in.tar", "--all"]).code(0);
    fs::remove_dir_all(sandbox.path().join("cache")).unwrap();
}

fn store(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("cache/v1")
}

fn object(sandbox: &Sandbox, bytes: &[u8]) -> PathBuf {
    let hex = Digest::of(bytes).hex();
    store(sandbox).join("objects").join(&hex[..2]).join(&hex[2..])
}

/// Every plain file below a folder, by its name there.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(dir) = left.pop() {
        for path in fs::read_dir(dir).into_iter().flatten().map(|item| item.unwrap().path()) {
            match path.is_dir() {
                true => left.push(path),
                false => drop(
                    found.insert(path.strip_prefix(folder).unwrap().display().to_string(), fs::read(&path).unwrap()),
                ),
            }
        }
    }
    found
}

/// Returns the copied results and the objects.
fn outcome(sandbox: &Sandbox) -> (BTreeMap<String, Vec<u8>>, BTreeSet<String>) {
    let mut results = files(&sandbox.path().join("cache/results"));
    // Stamps have the times of the copies.
    results.retain(|name, _| !name.ends_with("/.key"));
    let objects = files(&store(sandbox).join("objects"));
    for (name, bytes) in &objects {
        assert_eq!(Digest::of(bytes).hex(), name.replace('/', ""), "an object is what its name says");
    }
    (results, objects.into_keys().collect())
}

/// A copy of a sandbox.
fn copy(of: &Sandbox) -> Sandbox {
    fn below(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for path in fs::read_dir(from).unwrap().map(|item| item.unwrap().path()) {
            let to = to.join(path.file_name().unwrap());
            if path.is_dir() {
                below(&path, &to);
            } else {
                fs::copy(&path, &to).unwrap();
            }
        }
    }
    let sandbox = Sandbox::in_memory();
    below(of.path(), sandbox.path());
    sandbox
}

/// Runs the command of the scenario with a fault.
fn disturbed(sandbox: &Sandbox, scenario: &Scenario, fault: &str) -> Ran {
    sandbox.ran(sandbox.command(scenario.args).env("DPT_FAULT", fault))
}

/// Runs the command again without a fault, and checks that nothing is lost, wrong or left over.
fn mended(
    sandbox: &Sandbox,
    scenario: &Scenario,
    fault: &str,
    expected: &(BTreeMap<String, Vec<u8>>, BTreeSet<String>),
) {
    let told = |ran: Ran| assert_eq!(ran.code, 0, "{}, {fault}: {}", scenario.name, ran.stderr);
    told(sandbox.dpt(scenario.args));
    told(sandbox.dpt(RUN));
    told(sandbox.dpt(GC));
    let (results, objects) = outcome(sandbox);
    assert_eq!(results.keys().collect::<Vec<_>>(), expected.0.keys().collect::<Vec<_>>(), "{}, {fault}", scenario.name);
    assert!(results == expected.0 && objects == expected.1, "{}, {fault}: other bytes", scenario.name);
    for folder in ["work", "quarantine"] {
        assert_eq!(files(&store(sandbox).join(folder)).len(), 0, "{}, {fault}: left in {folder}", scenario.name);
        assert_eq!(fs::read_dir(store(sandbox).join(folder)).unwrap().count(), 0, "{}, {fault}", scenario.name);
    }
    let all = files(sandbox.path());
    let left: Vec<_> = all.keys().filter(|name| name.starts_with("cache/") && name.contains(".tmp-")).collect();
    assert!(left.is_empty(), "{}, {fault}: {left:?}", scenario.name);
    told(sandbox.dpt(&["run", "faults.toml", "--check"]));
}

/// Returns the fault points that a scenario reaches, with counts.
fn reached(scenario: &Scenario, prepared: &Sandbox) -> BTreeMap<String, usize> {
    let sandbox = copy(prepared);
    let log = sandbox.path().join("log");
    sandbox.ran(sandbox.command(scenario.args).env("DPT_FAULT_LOG", &log)).code(0);
    let mut counts = BTreeMap::new();
    for name in fs::read_to_string(log).unwrap().lines() {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

/// Returns the expected outcome: that of an undisturbed first run.
fn undisturbed() -> (BTreeMap<String, Vec<u8>>, BTreeSet<String>) {
    let sandbox = sandbox();
    sandbox.dpt(RUN).code(0);
    outcome(&sandbox)
}

#[test]
fn kill_or_full_disk_at_any_step_loses_nothing() {
    let expected = undisturbed();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for scenario in SCENARIOS {
        let prepared = sandbox();
        (scenario.prepare)(&prepared);
        for (point, times) in reached(scenario, &prepared) {
            // Each point once in each scenario where it can matter; the last time as well as the first where it is new.
            let first = seen.insert(point.clone(), scenario.name).is_none();
            let mut faults = vec![format!("{point}@1=kill")];
            if first {
                faults.push(format!("{point}@1=full"));
                if times > 1 {
                    faults.push(format!("{point}@{times}=kill"));
                }
            }
            for fault in faults {
                let sandbox = copy(&prepared);
                let ran = disturbed(&sandbox, scenario, &fault);
                // On a busy machine a result more takes long enough to be synced than on an idle one.
                let may_be_fewer = !fault.contains("@1=");
                if fault.ends_with("kill") && !(may_be_fewer && ran.code == 0) {
                    assert_eq!(ran.code, -1, "{}, {fault}: was not killed\n{}", scenario.name, ran.stderr);
                } else {
                    assert!(matches!(ran.code, 0 | 1 | 6), "{}, {fault}: {}\n{}", scenario.name, ran.code, ran.stderr);
                    assert!(ran.code == 0 || ran.stderr.contains("no space left"), "{fault}: {}", ran.stderr);
                }
                mended(&sandbox, scenario, &fault, &expected);
            }
        }
    }
    let table: BTreeSet<_> = POINTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missed: Vec<_> = table.iter().filter(|name| !seen.contains_key(*name)).collect();
    assert!(missed.is_empty(), "no scenario reaches {missed:?}");
}

#[test]
fn disturbed_export_keeps_the_old_archive() {
    let sandbox = sandbox();
    sandbox.dpt(RUN).code(0);
    sandbox.dpt(&["cache", "export", "out.tar", "one"]).code(0);
    let before = fs::read(sandbox.path().join("out.tar")).unwrap();
    for action in ["kill", "full", "read-only", "broken"] {
        let args = ["cache", "export", "out.tar", "--all"];
        let ran = sandbox.ran(sandbox.command(&args).env("DPT_FAULT", format!("pack.rename={action}")));
        assert_ne!(ran.code, 0, "{action}");
        assert_eq!(fs::read(sandbox.path().join("out.tar")).unwrap(), before, "{action}");
    }
}
