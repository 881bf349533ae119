//! A pretraining that is killed resumes from its checkpoint, if that is whole, and ends with the same bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use dpt::artifact::logical_digest;
use dpt::base::digest::Digest;
use dpt::stages::ctx::{Input, Progress, Update};

use crate::bench::Bench;

const SETTINGS: &str = "d_model = 8\nd_kv = 4\nd_ff = 16\nnum_heads = 2\nnum_layers = 1\nsteps = 6\nbatch_size = 2\n\
                        warmup_steps = 1\ncheckpoint_every = 2\nname = \"nano\"";
const CHECKPOINT: &str = "t5.scratch/pretraining.safetensors";

/// Keeps the notes; panics when the step `die_at` is told, as if the process were killed there.
struct Watcher {
    die_at: u64,
    notes: Mutex<Vec<String>>,
}

impl Progress for Watcher {
    fn update(&self, update: Update) {
        assert!(update.done != self.die_at, "killed");
    }
    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

/// All files below `folder`, by their paths there.
fn input(folder: &Path) -> Input {
    let (mut files, mut digests) = (BTreeMap::new(), BTreeMap::new());
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            digests.insert(name.clone(), logical_digest(&name, &path).unwrap());
            files.insert(name, path);
        }
    }
    Input {
        node: "lessons".into(),
        axes: vec![],
        key: Digest::of(b"lessons"),
        files,
        digests,
        executable: Default::default(),
    }
}

/// A folder with the rows to pretrain on, and the bytes of an undisturbed run.
fn whole() -> (Bench, BTreeMap<String, Vec<u8>>) {
    let bench = Bench::empty();
    let rows = "tasks = [\"rte\"]\npretrain_rows = 20\ntrain_rows = 0\nval_rows = 0\ntest_rows = 0";
    bench.run("generate", "lessons", rows, &[]).unwrap();
    assert!(run(&bench).is_empty());
    let outputs = outputs(&bench);
    (bench, outputs)
}

fn outputs(bench: &Bench) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(bench.path("t5")).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

/// Runs to the end; the notes.
fn run(bench: &Bench) -> Vec<String> {
    let watcher = Watcher { die_at: u64::MAX, notes: Mutex::default() };
    let inputs = vec![("data", input(&bench.path("lessons")))];
    bench.run_watched("pretrain", "t5", SETTINGS, inputs, &watcher).unwrap();
    watcher.notes.into_inner().unwrap()
}

/// Runs anew until step 5, after the checkpoint of step 4.
fn kill(bench: &Bench) {
    std::fs::remove_dir_all(bench.path("t5")).unwrap();
    std::fs::remove_dir_all(bench.path("t5.scratch")).unwrap();
    let watcher = Watcher { die_at: 5, notes: Mutex::default() };
    let inputs = vec![("data", input(&bench.path("lessons")))];
    let run = std::panic::AssertUnwindSafe(|| bench.run_watched("pretrain", "t5", SETTINGS, inputs, &watcher));
    assert!(std::panic::catch_unwind(run).is_err());
}

#[test]
fn killed_pretraining_resumes_with_the_same_bytes() {
    let (bench, whole) = whole();
    kill(&bench);
    assert_eq!(run(&bench), ["goes on after step 4 from its checkpoint"]);
    assert_eq!(outputs(&bench), whole);
}

#[test]
fn damaged_pretraining_checkpoint_is_set_aside_and_pretraining_restarts() {
    let (bench, whole) = whole();
    kill(&bench);
    let written = std::fs::read(bench.path(CHECKPOINT)).unwrap();
    let mut flipped = written.clone();
    flipped[written.len() / 2] ^= 0x40;
    let mut zeroed = written.clone();
    zeroed[written.len() / 2..].fill(0);
    for damaged in [flipped, zeroed, written[..written.len() - 7].to_vec(), vec![]] {
        kill(&bench);
        std::fs::write(bench.path(CHECKPOINT), &damaged).unwrap();
        let notes = run(&bench);
        assert_eq!(
            notes,
            ["the checkpoint is set aside, training starts again: its bytes are not those that were written \
              (it is now `pretraining.set-aside`)"]
        );
        assert_eq!(outputs(&bench), whole);
        assert_eq!(std::fs::read(bench.path("t5.scratch/pretraining.set-aside")).unwrap(), damaged);
    }
}
