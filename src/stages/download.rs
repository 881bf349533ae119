//! `download`: fetches SuperGLUE data, T5 checkpoints, tokenizers, adapters or any files, checks them, and brings data into
//! typed parquet.
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
mod files;
mod here;
mod run;
mod superglue;
mod weights;

use std::path::PathBuf;

use crate::base::diag::{Class, Diag};
use crate::base::name::is_relative_file;
use crate::base::value::{Params, Value};
use crate::data::task;
use crate::fetch::record::{Fetched, Records, collect};
use crate::fetch::source::{At, Item, Location, Source, shown};

use super::ctx::Ctx;
use super::stage::{Identity, Literal, Output, Outside, Param, Provision, Runs, StageKind, Type};

/// The files of a checkpoint that stages with a backbone read, and the tokenizer that came with it. They are part of those
/// stages' keys.
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
    version: 1,
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
    variants: None,
    inputs: &[],
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
        Output { name: "fetched.json", required: true, doc: "every file read: origin, size and digests" },
    ],
    runs: Runs::Here(run::run),
    identity: Some(identity),
    check: Some(check),
};

const fn out(name: &'static str, doc: &'static str) -> Output {
    Output { name, required: false, doc }
}

/// The splits that a data set may have.
const SPLITS: &[&str] = &["train", "validation", "dev", "test"];

/// What is asked for, from the parameters.
struct Spec {
    source: Source,
    format: Format,
    file: Vec<String>,
    /// Of a checkpoint.
    name: String,
}

enum Format {
    Superglue { task: &'static dyn task::Task, splits: Vec<Split> },
    Checkpoint,
    Tokenizer,
    Adapter { task: Option<String> },
    Files,
}

/// One split of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Split {
    name: String,
    file: String,
    /// Whether it may be missing.
    optional: bool,
}

/// The files that a download will read, as far as that can be told without fetching anything.
enum Found {
    /// One archive that holds them.
    Archive(Item),
    /// Each by itself, under the name that it has for the format.
    Files(Vec<(String, Item)>),
    /// Those of the usual names that the server turns out to have.
    Probe(url::Url),
}

impl Found {
    /// Each with its name in the key.
    fn items(&self) -> Vec<(String, &Item)> {
        match self {
            Found::Archive(item) => vec![("archive".to_owned(), item)],
            Found::Files(files) => files.iter().map(|(name, item)| (name.clone(), item)).collect(),
            Found::Probe(_) => Vec::new(),
        }
    }
}

impl Spec {
    fn read(params: &Params) -> Result<Self, Diag> {
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        let source = Source::from_value(params.get("source").ok_or_else(|| lacks("source"))?)?;
        let file = match params.get("file") {
            Some(Value::List(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::Str(one)) => vec![one.clone()],
            _ => Vec::new(),
        };
        let format = match text("format").unwrap_or_default() {
            "superglue" => {
                let task = text("task").ok_or_else(|| {
                    usage("`format = \"superglue\"` needs a `task`")
                        .help("set `task`, or give the stage the axis `task`")
                })?;
                if file.len() > 1 {
                    return Err(usage("`format = \"superglue\"` takes one `file`: the task's archive or folder"));
                }
                Format::Superglue { task: task::find(task)?, splits: splits(params.get("splits"))? }
            }
            "checkpoint" => Format::Checkpoint,
            "tokenizer" => Format::Tokenizer,
            "adapter" => Format::Adapter { task: text("task").map(str::to_owned) },
            "files" => Format::Files,
            other => return Err(Diag::error(Class::Bug, format!("unknown format `{other}` of stage `download`"))),
        };
        for word in &file {
            source.pick(word)?;
        }
        let name = text("name").unwrap_or(&source.name).to_owned();
        Ok(Self { source, format, file, name })
    }

    /// What will be read: from the net, or from the place that stands for it here.
    fn find(&self, outside: &Outside) -> Result<Found, Diag> {
        let place = self.source.place(&outside.base, &outside.mirrors)?;
        match &self.format {
            Format::Superglue { task, splits } => superglue::find(self, task.folder(), task.name(), splits, &place),
            Format::Checkpoint => checkpoint::find(self, checkpoint::Kind::Checkpoint, &place),
            Format::Tokenizer => checkpoint::find(self, checkpoint::Kind::Tokenizer, &place),
            Format::Adapter { .. } => checkpoint::find(self, checkpoint::Kind::Adapter, &place),
            Format::Files => files::find(self, &place),
        }
    }

    /// The local files among those that count by their content; what a pin proves does not.
    fn counted(&self, found: &Found) -> Vec<(String, PathBuf)> {
        let proven = |item: &Item| matches!(self.source.location, Location::Http(_)) && item.pin.is_set();
        let file = |(name, item): (String, &Item)| match &item.at {
            At::File(path) if !proven(item) => Some((name, path.clone())),
            _ => None,
        };
        found.items().into_iter().filter_map(file).collect()
    }

    /// Where `item` is from, as `fetched.json` says it. Follows from the key alone: no path of this machine.
    fn origin(&self, item: &Item) -> String {
        match (&self.source.location, &item.at) {
            (_, At::Http(url)) => shown(url),
            (Location::Local(_), At::File(_)) => "local file".to_owned(),
            (Location::Http(base), At::File(_)) => {
                let url = shown(&crate::fetch::source::below(base, &item.path));
                if item.pin.is_set() { url } else { format!("a mirror of {url}") }
            }
        }
    }
}

fn splits(value: Option<&Value>) -> Result<Vec<Split>, Diag> {
    let Some(Value::Table(table)) = value else { return Err(lacks("splits")) };
    if table.is_empty() {
        return Err(usage("`splits` names no split").help("write `splits = { train = \"train.jsonl\" }`"));
    }
    let mut splits = Vec::new();
    for (name, file) in table {
        if !SPLITS.contains(&name.as_str()) {
            let diag = usage(&format!("`splits` has `{name}`, which is no split"));
            let near = crate::base::suggest::nearest(name, SPLITS.iter().copied());
            return Err(match near {
                Some(near) => diag.help(format!("did you mean `{near}`?")),
                None => diag.note("there are `train`, `validation`, `dev`, `test`"),
            });
        }
        let Some(text) = file.as_str() else {
            return Err(usage(&format!("`splits.{name}` must be the name of a file, such as `\"{name}.jsonl\"`")));
        };
        let (file, optional) = match text.strip_suffix('?') {
            Some(file) => (file, true),
            None => (text, false),
        };
        if !is_relative_file(file) {
            return Err(usage(&format!("`splits.{name}` is `{file}`, which is not a plain path inside the data set")));
        }
        splits.push(Split { name: name.clone(), file: file.to_owned(), optional });
    }
    // In the order of the table above, not of the alphabet: training data first.
    splits.sort_by_key(|s| SPLITS.iter().position(|known| *known == s.name));
    Ok(splits)
}

fn check(params: &Params) -> Result<(), Diag> {
    Spec::read(params).map(drop)
}

/// See the table at the top of this file.
fn identity(params: &Params, outside: &Outside) -> Result<Identity, Diag> {
    let spec = Spec::read(params)?;
    let found = spec.find(outside)?;
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
    let is_superglue = matches!(spec.format, Format::Superglue { .. });
    let is_checkpoint = matches!(spec.format, Format::Checkpoint);
    let mut replaced = vec![("source", Some(source)), ("file", None)];
    replaced.push(("name", is_checkpoint.then_some(Value::Str(spec.name))));
    if !is_superglue {
        replaced.push(("splits", None));
    }
    if !is_superglue && !matches!(spec.format, Format::Adapter { .. }) {
        replaced.push(("task", None));
    }
    Ok(Identity { params: replaced, files })
}

/// One file as it stands in the key: its path (of a source on the net) or its name (of a local one), and its pins.
fn row(name: &str, item: &Item, by_path: bool) -> Value {
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

/// Whether a download with these parameters has something to pin: it reads from the net. Local files count by their
/// content and need no pins.
pub fn is_remote(params: &Params) -> bool {
    Spec::read(params).is_ok_and(|spec| matches!(spec.source.location, Location::Http(_)))
}

/// The name of the source that a download with these parameters reads.
pub fn source_name(params: &Params) -> Option<&str> {
    match params.get("source")? {
        Value::Table(source) => source.get("name")?.as_str(),
        _ => None,
    }
}

/// What `dpt pin` records of a finished download: the files that no pin was checked of, by source and key. `fetched` is
/// its `fetched.json`.
///
/// # Errors
/// When the record cannot be read.
pub fn unpinned(params: &Params, fetched: &std::path::Path) -> Result<Records, Diag> {
    let spec = Spec::read(params)?;
    let mut fetched: Fetched = crate::artifact::json::read(fetched)?;
    fetched.files.retain(|_, file| !file.pinned);
    let mut records = Records::new();
    collect(&spec.source, &fetched, &mut records);
    Ok(records)
}

/// What is outside of the job, as identity saw it.
fn outside(ctx: &Ctx) -> Outside {
    Outside { base: ctx.job.base.clone(), mirrors: ctx.job.mirrors.clone() }
}

fn usage(message: &str) -> Diag {
    Diag::error(Class::Usage, message)
}

fn lacks(param: &str) -> Diag {
    Diag::error(Class::Bug, format!("stage `download` lacks its parameter `{param}`"))
}
