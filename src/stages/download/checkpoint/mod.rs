//! Downloads T5 checkpoints in Hugging Face layout, their tokenizers, and adapters. Checks that the files are complete
//! and that each is what its name says.

mod check;
mod find;
mod names;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use crate::adapter::{self, peft};
use crate::artifact::json;
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::data::tokenizer::beside;
use crate::fetch::source::{At, Location, SourceFile, below};
use crate::model::config::T5Config;

use super::fetch::Fetch;
use super::spec::FoundFiles;

use check::{check_file, check_shards, no_shard, shards};
use find::remote;
use names::{CONFIG, TOKENIZERS, WEIGHTS, check_names, index_of, is_said_beside, last_part, parent, superfluous};

pub(super) use find::find;
pub(super) use names::CheckpointKind;

/// `backbone.json`.
#[derive(Serialize)]
struct Backbone<'a> {
    name: &'a str,
    origin: &'a str,
    source: String,
}

/// Fetches what `found` says and checks it: the files of `kind`, by name.
pub(super) fn gather(
    fetch: &mut Fetch,
    kind: CheckpointKind,
    found: FoundFiles,
) -> Result<BTreeMap<String, PathBuf>, Diag> {
    let files = match found {
        FoundFiles::Files(files) => {
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
        FoundFiles::Probe(url) => probe(fetch, kind, &url)?,
        FoundFiles::Archive(item) => from_archive(fetch, kind, &item)?,
    };
    let source = &fetch.spec.source;
    let place = format!("source `{}`", source.name);
    let is_remote = matches!(source.location, Location::Http(_)) && !fetch.ctx.job.mirrors.contains_key(&source.name);
    let advice = match is_remote {
        true => "it was received completely: check what the server returns for this name",
        false => "replace it with the right file",
    };
    check_names(kind, &files.keys().map(String::as_str).collect(), &place)?;
    for (name, path) in &files {
        fetch.ctx.check_cancel()?;
        check_file(name, path, advice)?;
    }
    if kind == CheckpointKind::Checkpoint {
        T5Config::parse(&fs::read_to_string(&files[CONFIG])?, CONFIG)?;
    }
    Ok(files)
}

/// Brings a file to where it can be read: what becomes an output as it is, to its place.
fn bring(
    fetch: &mut Fetch,
    kind: CheckpointKind,
    item: &SourceFile,
    name: &str,
    optional: bool,
) -> Result<Option<PathBuf>, Diag> {
    if kind == CheckpointKind::Adapter { fetch.obtain(item, optional) } else { fetch.bring(item, name, optional) }
}

/// Fetches what `found` says, checks it and writes it.
pub(super) fn run(fetch: &mut Fetch, kind: CheckpointKind, found: FoundFiles) -> Result<(), Diag> {
    let files = gather(fetch, kind, found)?;
    if let Some(index) = index_of(files.keys().map(String::as_str)) {
        check_shards(index, &files)?;
    }
    if kind == CheckpointKind::Checkpoint {
        for note in weights::notes(&files)? {
            fetch.ctx.progress.note(&note);
        }
    }
    for (name, path) in &files {
        fetch.deliver(path, name)?;
    }
    if kind == CheckpointKind::Checkpoint {
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
    item: &SourceFile,
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
        let one = SourceFile { pin: fetch.spec.source.pin(&path), path, at };
        match fetch.bring(&one, &shard, true)? {
            Some(at) => brought.insert(shard, at),
            None => return Err(no_shard(&shard, &item.path)),
        };
    }
    Ok(())
}

/// Asks a server for the usual files, one after the other.
fn probe(fetch: &mut Fetch, kind: CheckpointKind, url: &url::Url) -> Result<BTreeMap<String, PathBuf>, Diag> {
    let source = &fetch.spec.source;
    let mut brought = BTreeMap::new();
    let mut ask = |fetch: &mut Fetch, name: &str, optional: bool| {
        let (_, item) = remote(source, url, name.to_owned());
        let path = bring(fetch, kind, &item, name, optional)?;
        let there = path.is_some();
        brought.extend(path.map(|p| (name.to_owned(), p)));
        Ok::<bool, Diag>(there)
    };
    if kind == CheckpointKind::Adapter {
        let found = ask(fetch, peft::CONFIG, true)?;
        let names: &[&str] = if found { peft::WEIGHTS } else { &[adapter::INFO, adapter::TENSORS, adapter::INITIAL] };
        for name in names {
            if ask(fetch, name, true)? && found {
                break;
            }
        }
        return Ok(brought);
    }
    ask(fetch, CONFIG, kind == CheckpointKind::Tokenizer)?;
    if kind == CheckpointKind::Checkpoint {
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

/// Returns the files of the one checkpoint in an archive, in whichever folder it lies.
fn from_archive(fetch: &mut Fetch, kind: CheckpointKind, item: &SourceFile) -> Result<BTreeMap<String, PathBuf>, Diag> {
    let (into, names) = fetch.unpack(item, &|name| kind.takes(last_part(name)))?;
    let marks: &[&str] = match kind {
        CheckpointKind::Checkpoint => &[CONFIG],
        CheckpointKind::Tokenizer => TOKENIZERS,
        CheckpointKind::Adapter => &[peft::CONFIG, adapter::INFO],
    };
    let folders: BTreeSet<&str> = names.iter().filter(|n| marks.contains(&last_part(n))).map(|n| parent(n)).collect();
    let folders: Vec<&str> = folders.into_iter().collect();
    let folder = match folders[..] {
        [one] => one,
        [] => "",
        _ => {
            return Err(Diag::error(
                Class::Stage,
                format!("archive `{}` has more than {}", fetch.shown(item), kind.a_kind()),
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
