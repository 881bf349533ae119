//! [`View`]: the graph to draw, grouped by stage, with the expanded stages and the status of nodes.

use std::collections::{BTreeMap, HashMap};

use crate::base::diag::{Class, Diag};
use crate::base::suggest;
use crate::engine::graph::NodeId;
use crate::pipeline::Plan;

use super::fold::Folded;
use super::states::States;

/// What is drawn.
pub(super) struct View<'a> {
    pub(super) plan: &'a Plan,
    /// The drawn nodes, with all that they read, in graph order.
    pub(super) nodes: &'a [NodeId],
    pub(super) folded: Folded,
    pub(super) states: Option<States>,
    /// Which groups are opened: drawn as their instances.
    pub(super) open: Vec<bool>,
}

/// What to open: everything (`*`), or these stages.
pub(super) fn open(folded: &Folded, wanted: &[String]) -> Result<Vec<bool>, Vec<Diag>> {
    let names = || folded.groups.iter().map(|group| group.stage.as_str());
    let unknown = wanted.iter().filter(|name| *name != "*" && !names().any(|stage| stage == *name));
    let diags: Vec<Diag> = unknown
        .map(|name| {
            let diag = Diag::error(Class::Usage, format!("there is no stage `{name}` to expand in this drawing"));
            match suggest::nearest(name, names()) {
                Some(near) => diag.help(format!("did you mean `{near}`?")),
                None => diag.note(format!("the stages are {}", names().collect::<Vec<_>>().join(", "))),
            }
        })
        .collect();
    let open = names().map(|stage| wanted.iter().any(|name| name == "*" || name == stage)).collect();
    if diags.is_empty() { Ok(open) } else { Err(diags) }
}

/// A box: a stage, or one instance of an opened stage.
pub(super) struct Unit {
    pub(super) group: usize,
    pub(super) node: Option<NodeId>,
}

/// An arrow between two boxes.
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    /// In the order in which the kind lists them.
    pub(super) roles: Vec<String>,
    /// `true` if an instance reads several.
    pub(super) gathers: bool,
    /// `true` if some instances read none.
    pub(super) optional: bool,
}

impl View<'_> {
    /// The boxes, with `open` groups as their instances, and the arrows between them.
    pub(super) fn units(&self, open: &[bool]) -> (Vec<Unit>, Vec<Link>) {
        let mut units = Vec::new();
        let mut of_group = HashMap::new();
        let mut of_node = HashMap::new();
        for (number, group) in self.folded.groups.iter().enumerate() {
            if open[number] {
                for id in &group.ids {
                    of_node.insert(*id, units.len());
                    units.push(Unit { group: number, node: Some(*id) });
                }
            } else {
                of_group.insert(number, units.len());
                units.push(Unit { group: number, node: None });
            }
        }
        let unit = |id: NodeId| of_node.get(&id).copied().unwrap_or_else(|| of_group[&self.folded.group_of[&id]]);
        // By reader and producer; roles by their place in the kind.
        let mut found: BTreeMap<(usize, usize), BTreeMap<usize, &str>> = BTreeMap::new();
        for id in self.nodes {
            let ports = self.plan.graph.node(*id).kind.inputs;
            for (producer, port) in self.plan.graph.producers(*id) {
                let rank = ports.iter().position(|p| p.role == port.role).unwrap_or(0);
                found.entry((unit(*id), unit(producer))).or_default().insert(rank, &port.role);
            }
        }
        let link = |((to, from), roles): ((usize, usize), BTreeMap<usize, &str>)| {
            let ends = (units[from].group, units[to].group);
            let mut bundles = self.folded.bundles.iter().filter(|b| (b.from, b.to) == ends);
            let single = units[from].node.is_some();
            let gathers = !single && bundles.clone().any(|b| b.gathers());
            let optional = units[to].node.is_none() && bundles.all(|b| self.folded.is_optional(b));
            Link { from, to, roles: roles.into_values().map(str::to_owned).collect(), gathers, optional }
        };
        let links = found.into_iter().map(link).collect();
        (units, links)
    }

    /// The nodes of a box.
    pub(super) fn ids<'u>(&'u self, unit: &'u Unit) -> &'u [NodeId] {
        match &unit.node {
            Some(id) => std::slice::from_ref(id),
            None => &self.folded.groups[unit.group].ids,
        }
    }

    /// What a person would want to know of some nodes at once: kind, states, and the first cause.
    pub(super) fn tooltip(&self, group: usize, ids: &[NodeId]) -> String {
        let group = &self.folded.groups[group];
        let node = self.plan.graph.node(ids[0]);
        let name = if ids.len() == 1 { node.to_string() } else { group.counted() };
        let mut text = format!("{name}\n{}: {}", group.kind.name, group.kind.about);
        let Some(states) = &self.states else { return text };
        text.push_str(&format!("\n{}", states.words(ids)));
        match states.first_cause(ids) {
            Some((_, standing)) if ids.len() == 1 => text.push_str(&format!(": {}", standing.why)),
            Some((id, standing)) => {
                text.push_str(&format!("\n{}: {}", self.plan.graph.node(id).short(), standing.why));
            }
            None if ids.len() == 1 => text.push_str(&format!(": {}", states.of(ids[0]).why)),
            None => {}
        }
        text
    }
}
