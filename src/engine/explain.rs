//! Why a node is as it is: its recipe against an earlier one, field by field, and each changed input followed to the node
//! that made it anew, and on to that node's own changes. Looks only: nothing runs, nothing is written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::cache::recipe::{Content, Field, Name};
use crate::cache::{CacheKey, Entry, FileRecord, Recipe, StaleReason, Store, Stored, reason};

use super::executor::Executor;
use super::freshness::{Freshness, status};
use super::graph::{Graph, NodeId};
use super::history::{History, Pipeline, Run};
use super::key::{Producer, recipe};
use super::prepare::{prepare, producers, sources};
use super::run::RunOptions;

/// What a node is compared with.
#[derive(Clone, Debug)]
pub enum Against<'a> {
    /// What it was last made or found as.
    Last,
    /// What it was in this run.
    Run(&'a Run),
    /// What lies under this key.
    Key(CacheKey),
}

/// A node, how it stands and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The node.
    pub id: NodeId,
    /// How it stands.
    pub freshness: Freshness,
    /// Its key now; `None` while its inputs are not known.
    pub key: Option<CacheKey>,
    /// Its recipe now; of a blocked node without its inputs.
    pub recipe: Option<Recipe>,
    /// What it is compared with: the key, and what lies under it.
    pub old: Option<(CacheKey, Option<Entry>)>,
    /// What differs.
    pub changes: Vec<Change>,
    /// What is under its key now.
    pub entry: Option<Entry>,
    /// What a blocked node waits for in the end: nodes that are not fresh and not blocked themselves.
    pub first: Vec<Explanation>,
}

/// A difference and where it comes from.
#[derive(Clone, Debug)]
pub struct Change {
    /// What differs.
    pub reason: StaleReason,
    /// Of an input: the producers' own changes. Empty where that is not known.
    pub causes: Vec<Cause>,
}

/// A producer that made something else than before.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The producer.
    pub id: NodeId,
    /// In which run it last ran.
    pub run: Option<String>,
    /// What differs in its recipe. Empty: nothing, it gave another result under the same key, or nothing older is known.
    pub changes: Vec<Change>,
    /// Whether it was made twice under one key.
    pub same_key: bool,
}

/// All that is looked at.
struct Looker<'a> {
    graph: &'a Graph,
    store: &'a Store,
    options: &'a RunOptions,
    executor: &'a dyn Executor,
    history: &'a History,
    standing: HashMap<NodeId, Freshness>,
    results: Vec<Option<Arc<Stored>>>,
}

/// Explains `id`. Of the options it minds what [`status`] does.
///
/// # Errors
/// When the store cannot be read.
pub fn explain(
    graph: &Graph,
    store: &Store,
    options: &RunOptions,
    executor: &dyn Executor,
    history: &History,
    id: NodeId,
    against: &Against,
) -> Result<Explanation, Diag> {
    let options = &RunOptions { targets: vec![id], ..options.clone() };
    let mut standing = HashMap::new();
    let mut results = vec![None; graph.len()];
    for status in status(graph, store, options, executor) {
        if let Freshness::Fresh { stored } = &status.freshness {
            results[status.id.index()] = Some(stored.clone());
        }
        standing.insert(status.id, status.freshness);
    }
    Looker { graph, store, options, executor, history, standing, results }.node(id, against)
}

impl Looker<'_> {
    fn node(&self, id: NodeId, against: &Against) -> Result<Explanation, Diag> {
        let freshness = self.standing[&id].clone();
        let name = self.graph.node(id).to_string();
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
                it.entry = self.store.entry(stored.key)?;
                it.recipe = it.entry.as_ref().map(|entry| entry.recipe.clone());
            }
            Freshness::Stale { key, .. } | Freshness::Damaged { key, .. } => {
                it.key = Some(*key);
                it.recipe = Some(self.prepared(id)?);
                it.entry = self.store.entry(*key)?;
            }
            Freshness::Blocked { by } => {
                it.recipe = self.own(id).ok();
                let first = self.first(by);
                it.first = first.into_iter().map(|id| self.node(id, &Against::Last)).collect::<Result<_, _>>()?;
            }
            Freshness::Broken { .. } => {}
        }
        it.old = self.old(&name, against, it.key)?;
        it.changes = self.changes(&it)?;
        // The index is a memo and may be gone: journals remember, too.
        let known = it.old.as_ref().is_some_and(|(_, entry)| entry.is_some());
        if let Freshness::Stale { reasons, .. } = &mut it.freshness
            && matches!(reasons[..], [StaleReason::NeverMade])
            && known
        {
            *reasons = it.changes.iter().map(|change| change.reason.clone()).collect();
        }
        Ok(it)
    }

    /// Of nodes that are not fresh: those that block them, in the end.
    fn first(&self, by: &[NodeId]) -> Vec<NodeId> {
        let mut seen: HashSet<NodeId> = HashSet::new();
        let mut open = by.to_vec();
        let mut first = Vec::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                match &self.standing[&id] {
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
        let Self { graph, store, options, executor, .. } = self;
        Ok(prepare(graph, id, &self.results, *store, &options.outside, options.accept, *executor)?.recipe)
    }

    /// What of a blocked node's recipe is known: all but its inputs.
    fn own(&self, id: NodeId) -> Result<Recipe, Diag> {
        let node = self.graph.node(id);
        let identity = node.kind.identity.map(|of| of(&node.params, &self.options.outside)).transpose()?;
        let identity = identity.unwrap_or_default();
        Ok(recipe(node, &identity, &sources(node, &identity, self.store)?, &[]))
    }

    /// Whose runs count.
    fn pipeline(&self) -> Pipeline<'_> {
        Pipeline { name: &self.options.pipeline, file: self.store.file() }
    }

    /// What to compare with.
    fn old(
        &self,
        name: &str,
        against: &Against,
        now: Option<CacheKey>,
    ) -> Result<Option<(CacheKey, Option<Entry>)>, Diag> {
        let pipeline = &self.options.pipeline;
        let key = match against {
            Against::Key(key) => Some(*key),
            Against::Run(run) => run.nodes.get(name).and_then(|seen| seen.key),
            Against::Last => {
                let last = self.store.last_key(pipeline, name);
                last.or_else(|| self.history.keys(self.pipeline(), name).first().map(|(key, _)| *key))
            }
        };
        // Nothing is compared with itself unasked.
        let key = key.filter(|key| Some(*key) != now || !matches!(against, Against::Last));
        key.map(|key| Ok((key, self.store.entry(key)?))).transpose()
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

    /// Reasons of a node whose producers all have results, with their causes.
    fn followed(&self, id: NodeId, reasons: Vec<StaleReason>) -> Result<Vec<Change>, Diag> {
        let feeding = self.feeding(id);
        let mut told: Vec<(String, String)> = Vec::new();
        let mut changes = Vec::new();
        for reason in reasons {
            let mut causes = Vec::new();
            if let StaleReason::Changed { field: Name::Input { role, at, file }, old: Content::Digest(old), .. } =
                &reason
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
        let ready = self.graph.producers(id).all(|(from, _)| self.results[from.index()].is_some());
        if ready { producers(self.graph, id, &self.results) } else { Vec::new() }
    }

    /// Why a producer has another result than the one for which `had` holds.
    fn cause(&self, producer: &Producer, had: &dyn Fn(&Entry) -> bool) -> Result<Cause, Diag> {
        let name = producer.node.to_string();
        let id = self.graph.ids().find(|id| std::ptr::eq(self.graph.node(*id), producer.node)).expect("of this graph");
        let now = producer.stored.key;
        let keys = self.history.keys(self.pipeline(), &name);
        let run = keys.iter().find(|(key, _)| *key == now).map(|(_, run)| run.id.clone());
        let mut old = None;
        for (key, _) in keys.iter().filter(|(key, _)| *key != now) {
            if let Some(entry) = self.store.entry(*key)?
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
        let changes = match self.store.entry(now)? {
            Some(entry) => self.followed(id, reason::between(&old.recipe, &entry.recipe))?,
            None => Vec::new(),
        };
        Ok(Cause { id, run, changes, same_key: false })
    }
}

/// A recipe as far as it is known before any input is.
fn without_inputs(recipe: &Recipe) -> Recipe {
    let own = |field: &&Field| !matches!(field.name, Name::Input { .. } | Name::Producer { .. } | Name::Named { .. });
    recipe.fields().iter().filter(own).cloned().collect()
}
