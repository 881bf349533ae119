//! [`Referable`]: what references can refer to.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use crate::base::diag::Span;
use crate::pipeline::doc::{Item, Node, Table};
use crate::pipeline::spec::Axis;

/// The axes and the parameters of a pipeline.
pub(super) struct Referable<'a> {
    pub(super) axes: &'a [Axis],
    /// The `[params]` table.
    pub(super) params: &'a Table,
    /// Paths of parameters that something refers to.
    pub(super) used: RefCell<BTreeSet<String>>,
    /// Everything below `[params]`, by path.
    index: HashMap<String, &'a Item>,
}

impl<'a> Referable<'a> {
    pub(super) fn new(axes: &'a [Axis], params: &'a Table) -> Self {
        Self { axes, params, used: RefCell::default(), index: index(params) }
    }

    /// Returns the item at `a.b` below `[params]`.
    pub(super) fn param(&self, path: &str) -> Option<&'a Item> {
        self.index.get(path).copied()
    }
}

/// Returns all items below `table`, by path. A key with a dot in it cannot be referred to.
fn index(table: &Table) -> HashMap<String, &Item> {
    let mut all = HashMap::new();
    let mut open = vec![(String::new(), table)];
    while let Some((above, table)) = open.pop() {
        for e in table.entries.iter().filter(|e| !e.key.contains('.')) {
            let path = if above.is_empty() { e.key.clone() } else { format!("{above}.{}", e.key) };
            if let Some(table) = e.item.as_table() {
                open.push((path.clone(), table));
            }
            all.insert(path, &e.item);
        }
    }
    all
}

/// Returns the paths of all values below `table` that are no tables.
pub(super) fn leaves(table: &Table, above: &str) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    for e in &table.entries {
        let path = if above.is_empty() { e.key.clone() } else { format!("{above}.{}", e.key) };
        match &e.item.node {
            Node::Table(t) if !t.entries.is_empty() => found.extend(leaves(t, &path)),
            _ => found.push((path, e.key_span.clone())),
        }
    }
    found
}
