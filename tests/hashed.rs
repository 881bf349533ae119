//! Counts how often the bytes of a large checkpoint are hashed. This binary has one test, because the counter is global
//! to the process.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests write and read files of their own"
)]

#[path = "it/support/http.rs"]
mod http;

use std::path::Path;
use std::time::Duration;

use dpt::artifact::tally::{For, hashed};
use dpt::artifact::tensors::{self, Dtype, Tensor};
use dpt::cache::Store;
use dpt::engine::event::{Event, Sink};
use dpt::engine::executor::local::Local;
use dpt::engine::options::RunOptions;
use dpt::engine::run::run;
use dpt::fetch::hash::Sha256;
use dpt::pipeline::{self, LoadOptions};
use dpt::stages::ctx::Cancel;

use http::{Reply, Server};

/// Above the size that is always hashed, and not a multiple of the piece size.
const SIZE: usize = 20_000_001;

const CONFIG: &str = r#"{ "model_type": "t5", "d_model": 4, "vocab_size": 8 }"#;

/// The number of complete passes over the file: for its bytes, its content, and SHA-256.
type Times = (u64, u64, u64);

struct Nobody;

impl Sink for Nobody {
    fn event(&self, _: &Event) {}
}

/// Makes a checkpoint of one large file in `dir` and returns its bytes.
fn checkpoint(dir: &Path) -> Vec<u8> {
    let values: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let tensor = Tensor { name: "w", dtype: Dtype::U8, shape: &[SIZE], bytes: &values };
    tensors::write(&dir.join("model.safetensors"), &[tensor]).unwrap();
    std::fs::write(dir.join("config.json"), CONFIG).unwrap();
    std::fs::read(dir.join("model.safetensors")).unwrap()
}

/// Runs a pipeline that downloads the checkpoint from `url`, with `more` in its source. Returns what was hashed.
fn times(dir: &Path, url: &str, name: &str, more: &str) -> Times {
    let text = format!(
        "schema = 1\n[source.t5]\nurl = \"{url}\"\n{more}\n\
         [stage.model]\nkind = \"download\"\nsource = \"t5\"\nformat = \"checkpoint\"\nname = \"{name}\"\n"
    );
    let plan = pipeline::load_text(&dir.join("p.toml"), text, &LoadOptions::default()).unwrap();
    let counts = || [For::Bytes, For::Tensors, For::Sha256].map(hashed);
    let before = counts();
    let store = Store::open(&dir.join("cache")).unwrap();
    let options = RunOptions {
        pipeline: plan.name.clone(),
        jobs: 2,
        targets: vec![],
        only: vec![],
        keep_going: false,
        force: vec![],
        outside: plan.outside.clone(),
        accept: None,
        dry_run: false,
    };
    let summary = run(&plan.graph, &store, options, &Local::without_workers(), &Nobody, &Cancel::new());
    assert!(summary.failed.is_empty(), "{:?}", summary.failed);
    store.flush().unwrap();
    let after = counts();
    let times = [0, 1, 2].map(|i| (after[i] - before[i]) as f64 / SIZE as f64);
    // The other files of a checkpoint are small.
    times.iter().for_each(|t| assert!((t - t.round()).abs() < 0.01, "{times:?}"));
    let [bytes, tensors, sha256] = times.map(|t| t.round() as u64);
    (bytes, tensors, sha256)
}

/// The time until a later write gets a different timestamp.
fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn checkpoint_bytes_are_hashed_once_for_each_digest() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("t5")).unwrap();
    let bytes = checkpoint(&dir.join("t5"));
    settle();
    let local = |name: &str, more: &str| times(dir, "file:t5", name, more);
    assert_eq!(local("one", ""), (1, 1, 0), "a first run: for the key, which finds out the meaning too");
    assert_eq!(local("one", ""), (0, 0, 0), "a run without work");
    assert_eq!(local("two", ""), (0, 0, 0), "the same files under another key");

    let pin = format!("sha256 = \"{}\", bytes = {}", Sha256::of(&bytes), bytes.len());
    let pinned =
        format!("[source.t5.files]\nw = {{ path = \"model.safetensors\", {pin} }}\nc = {{ path = \"config.json\" }}");
    assert_eq!(local("one", &pinned), (0, 0, 1), "a pin is checked");
    assert_eq!(local("two", &pinned), (0, 0, 0), "and remembered");

    std::fs::File::open(dir.join("t5/model.safetensors")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    settle();
    assert_eq!(local("one", ""), (1, 1, 0), "touched: nothing but its bytes tells that it is the same");
    assert_eq!(local("one", ""), (0, 0, 0));

    let cut = bytes.len() / 2;
    let served = bytes.clone();
    let server = Server::start(move |request| match request.path.as_str() {
        "/model.safetensors" if request.from.is_none() => Reply::file(request, &served, "\"e\"").cut_at(cut),
        "/model.safetensors" => Reply::file(request, &served, "\"e\""),
        "/config.json" => Reply::ok(CONFIG),
        _ => Reply::status(404),
    });
    assert_eq!(times(dir, &server.url, "one", ""), (1, 1, 1), "a download that is interrupted and goes on");
    let asked = server.requests().into_iter().filter(|request| request.path == "/model.safetensors").count();
    assert_eq!((asked, times(dir, &server.url, "one", "")), (2, (0, 0, 0)));
}
