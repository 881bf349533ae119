//! T5 checkpoints in Hugging Face layout, their tokenizers, and adapters: the right files, all of them, each what its name
//! says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::adapter::{self, peft};
use crate::artifact::json;
use crate::artifact::weights::Weights;
use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};
use crate::base::look;
use crate::data::tokenizer::beside;
use crate::fetch::archive::{self, describe};
use crate::fetch::source::{At, Item, Location, Place, Source, below};
use crate::model::config::T5Config;

use super::files::on_disk;
use super::run::Fetch;
use super::weights;
use super::{Found, Spec, usage};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Configuration, weights, and the tokenizer where there is one.
    Checkpoint,
    /// The tokenizer alone, and the configuration where there is one.
    Tokenizer,
    /// A trained prompt, as PEFT or as we write it.
    Adapter,
}

const CONFIG: &str = "config.json";
const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
const INDEX: &str = "model.safetensors.index.json";
/// Files with weights, the best first: the first that is there is taken. An index names the files that have them.
const WEIGHTS: &[&str] = &["model.safetensors", INDEX, "pytorch_model.bin", TORCH_INDEX];
/// Each index, and how the files that it names begin and end.
const INDICES: &[(&str, &str, &str)] = &[(INDEX, "model-", ".safetensors"), (TORCH_INDEX, "pytorch_model-", ".bin")];
/// Files with a tokenizer; all that are there are taken.
const TOKENIZERS: &[&str] = &[SPIECE, "tokenizer.json"];
const SPIECE: &str = "spiece.model";
/// What else is taken when the pipeline names it.
const OTHERS: &[&str] =
    &["generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// Files of an adapter by who wrote it, the one that says what it is first.
const ADAPTERS: &[(&str, &[&str])] = &[
    ("PEFT", &[peft::CONFIG, peft::WEIGHTS[0], peft::WEIGHTS[1]]),
    ("dpt", &[adapter::INFO, adapter::TENSORS, adapter::INITIAL]),
];

/// `backbone.json`.
#[derive(Serialize)]
struct Backbone<'a> {
    name: &'a str,
    origin: &'a str,
    source: String,
}

/// An index, as far as it is read.
#[derive(Deserialize)]
struct Index {
    /// Tensor name to file name.
    weight_map: BTreeMap<String, String>,
}

impl Kind {
    /// Whether a file called `name` belongs to it.
    fn takes(self, name: &str) -> bool {
        if self == Kind::Adapter {
            return ADAPTERS.iter().any(|(_, names)| names.contains(&name));
        }
        let weights = WEIGHTS.contains(&name) || is_shard(name) || name == "generation_config.json";
        let all = name == CONFIG || TOKENIZERS.contains(&name) || OTHERS.contains(&name) || weights;
        all && (self == Kind::Checkpoint || !weights)
    }

    fn what(self) -> &'static str {
        match self {
            Kind::Checkpoint => "checkpoint",
            Kind::Tokenizer => "tokenizer",
            Kind::Adapter => "adapter",
        }
    }
}

/// Whether `name` is a file that the index can name: `model-00001-of-00002.safetensors`.
fn is_shard_of(index: &str, name: &str) -> bool {
    INDICES.iter().filter(|(of, ..)| *of == index).any(|(_, start, end)| {
        name.strip_prefix(start).and_then(|n| n.strip_suffix(end)).is_some_and(|n| !n.contains(['/', '\\']))
    })
}

fn is_shard(name: &str) -> bool {
    INDICES.iter().any(|(index, ..)| is_shard_of(index, name))
}

/// The index among the names of files, if there is one.
fn index_of<'n>(mut names: impl Iterator<Item = &'n str>) -> Option<&'static str> {
    names.find_map(|name| INDICES.iter().find(|(index, ..)| *index == name)).map(|(index, ..)| *index)
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The files named by the parameter `file`, else those of the source that belong to a checkpoint, else the usual ones
/// that are there.
pub(super) fn find(spec: &Spec, kind: Kind, place: &Place) -> Result<Found, Diag> {
    let source = &spec.source;
    let paths = named(spec, kind)?;
    if let [path] = &paths[..]
        && archive::is_archive_name(path)
    {
        let at = match place {
            Place::Http(url) => At::Http(below(url, path)),
            Place::Local { root, .. } if root.is_file() => At::File(root.clone()),
            Place::Local { root, .. } => At::File(on_disk(root, path, &source.name)?),
        };
        return Ok(Found::Archive(Item { pin: source.pin(path), path: path.clone(), at }));
    }
    match place {
        Place::Http(url) if paths.is_empty() => Ok(Found::Probe(url.clone())),
        Place::Http(url) => Ok(Found::Files(paths.into_iter().map(|p| remote(source, url, p)).collect())),
        Place::Local { root, .. } if root.is_file() => {
            let path = last_part(&root.to_string_lossy()).to_owned();
            Ok(Found::Archive(Item { pin: source.pin(&path), path, at: At::File(root.clone()) }))
        }
        Place::Local { root, .. } => in_folder(source, kind, root, paths),
    }
}

fn remote(source: &Source, url: &url::Url, path: String) -> (String, Item) {
    let item = Item { pin: source.pin(&path), at: At::Http(below(url, &path)), path };
    (last_part(&item.path).to_owned(), item)
}

/// The paths that the pipeline names, without weights that others make superfluous.
fn named(spec: &Spec, kind: Kind) -> Result<Vec<String>, Diag> {
    let source = &spec.source;
    let mut paths: Vec<String> = if spec.file.is_empty() {
        source.files.values().map(|f| f.path.clone()).filter(|p| kind.takes(last_part(p))).collect()
    } else {
        spec.file.iter().map(|w| Ok(source.pick(w)?.path)).collect::<Result<_, Diag>>()?
    };
    paths.sort();
    paths.dedup();
    if let [one] = &paths[..]
        && archive::is_archive_name(one)
    {
        return Ok(paths);
    }
    if let Some(stranger) = paths.iter().find(|p| !kind.takes(last_part(p))) {
        return Err(
            usage(&format!("`{stranger}` is no file of a {}", kind.what())).help("`format = \"files\"` takes any file")
        );
    }
    let names: BTreeSet<&str> = paths.iter().map(|p| last_part(p)).collect();
    if names.len() < paths.len() {
        return Err(usage(&format!(
            "source `{}` names two files of a {} that are called alike",
            source.name,
            kind.what()
        ))
        .help("say which ones in `file`"));
    }
    let best = WEIGHTS.iter().find(|w| names.contains(*w)).copied();
    let keep: Vec<bool> = paths.iter().map(|p| !superfluous(last_part(p), best)).collect();
    Ok(paths.into_iter().zip(keep).filter_map(|(p, k)| k.then_some(p)).collect())
}

/// Whether weights in `name` are not needed where `best` is there.
fn superfluous(name: &str, best: Option<&str>) -> bool {
    let weights = WEIGHTS.contains(&name) || is_shard(name);
    match best {
        Some(best) => weights && name != best && !is_shard_of(best, name),
        None => false,
    }
}

fn in_folder(source: &Source, kind: Kind, root: &Path, paths: Vec<String>) -> Result<Found, Diag> {
    let mut files = Vec::new();
    if paths.is_empty() {
        for name in usual(kind, |name| Ok(look::is_file(&root.join(name))?))? {
            files.push((name.to_owned(), local(source, name.to_owned(), root.join(name))));
        }
    }
    for path in paths {
        let at = on_disk(root, &path, &source.name)?;
        files.push((last_part(&path).to_owned(), local(source, path, at)));
    }
    let index = index_of(files.iter().map(|(name, _)| name.as_str()));
    let item = files.iter().find(|(name, _)| Some(name.as_str()) == index).map(|(_, item)| item.clone());
    if let (Some(index), Some(Item { path, at: At::File(at), .. })) = (index, item) {
        let beside = parent(&path).to_owned();
        for shard in shards(index, &at)? {
            if files.iter().all(|(name, _)| *name != shard) {
                let path = format!("{beside}{shard}");
                let on_disk = at.with_file_name(&shard);
                if !look::is_file(&on_disk)? {
                    return Err(no_shard(&shard, &at.display().to_string()));
                }
                files.push((shard, local(source, path, on_disk)));
            }
        }
    }
    check_names(kind, &files.iter().map(|(n, _)| n.as_str()).collect(), &format!("`{}`", root.display()))?;
    Ok(Found::Files(files))
}

fn local(source: &Source, path: String, at: PathBuf) -> Item {
    Item { pin: source.pin(&path), path, at: At::File(at) }
}

/// `a/b.json` → `a/`.
fn parent(path: &str) -> &str {
    &path[..path.len() - last_part(path).len()]
}

/// The usual files of `kind` that are `there`. Of several with the same content only the best is asked for.
fn usual(kind: Kind, there: impl Fn(&str) -> Result<bool, Diag>) -> Result<Vec<&'static str>, Diag> {
    let all = |names: &[&'static str]| {
        let found = names.iter().map(|name| Ok(there(name)?.then_some(*name)));
        Ok::<Vec<&str>, Diag>(found.collect::<Result<Vec<_>, Diag>>()?.into_iter().flatten().collect())
    };
    let first = |names: &[&'static str]| {
        for name in names {
            if there(name)? {
                return Ok::<Option<&str>, Diag>(Some(*name));
            }
        }
        Ok(None)
    };
    if kind == Kind::Adapter {
        for (_, names) in ADAPTERS {
            if !there(names[0])? {
                continue;
            }
            let mut found = vec![names[0]];
            match names[0] == peft::CONFIG {
                true => found.extend(first(&names[1..])?),
                false => found.extend(all(&names[1..])?),
            }
            return Ok(found);
        }
        // What there is of the better known one, for the message.
        return all(ADAPTERS[0].1);
    }
    let mut names = all(&[CONFIG])?;
    if kind == Kind::Checkpoint {
        names.extend(first(WEIGHTS)?);
    }
    names.extend(all(TOKENIZERS)?);
    if is_said_beside(&names) {
        names.extend(all(&beside::FILES)?);
    }
    Ok(names)
}

/// Whether the files beside the tokenizer among `names` say what it is, too: only beside a SentencePiece model.
fn is_said_beside(names: &[&str]) -> bool {
    TOKENIZERS.iter().filter(|tokenizer| names.contains(*tokenizer)).eq([&SPIECE])
}

/// The names of the files that index `name`, which lies at `path`, names, sorted.
fn shards(name: &str, path: &Path) -> Result<BTreeSet<String>, Diag> {
    let Index { weight_map } = json::read(path).map_err(|e| by_name(e, name, path))?;
    let shards: BTreeSet<String> = weight_map.into_values().collect();
    match shards.iter().find(|s| !is_shard_of(name, s)) {
        Some(bad) => {
            let (_, start, end) = INDICES.iter().find(|(index, ..)| *index == name).expect("an index is in the table");
            Err(Diag::error(Class::Stage, format!("`{name}` names `{bad}` as a file of weights"))
                .note(format!("expected names such as `{start}00001-of-00002{end}`")))
        }
        None if shards.is_empty() => Err(Diag::error(Class::Stage, format!("`{name}` names no files of weights"))),
        None => Ok(shards),
    }
}

fn no_shard(shard: &str, index: &str) -> Diag {
    Diag::error(Class::Stage, format!("`{shard}` is not there, which `{index}` names"))
        .help("the checkpoint is incomplete: get all files of it")
}

/// Whether the files are a whole checkpoint or tokenizer.
fn check_names(kind: Kind, names: &BTreeSet<&str>, place: &str) -> Result<(), Diag> {
    let has = |wanted: &[&str]| wanted.iter().any(|n| names.contains(n));
    let lacks = match kind {
        Kind::Checkpoint if !has(&[CONFIG]) => "`config.json`".to_owned(),
        Kind::Checkpoint if !has(WEIGHTS) => {
            format!("weights: {}", WEIGHTS.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))
        }
        Kind::Tokenizer if !has(TOKENIZERS) => "`spiece.model` or `tokenizer.json`".to_owned(),
        Kind::Adapter if has(&[peft::CONFIG]) && !has(peft::WEIGHTS) => {
            format!("`{}` and no `{}`", peft::WEIGHTS[0], peft::WEIGHTS[1])
        }
        Kind::Adapter if !has(&[peft::CONFIG, adapter::INFO]) => {
            format!("`{}` (of PEFT) and no `{}` (of dpt)", peft::CONFIG, adapter::INFO)
        }
        Kind::Adapter if !has(peft::WEIGHTS) && !has(&[adapter::TENSORS]) => format!("`{}`", adapter::TENSORS),
        _ => return Ok(()),
    };
    let diag = Diag::error(Class::Stage, format!("{place} is no {}: it has no {lacks}", kind.what()));
    Err(match names.is_empty() {
        true => diag,
        false => diag.note(format!("it has {}", names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))),
    })
}

/// Fetches what `found` says and checks it: the files of `kind`, by name.
pub(super) fn gather(fetch: &mut Fetch, kind: Kind, found: Found) -> Result<BTreeMap<String, PathBuf>, Diag> {
    let files = match found {
        Found::Files(files) => {
            let mut brought = BTreeMap::new();
            for (name, item) in &files {
                brought.insert(name.clone(), bring(fetch, kind, item, name, false)?.expect("a required file"));
            }
            if let Some(index) = index_of(brought.keys().map(String::as_str)) {
                let (_, item) = files.iter().find(|(name, _)| name == index).expect("it was brought");
                bring_shards(fetch, index, item, &mut brought)?;
            }
            brought
        }
        Found::Probe(url) => probe(fetch, kind, &url)?,
        Found::Archive(item) => from_archive(fetch, kind, &item)?,
    };
    let source = &fetch.spec.source;
    let place = format!("source `{}`", source.name);
    let is_remote = matches!(source.location, Location::Http(_)) && !fetch.ctx.job.mirrors.contains_key(&source.name);
    let advice = match is_remote {
        true => "it came whole from the server: look at what the `url` of its source serves under this name",
        false => "put the right file in its place",
    };
    check_names(kind, &files.keys().map(String::as_str).collect(), &place)?;
    for (name, path) in &files {
        fetch.ctx.check_cancel()?;
        check_file(name, path, advice)?;
    }
    if kind == Kind::Checkpoint {
        T5Config::parse(&fs::read_to_string(&files[CONFIG])?, CONFIG)?;
    }
    Ok(files)
}

/// Brings a file to where it can be read: what becomes an output as it is, to its place.
fn bring(fetch: &mut Fetch, kind: Kind, item: &Item, name: &str, optional: bool) -> Result<Option<PathBuf>, Diag> {
    if kind == Kind::Adapter { fetch.obtain(item, optional) } else { fetch.bring(item, name, optional) }
}

/// Fetches what `found` says, checks it and writes it.
pub(super) fn run(fetch: &mut Fetch, kind: Kind, found: Found) -> Result<(), Diag> {
    let files = gather(fetch, kind, found)?;
    if let Some(index) = index_of(files.keys().map(String::as_str)) {
        check_shards(index, &files)?;
    }
    if kind == Kind::Checkpoint {
        for note in weights::notes(&files)? {
            fetch.ctx.progress.note(&note);
        }
    }
    for (name, path) in &files {
        fetch.deliver(path, name)?;
    }
    if kind == Kind::Checkpoint {
        let source = fetch.spec.source.origin();
        json::write(&fetch.ctx.out("backbone.json"), &Backbone { name: &fetch.spec.name, origin: "download", source })?;
        if !TOKENIZERS.iter().any(|t| files.contains_key(*t)) {
            fetch.outcome.notes.push(format!("`{}` came without a tokenizer", fetch.spec.name));
        }
    }
    Ok(())
}

/// Fetches the files that an index names and that are not there yet.
fn bring_shards(
    fetch: &mut Fetch,
    index: &str,
    item: &Item,
    brought: &mut BTreeMap<String, PathBuf>,
) -> Result<(), Diag> {
    for shard in shards(index, &brought[index])? {
        if brought.contains_key(&shard) {
            continue;
        }
        let path = format!("{}{shard}", parent(&item.path));
        let at = match &item.at {
            At::Http(url) => match &fetch.spec.source.location {
                Location::Http(base) => At::Http(below(base, &path)),
                Location::Local(_) => At::Http(url.clone()),
            },
            At::File(at) => At::File(at.with_file_name(&shard)),
        };
        let one = Item { pin: fetch.spec.source.pin(&path), path, at };
        match fetch.bring(&one, &shard, true)? {
            Some(at) => brought.insert(shard, at),
            None => return Err(no_shard(&shard, &item.path)),
        };
    }
    Ok(())
}

/// Asks a server for the usual files, one after the other.
fn probe(fetch: &mut Fetch, kind: Kind, url: &url::Url) -> Result<BTreeMap<String, PathBuf>, Diag> {
    let source = &fetch.spec.source;
    let mut brought = BTreeMap::new();
    let mut ask = |fetch: &mut Fetch, name: &str, optional: bool| {
        let (_, item) = remote(source, url, name.to_owned());
        let path = bring(fetch, kind, &item, name, optional)?;
        let there = path.is_some();
        brought.extend(path.map(|p| (name.to_owned(), p)));
        Ok::<bool, Diag>(there)
    };
    if kind == Kind::Adapter {
        let found = ask(fetch, peft::CONFIG, true)?;
        let names: &[&str] = if found { peft::WEIGHTS } else { &[adapter::INFO, adapter::TENSORS, adapter::INITIAL] };
        for name in names {
            if ask(fetch, name, true)? && found {
                break;
            }
        }
        return Ok(brought);
    }
    ask(fetch, CONFIG, kind == Kind::Tokenizer)?;
    if kind == Kind::Checkpoint {
        for name in WEIGHTS {
            if ask(fetch, name, true)? {
                break;
            }
        }
    }
    let mut tokenizers = Vec::new();
    for name in TOKENIZERS {
        if ask(fetch, name, true)? {
            tokenizers.push(*name);
        }
    }
    if is_said_beside(&tokenizers) {
        for name in beside::FILES {
            ask(fetch, name, true)?;
        }
    }
    if let Some(index) = index_of(brought.keys().map(String::as_str)) {
        let (_, item) = remote(source, url, index.to_owned());
        bring_shards(fetch, index, &item, &mut brought)?;
    }
    Ok(brought)
}

/// The files of the one checkpoint in an archive, in whichever folder it lies.
fn from_archive(fetch: &mut Fetch, kind: Kind, item: &Item) -> Result<BTreeMap<String, PathBuf>, Diag> {
    let (into, names) = fetch.unpack(item, &|name| kind.takes(last_part(name)))?;
    let marks: &[&str] = match kind {
        Kind::Checkpoint => &[CONFIG],
        Kind::Tokenizer => TOKENIZERS,
        Kind::Adapter => &[peft::CONFIG, adapter::INFO],
    };
    let folders: BTreeSet<&str> = names.iter().filter(|n| marks.contains(&last_part(n))).map(|n| parent(n)).collect();
    let folders: Vec<&str> = folders.into_iter().collect();
    let folder = match folders[..] {
        [one] => one,
        [] => "",
        _ => {
            return Err(Diag::error(
                Class::Stage,
                format!("archive `{}` has several {}s", fetch.shown(item), kind.what()),
            )
            .note(format!(
                "in the folders {}",
                folders.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", ")
            )));
        }
    };
    let inside: BTreeSet<&str> =
        names.iter().filter_map(|n| n.strip_prefix(folder)).filter(|n| kind.takes(n)).collect();
    let best = WEIGHTS.iter().find(|w| inside.contains(*w)).copied();
    let wanted = inside.iter().filter(|n| !superfluous(n, best));
    Ok(wanted.map(|n| ((*n).to_owned(), into.join(folder).join(n))).collect())
}

/// Whether a file is what its name says, as far as its header tells.
/// `advice` says what to do where it is not.
fn check_file(name: &str, path: &Path, advice: &str) -> Result<(), Diag> {
    let wrong =
        |why: &str| Err(Diag::error(Class::Stage, format!("`{name}` is not what its name says: {why}")).help(advice));
    let start = beginning(path)?;
    if let Some(why) = describe(&start) {
        return wrong(&why);
    }
    if name.ends_with(".safetensors") || name.ends_with(".bin") {
        let file = Weights::open(name, path).map_err(|e| by_name(e, name, path))?;
        return if file.names().is_empty() { wrong("it holds no tensors") } else { Ok(()) };
    }
    if name.ends_with(".json") {
        let value: Json = json::read(path).map_err(|e| by_name(e, name, path))?;
        if !value.is_object() {
            return wrong("it is no JSON object");
        }
        if name == CONFIG {
            return check_config(&value);
        }
    }
    // A SentencePiece model is a protobuf message that begins with its pieces.
    if name == "spiece.model" && start[0] != 0x0a {
        return wrong("it does not begin as a SentencePiece model does");
    }
    Ok(())
}

/// Messages name the file, not the folder that it lies in for the moment.
fn by_name(mut diag: Diag, name: &str, path: &Path) -> Diag {
    diag.message = diag.message.replace(&path.display().to_string(), name);
    diag
}

/// Whether a configuration is one of a T5, so far as a download cares: the model checks the rest.
fn check_config(config: &Json) -> Result<(), Diag> {
    if let Some(kind) = config.get("model_type").and_then(Json::as_str).filter(|k| !k.ends_with("t5")) {
        return Err(Diag::error(Class::Stage, format!("`config.json` is of a model of type `{kind}`, not of a T5")));
    }
    for field in ["d_model", "vocab_size"] {
        if !config.get(field).is_some_and(Json::is_u64) {
            return Err(Diag::error(Class::Stage, format!("`config.json` has no whole number `{field}`"))
                .help("it must be the configuration of a T5 in Hugging Face's form"));
        }
    }
    Ok(())
}

/// Whether each tensor that the index names is in the file that it names.
fn check_shards(index: &str, files: &BTreeMap<String, PathBuf>) -> Result<(), Diag> {
    let Index { weight_map } = json::read(&files[index])?;
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for shard in weight_map.values().collect::<BTreeSet<_>>() {
        let path = files.get(shard).ok_or_else(|| no_shard(shard, index))?;
        names.insert(shard, Weights::open(shard, path)?.names().into_iter().collect());
    }
    let lost: Vec<_> = weight_map.iter().filter(|(tensor, shard)| !names[shard.as_str()].contains(*tensor)).collect();
    match lost.first() {
        None => Ok(()),
        Some((tensor, shard)) => {
            Err(Diag::error(Class::Stage, format!("`{shard}` has no tensor `{tensor}`, which `{index}` places there"))
                .note(format!("{} of {} tensors are not where they should be", lost.len(), weight_map.len()))
                .help("the files are of different checkpoints: get all of them again"))
        }
    }
}

fn beginning(path: &Path) -> Result<Vec<u8>, Diag> {
    use std::io::Read;
    let mut start = Vec::new();
    fs::open(path)?.take(64).read_to_end(&mut start).map_err(on("read", path))?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_weights_are_taken_and_the_others_left() {
        let there = |names: &'static [&'static str]| move |name: &str| Ok(names.contains(&name));
        let all = there(&["config.json", "model.safetensors", "pytorch_model.bin", "spiece.model"]);
        assert_eq!(usual(Kind::Checkpoint, all).unwrap(), ["config.json", "model.safetensors", "spiece.model"]);
        assert_eq!(usual(Kind::Tokenizer, all).unwrap(), ["config.json", "spiece.model"]);
        let beside = there(&["spiece.model", "tokenizer_config.json", "added_tokens.json"]);
        let found = usual(Kind::Tokenizer, beside).unwrap();
        assert_eq!(found, ["spiece.model", "tokenizer_config.json", "added_tokens.json"]);
        let whole = there(&["tokenizer.json", "spiece.model", "tokenizer_config.json"]);
        assert_eq!(usual(Kind::Tokenizer, whole).unwrap(), ["spiece.model", "tokenizer.json"], "it says all by itself");
        let old = there(&["config.json", "pytorch_model.bin"]);
        assert_eq!(usual(Kind::Checkpoint, old).unwrap(), ["config.json", "pytorch_model.bin"]);
        assert!(superfluous("pytorch_model.bin", Some(INDEX)));
        assert!(!superfluous("model-00001-of-00002.safetensors", Some(INDEX)));
        assert!(superfluous("model-00001-of-00002.safetensors", Some("model.safetensors")));
        assert!(superfluous("model-00001-of-00002.safetensors", Some(TORCH_INDEX)));
        assert!(!superfluous("pytorch_model-00001-of-00002.bin", Some(TORCH_INDEX)));
        assert!(!superfluous("spiece.model", Some(INDEX)));
    }

    #[test]
    fn names_of_shards() {
        assert!(is_shard("model-00001-of-00002.safetensors"));
        assert!(
            !is_shard("model.safetensors") && !is_shard("model-../x.safetensors") && !is_shard("flax_model.msgpack")
        );
        assert!(is_shard("pytorch_model-00001-of-00002.bin") && !is_shard("pytorch_model-/../x.bin"));
        assert!(!is_shard_of(INDEX, "pytorch_model-00001-of-00002.bin"), "an index names files of its own form");
        assert_eq!((parent("a/b/c"), parent("c"), last_part("a/b/c")), ("a/b/", "", "c"));
    }

    #[test]
    fn configurations_of_other_models_are_refused() {
        let config = |text: &str| check_config(&serde_json::from_str(text).unwrap());
        assert!(config(r#"{"model_type": "t5", "d_model": 4, "vocab_size": 8}"#).is_ok());
        assert!(config(r#"{"model_type": "mt5", "d_model": 4, "vocab_size": 8}"#).is_ok());
        let diag = config(r#"{"model_type": "bert", "hidden_size": 4}"#).unwrap_err();
        assert_eq!(diag.message, "`config.json` is of a model of type `bert`, not of a T5");
        assert!(config(r#"{"d_model": "4", "vocab_size": 8}"#).unwrap_err().message.contains("`d_model`"));
    }
}
