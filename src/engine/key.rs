//! Makes the recipe and the key of a node from the node and the digests of what it reads, in one walk and without I/O.
//! The table in [`crate::cache`] says what counts.

use std::collections::HashMap;

use crate::base::digest::Digest;
use crate::base::glob;
use crate::cache::recipe::hash::{FieldSink, KeyHasher, SharedFields};
use crate::cache::recipe::{FieldContent, FieldName, Recipe};
use crate::cache::{CacheKey, FileRecord, Stored};
use crate::stages::stage::{Arity, Identity, LOG, StageKind};

use super::graph::{EdgePort, Node};

/// A producer of a node, with its result.
#[derive(Clone, Copy, Debug)]
pub struct Producer<'a> {
    /// The producer.
    pub node: &'a Node,
    /// The consumer's port.
    pub port: &'a EdgePort,
    /// The result of the producer.
    pub stored: &'a Stored,
}

impl<'a> Producer<'a> {
    /// The files that the port reads.
    pub fn files(&self) -> impl Iterator<Item = (&'a String, &'a FileRecord)> + use<'a> {
        let patterns = &self.port.files;
        let reads = move |name: &str| patterns.iter().any(|p| glob::matches(p, name) && (name != LOG || *p == LOG));
        self.stored.files.iter().filter(move |(name, _)| reads(name))
    }

    /// Its coordinates in a gather, as recipes have them: `method=dpt,seed=42`. Empty elsewhere.
    pub fn at(&self) -> String {
        if self.gathered() { printed(&self.coordinates()) } else { String::new() }
    }

    /// Returns `true` if it is one of several in a gather.
    pub fn gathered(&self) -> bool {
        matches!(self.port.arity, Arity::Many | Arity::OptionalMany)
    }

    /// Axes and values, sorted by axis: their order in the pipeline must not matter.
    pub fn coordinates(&self) -> Vec<(String, String)> {
        let mut axes = self.node.axes.clone();
        axes.sort();
        axes
    }
}

/// Sorts producers as stages see them and recipes name them: by role, then by coordinates, whole numbers as numbers.
pub fn sort(producers: &mut [Producer]) {
    if producers.len() < 2 {
        return;
    }
    let value = |v: String| (v.parse::<i64>().is_err(), v.parse::<i64>().unwrap_or(0), v);
    producers.sort_by_cached_key(|p| {
        let axes: Vec<_> = p.coordinates().into_iter().map(|(axis, v)| (axis, value(v))).collect();
        (p.port.role.as_str(), axes)
    });
}

/// The recipe of `node`. `sources` are the digests of the identity's files; `producers` are [`sort`]ed.
pub fn recipe(node: &Node, identity: &Identity, sources: &[(String, Digest)], producers: &[Producer]) -> Recipe {
    let mut recipe = Recipe::new(node.kind.name, node.kind.version);
    own(node, identity, sources, &mut recipe);
    read(node.kind, producers, &mut recipe);
    recipe
}

/// Makes the keys of nodes of one kind with the same parameters, which differ only in what they read.
pub struct KeyMaker {
    kind: &'static StageKind,
    own: SharedFields,
    read: KeyHasher,
}

impl KeyMaker {
    /// For nodes like `node`.
    pub fn new(node: &Node, identity: &Identity, sources: &[(String, Digest)]) -> Self {
        let mut fields = KeyHasher::new(node.kind.name, node.kind.version);
        own(node, identity, sources, &mut fields);
        Self { kind: node.kind, own: SharedFields::new(fields), read: KeyHasher::part() }
    }

    /// The key of the node that reads `producers`, which are [`sort`]ed.
    pub fn key(&mut self, producers: &[Producer]) -> CacheKey {
        self.read.clear();
        read(self.kind, producers, &mut self.read);
        self.own.key(&self.read)
    }
}

/// The fields that do not depend on producers.
fn own(node: &Node, identity: &Identity, sources: &[(String, Digest)], fields: &mut impl FieldSink) {
    let variant = node.kind.variant(&node.params);
    for (name, value) in node.params.iter() {
        let declared = node.kind.param(variant, name);
        if declared.is_some_and(|p| !p.in_key) {
            continue;
        }
        let value = match identity.params.iter().find(|(n, _)| n == name) {
            Some((_, None)) => continue,
            Some((_, Some(other))) => other,
            None => value,
        };
        if declared.is_some_and(|p| p.since > 1 && p.default.value().as_ref() == Some(value)) {
            continue;
        }
        fields.field(FieldName::Param(name), FieldContent::Value(value));
    }
    let mut sources: Vec<_> = sources.iter().collect();
    sources.sort();
    for (name, digest) in sources {
        fields.field(FieldName::File(name), FieldContent::Digest(*digest));
    }
}

/// The fields of the producers.
fn read(kind: &StageKind, producers: &[Producer], fields: &mut impl FieldSink) {
    let mut seen: HashMap<(&str, String), usize> = HashMap::new();
    let by_bytes = kind.runs_programs();
    for producer in producers {
        let role = producer.port.role.as_str();
        let mut at = producer.at();
        if producers.len() > 1 {
            let times = seen.entry((role, at.clone())).or_default();
            *times += 1;
            if *times > 1 {
                at = format!("{at}#{times}");
            }
        }
        let count = producer.files().count() as u64;
        fields.field(FieldName::Producer { role, at: &at }, FieldContent::Number(count));
        if producer.gathered() {
            fields.field(FieldName::Named { role, at: &at }, FieldContent::Text(&producer.node.stage));
        }
        for (file, record) in producer.files() {
            let digest = if by_bytes { record.for_programs() } else { record.logical };
            fields.field(FieldName::Input { role, at: &at, file }, FieldContent::Digest(digest));
        }
    }
}

/// Prints coordinates: `method=dpt,seed=42`. A value that contains `,`, `=`, `#` or a quote is quoted.
fn printed(axes: &[(String, String)]) -> String {
    let quoted = |v: &str| if v.contains([',', '=', '#', '"']) { format!("{v:?}") } else { v.to_owned() };
    axes.iter().map(|(axis, value)| format!("{axis}={}", quoted(value))).collect::<Vec<_>>().join(",")
}
