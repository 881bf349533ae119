//! [`DownloadSpec`]: a download as its parameters describe it, and the files that it will read.

use std::path::PathBuf;

use crate::base::diag::{Class, Diag};
use crate::base::name::is_relative_file;
use crate::base::value::{Params, Value};
use crate::data::task;
use crate::fetch::source::{At, Location, Source, SourceFile, below, shown};

/// The splits that a data set may have.
const SPLITS: &[&str] = &["train", "validation", "dev", "test"];

/// A download as its parameters describe it.
pub(super) struct DownloadSpec {
    pub(super) source: Source,
    pub(super) format: DownloadFormat,
    pub(super) file: Vec<String>,
    /// Of a checkpoint.
    pub(super) name: String,
}

pub(super) enum DownloadFormat {
    Superglue { task: &'static dyn task::Task, splits: Vec<Split> },
    Checkpoint,
    Tokenizer,
    Adapter { task: Option<String> },
    Files,
}

/// One split of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) name: String,
    pub(super) file: String,
    /// `true` if it may be missing.
    pub(super) optional: bool,
}

/// The files that a download will read, as far as is known without fetching anything.
pub(super) enum FoundFiles {
    /// One archive that holds them.
    Archive(SourceFile),
    /// Each by itself, under the name that it has for the format.
    Files(Vec<(String, SourceFile)>),
    /// Those of the usual names that the server turns out to have.
    Probe(url::Url),
}

impl FoundFiles {
    /// Each with its name in the key.
    pub(super) fn items(&self) -> Vec<(String, &SourceFile)> {
        match self {
            FoundFiles::Archive(item) => vec![("archive".to_owned(), item)],
            FoundFiles::Files(files) => files.iter().map(|(name, item)| (name.clone(), item)).collect(),
            FoundFiles::Probe(_) => Vec::new(),
        }
    }
}

impl DownloadSpec {
    pub(super) fn read(params: &Params) -> Result<Self, Diag> {
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
                DownloadFormat::Superglue { task: task::find(task)?, splits: splits(params.get("splits"))? }
            }
            "checkpoint" => DownloadFormat::Checkpoint,
            "tokenizer" => DownloadFormat::Tokenizer,
            "adapter" => DownloadFormat::Adapter { task: text("task").map(str::to_owned) },
            "files" => DownloadFormat::Files,
            other => return Err(Diag::error(Class::Bug, format!("unknown format `{other}` of stage `download`"))),
        };
        for word in &file {
            source.pick(word)?;
        }
        let name = text("name").unwrap_or(&source.name).to_owned();
        Ok(Self { source, format, file, name })
    }

    /// Returns the local files among those that count by their content; what a pin proves does not.
    pub(super) fn counted(&self, found: &FoundFiles) -> Vec<(String, PathBuf)> {
        let proven = |item: &SourceFile| matches!(self.source.location, Location::Http(_)) && item.pin.is_set();
        let file = |(name, item): (String, &SourceFile)| match &item.at {
            At::File(path) if !proven(item) => Some((name, path.clone())),
            _ => None,
        };
        found.items().into_iter().filter_map(file).collect()
    }

    /// Returns the origin of `item` for `fetched.json`. It follows from the key, so it has no path of this machine.
    pub(super) fn origin(&self, item: &SourceFile) -> String {
        match (&self.source.location, &item.at) {
            (_, At::Http(url)) => shown(url),
            (Location::Local(_), At::File(_)) => "local file".to_owned(),
            (Location::Http(base), At::File(_)) => {
                let url = shown(&below(base, &item.path));
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
            let diag = usage(&format!("`splits` has `{name}`, which is not a split"));
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

pub(super) fn usage(message: &str) -> Diag {
    Diag::error(Class::Usage, message)
}

fn lacks(param: &str) -> Diag {
    Diag::error(Class::Bug, format!("stage `download` lacks its parameter `{param}`"))
}
