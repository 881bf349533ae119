//! PEFT itself loads what is exported, and what it saves is imported. These need a Python with torch, transformers, peft and
//! safetensors: what DPT_PYTHON names, else `python3`.

use std::path::Path;
use std::process::Command;

use dpt::adapter::{self, peft};
use dpt::artifact::tensors::Tensors;
use dpt_torch::model::t5::T5;
use dpt_torch::model::tensors;
use dpt_torch::prompt::Adapter;
use tch::{Device, Kind, Tensor};

use crate::bench::Bench;
use crate::golden;
use crate::parity::Parity;

/// A Python that has all that is needed; `None` where there is none, which is told.
fn python() -> Option<String> {
    let name = std::env::var("DPT_PYTHON").unwrap_or_else(|_| "python3".into());
    let asked =
        "import importlib.util as u; assert all(map(u.find_spec, ['torch', 'transformers', 'peft', 'safetensors']))";
    let asked = Command::new(&name).args(["-c", asked]).env_remove("LD_LIBRARY_PATH").output();
    if asked.is_ok_and(|output| output.status.success()) {
        return Some(name);
    }
    let text = format!("`{name}` has no torch, transformers, peft and safetensors; DPT_PYTHON can name another Python");
    println!("skipped: {text}");
    // Past the capture of a passing test's output.
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped {}: {text}", std::thread::current().name().unwrap_or("a test"));
    None
}

/// Runs `peft_logits.py`.
fn run(python: &str, what: &str, paths: &[&Path]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peft_logits.py");
    let ran = Command::new(python)
        .arg(script)
        .arg(what)
        .args(paths)
        // LD_LIBRARY_PATH names the libtorch of these tests, not Python's.
        .env_remove("LD_LIBRARY_PATH")
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{what}: {out}\n{err}");
}

#[test]
fn peft_computes_the_same_with_an_exported_prompt() {
    let Some(python) = python() else { return };
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tiny_t5").canonicalize().unwrap();
    let node = model.to_str().unwrap();
    let bench = Bench::new();
    let set = "task = \"rte\"\ntemplate = \"plain\"";
    bench.run("tokenize", "tokens", set, &[("data", "data"), ("tokenizer", node)]).unwrap();
    let ids = Tensor::from_slice(&[5i64, 9, 120, 33, 1, 77, 12, 300, 1, 0]).view([2, 5]);
    let mask = ids.ne(0).to_kind(Kind::Int64);
    let labels = Tensor::from_slice(&[17i64, 4, 1, 90, 1, -100]).view([2, 3]);
    let batch = [("input_ids", &ids), ("attention_mask", &mask), ("labels", &labels)];
    let batch = batch.map(|(name, t)| (name.to_owned(), t.shallow_clone())).into();
    let given = bench.path("batch.safetensors");
    tensors::write(&given, &batch).unwrap();

    let methods = ["dpt", "prompt-tuning"];
    let adapters = methods.map(|method| {
        let set = format!("method = \"{method}\"\nvirtual_tokens = 8\nrank = 4\nsteps = 4\nbatch_size = 4");
        bench.run("train", method, &set, &[("data", "tokens"), ("model", node)]).unwrap();
        let trained = bench.path(method);
        let info = adapter::read_info(&trained.join(adapter::INFO)).unwrap();
        let file = Tensors::open(&trained.join(adapter::TENSORS)).unwrap();
        let folder = bench.path(&format!("{method}.peft"));
        std::fs::create_dir(&folder).unwrap();
        peft::write(&folder, &adapter::prompt(&info, &file).unwrap(), &peft::BaseModel::default()).unwrap();
        (folder, Adapter::load(&info, &file, Device::Cpu).unwrap())
    });
    run(&python, "load", &[&model, &given, &adapters[0].0, &adapters[1].0]);

    let t5 = T5::load(&golden::checkpoint(&model), Device::Cpu, Kind::Float).unwrap();
    let mut parity = Parity::new("PEFT", "peft_python");
    let against = "PEFT itself, on an exported prompt";
    let _guard = tch::no_grad_guard();
    for (method, (folder, trained)) in methods.into_iter().zip(&adapters) {
        let theirs = golden::tensors(&folder.join("out.safetensors"));
        let prompt = trained.prompt().unsqueeze(0);
        let (states, states_mask) = t5.encode(t5.text(&ids, &mask).with_prefix(&prompt));
        let logits = t5.decode(&states, &states_mask, &t5.shift_right(&labels));
        parity.within("logits", against, 1e-4, golden::difference(&logits, &theirs["logits"]), method);
        let loss = t5.loss(&states, &states_mask, &labels).view([1]);
        parity.within("loss", against, 1e-5, golden::difference(&loss, &theirs["loss"]), method);
        let greedy: Vec<Vec<i64>> = Vec::try_from(&theirs["greedy_ids"]).unwrap();
        for (ours, theirs) in t5.greedy(&states, &states_mask, 6).iter().zip(&greedy) {
            let theirs = golden::generated(theirs, t5.config().eos_token_id);
            parity.same("greedy ids, rows", against, ours.as_slice(), theirs, method);
        }
    }
}

/// PEFT's own ways to save: safetensors and `torch.save`, one submodule and two.
#[test]
fn what_peft_saves_is_imported() {
    let Some(python) = python() else { return };
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tiny_t5");
    let dir = tempfile::tempdir().unwrap();
    run(&python, "save", &[&model, dir.path()]);
    let folders = golden::folders(dir.path());
    assert_eq!(folders.len(), 4);
    for folder in folders {
        let expected = &golden::tensors(&folder.join("expected.safetensors"))["prompt"];
        let read = peft::read(&folder).unwrap();
        let ours = Tensor::from_slice(&read.values).view([read.virtual_tokens as i64, read.d_model as i64]);
        assert_eq!(ours, *expected, "{}", folder.display());
    }
}
