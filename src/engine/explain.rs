//! Explains a node: compares its recipe with an earlier one, field by field, and follows each changed input to the node
//! that made it and to that node's own changes. Runs and writes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::cache::recipe::{Field, FieldContent, FieldName};
use crate::cache::{CacheKey, Entry, FileRecord, Recipe, StaleReason, Store, Stored, reason};

use super::context::Context;
use super::executor::Executor;
use super::freshness::{Freshness, status_in};
use super::graph::{Graph, NodeId};
use super::history::{History, PastRun, PipelineId};
use super::key::{self, Producer};
use super::options::RunOptions;
use super::prepare::producers;

/// What a node is compared with.
#[derive(Clone, Debug)]
pub enum CompareWith<'a> {
    /// Its last result.
    Last,
    /// Its result in this run.
    Run(&'a PastRun),
    /// The entry under this key.
    Key(CacheKey),
}

/// A node, its status and the reasons.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The node.
    pub id: NodeId,
    /// Its status.
    pub freshness: Freshness,
    /// Its key; `None` if its inputs are not known yet.
    pub key: Option<CacheKey>,
    /// Its recipe; for a blocked node without the inputs.
    pub recipe: Option<Recipe>,
    /// What it is compared with: the key and its entry.
    pub old: Option<(CacheKey, Option<Entry>)>,
    /// The differences.
    pub changes: Vec<Change>,
    /// The entry under its key.
    pub entry: Option<Entry>,
    /// For a blocked node: the nodes that block it and are not blocked themselves.
    pub first: Vec<Explanation>,
}

/// A difference and where it comes from.
#[derive(Clone, Debug)]
pub struct Change {
    /// The difference.
    pub reason: StaleReason,
    /// For an input: the changes of its producers. Empty if they are not known.
    pub causes: Vec<Cause>,
}

/// A producer whose result differs from before.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The producer.
    pub id: NodeId,
    /// In which run it last ran.
    pub run: Option<String>,
    /// The differences of its recipe. Empty if it gave another result under the same key, or if no older recipe is
    /// known.
    pub changes: Vec<Change>,
    /// `true` if the same key gave two results.
    pub same_key: bool,
}

/// Explains nodes of a graph.
#[derive(Clone, Copy)]
pub struct Explainer<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The store.
    pub store: &'a Store,
    /// As for [`status`](super::status).
    pub options: &'a RunOptions,
    /// Where nodes would run.
    pub executor: &'a dyn Executor,
    /// The journals of the store.
    pub history: &'a History,
}

impl Explainer<'_> {
    /// Explains `id`, compared with `against`.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn explain(self, id: NodeId, against: &CompareWith) -> Result<Explanation, Diag> {
        let Self { graph, store, options, executor, history } = self;
        let context = Context::new(graph, store, options, executor);
        let mut freshness = HashMap::new();
        let mut results = vec![None; graph.len()];
        for status in status_in(context, &[id], &options.force) {
            if let Freshness::Fresh { stored } = &status.freshness {
                results[status.id.index()] = Some(stored.clone());
            }
            freshness.insert(status.id, status.freshness);
        }
        Walk { context, history, freshness, results }.node(id, against)
    }
}

/// What an explanation looks at: the node, and the nodes above it.
struct Walk<'a> {
    context: Context<'a>,
    history: &'a History,
    freshness: HashMap<NodeId, Freshness>,
    results: Vec<Option<Arc<Stored>>>,
}

impl Walk<'_> {
    fn node(&self, id: NodeId, against: &CompareWith) -> Result<Explanation, Diag> {
        let freshness = self.freshness[&id].clone();
        let name = self.context.graph.node(id).to_string();
        let mut it = Explanation {
            id,
            key: None,
            recipe: None,
            old: None,
            changes: Vec::new(),
            entry: None,
            first: Vec::new(),
            freshness,
        };
        match &it.freshness {
            Freshness::Fresh { stored } => {
                it.key = Some(stored.key);
                it.entry = self.context.store.entry(stored.key)?;
                it.recipe = it.entry.as_ref().map(|entry| entry.recipe.clone());
            }
            Freshness::Stale { key, .. } | Freshness::Damaged { key, .. } => {
                it.key = Some(*key);
                it.recipe = Some(self.prepared(id)?);
                it.entry = self.context.store.entry(*key)?;
            }
            Freshness::Blocked { by } => {
                it.recipe = self.own(id).ok();
                let first = self.first(by);
                it.first = first.into_iter().map(|id| self.node(id, &CompareWith::Last)).collect::<Result<_, _>>()?;
            }
            Freshness::Broken { .. } => {}
        }
        it.old = self.old(&name, against, it.key)?;
        it.changes = self.changes(&it)?;
        // The index may be lost; journals remember too.
        let known = it.old.as_ref().is_some_and(|(_, entry)| entry.is_some());
        if let Freshness::Stale { reasons, .. } = &mut it.freshness
            && matches!(reasons[..], [StaleReason::NeverMade])
            && known
        {
            *reasons = it.changes.iter().map(|change| change.reason.clone()).collect();
        }
        Ok(it)
    }

    /// The nodes that block these, and are not blocked themselves.
    fn first(&self, by: &[NodeId]) -> Vec<NodeId> {
        let mut seen: HashSet<NodeId> = HashSet::new();
        let mut open = by.to_vec();
        let mut first = Vec::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                match &self.freshness[&id] {
                    Freshness::Blocked { by } => open.extend(by),
                    _ => first.push(id),
                }
            }
        }
        first.sort();
        first
    }

    /// The whole recipe of a node whose producers all have results.
    fn prepared(&self, id: NodeId) -> Result<Recipe, Diag> {
        Ok(self.context.prepare(id, &self.results)?.recipe)
    }

    /// The recipe of a blocked node without its inputs.
    fn own(&self, id: NodeId) -> Result<Recipe, Diag> {
        let node = self.context.graph.node(id);
        let outside = self.context.outside_fields(node)?;
        Ok(key::recipe(node, &outside.identity, &outside.sources, &[]))
    }

    /// The pipeline whose runs count.
    fn pipeline(&self) -> PipelineId<'_> {
        PipelineId { name: self.context.pipeline, file: self.context.store.file() }
    }

    /// The entry to compare with.
    fn old(
        &self,
        name: &str,
        against: &CompareWith,
        now: Option<CacheKey>,
    ) -> Result<Option<(CacheKey, Option<Entry>)>, Diag> {
        let pipeline = self.context.pipeline;
        let key = match against {
            CompareWith::Key(key) => Some(*key),
            CompareWith::Run(run) => run.nodes.get(name).and_then(|seen| seen.key),
            CompareWith::Last => {
                let last = self.context.store.last_key(pipeline, name);
                last.or_else(|| self.history.keys(self.pipeline(), name).first().map(|(key, _)| *key))
            }
        };
        // A node is compared with its own entry only if the user named it.
        let key = key.filter(|key| Some(*key) != now || !matches!(against, CompareWith::Last));
        key.map(|key| Ok((key, self.context.store.entry(key)?))).transpose()
    }

    fn changes(&self, it: &Explanation) -> Result<Vec<Change>, Diag> {
        let plain = |reasons: &[StaleReason]| {
            reasons.iter().map(|r| Change { reason: r.clone(), causes: Vec::new() }).collect::<Vec<_>>()
        };
        let (Some((_, Some(old))), Some(now)) = (&it.old, &it.recipe) else {
            return Ok(match &it.freshness {
                Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. } => plain(reasons),
                _ => Vec::new(),
            });
        };
        match &it.freshness {
            Freshness::Damaged { reasons, .. } => Ok(plain(reasons)),
            Freshness::Stale { reasons, .. } if reasons.iter().any(|r| matches!(r, StaleReason::Numerics { .. })) => {
                Ok(plain(reasons))
            }
            Freshness::Blocked { .. } => Ok(plain(&reason::between(&without_inputs(&old.recipe), now))),
            _ => self.followed(it.id, reason::between(&old.recipe, now)),
        }
    }

    /// The reasons of a node whose producers all have results, with their causes.
    fn followed(&self, id: NodeId, reasons: Vec<StaleReason>) -> Result<Vec<Change>, Diag> {
        let feeding = self.feeding(id);
        let mut told: Vec<(String, String)> = Vec::new();
        let mut changes = Vec::new();
        for reason in reasons {
            let mut causes = Vec::new();
            if let StaleReason::Changed {
                field: FieldName::Input { role, at, file },
                old: FieldContent::Digest(old),
                ..
            } = &reason
            {
                // The files of one producer have one cause.
                let producer = (role.clone(), at.clone());
                if !told.contains(&producer) {
                    let of = |p: &&Producer| p.port.role == *role && p.at() == *at;
                    for producer in feeding.iter().filter(of) {
                        let had = |entry: &Entry| {
                            let is_old = |f: &FileRecord| [f.logical, f.for_programs()].contains(old);
                            entry.made.iter().any(|m| m.files.get(file).is_some_and(is_old))
                        };
                        causes.push(self.cause(producer, &had)?);
                    }
                    told.push(producer);
                }
            }
            changes.push(Change { reason, causes });
        }
        Ok(changes)
    }

    fn feeding(&self, id: NodeId) -> Vec<Producer<'_>> {
        let ready = self.context.graph.producers(id).all(|(from, _)| self.results[from.index()].is_some());
        if ready { producers(self.context.graph, id, &self.results) } else { Vec::new() }
    }

    /// Why a producer has another result than the one that `had` accepts.
    fn cause(&self, producer: &Producer, had: &dyn Fn(&Entry) -> bool) -> Result<Cause, Diag> {
        let name = producer.node.to_string();
        let id = self
            .context
            .graph
            .ids()
            .find(|id| std::ptr::eq(self.context.graph.node(*id), producer.node))
            .expect("of this graph");
        let now = producer.stored.key;
        let keys = self.history.keys(self.pipeline(), &name);
        let run = keys.iter().find(|(key, _)| *key == now).map(|(_, run)| run.id.clone());
        let mut old = None;
        for (key, _) in keys.iter().filter(|(key, _)| *key != now) {
            if let Some(entry) = self.context.store.entry(*key)?
                && had(&entry)
            {
                old = Some(entry);
                break;
            }
        }
        let Some(old) = old else {
            let same_key = !keys.is_empty() && keys.iter().all(|(key, _)| *key == now);
            return Ok(Cause { id, run, changes: Vec::new(), same_key });
        };
        let changes = match self.context.store.entry(now)? {
            Some(entry) => self.followed(id, reason::between(&old.recipe, &entry.recipe))?,
            None => Vec::new(),
        };
        Ok(Cause { id, run, changes, same_key: false })
    }
}

/// A recipe without its inputs.
fn without_inputs(recipe: &Recipe) -> Recipe {
    let own = |field: &&Field| {
        !matches!(field.name, FieldName::Input { .. } | FieldName::Producer { .. } | FieldName::Named { .. })
    };
    recipe.fields().iter().filter(own).cloned().collect()
}
