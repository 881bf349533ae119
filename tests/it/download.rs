//! The `download` stage: SuperGLUE archives and folders, checkpoints and tokenizers, from a server, a folder, a mirror.

use std::collections::BTreeMap;
use std::path::Path;

use dpt::artifact::{Counted, json, table};
use dpt::base::diag::{Class, Diag};
use dpt::base::digest::Digest;
use dpt::base::stat::Signature;
use dpt::base::value::{Params, Value};
use dpt::fetch::hash::Sha256;
use dpt::fetch::record::{Fetched, Records, collect};
use dpt::fetch::source::Source;
use dpt::stages::download::KIND;
use serde_json::{Value as Json, json};

use crate::golden;
use crate::support::http::{Reply, Server};
use crate::support::pack;
use crate::support::stage::Bench;

const TRAIN: &str = r#"{"premise": "a b", "hypothesis": "a", "label": "entailment", "idx": 0}
{"premise": "c d", "hypothesis": "e", "label": "not_entailment", "idx": 1}
"#;
const VAL: &str = r#"{"premise": "f", "hypothesis": "f", "label": "entailment", "idx": 0}
"#;

fn text(value: &str) -> Value {
    Value::Str(value.to_owned())
}

fn table_of(fields: &[(&str, Value)]) -> Value {
    Value::Table(fields.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
}

/// A `[source.s]` table.
fn source(url: &str, files: &[(&str, Value)]) -> Value {
    table_of(&[("name", text("s")), ("url", text(url)), ("verify", Value::Bool(true)), ("files", table_of(files))])
}

fn unverified(mut source: Value) -> Value {
    let Value::Table(fields) = &mut source else { unreachable!() };
    fields.insert("verify".to_owned(), Value::Bool(false));
    source
}

/// An entry of a source's `files`.
fn pin(path: &str, bytes: &[u8]) -> Value {
    let sha256 = Sha256::of(bytes).to_string();
    table_of(&[("path", text(path)), ("sha256", text(&sha256)), ("bytes", Value::Int(bytes.len() as i64))])
}

/// A download of RTE from `source`.
fn rte(source: Value) -> Bench {
    let mut bench = of("superglue", source);
    bench.set("task", text("rte"));
    bench
}

fn of(format: &str, source: Value) -> Bench {
    let mut bench = Bench::new(&KIND);
    bench.set("source", source);
    bench.set("format", text(format));
    bench.set("splits", table_of(&[("train", text("train.jsonl")), ("validation", text("val.jsonl"))]));
    bench
}

fn rte_zip() -> Vec<u8> {
    pack::zip(&[
        ("RTE/train.jsonl", TRAIN.as_bytes()),
        ("RTE/val.jsonl", VAL.as_bytes()),
        ("__MACOSX/RTE/._val.jsonl", b"x"),
    ])
}

/// A server with one file, whatever is asked for.
fn serving(body: Vec<u8>) -> Server {
    Server::start(move |r| Reply::file(r, &body, "\"1\""))
}

/// A server with these files.
fn serving_all(files: BTreeMap<String, Vec<u8>>) -> Server {
    Server::start(move |r| match files.get(r.path.trim_start_matches('/')) {
        Some(body) => Reply::file(r, body, "\"1\""),
        None => Reply::status(404),
    })
}

fn fetched(bench: &Bench) -> Fetched {
    json::read(&bench.out("fetched.json")).unwrap()
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn fails(bench: &mut Bench) -> Diag {
    bench.run().unwrap_err()
}

// Data.

#[test]
fn archive_from_a_server_becomes_tables() {
    let server = serving(rte_zip());
    let mut bench = rte(source(&server.url, &[]));
    let outcome = bench.run().unwrap();
    assert_eq!(bench.outputs(), ["data.json", "fetched.json", "train.parquet", "validation.parquet"]);
    assert_eq!(server.requests()[0].path, "/RTE.zip");
    assert_eq!(table::read(&bench.out("train.parquet")).unwrap().num_rows(), 2);
    let data: Json = json::read(&bench.out("data.json")).unwrap();
    let expected = json!({
        "task": "rte",
        "source": server.url,
        "splits": {
            "train": { "rows": 2, "sha256": Sha256::of(TRAIN.as_bytes()) },
            "validation": { "rows": 1, "sha256": Sha256::of(VAL.as_bytes()) }
        }
    });
    assert_eq!(data, expected);
    let fetched = fetched(&bench);
    let file = &fetched.files["RTE.zip"];
    assert_eq!((file.sha256, file.bytes, file.pinned), (Some(Sha256::of(&rte_zip())), rte_zip().len() as u64, false));
    assert_eq!(file.origin, format!("{}/RTE.zip", server.url));
    assert_eq!(outcome.notes, ["`RTE.zip` is not pinned: `dpt pin PIPELINE` records what was fetched"]);
    assert!(bench.recorder.updates().iter().any(|u| u.what == "downloading RTE.zip"));

    // The pins that `dpt pin` writes.
    let mut records = Records::new();
    let source = Source::from_value(&source(&server.url, &[("rte", text("RTE.zip"))])).unwrap();
    collect(&source, &fetched, &mut records);
    assert_eq!(records["s"]["rte"].sha256, Sha256::of(&rte_zip()));
}

#[test]
fn packing_does_not_change_the_output() {
    let files: &[(&str, &[u8])] = &[("RTE/train.jsonl", TRAIN.as_bytes()), ("RTE/val.jsonl", VAL.as_bytes())];
    let mut seen = Vec::new();
    let packings: Vec<(&str, Vec<u8>)> = vec![
        ("RTE.zip", pack::zip(files)),
        ("RTE.tar", pack::tar(files)),
        ("RTE.tar.gz", pack::gz(&pack::tar(files))),
        ("RTE.tgz", pack::gz(&pack::tar(&[("train.jsonl", TRAIN.as_bytes()), ("val.jsonl", VAL.as_bytes())]))),
    ];
    let mut read = |bench: &mut Bench| {
        bench.run().unwrap();
        let bytes = |name: &str| std::fs::read(bench.out(name)).unwrap();
        seen.push((bytes("train.parquet"), bytes("validation.parquet"), bytes("data.json")));
    };
    for (name, bytes) in &packings {
        let mut bench = rte(source("file:data", &[]));
        write(&bench.base().join("data").join(name), bytes);
        read(&mut bench);
        // The source may also be the archive itself.
        let mut bench = rte(source(&format!("file:data/{name}"), &[]));
        write(&bench.base().join("data").join(name), bytes);
        read(&mut bench);
    }
    for folder in ["data/RTE", "data", "data/RTE/RTE"] {
        let mut bench = rte(source("file:data", &[]));
        write(&bench.base().join(folder).join("train.jsonl"), TRAIN);
        write(&bench.base().join(folder).join("val.jsonl"), VAL);
        read(&mut bench);
    }
    assert_eq!(seen.len(), 11);
    assert!(seen.iter().all(|s| *s == seen[0]));
}

#[test]
fn folder_on_a_server_is_read_file_by_file() {
    let files = [("RTE/train.jsonl", TRAIN), ("RTE/val.jsonl", VAL)];
    let server = serving_all(files.iter().map(|(n, t)| ((*n).to_owned(), t.as_bytes().to_vec())).collect());
    let mut bench = rte(source(&server.url, &[]));
    bench.set("file", Value::List(vec![text("RTE")]));
    bench.set("splits", table_of(&[("train", text("train.jsonl")), ("test", text("test.jsonl?"))]));
    bench.run().unwrap();
    assert_eq!(bench.outputs(), ["data.json", "fetched.json", "train.parquet"]);
    assert_eq!(fetched(&bench).files.keys().collect::<Vec<_>>(), ["RTE/train.jsonl"]);
    bench.set("splits", table_of(&[("test", text("test.jsonl"))]));
    assert_eq!(fails(&mut bench).message, "`RTE/test.jsonl` is not there: the server says 404 (Not Found)");
}

#[test]
fn compressed_splits_are_read() {
    let mut bench = rte(source("file:data", &[]));
    write(&bench.base().join("data/RTE/train.jsonl.gz"), pack::gz(TRAIN.as_bytes()));
    bench.set("splits", table_of(&[("train", text("train.jsonl.gz"))]));
    bench.run().unwrap();
    assert_eq!(table::read(&bench.out("train.parquet")).unwrap().num_rows(), 2);
}

#[test]
fn missing_split_is_an_error_unless_optional() {
    let only_train = pack::zip(&[("RTE/train.jsonl", TRAIN.as_bytes())]);
    let mut bench = rte(source("file:.", &[]));
    write(&bench.base().join("RTE.zip"), only_train);
    let diag = fails(&mut bench);
    assert_eq!(diag.message, "archive `RTE.zip` has no `val.jsonl`, the file of split `validation`");
    assert_eq!(diag.notes, ["it has `RTE/train.jsonl`"]);
    assert_eq!(
        diag.help.unwrap(),
        "name the right file in `splits`; `validation = \"val.jsonl?\"` says that it may be missing"
    );
    bench.set("splits", table_of(&[("train", text("train.jsonl")), ("validation", text("val.jsonl?"))]));
    bench.run().unwrap();
    assert_eq!(bench.outputs(), ["data.json", "fetched.json", "train.parquet"]);

    let mut bench = rte(source("file:.", &[]));
    write(&bench.base().join("RTE/train.jsonl"), TRAIN);
    let diag = fails(&mut bench);
    assert!(diag.message.ends_with("RTE` has no `val.jsonl`, the file of split `validation`"), "{diag}");
    assert_eq!(diag.notes, ["it has `train.jsonl`"]);
}

#[test]
fn missing_task_is_an_error() {
    let mut bench = rte(source("file:.", &[]));
    let diag = fails(&mut bench);
    assert_eq!((diag.class, diag.message.as_str()), (Class::Stage, "source `s` has no folder or archive `RTE`"));
    let mut bench = rte(source("file:gone", &[]));
    let diag = fails(&mut bench);
    assert!(diag.message.starts_with("source `s` names a place that is not there"));
    assert_eq!(diag.class, Class::Environment);
}

#[test]
fn invalid_rows_are_reported_with_file_and_line() {
    let mut bench = rte(source("file:.", &[]));
    write(&bench.base().join("RTE/train.jsonl"), TRAIN);
    write(&bench.base().join("RTE/val.jsonl"), format!("{VAL}{{\"premise\": "));
    assert!(fails(&mut bench).message.starts_with("`RTE/val.jsonl`, line 2: not JSON"), "{}", fails(&mut bench));
    write(&bench.base().join("RTE/val.jsonl"), b"{}\n\xff\n");
    assert_eq!(fails(&mut bench).message, "`RTE/val.jsonl`, line 2: not UTF-8");
    write(&bench.base().join("RTE/val.jsonl"), "");
    let diag = fails(&mut bench);
    assert_eq!(diag.class, Class::Stage, "{diag}");
}

#[test]
fn truncated_archive_is_refused_and_fetched_again() {
    let whole = rte_zip();
    let server = Server::start(move |r| {
        let body = if r.number == 0 { &whole[..whole.len() / 2] } else { &whole[..] };
        Reply::file(r, body, if r.number == 0 { "\"broken\"" } else { "\"whole\"" })
    });
    let mut bench = rte(source(&server.url, &[]));
    let diag = fails(&mut bench);
    assert!(diag.message.starts_with("archive `RTE.zip` is cut short or damaged"), "{diag}");
    // The next run succeeds if the server has the complete archive.
    bench.run().unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn interrupted_download_resumes_in_the_next_run() {
    let noise: Vec<u8> = (0..400_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let zip =
        pack::zip(&[("RTE/train.jsonl", TRAIN.as_bytes()), ("RTE/val.jsonl", VAL.as_bytes()), ("RTE/noise", &noise)]);
    let server = {
        let zip = zip.clone();
        Server::start(move |r| Reply { pause: std::time::Duration::from_millis(1), ..Reply::file(r, &zip, "\"1\"") })
    };
    let mut bench = rte(source(&server.url, &[("rte", pin("RTE.zip", &zip))]));
    bench.recorder.cancel_at = Some(500_000);
    assert_eq!(fails(&mut bench).class, Class::Interrupted);
    bench.recorder = Default::default();
    let outcome = bench.run().unwrap();
    assert!(outcome.notes.is_empty(), "{:?}", outcome.notes);
    let from = server.requests()[1].from.unwrap();
    assert!(from >= 500_000 && from < zip.len() as u64);
    assert!(fetched(&bench).files["RTE.zip"].pinned);
}

#[test]
fn real_rows_of_all_eight_tasks_are_read() {
    let Some(dir) = golden::data("superglue_fewshot") else { return };
    let rows = [
        ("boolq", 32, 3270),
        ("cb", 32, 56),
        ("copa", 32, 100),
        ("multirc", 0, 4848),
        ("record", 0, 0),
        ("rte", 32, 277),
        ("wic", 32, 638),
        ("wsc", 32, 104),
    ];
    for (task, train, validation) in rows {
        let mut bench = of("superglue", source(&format!("file:{}", dir.display()), &[]));
        bench.set("task", text(task));
        let splits = [("train", text("train.jsonl")), ("dev", text("dev32.jsonl")), ("validation", text("val.jsonl?"))];
        bench.set("splits", table_of(&splits));
        bench.run().unwrap();
        let count = |split: &str| table::read(&bench.out(&format!("{split}.parquet"))).map_or(0, |t| t.num_rows());
        if train > 0 {
            assert_eq!((count("train"), count("dev")), (train, 32), "{task}");
        }
        assert!(count("train") >= 32 && count("dev") >= 32, "{task}");
        assert_eq!(count("validation"), validation, "{task}");
        let first = std::fs::read(bench.out("train.parquet")).unwrap();
        bench.run().unwrap();
        assert!(std::fs::read(bench.out("train.parquet")).unwrap() == first, "{task}: the same bytes twice");
    }
}

// Pins, mirrors and keys.

/// Returns what is in the key from outside: the replaced parameters, and the names of files that count by content.
fn key(bench: &Bench) -> (BTreeMap<&'static str, Option<String>>, Vec<String>) {
    let identity = bench.identity().unwrap();
    let params = identity.params.into_iter().map(|(name, value)| (name, value.map(|v| v.to_string()))).collect();
    (params, identity.files.into_iter().map(|(name, _)| name).collect())
}

#[test]
fn pinned_mirror_keeps_key_and_outputs() {
    let zip = rte_zip();
    let server = serving(zip.clone());
    let pinned = source(&server.url, &[("rte", pin("RTE.zip", &zip)), ("cb", pin("CB.zip", b"other"))]);
    let mut net = rte(pinned.clone());
    net.run().unwrap();

    let mut mirrored = rte(pinned);
    write(&mirrored.dir.path().join("mirror/RTE.zip"), &zip);
    let mirror = mirrored.path("mirror");
    mirrored.job.mirrors.insert("s".to_owned(), mirror);
    let outcome = mirrored.run().unwrap();
    assert_eq!(server.requests().len(), 1);
    assert_eq!(key(&mirrored), key(&net));
    assert_eq!(mirrored.outputs(), net.outputs());
    for name in net.outputs() {
        assert_eq!(std::fs::read(mirrored.out(&name)).unwrap(), std::fs::read(net.out(&name)).unwrap(), "{name}");
    }
    assert!(outcome.notes[0].starts_with("`s` was read from the mirror"), "{:?}", outcome.notes);

    // Only the pin of this task is in the key.
    let one = rte(source(&server.url, &[("rte", pin("RTE.zip", &zip))]));
    assert_eq!(key(&one), key(&net));
    let other = rte(source(&server.url, &[("rte", pin("RTE.zip", b"x"))]));
    assert_ne!(key(&other), key(&net));

    write(&mirrored.dir.path().join("mirror/RTE.zip"), &zip[..zip.len() - 1]);
    let diag = fails(&mut mirrored);
    assert!(diag.message.ends_with("mirror/RTE.zip` is not what source `s` pins"), "{diag}");
    assert!(diag.help.unwrap().contains("--set source.s.verify=false"));
}

#[test]
fn unpinned_mirror_is_in_the_key() {
    let mut bench = rte(source("https://example.invalid/v2", &[]));
    let without = key(&bench);
    assert!(without.1.is_empty());
    write(&bench.dir.path().join("mirror/RTE.zip"), rte_zip());
    let mirror = bench.path("mirror");
    bench.job.mirrors.insert("s".to_owned(), mirror);
    assert_eq!(key(&bench), (without.0.clone(), vec!["archive".to_owned()]));
    bench.run().unwrap();
    assert_eq!(fetched(&bench).files["RTE.zip"].origin, "a mirror of https://example.invalid/v2/RTE.zip");
}

#[test]
fn unpacked_mirror_of_a_pinned_archive_needs_verify_false() {
    let pinned = source("https://example.invalid/v2", &[("rte", pin("RTE.zip", b"x"))]);
    let mut bench = rte(pinned.clone());
    write(&bench.dir.path().join("mirror/RTE/train.jsonl"), TRAIN);
    write(&bench.dir.path().join("mirror/RTE/val.jsonl"), VAL);
    let mirror = bench.path("mirror");
    bench.job.mirrors.insert("s".to_owned(), mirror);
    let diag = fails(&mut bench);
    let message = "source `s` pins the archive `RTE.zip`, and an unpacked folder cannot be checked against it";
    assert_eq!((diag.class, diag.message.as_str()), (Class::Usage, message));
    assert!(diag.help.unwrap().contains("`--set source.s.verify=false`"));
    assert_eq!(bench.identity().unwrap_err().message, message);

    bench.set("source", unverified(pinned));
    let outcome = bench.run().unwrap();
    assert_eq!(key(&bench).1, ["train.jsonl", "val.jsonl"]);
    assert_eq!(outcome.notes[1], "the pins of `s` were not checked (`verify = false`)");
    assert!(!fetched(&bench).files["RTE/train.jsonl"].pinned);
}

#[test]
fn local_files_count_by_content_not_by_path() {
    let local = |folder: &str| {
        let bench = rte(source(&format!("file:{folder}"), &[]));
        write(&bench.base().join(folder).join("RTE/train.jsonl"), TRAIN);
        write(&bench.base().join(folder).join("RTE/val.jsonl"), VAL);
        bench
    };
    let (one, two) = (local("a"), local("b/c"));
    assert_eq!(key(&one), key(&two));
    assert_eq!(key(&one).1, ["train.jsonl", "val.jsonl"]);
    let text = format!("{:?}", key(&one).0);
    assert!(!text.contains("RTE") && !text.contains("file:"), "{text}");
}

#[test]
fn local_file_is_checked_against_its_pin() {
    let mut bench = rte(source("file:.", &[("rte", pin("RTE.zip", b"another"))]));
    write(&bench.base().join("RTE.zip"), rte_zip());
    assert_eq!(fails(&mut bench).message, "`RTE.zip` is not what source `s` pins");
    let unpinned = rte(source("file:.", &[]));
    write(&unpinned.base().join("RTE.zip"), rte_zip());
    assert_ne!(key(&bench).0, key(&unpinned).0);
}

#[test]
fn local_file_that_differs_from_its_key_is_refused() {
    let mut bench = of("files", source("file:data", &[]));
    let path = bench.base().join("data/a.txt");
    write(&path, "text");
    let counted = |bench: &mut Bench, text: &str, signature: Option<Signature>| {
        let counted = Counted { digest: Digest::of(text.as_bytes()), signature, sha256: None };
        bench.job.sources.insert(path.clone(), counted);
    };
    let signature = Signature::at(&path).unwrap();
    // Without a remembered signature, the file is hashed.
    counted(&mut bench, "text", None);
    bench.run().unwrap();
    counted(&mut bench, "other", None);
    let diag = fails(&mut bench);
    assert_eq!(diag.message, "`a.txt` changed after its key was made");
    assert_eq!(diag.notes, [format!("counted {}, read {}", Digest::of(b"other"), Digest::of(b"text"))]);
    // With an unchanged signature, the file is trusted.
    counted(&mut bench, "other", signature);
    bench.run().unwrap();
    assert_eq!(fetched(&bench).files["a.txt"].blake3, Digest::of(b"other"));
    // With a changed signature, it is hashed.
    write(&path, "longer");
    assert_eq!(fails(&mut bench).message, "`a.txt` changed after its key was made");
    counted(&mut bench, "longer", signature);
    bench.run().unwrap();
}

#[test]
fn invalid_parameters_are_refused() {
    let wrong = |name: &str, value: Value| {
        let mut bench = rte(source("file:.", &[]));
        bench.set(name, value);
        let diag = (KIND.check.unwrap())(&bench.job.params).unwrap_err();
        assert_eq!(diag.class, Class::Usage);
        diag.message
    };
    let splits = |name: &str, file: &str| wrong("splits", table_of(&[(name, text(file))]));
    assert_eq!(splits("valid", "val.jsonl"), "`splits` has `valid`, which is not a split");
    assert_eq!(splits("train", "../x"), "`splits.train` is `../x`, which is not a plain path inside the data set");
    assert_eq!(wrong("splits", table_of(&[])), "`splits` names no split");
    assert_eq!(
        wrong("file", Value::List(vec![text("a"), text("b")])),
        "`format = \"superglue\"` takes one `file`: the task's archive or folder"
    );
    assert_eq!(
        wrong("file", Value::List(vec![text("/etc")])),
        "source `s` names `/etc`, which is not a plain path below it"
    );
    let mut bench = rte(source("file:.", &[]));
    bench.job.params.remove("task");
    assert_eq!(
        (KIND.check.unwrap())(&bench.job.params).unwrap_err().message,
        "`format = \"superglue\"` needs a `task`"
    );
}

// Checkpoints.

/// A safetensors file with tensors of one float each.
fn tensors(names: &[&str]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    for (i, name) in names.iter().enumerate() {
        let at = [4 * i, 4 * i + 4];
        header.insert((*name).to_owned(), json!({ "dtype": "F32", "shape": [1], "data_offsets": at }));
    }
    let header = Json::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; 4 * names.len()]);
    bytes
}

const CONFIG: &str = r#"{"model_type": "t5", "d_model": 4, "vocab_size": 8}"#;
const SPIECE: &[u8] = b"\x0a\x03abc";

fn checkpoint() -> BTreeMap<String, Vec<u8>> {
    [
        ("config.json", CONFIG.as_bytes().to_vec()),
        ("model.safetensors", tensors(&["shared.weight"])),
        ("pytorch_model.bin", b"PK\x03\x04".to_vec()),
        ("spiece.model", SPIECE.to_vec()),
        ("README.md", b"hello".to_vec()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn sharded() -> BTreeMap<String, Vec<u8>> {
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let index = json!({ "metadata": {}, "weight_map": { "a": one, "b": one, "c": two } }).to_string();
    [
        ("config.json", CONFIG.as_bytes().to_vec()),
        ("model.safetensors.index.json", index.into_bytes()),
        (one, tensors(&["a", "b"])),
        (two, tensors(&["c"])),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

const SHARDED: [&str; 6] = [
    "backbone.json",
    "config.json",
    "fetched.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
];

/// A checkpoint in the folder `model` beside the pipeline.
fn on_disk(files: &BTreeMap<String, Vec<u8>>) -> Bench {
    let bench = of("checkpoint", source("file:model", &[]));
    for (name, bytes) in files {
        write(&bench.base().join("model").join(name), bytes);
    }
    bench
}

#[test]
fn checkpoint_is_read_from_a_folder() {
    let mut bench = on_disk(&checkpoint());
    bench.run().unwrap();
    assert_eq!(
        bench.outputs(),
        ["backbone.json", "config.json", "fetched.json", "model.safetensors", "spiece.model"],
        "the better weights alone"
    );
    let backbone: Json = json::read(&bench.out("backbone.json")).unwrap();
    assert_eq!(backbone, json!({ "name": "s", "origin": "download", "source": "local files" }));
    assert_eq!(key(&bench).1, ["config.json", "model.safetensors", "spiece.model"]);
    bench.set("name", text("t5-tiny"));
    bench.run().unwrap();
    assert!(bench.read("backbone.json").contains("\"t5-tiny\""));
    assert_eq!(key(&bench).0["name"].as_deref(), Some("\"t5-tiny\""));
}

/// The shards that `torch.save` wrote, with their own index.
#[test]
fn checkpoint_is_read_in_pytorch_format() {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torch_files/t5_sharded");
    let names = [
        "config.json",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "pytorch_model.bin.index.json",
    ];
    let mut files: BTreeMap<String, Vec<u8>> =
        names.iter().map(|name| ((*name).to_owned(), std::fs::read(made.join(name)).unwrap())).collect();
    let mut bench = on_disk(&files);
    bench.run().unwrap();
    assert_eq!(bench.outputs(), ["backbone.json", names[0], "fetched.json", names[1], names[2], names[3]]);
    let server = serving_all(files.clone());
    let mut bench = of("checkpoint", source(&server.url, &[]));
    bench.run().unwrap();
    assert_eq!(bench.outputs().len(), 6);

    let index = String::from_utf8(files[names[3]].clone()).unwrap();
    files.insert(names[3].into(), index.replace("pytorch_model-00002-of-00002.bin", "../secret.bin").into_bytes());
    assert_eq!(
        fails(&mut on_disk(&files)).message,
        "`pytorch_model.bin.index.json` names `../secret.bin` as a file of weights"
    );
    files.insert(names[3].into(), index.into_bytes());
    files.insert(names[2].into(), std::fs::read(made.join("../module.bin")).unwrap());
    let error = fails(&mut on_disk(&files));
    assert!(error.message.contains("it names `torch.nn.modules.linear.Linear`"), "{error}");
}

#[test]
fn checkpoint_on_a_server_is_found_by_usual_names() {
    let server = serving_all(checkpoint());
    let mut bench = of("checkpoint", source(&server.url, &[]));
    let outcome = bench.run().unwrap();
    assert_eq!(bench.outputs(), ["backbone.json", "config.json", "fetched.json", "model.safetensors", "spiece.model"]);
    assert!(server.requests().iter().all(|r| r.path != "/pytorch_model.bin"));
    assert_eq!(outcome.notes, ["3 files are not pinned: `dpt pin PIPELINE` records what was fetched"]);
    assert!(key(&bench).1.is_empty());
}

#[test]
fn checkpoint_has_the_files_that_the_source_names() {
    let all = checkpoint();
    let server = serving_all(all.clone());
    let files: Vec<(&str, Value)> = ["config.json", "model.safetensors"].map(|n| (n, pin(n, &all[n]))).into();
    let mut bench = of("checkpoint", source(&server.url, &files));
    let outcome = bench.run().unwrap();
    assert_eq!(server.requests().len(), 2);
    assert_eq!(outcome.notes, ["`s` came without a tokenizer"]);
    bench.set("file", text("README.md"));
    assert_eq!(fails(&mut bench).message, "`README.md` is not a file of a checkpoint");
}

#[test]
fn sharded_checkpoint_is_downloaded_completely() {
    let server = serving_all(sharded());
    let mut net = of("checkpoint", source(&server.url, &[]));
    net.run().unwrap();
    assert_eq!(net.outputs(), SHARDED);
    let mut disk = on_disk(&sharded());
    disk.run().unwrap();
    assert_eq!(disk.outputs(), SHARDED);
    assert_eq!(key(&disk).1.len(), 4, "every shard counts");
    let listed = [("index", text("model.safetensors.index.json")), ("config", text("config.json"))];
    let mut listed = of("checkpoint", source(&server.url, &listed));
    listed.run().unwrap();
    assert_eq!(listed.outputs(), SHARDED);
}

#[test]
fn incomplete_sharded_checkpoint_is_refused() {
    let two = "model-00002-of-00002.safetensors";
    let mut files = sharded();
    files.remove(two);
    let message = |diag: Diag| diag.message.replace('`', "");
    let diag = fails(&mut of("checkpoint", source(&serving_all(files.clone()).url, &[])));
    assert_eq!(message(diag), format!("model.safetensors.index.json names {two}, which is missing"));
    assert!(message(fails(&mut on_disk(&files))).ends_with(&format!(" names {two}, which is missing")));
    files.insert(two.to_owned(), tensors(&["d"]));
    let diag = message(fails(&mut on_disk(&files)));
    assert_eq!(diag, format!("{two} has no tensor c, which model.safetensors.index.json places there"));
    let index = r#"{"weight_map": {"a": "../../etc/passwd"}}"#;
    files.insert("model.safetensors.index.json".to_owned(), index.as_bytes().to_vec());
    assert!(message(fails(&mut on_disk(&files))).ends_with("names ../../etc/passwd as a file of weights"));
}

#[test]
fn checkpoint_is_read_from_an_archive() {
    let all = checkpoint();
    let inside: Vec<(String, &[u8])> = all.iter().map(|(n, b)| (format!("t5/{n}"), b.as_slice())).collect();
    let inside: Vec<(&str, &[u8])> = inside.iter().map(|(n, b)| (n.as_str(), *b)).collect();
    let mut bench = of("checkpoint", source("file:t5.tar.gz", &[]));
    write(&bench.base().join("t5.tar.gz"), pack::gz(&pack::tar(&inside)));
    bench.run().unwrap();
    assert_eq!(bench.outputs(), ["backbone.json", "config.json", "fetched.json", "model.safetensors", "spiece.model"]);
    assert_eq!(key(&bench).1, ["archive"]);
}

#[test]
fn misnamed_files_are_refused() {
    let with = |name: &str, bytes: &[u8]| {
        let mut files = checkpoint();
        files.insert(name.to_owned(), bytes.to_vec());
        fails(&mut on_disk(&files)).message
    };
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
    assert!(with("model.safetensors", lfs).contains("it is a Git LFS pointer"));
    assert!(with("spiece.model", b"<!DOCTYPE html>").contains("it is a web page"));
    assert!(with("model.safetensors", &tensors(&["a"])[..60]).contains("is not a safetensors file"));
    assert!(with("config.json", b"{").starts_with("`config.json` is not "), "{}", with("config.json", b"{"));
    assert_eq!(
        with("config.json", br#"{"model_type": "bert"}"#),
        "`config.json` is of a model of type `bert`, not of a T5"
    );
    let mut files = checkpoint();
    files.remove("model.safetensors");
    files.insert("pytorch_model.bin".to_owned(), b"nonsense".to_vec());
    let error = fails(&mut on_disk(&files));
    assert!(error.message.starts_with("`pytorch_model.bin` is not a file of tensors"), "{error}");
    files.remove("pytorch_model.bin");
    assert!(fails(&mut on_disk(&files)).message.contains("is not a checkpoint: it has no weights"));
}

#[test]
fn help_for_a_wrong_file_depends_on_its_origin() {
    let mut files = checkpoint();
    files.insert("config.json".to_owned(), b"<!DOCTYPE html>".to_vec());
    let here = fails(&mut on_disk(&files));
    assert_eq!(
        here.message,
        "`config.json` is not what its name says: it is a web page, perhaps of a login or an error"
    );
    assert_eq!(here.help.unwrap(), "replace it with the right file");
    let server = serving_all(files);
    let there = fails(&mut of("checkpoint", source(&server.url, &[])));
    assert_eq!(there.message, here.message);
    assert!(there.help.unwrap().contains("check what the server returns"));
}

#[test]
fn reference_models_are_valid_checkpoints() {
    let Some(dir) = golden::dir("t5") else { return };
    for model in golden::folders(&dir) {
        let mut bench = of("checkpoint", source(&format!("file:{}", model.display()), &[]));
        bench.run().unwrap();
        assert_eq!(bench.outputs(), ["backbone.json", "config.json", "fetched.json", "model.safetensors"]);
    }
}

#[test]
fn tokenizer_is_downloaded_without_a_model() {
    let server = serving_all(checkpoint());
    let mut bench = of("tokenizer", source(&server.url, &[]));
    bench.run().unwrap();
    assert_eq!(bench.outputs(), ["config.json", "fetched.json", "spiece.model"]);
    let mut bench = of("tokenizer", source("file:.", &[]));
    write(&bench.base().join("config.json"), CONFIG);
    assert!(fails(&mut bench).message.ends_with("is not a tokenizer: it has no `spiece.model` or `tokenizer.json`"));
    let Some(dir) = golden::data("t5-tokenizer") else { return };
    let mut bench = of("tokenizer", source(&format!("file:{}", dir.display()), &[]));
    bench.run().unwrap();
    assert_eq!(bench.outputs(), ["fetched.json", "spiece.model"]);
    let sha256 = fetched(&bench).files["spiece.model"].sha256.unwrap().to_string();
    assert_eq!(sha256, "d60acb128cf7b7f2536e8f38a5b18a05535c9e14c7a355904270e15b0945ea86", "as docs/sources.md has it");
}

// Files as they are.

#[test]
fn any_files_are_downloaded() {
    let mut bench = of("files", source("file:data", &[]));
    write(&bench.base().join("data/a.txt"), "1");
    write(&bench.base().join("data/sub/b.txt"), "2");
    bench.run().unwrap();
    assert_eq!(bench.outputs(), ["fetched.json", "files/a.txt", "files/sub/b.txt"]);
    bench.set("file", text("sub/b.txt"));
    bench.run().unwrap();
    assert_eq!(bench.outputs(), ["fetched.json", "files/sub/b.txt"]);
    bench.set("file", text("c.txt"));
    assert_eq!(fails(&mut bench).message, "source `s` has no `c.txt`");

    let mut bench = of("files", source("https://example.invalid", &[]));
    assert_eq!(fails(&mut bench).message, "source `s` names no `files`, and a server cannot list its files");
}

#[test]
fn every_output_of_download_is_declared() {
    let declared: Params = KIND.outputs.iter().map(|o| (o.name.to_owned(), text(o.doc))).collect();
    for name in SHARDED {
        let matches = declared.keys().any(|pattern| match pattern.split_once('*') {
            Some((start, end)) => name.starts_with(start) && name.ends_with(end),
            None => pattern == name,
        });
        assert!(matches, "{name}");
    }
}
