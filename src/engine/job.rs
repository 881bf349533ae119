//! A node's work as a [`Job`], and the check of what its stage wrote against what its kind declares.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::artifact::Counted;
use crate::base::diag::{Class, Diag};
use crate::base::digest::Digest;
use crate::base::fs::on;
use crate::base::glob;
use crate::base::suggest;
use crate::base::value::Params;
use crate::cache::{Miss, Store, Stored};
use crate::stages::ctx::{Input, Job, Outcome};
use crate::stages::stage::{LOG, Outside, StageKind};

use super::context::Context;
use super::executor::HeldSlots;
use super::graph::{Node, NodeId};
use super::key::Producer;
use super::prepare::producers;

impl Context<'_> {
    /// The job of node `id`, which holds `held` and writes into the folders of `miss`. `counted` are the digests that
    /// its key has of files outside the store.
    ///
    /// # Errors
    /// Fails if such a file can no longer be found, or if a producer lacks a file that the node names.
    pub fn job(
        &self,
        id: NodeId,
        results: &[Option<Arc<Stored>>],
        counted: &[(String, Digest)],
        miss: &Miss,
        held: &HeldSlots,
    ) -> Result<Job, Diag> {
        let node = self.graph.node(id);
        let mut inputs: BTreeMap<String, Vec<Input>> = BTreeMap::new();
        for producer in &producers(self.graph, id, results) {
            // In a role that the user named, the stage sees only what counts for its key.
            let declared = node.kind.inputs.iter().any(|port| port.role == producer.port.role);
            if let Some(roles) = node.kind.named_roles.filter(|_| !declared) {
                has_what_is_named(producer, roles.param)?;
            }
            let axes = if declared || producer.gathered() { producer.coordinates() } else { Vec::new() };
            let files = || producer.files();
            inputs.entry(producer.port.role.clone()).or_default().push(Input {
                node: producer.node.to_string(),
                axes,
                key: producer.stored.key.digest(),
                files: files().map(|(name, file)| (name.clone(), self.store.object(&file.bytes))).collect(),
                digests: files().map(|(name, file)| (name.clone(), file.logical)).collect(),
                executable: files().filter(|(_, file)| file.executable).map(|(name, _)| name.clone()).collect(),
            });
        }
        let base = std::path::absolute(&self.outside.base).or_else(|_| std::env::current_dir());
        let base = base.map_err(on("find", &self.outside.base))?;
        let outside = Outside { base: base.clone(), ..self.outside.clone() };
        Ok(Job {
            node: node.to_string(),
            kind: node.kind.name.to_owned(),
            axes: node.axes.clone(),
            params: Params::clone(&node.params),
            inputs,
            out: miss.out(),
            scratch: miss.scratch(),
            reuse: miss.reuse(),
            base,
            mirrors: self.outside.mirrors.clone(),
            sources: counted_sources(node, counted, &self.store, &outside)?,
            threads: held.cpus,
            device: held.device(node.kind, self.executor).to_owned(),
        })
    }
}

/// Fails if a producer in a role that the pipeline names lacks a file that parameter `param` of the consumer refers to.
fn has_what_is_named(producer: &Producer, param: &str) -> Result<(), Diag> {
    let files = &producer.stored.files;
    let reads = |pattern: &str, name: &str| glob::matches(pattern, name) && (name != LOG || pattern == LOG);
    let lacks = |pattern: &&String| *pattern != "*" && !files.keys().any(|name| reads(pattern, name));
    let Some(pattern) = producer.port.files.iter().find(lacks) else { return Ok(()) };
    let names: Vec<&str> = files.keys().map(String::as_str).filter(|name| *name != LOG).collect();
    let message = format!("role `{}` has no file `{pattern}`", producer.port.role);
    let diag =
        Diag::error(Class::Stage, message).note(format!("`{}` has {}", producer.node, shortened(&names))).lasting();
    Err(match suggest::nearest_file(pattern, names.iter().copied()) {
        Some(near) => diag.help(format!("did you mean `{near}`?")),
        None => diag.help(format!("correct the name in `{param}`")),
    })
}

/// Lists the first few of many names.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => shown.push("no files".to_owned()),
        more if more > SHOWN => shown.push(format!("and {} more", more - SHOWN)),
        _ => {}
    }
    shown.join(", ")
}

/// The names of all files that a stage made: those that it wrote, and those that it hands over as bytes.
///
/// # Errors
/// Fails if it wrote something that cannot be kept.
pub fn made(miss: &Miss, outcome: &Outcome) -> Result<Vec<String>, Diag> {
    Ok(miss.written()?.into_iter().chain(outcome.given.keys().cloned()).collect())
}

/// What the key of `node` counted of the files outside the store, by the paths at which its stage finds them. The
/// signature is left out if the file was hashed again since, with another digest.
fn counted_sources(
    node: &Node,
    counted: &[(String, Digest)],
    store: &Store,
    outside: &Outside,
) -> Result<BTreeMap<PathBuf, Counted>, Diag> {
    let identity = node.kind.identity.filter(|_| !counted.is_empty());
    let identity = identity.map(|of| of(&node.params, outside)).transpose()?.unwrap_or_default();
    let source = |(name, path): (String, PathBuf)| {
        let digest = counted.iter().find(|(counted, _)| *counted == name)?.1;
        let same = |known: &Counted| known.digest == digest || known.digest.executable() == digest;
        let known = store.counted(&path).filter(same).unwrap_or(Counted { digest, signature: None, sha256: None });
        Some((path, Counted { digest, ..known }))
    };
    Ok(identity.files.into_iter().filter_map(source).collect())
}

/// Fails if a file is not declared by the stage kind, or if one that it requires is missing.
pub fn check_outputs(kind: &StageKind, written: &[String]) -> Result<(), Diag> {
    let fits = |name: &str| kind.outputs.iter().any(|o| glob::matches(o.name, name));
    if let Some(stranger) = written.iter().find(|name| !fits(name)) {
        let declared: Vec<_> = kind.outputs.iter().map(|o| format!("`{}`", o.name)).collect();
        return Err(Diag::error(
            Class::Stage,
            format!("stage `{}` wrote `{stranger}`, which it does not declare", kind.name),
        )
        .note(format!("it declares {}", declared.join(", ")))
        .lasting());
    }
    let there = |pattern: &str| written.iter().any(|name| glob::matches(pattern, name));
    if let Some(missing) = kind.outputs.iter().find(|o| o.required && !there(o.name)) {
        return Err(Diag::error(
            Class::Stage,
            format!("stage `{}` ended without its output `{}`", kind.name, missing.name),
        )
        .lasting());
    }
    Ok(())
}
