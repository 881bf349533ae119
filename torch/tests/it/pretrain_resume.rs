//! A pretraining that is killed resumes from its checkpoint, if that is whole, and ends with the same bytes.

use std::collections::BTreeMap;

use dpt::testing::Recorder;

use crate::bench::Bench;

const SETTINGS: &str = "d_model = 8\nd_kv = 4\nd_ff = 16\nnum_heads = 2\nnum_layers = 1\nsteps = 6\nbatch_size = 2\n\
                        warmup_steps = 1\ncheckpoint_every = 2\nname = \"nano\"";
const CHECKPOINT: &str = "t5.scratch/pretraining.safetensors";

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
    let recorder = Recorder::default();
    let inputs = vec![("data", bench.input("lessons", &[]))];
    bench.run_watched("pretrain", "t5", SETTINGS, inputs, &recorder).unwrap();
    recorder.notes()
}

/// Runs anew until step 5, after the checkpoint of step 4.
fn kill(bench: &Bench) {
    std::fs::remove_dir_all(bench.path("t5")).unwrap();
    std::fs::remove_dir_all(bench.path("t5.scratch")).unwrap();
    let recorder = Recorder { panic_at: Some(5), ..Recorder::default() };
    let inputs = vec![("data", bench.input("lessons", &[]))];
    let run = std::panic::AssertUnwindSafe(|| bench.run_watched("pretrain", "t5", SETTINGS, inputs, &recorder));
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
