//! `dpt adapter import` and `export`, and the download of an adapter.

use std::path::{Path, PathBuf};

use dpt::adapter::{self, AdapterInfo, peft};
use dpt::artifact::tensors::Tensors;
use dpt::svd::matrix::Matrix;
use serde_json::Value as Json;

use crate::sandbox::Sandbox;
use crate::support::http::{Reply, Server};

const VALUES: [f32; 6] = [0.5, -1.0, 2.0, 3.25, 4.0, -5.0];

fn base() -> peft::BaseModel {
    peft::BaseModel { name: Some("../tiny".into()), ..Default::default() }
}

/// A sandbox with a PEFT adapter of 2 virtual tokens of width 3 in `mine`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let folder = sandbox.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    peft::write(&folder, &Matrix::from_f32(2, 3, &VALUES), &base()).unwrap();
    sandbox
}

fn config(d_model: i64) -> String {
    format!(
        "{{\"model_type\": \"t5\", \"d_model\": {d_model}, \"num_layers\": 3, \"num_heads\": 2, \"vocab_size\": 9}}"
    )
}

fn info(folder: &Path) -> AdapterInfo {
    adapter::read_info(&folder.join(adapter::INFO)).unwrap()
}

fn prompt(folder: &Path) -> Vec<f32> {
    adapter::prompt(&info(folder), &Tensors::open(&folder.join(adapter::TENSORS)).unwrap()).unwrap().to_f32()
}

fn json(path: PathBuf) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn imported_prompt_is_exported_unchanged() {
    let sandbox = sandbox();
    let ran = sandbox.dpt(&["adapter", "import", "mine", "--task", "rte"]).code(0);
    assert_eq!(ran.stdout, "adapters/mine\n");
    assert_eq!(
        ran.stderr,
        "imported prompt-tuning, 2 virtual tokens of width 3\n\
         not checked: does it fit its base model `../tiny`? `--model DIR` checks the width\n"
    );
    let to = sandbox.path().join("adapters/mine");
    assert_eq!(prompt(&to), VALUES);
    let read = info(&to);
    assert_eq!((read.task.as_deref(), read.backbone_name.as_deref()), (Some("rte"), Some("../tiny")));

    sandbox.write("tiny/config.json", &config(3));
    let export = ["adapter", "export", "adapters/mine", "--to", "out", "--model", "tiny", "--base-model", "me/tiny"];
    let ran = sandbox.dpt(&export).code(0);
    assert_eq!(ran.stdout, "out\n");
    let out = sandbox.path().join("out");
    let (mut ours, theirs) = (json(out.join(peft::CONFIG)), json(sandbox.path().join("mine").join(peft::CONFIG)));
    assert_eq!((&ours["num_layers"], &ours["num_attention_heads"]), (&3.into(), &2.into()));
    for field in ["num_layers", "num_attention_heads", "base_model_name_or_path"] {
        ours[field] = theirs[field].clone();
    }
    assert_eq!(ours, theirs);
    assert_eq!(
        std::fs::read(out.join(peft::WEIGHTS[0])).unwrap(),
        std::fs::read(sandbox.path().join("mine").join(peft::WEIGHTS[0])).unwrap()
    );
    assert_eq!(json(out.join("dpt.json"))["adapter"]["task"], "rte");
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.starts_with("---\nlibrary_name: peft\nbase_model: \"me/tiny\"\n"), "{card}");
    sandbox.dpt(&["adapter", "import", "out", "--to", "again"]).code(0);
    assert_eq!(prompt(&sandbox.path().join("again")), VALUES);
}

#[test]
fn import_overwrites_only_with_force() {
    let sandbox = sandbox();
    sandbox.dpt(&["adapter", "import", "mine", "--to", "a"]).code(0);
    sandbox.write("a/notes.txt", "mine");
    let ran = sandbox.dpt(&["adapter", "import", "mine", "--to", "a"]).code(2);
    assert!(ran.stderr.contains("`a` already exists") && ran.stderr.contains("--force"), "{}", ran.stderr);
    sandbox.dpt(&["adapter", "import", "mine", "--to", "a", "--force"]).code(0);
    assert!(sandbox.path().join("a/notes.txt").exists() && prompt(&sandbox.path().join("a")) == VALUES);
}

#[test]
fn invalid_imports_and_exports_are_refused_with_a_reason() {
    let sandbox = sandbox();
    let fails = |args: &[&str], wanted: &str| {
        let ran = sandbox.dpt(&[&["adapter"][..], args].concat()).code(2);
        assert!(ran.stderr.contains(wanted), "{}", ran.stderr);
        assert!(ran.stdout.is_empty() && !sandbox.path().join("adapters").exists());
    };
    fails(&["import", "nowhere"], "there is no such folder");
    fails(&["import", "."], "it has no `adapter_config.json`");
    fails(&["import", "mine", "--task", "rtee"], "did you mean `rte`?");
    sandbox.write("tiny/config.json", &config(4));
    fails(&["import", "mine"], "the prompt has width 3, but the model in `mine/../tiny` has d_model 4");
    let mut lora = json(sandbox.path().join("mine").join(peft::CONFIG));
    lora["peft_type"] = "LORA".into();
    sandbox.write("mine/adapter_config.json", &lora.to_string());
    fails(&["import", "mine"], "the adapter is of PEFT's type `LORA`");

    adapter::write_whole(
        &sandbox.path().join("dept"),
        &AdapterInfo { method: "nothing".into(), ..AdapterInfo::imported(2, 3) },
        &VALUES,
    )
    .unwrap();
    fails(&["export", "dept", "--to", "out"], "there is no prompt method `nothing`");
    fails(&["export", "mine", "--to", "out"], "it is already a PEFT adapter");
    fails(&["export", "dept", "train", "--to", "out"], "is a folder and has no nodes");
    assert!(!sandbox.path().join("out").exists());
}

const PIPELINE: &str = "\
schema = 1
[axes]
task = [\"rte\", \"cb\"]
[source.mine]
url = \"file:mine\"
[stage.mine]
kind = \"download\"
axes = [\"task\"]
source = \"mine\"
format = \"adapter\"
[stage.raw]
kind = \"download\"
source = \"mine\"
format = \"files\"
";

#[test]
fn adapter_is_downloaded_and_exported_by_a_pipeline() {
    let sandbox = sandbox();
    sandbox.write("x.toml", PIPELINE);
    let export = |node: &str, code: i32| {
        sandbox.dpt(&["adapter", "export", "x.toml", node, "--to", "out", "--base-model", "t5-base"]).code(code)
    };
    let ran = export("mine[rte]", 2);
    assert!(ran.stderr.contains("`mine[rte]` is not up to date"), "{}", ran.stderr);
    assert!(ran.stderr.contains("dpt run x.toml 'mine[rte]'"), "{}", ran.stderr);
    sandbox.dpt(&["run", "x.toml"]).code(0);
    assert!(export("mine", 2).stderr.contains("`mine` matches 2 nodes"));
    assert!(export("raw", 2).stderr.contains("the result of `raw` is not an adapter"));
    let ran = sandbox.dpt(&["adapter", "export", "x.toml", "--to", "out"]).code(2);
    assert!(ran.stderr.contains("a node is needed to export from a pipeline"), "{}", ran.stderr);
    let ran = export("mine[rte]", 0);
    assert_eq!(ran.stderr, "exported prompt-tuning, 2 virtual tokens of width 3; its base model is `t5-base`\n");
    let made = json(sandbox.path().join("out/dpt.json"));
    assert_eq!((&made["made"]["node"], &made["adapter"]["task"]), (&"mine[task=rte]".into(), &"rte".into()));
    assert_eq!(made["made"]["key"].as_str().unwrap().len(), 64);

    // The content of an adapter is in the key, and dpt's own format is downloaded unchanged.
    sandbox.dpt(&["adapter", "import", "mine", "--to", "mine2", "--task", "rte"]).code(0);
    let set = ["--set", "source.mine.url=file:mine2", "--set", "axes.task=rte"];
    sandbox.dpt(&[&["run", "x.toml"][..], &set].concat()).code(0);
    sandbox.dpt(&[&["adapter", "export", "x.toml", "mine[rte]", "--to", "out2"][..], &set].concat()).code(0);
    let weights = |folder: &str| std::fs::read(sandbox.path().join(folder).join(peft::WEIGHTS[0])).unwrap();
    assert_eq!(weights("out2"), weights("out"));
    let ran = sandbox.dpt(&["run", "x.toml", "--set", "source.mine.url=file:mine2", "--set", "axes.task=cb"]).code(1);
    assert!(ran.stderr.contains("`task` is `cb`, but the prompt was trained for `rte`"), "{}", ran.stderr);
}

/// Downloads an adapter in PyTorch format, with PEFT's two submodules, from a server without a file list.
#[test]
fn adapter_is_downloaded_from_a_server() {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torch_files/peft_bin");
    let server = Server::start(move |request| match std::fs::read(made.join(request.path.trim_start_matches('/'))) {
        Ok(bytes) => Reply::ok(bytes),
        Err(_) => Reply::status(404),
    });
    let sandbox = Sandbox::new();
    sandbox.write("x.toml", &PIPELINE.replace("file:mine", &server.url));
    sandbox.dpt(&["run", "x.toml", "mine[rte]"]).code(0);
    sandbox.dpt(&["adapter", "export", "x.toml", "mine[rte]", "--to", "out"]).code(0);
    let read = peft::read(&sandbox.path().join("out")).unwrap();
    assert_eq!((read.virtual_tokens, read.values), (2, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let config = json(sandbox.path().join("out").join(peft::CONFIG));
    assert_eq!(config["num_transformer_submodules"], 1);
}
