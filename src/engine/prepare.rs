//! What a run and a status have in common: the key and the recipe of a node from what its producers made, which results
//! count, and why none does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::base::digest::Digest;
use crate::cache::{CacheKey, Lookup, Recipe, StaleReason, Stored, Watched, reason};
use crate::stages::stage::{Identity, Runs};

use super::context::Context;
use super::graph::{Accept, Graph, Node, NodeId};
use super::key::{self, KeyMaker, Producer};

/// The key of a node whose producers have all been made.
#[derive(Clone, Debug)]
pub struct NodeKey {
    /// The key.
    pub key: CacheKey,
    /// Which results under the key count.
    pub numerics: NumericsFilter,
}

/// The recipe of a node whose producers have all been made.
#[derive(Clone, Debug)]
pub struct PreparedNode {
    /// What determines its result.
    pub recipe: Recipe,
    /// The recipe's digest.
    pub key: CacheKey,
    /// Which results under the key count.
    pub numerics: NumericsFilter,
    /// The digests of the files outside the store that count, by their names in the recipe.
    pub sources: Vec<(String, Digest)>,
}

/// Which stored results count, by the numerics under which they were made.
#[derive(Clone, Debug)]
pub enum NumericsFilter {
    /// All do.
    Any,
    /// Those that agree with the numerics that the node would have now: in the device, or in everything.
    Like {
        /// How closely they must agree.
        accept: Accept,
        /// The numerics that the node would have now.
        now: BTreeMap<String, String>,
    },
}

impl NumericsFilter {
    /// Returns `true` if a result that was made under these numerics counts.
    pub fn accepts(&self, made: &BTreeMap<String, String>) -> bool {
        self.difference(made).is_none()
    }

    /// The first of the numerics `made` that does not count here: its name, its value then and its value now.
    fn difference(&self, made: &BTreeMap<String, String>) -> Option<(String, String, String)> {
        let Self::Like { accept, now } = self else { return None };
        made.iter()
            .filter(|(name, _)| *accept == Accept::Exact || *name == "device")
            .find(|(name, value)| now.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone(), now.get(name).cloned().unwrap_or_default()))
    }
}

impl Context<'_> {
    /// Makes the key of `id` without its recipe. A node whose result is there needs no more.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn key(&self, id: NodeId, results: &[Option<Arc<Stored>>]) -> Result<NodeKey, Diag> {
        let node = self.graph.node(id);
        let key = self.outside_fields(node)?.key_maker(node).key(&producers(self.graph, id, results));
        Ok(NodeKey { key, numerics: self.numerics(node)? })
    }

    /// Makes the recipe of `id`. Files of the working tree that count are hashed, unless their signatures hold.
    ///
    /// # Errors
    /// Fails if something outside the store cannot be read, if `accept` needs a device that the executor does not know,
    /// or with the error of the store's watch.
    pub fn prepare(&self, id: NodeId, results: &[Option<Arc<Stored>>]) -> Result<PreparedNode, Diag> {
        let node = self.graph.node(id);
        let OutsideFields { identity, sources } = self.outside_fields(node)?;
        let producers = producers(self.graph, id, results);
        let recipe = key::recipe(node, &identity, &sources, &producers);
        debug_assert_eq!(recipe.key(), KeyMaker::new(node, &identity, &sources).key(&producers));
        Ok(PreparedNode { key: recipe.key(), recipe, numerics: self.numerics(node)?, sources })
    }

    /// Looks up the result of a node that counts.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn lookup(&self, key: CacheKey, numerics: &NumericsFilter) -> Result<Lookup, Diag> {
        self.store.lookup(key, &|made| numerics.accepts(made))
    }

    /// Returns why a node has no result that counts; at least one reason. `found` is what the lookup found.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn reasons(&self, id: NodeId, prepared: &PreparedNode, found: &Lookup) -> Result<Vec<StaleReason>, Diag> {
        Ok(match found {
            Lookup::Damaged(parts) => parts.iter().map(|p| StaleReason::Damaged { what: p.what.clone() }).collect(),
            Lookup::Other(made) => {
                let difference = prepared.numerics.difference(made);
                difference.into_iter().map(|(name, old, new)| StaleReason::Numerics { name, old, new }).collect()
            }
            Lookup::Hit(_) => vec![StaleReason::Forced],
            Lookup::Missing => match self.store.last_key(self.pipeline, &self.name(id)) {
                None => vec![StaleReason::NeverMade],
                Some(last) if last == prepared.key => vec![StaleReason::Removed],
                Some(last) => match self.store.entry(last)? {
                    Some(entry) => reason::between(&entry.recipe, &prepared.recipe),
                    None => vec![StaleReason::Removed],
                },
            },
        })
    }

    /// Which results of a node count.
    ///
    /// # Errors
    /// Fails if the executor does not know the numerics.
    pub(super) fn numerics(&self, node: &Node) -> Result<NumericsFilter, Diag> {
        Ok(match (self.accept.unwrap_or(node.accept), node.kind.runs) {
            (Accept::Any, _) | (_, Runs::Here(_) | Runs::Program(_)) => NumericsFilter::Any,
            (accept, Runs::Worker) => NumericsFilter::Like { accept, now: self.executor.numerics(&node.resources)? },
        })
    }

    /// Finds what counts for a node besides its producers. Files are hashed, unless their signatures hold.
    pub(super) fn outside_fields(&self, node: &Node) -> Result<OutsideFields, Diag> {
        let identity = node.kind.identity.map(|of| of(&node.params, self.outside)).transpose()?.unwrap_or_default();
        let sources = sources(node, &identity, self.store)?;
        Ok(OutsideFields { identity, sources })
    }
}

/// What counts for a node besides its producers. All nodes with the same parameters share it.
pub(super) struct OutsideFields {
    pub identity: Identity,
    /// The digests of its files.
    pub sources: Vec<(String, Digest)>,
}

impl OutsideFields {
    /// Makes the keys of such nodes.
    pub(super) fn key_maker(&self, node: &Node) -> KeyMaker {
        KeyMaker::new(node, &self.identity, &self.sources)
    }
}

/// The producers of `id` in their order. All of them must have results.
pub fn producers<'a>(graph: &'a Graph, id: NodeId, results: &'a [Option<Arc<Stored>>]) -> Vec<Producer<'a>> {
    producers_with(graph, id, |from| results[from.index()].as_deref())
}

/// As [`producers`]; `result` returns their results.
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

/// The digests of the files of an identity. If the node runs programs, it counts whether a file is executable.
///
/// # Errors
/// Fails if a file cannot be read, or with the error of the store's watch.
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
