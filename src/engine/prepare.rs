//! What running and looking share: a node's recipe from what its producers made, which results count, and why none does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::cache::{CacheKey, Found, Recipe, StaleReason, Store, Stored, Watched, reason};
use crate::stages::stage::{Identity, Outside, Runs};

use super::executor::Executor;
use super::graph::{Accept, Graph, Node, NodeId};
use super::key::{self, Keys, Producer};

/// A node whose producers have all been made: its recipe and key.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What determines its result.
    pub recipe: Recipe,
    /// The recipe's digest.
    pub key: CacheKey,
    /// The numerics that count; `None`: any do.
    pub numerics: Option<Numerics>,
    /// The files outside the store that count, by their name in the recipe, as they were counted.
    pub sources: Vec<(String, Digest)>,
}

/// The key of a node whose producers have all been made.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// The key.
    pub key: CacheKey,
    numerics: Option<Numerics>,
}

impl Keyed {
    /// What the store has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn look<'a>(&self, store: impl Into<Watched<'a>>) -> Result<Found, Diag> {
        store.into().look(self.key, &|numerics| wants(&self.numerics, numerics))
    }
}

/// Whether a result made under `made` counts.
pub(super) fn wants(numerics: &Option<Numerics>, made: &BTreeMap<String, String>) -> bool {
    numerics.as_ref().is_none_or(|n| n.difference(made).is_none())
}

/// Which numerics count.
#[derive(Clone, Debug)]
pub struct Numerics {
    accept: Accept,
    now: BTreeMap<String, String>,
}

impl Numerics {
    /// The first of `made` that does not count here, with its value then and now.
    fn difference(&self, made: &BTreeMap<String, String>) -> Option<(String, String, String)> {
        made.iter()
            .filter(|(name, _)| self.accept == Accept::Exact || *name == "device")
            .find(|(name, value)| self.now.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone(), self.now.get(name).cloned().unwrap_or_default()))
    }
}

impl Prepared {
    /// Whether a result made under `numerics` counts.
    pub fn wants(&self, numerics: &BTreeMap<String, String>) -> bool {
        wants(&self.numerics, numerics)
    }

    /// What the store has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn look<'a>(&self, store: impl Into<Watched<'a>>) -> Result<Found, Diag> {
        store.into().look(self.key, &|numerics| self.wants(numerics))
    }

    /// Why there is no result that counts; at least one reason.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn reasons(&self, store: &Store, pipeline: &str, node: &str, found: &Found) -> Result<Vec<StaleReason>, Diag> {
        Ok(match found {
            Found::Damaged(parts) => parts.iter().map(|p| StaleReason::Damaged { what: p.what.clone() }).collect(),
            Found::Other(made) => {
                let difference = self.numerics.as_ref().and_then(|n| n.difference(made));
                difference.into_iter().map(|(name, old, new)| StaleReason::Numerics { name, old, new }).collect()
            }
            Found::Hit(_) => vec![StaleReason::Forced],
            Found::Missing => match store.last_key(pipeline, node) {
                None => vec![StaleReason::NeverMade],
                Some(last) if last == self.key => vec![StaleReason::Removed],
                Some(last) => match store.entry(last)? {
                    Some(entry) => reason::between(&entry.recipe, &self.recipe),
                    None => vec![StaleReason::Removed],
                },
            },
        })
    }
}

/// The producers of `id` in their order. All of them have results.
pub fn producers<'a>(graph: &'a Graph, id: NodeId, results: &'a [Option<Arc<Stored>>]) -> Vec<Producer<'a>> {
    producers_with(graph, id, |from| results[from.index()].as_deref())
}

/// As [`producers`]; `result` tells their results.
pub(super) fn producers_with<'a>(
    graph: &'a Graph,
    id: NodeId,
    result: impl Fn(NodeId) -> Option<&'a Stored>,
) -> Vec<Producer<'a>> {
    let result = |from| result(from).expect("a node is prepared after its producers were made");
    let producer = |(from, port)| Producer { node: graph.node(from), port, stored: result(from) };
    let mut producers: Vec<_> = graph.producers(id).map(producer).collect();
    key::sort(&mut producers);
    producers
}

/// The key of `id`, without its recipe: all that is needed of a node whose result is there.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_key<'a>(
    graph: &Graph,
    id: NodeId,
    results: &[Option<Arc<Stored>>],
    store: impl Into<Watched<'a>>,
    outside: &Outside,
    accept: Option<Accept>,
    executor: &dyn Executor,
) -> Result<Keyed, Diag> {
    let outer = outer(graph.node(id), store.into(), outside)?;
    let key = outer.keys(graph.node(id)).key(&producers(graph, id, results));
    Ok(Keyed { key, numerics: numerics(graph.node(id), accept, executor)? })
}

/// Makes the recipe of `id`. Files of the working tree that count are hashed, unless their signatures hold.
///
/// # Errors
/// When what lies outside cannot be read, or `accept` needs to know a device that the executor cannot tell; what the store's
/// watch says.
pub fn prepare<'a>(
    graph: &Graph,
    id: NodeId,
    results: &[Option<Arc<Stored>>],
    store: impl Into<Watched<'a>>,
    outside: &Outside,
    accept: Option<Accept>,
    executor: &dyn Executor,
) -> Result<Prepared, Diag> {
    let Outer { identity, sources } = outer(graph.node(id), store.into(), outside)?;
    let producers = producers(graph, id, results);
    let recipe = key::recipe(graph.node(id), &identity, &sources, &producers);
    debug_assert_eq!(recipe.key(), Keys::new(graph.node(id), &identity, &sources).key(&producers));
    Ok(Prepared { key: recipe.key(), recipe, numerics: numerics(graph.node(id), accept, executor)?, sources })
}

/// What of the outside counts for a node: the same for all that share their parameters.
pub(super) struct Outer {
    identity: Identity,
    /// The digests of its files.
    sources: Vec<(String, Digest)>,
}

impl Outer {
    /// The keys of such nodes.
    pub(super) fn keys(&self, node: &Node) -> Keys {
        Keys::new(node, &self.identity, &self.sources)
    }
}

/// Finds it out. Files are hashed, unless their signatures hold.
pub(super) fn outer(node: &Node, store: Watched, outside: &Outside) -> Result<Outer, Diag> {
    let identity = node.kind.identity.map(|of| of(&node.params, outside)).transpose()?.unwrap_or_default();
    let sources = sources(node, &identity, store)?;
    Ok(Outer { identity, sources })
}

/// The digests of the files of an identity. Of what a program is given, it counts whether it is executable.
///
/// # Errors
/// When a file cannot be read; what the watch of the store says.
pub fn sources<'a>(
    node: &Node,
    identity: &Identity,
    store: impl Into<Watched<'a>>,
) -> Result<Vec<(String, Digest)>, Diag> {
    let store = store.into();
    let of = |path: &Path| match node.kind.runs_programs() {
        true => store.program_digest(path),
        false => store.content_digest(path),
    };
    identity.files.iter().map(|(name, path)| Ok((name.clone(), of(path)?))).collect()
}

pub(super) fn numerics(node: &Node, accept: Option<Accept>, executor: &dyn Executor) -> Result<Option<Numerics>, Diag> {
    Ok(match (accept.unwrap_or(node.accept), node.kind.runs) {
        (Accept::Any, _) | (_, Runs::Here(_) | Runs::Program(_)) => None,
        (accept, Runs::Worker) => Some(Numerics { accept, now: executor.numerics(&node.resources)? }),
    })
}
