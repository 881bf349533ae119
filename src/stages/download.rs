//! `download`: fetches SuperGLUE data, T5 checkpoints, tokenizers, adapters or any files, checks them, and brings data
//! into typed parquet.
//!
//! What enters the key, besides `format`, `task` and `splits`:
//!
//! | source             | checked against pins      | in the key                                    |
//! |--------------------|---------------------------|-----------------------------------------------|
//! | `https://…`        | where there are any       | `url`, path and pins of the files used        |
//! | … with `--mirror`  | pinned, `verify = true`   | the same: the mirror is proven to be equal    |
//! | … with `--mirror`  | not pinned, or unverified | the same, and the content of the mirror's files |
//! | `file:…`           | where there are any       | the content of the files used, and their pins |
//!
//! Never in it: names of sources (but a checkpoint's name, which by default is its source's, is written into
//! `backbone.json`), paths of this machine, mirrors, and pins of files that are not used. A known weak spot: what an
//! unpinned URL serves may change without being seen; `dpt pin` closes it.

mod adapter;
mod checkpoint;
mod fetch;
mod files;
mod local_file;
mod run;
mod spec;
mod superglue;

use crate::base::diag::Diag;
use crate::base::value::{Params, Value};
use crate::data::task;
use crate::fetch::record::{Fetched, Records, collect};
use crate::fetch::source::{Location, SourceFile};

use super::stage::{Identity, Literal, Output, Outside, Param, Pinning, Provision, Runs, StageKind, Type};

use fetch::FETCHED;
use spec::{DownloadFormat, DownloadSpec};

/// The files of a checkpoint that stages with a backbone read, and the tokenizer that came with it. They are part of
/// those stages' keys.
pub(super) const BACKBONE_AND_TOKENIZER: &[&str] = &[
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "backbone.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// Of these the files of the tokenizer.
pub(super) const TOKENIZER: &[&str] = BACKBONE_AND_TOKENIZER.split_at(6).1;

/// The same without the tokenizer.
pub(super) const BACKBONE: &[&str] = BACKBONE_AND_TOKENIZER.split_at(6).0;

/// The stage.
pub const KIND: StageKind = StageKind {
    name: "download",
    about: "fetches data or a checkpoint, checks it, and brings data into typed tables",
    params: &[
        Param::required("source", Type::Source, "the `[source.NAME]` to read from"),
        Param::required(
            "format",
            Type::Choice(&["superglue", "checkpoint", "tokenizer", "adapter", "files"]),
            "what it is: SuperGLUE's jsonl, a T5 checkpoint in Hugging Face layout, its tokenizer alone, a trained prompt, \
             or any files",
        ),
        Param::optional(
            "task",
            Type::Choice(task::TASK_NAMES),
            "the SuperGLUE task, with `format = \"superglue\"`; with `adapter`, the task that it is for",
        ),
        Param::optional(
            "file",
            Type::Strs,
            "which files of the source: keys of its `files`, or paths below it; by default those that the format wants",
        ),
        Param::with_default(
            "splits",
            Type::Table,
            Literal::Table(&[("train", Literal::Str("train.jsonl")), ("validation", Literal::Str("val.jsonl"))]),
            "the file of each split (train, validation, dev, test); `?` after its name: it may be missing",
        ),
        Param::optional("name", Type::Str, "what to call a checkpoint; by default the source's name"),
        Param::optional(
            "unpack_limit",
            Type::Int(1, i64::MAX),
            "how many bytes an archive may unpack to; by default 300 times its own size, or 256 MiB if that is more",
        )
        .not_in_key(),
        Param::optional(
            "download_limit",
            Type::Int(1, i64::MAX),
            "how many bytes a file may have whose size is not pinned; by default 64 GiB, or 4 GiB if the server does not \
             announce its size",
        )
        .not_in_key(),
    ],
    provides: &[
        Provision::when("rows", "format", "superglue"),
        Provision::when("backbone", "format", "checkpoint"),
        Provision::when("adapter", "format", "adapter"),
    ],
    outputs: &[
        out("*.parquet", "one table a split, columns typed by task"),
        out("data.json", "task, source, and rows of each split"),
        out("config.json", "the checkpoint's configuration"),
        out("generation_config.json", "as the checkpoint has it"),
        out("model*.safetensors", "the weights, in one file or several"),
        out("model.safetensors.index.json", "which of several files has which tensor"),
        out("pytorch_model*.bin", "the weights, in PyTorch's own format"),
        out("pytorch_model.bin.index.json", "which of several files has which tensor"),
        out("spiece.model", "the SentencePiece model"),
        out("tokenizer.json", "the tokenizer in Hugging Face's format"),
        out("tokenizer_config.json", "as the checkpoint has it"),
        out("special_tokens_map.json", "as the checkpoint has it"),
        out("added_tokens.json", "as the checkpoint has it"),
        out("backbone.json", "the checkpoint's name and origin"),
        out("adapter.json", "what an adapter is"),
        out("adapter.safetensors", "its tensors"),
        out("initial.safetensors", "the same before training, where they came with it"),
        out("files/*", "with `format = \"files\"`: the files"),
        Output { name: FETCHED, required: true, doc: "every file read: origin, size and digests" },
    ],
    runs: Runs::Here(run::run),
    identity: Some(identity),
    check: Some(check),
    pinning: Some(Pinning { is_remote, source: source_name, record: FETCHED, unpinned }),
    ..StageKind::BASE
};

const fn out(name: &'static str, doc: &'static str) -> Output {
    Output { name, required: false, doc }
}

fn check(params: &Params) -> Result<(), Diag> {
    DownloadSpec::read(params).map(drop)
}

/// Returns what enters the key: see the table at the top of this file.
fn identity(params: &Params, outside: &Outside) -> Result<Identity, Diag> {
    let spec = DownloadSpec::read(params)?;
    let found = run::find(&spec, outside)?;
    let items = found.items();
    let pins = |named: bool| {
        let rows = items.iter().filter(|(_, item)| named || item.pin != Default::default());
        Value::List(rows.map(|(name, item)| row(name, item, named)).collect())
    };
    let source = match &spec.source.location {
        Location::Http(url) => Value::Table(Params::from([
            ("url".to_owned(), Value::Str(url.to_string())),
            ("files".to_owned(), pins(true)),
        ])),
        Location::Local(_) => Value::Table(Params::from([("pins".to_owned(), pins(false))])),
    };
    let files = spec.counted(&found);
    let is_superglue = matches!(spec.format, DownloadFormat::Superglue { .. });
    let is_checkpoint = matches!(spec.format, DownloadFormat::Checkpoint);
    let mut replaced = vec![("source", Some(source)), ("file", None)];
    replaced.push(("name", is_checkpoint.then_some(Value::Str(spec.name))));
    if !is_superglue {
        replaced.push(("splits", None));
    }
    if !is_superglue && !matches!(spec.format, DownloadFormat::Adapter { .. }) {
        replaced.push(("task", None));
    }
    Ok(Identity { params: replaced, files })
}

/// One file as it is written in the key: its path (of a source on the net) or its name (of a local one), and its pins.
fn row(name: &str, item: &SourceFile, by_path: bool) -> Value {
    let mut fields = Params::new();
    if by_path {
        fields.insert("path".to_owned(), Value::Str(item.path.clone()));
    } else {
        fields.insert("name".to_owned(), Value::Str(name.to_owned()));
    }
    if let Some(sha256) = item.pin.sha256 {
        fields.insert("sha256".to_owned(), Value::Str(sha256.to_string()));
    }
    if let Some(bytes) = item.pin.bytes {
        fields.insert("bytes".to_owned(), Value::Int(bytes as i64));
    }
    Value::Table(fields)
}

/// Returns whether a download with these parameters reads from the net.
fn is_remote(params: &Params) -> bool {
    DownloadSpec::read(params).is_ok_and(|spec| matches!(spec.source.location, Location::Http(_)))
}

/// Returns the name of the source that a download with these parameters reads.
fn source_name(params: &Params) -> Option<&str> {
    match params.get("source")? {
        Value::Table(source) => source.get("name")?.as_str(),
        _ => None,
    }
}

/// Returns the files of a finished download that were not checked against a pin, by source and key. `fetched` is the
/// path of its [`FETCHED`].
///
/// # Errors
/// Fails if the record cannot be read.
fn unpinned(params: &Params, fetched: &std::path::Path) -> Result<Records, Diag> {
    let spec = DownloadSpec::read(params)?;
    let mut fetched: Fetched = crate::artifact::json::read(fetched)?;
    fetched.files.retain(|_, file| !file.pinned);
    let mut records = Records::new();
    collect(&spec.source, &fetched, &mut records);
    Ok(records)
}
