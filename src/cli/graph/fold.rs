//! [`Folded`]: the graph with one group a stage: which axes it spans, who reads whom.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use crate::engine::graph::NodeId;
use crate::pipeline::Plan;
use crate::stages::stage::StageKind;

/// One stage with all its instances.
pub(super) struct Group {
    pub(super) stage: String,
    pub(super) kind: &'static StageKind,
    /// Its instances, in graph order.
    pub(super) ids: Vec<NodeId>,
    /// Axis and the values that occur, in the pipeline's order.
    pub(super) axes: Vec<(String, Vec<String>)>,
}

impl Group {
    /// The name of its kind, unless the stage is called so.
    pub(super) fn other_kind(&self) -> &'static str {
        if self.kind.name == self.stage.replace('_', "-") { "" } else { self.kind.name }
    }

    /// `train ×48`.
    pub(super) fn counted(&self) -> String {
        if self.ids.len() == 1 { self.stage.clone() } else { format!("{} ×{}", self.stage, self.ids.len()) }
    }
}

/// All edges of one role between two stages.
pub(super) struct Bundle {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) role: String,
    pub(super) edges: usize,
    /// How many consumers have one.
    consumers: usize,
}

impl Bundle {
    /// `true` if some consumer reads several.
    pub(super) fn gathers(&self) -> bool {
        self.edges > self.consumers
    }
}

/// Role, edges and consumers of a bundle that is still being counted.
type Strand = (String, usize, BTreeSet<NodeId>);

/// The graph with one group a stage.
pub(super) struct Folded {
    pub(super) groups: Vec<Group>,
    pub(super) bundles: Vec<Bundle>,
    /// The group of each drawn node.
    pub(super) group_of: HashMap<NodeId, usize>,
    /// How many values an axis of the pipeline has.
    sizes: HashMap<String, usize>,
}

impl Folded {
    pub(super) fn new(plan: &Plan, nodes: &[NodeId]) -> Self {
        let (mut groups, group_of) = groups(plan, nodes);
        for group in &mut groups {
            in_order(plan, group);
        }
        let mut bundles: BTreeMap<(usize, usize, usize), Strand> = BTreeMap::new();
        for id in nodes {
            let to = group_of[id];
            for (producer, port) in plan.graph.producers(*id) {
                // Roles in the order in which the kind lists them.
                let rank = plan.graph.node(*id).kind.inputs.iter().position(|p| p.role == port.role).unwrap_or(0);
                let key = (to, rank, group_of[&producer]);
                let (_, edges, consumers) =
                    bundles.entry(key).or_insert_with(|| (port.role.clone(), 0, BTreeSet::new()));
                *edges += 1;
                consumers.insert(*id);
            }
        }
        let bundle = |((to, _, from), (role, edges, consumers)): (_, Strand)| Bundle {
            from,
            to,
            role,
            edges,
            consumers: consumers.len(),
        };
        let bundles = bundles.into_iter().map(bundle).collect();
        let sizes = plan.axes.iter().map(|(name, values)| (name.clone(), values.len())).collect();
        Self { groups, bundles, group_of, sizes }
    }

    /// `task · method=dpt · seed`.
    pub(super) fn axes(&self, group: &Group) -> String {
        let axis = |(name, values): &(String, Vec<String>)| {
            let all = self.sizes.get(name).copied().unwrap_or_default();
            match values.len() {
                n if n == all && all != 1 => name.clone(),
                1 => format!("{name}={}", values[0]),
                n => format!("{name} ({n} of {all})"),
            }
        };
        group.axes.iter().map(axis).collect::<Vec<_>>().join(" · ")
    }

    /// `true` if a bundle leaves some instances of its reader out.
    pub(super) fn is_optional(&self, bundle: &Bundle) -> bool {
        bundle.consumers < self.groups[bundle.to].ids.len()
    }

    /// `eval[*]`, `svd_init?`: the producer as one would write it.
    pub(super) fn producer(&self, bundle: &Bundle) -> String {
        let gather = if bundle.gathers() { "[*]" } else { "" };
        let maybe = if self.is_optional(bundle) { "?" } else { "" };
        format!("{}{gather}{maybe}", self.groups[bundle.from].stage)
    }

    /// Producers before consumers, else in file order.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut waits = vec![0_usize; self.groups.len()];
        let mut readers = vec![Vec::new(); self.groups.len()];
        for bundle in self.bundles.iter().filter(|b| b.from != b.to) {
            waits[bundle.to] += 1;
            readers[bundle.from].push(bundle.to);
        }
        let mut ready: BinaryHeap<_> = (0..waits.len()).filter(|i| waits[*i] == 0).map(Reverse).collect();
        let mut left: BTreeSet<usize> = (0..waits.len()).collect();
        let mut order = Vec::new();
        // Stages may read each other, though no instances do: then the first one goes first.
        while let Some(next) = ready.pop().map(|r| r.0).or_else(|| left.first().copied()) {
            if !left.remove(&next) {
                continue;
            }
            order.push(next);
            for reader in &readers[next] {
                waits[*reader] -= 1;
                if waits[*reader] == 0 {
                    ready.push(Reverse(*reader));
                }
            }
        }
        order
    }
}

/// The groups without their axes' values, and each node's group.
fn groups(plan: &Plan, nodes: &[NodeId]) -> (Vec<Group>, HashMap<NodeId, usize>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut group_of = HashMap::new();
    for id in nodes {
        let node = plan.graph.node(*id);
        let number = *numbers.entry(&node.stage).or_insert_with(|| {
            let axes = node.axes.iter().map(|(axis, _)| (axis.clone(), Vec::new())).collect();
            groups.push(Group { stage: node.stage.clone(), kind: node.kind, ids: Vec::new(), axes });
            groups.len() - 1
        });
        groups[number].ids.push(*id);
        group_of.insert(*id, number);
    }
    (groups, group_of)
}

/// Finds the values that occur on each axis of a group.
fn in_order(plan: &Plan, group: &mut Group) {
    for (at, (axis, values)) in group.axes.iter_mut().enumerate() {
        let found: HashSet<&str> = group.ids.iter().map(|id| plan.graph.node(*id).axes[at].1.as_str()).collect();
        let all = plan.axes.iter().find(|(name, _)| name == axis).map_or(&[][..], |(_, values)| values);
        values.extend(all.iter().filter(|value| found.contains(value.as_str())).cloned());
        // Every value is one of the pipeline's. Any other would go last.
        let mut rest: Vec<&str> = found.into_iter().filter(|v| !values.iter().any(|known| known == v)).collect();
        rest.sort_unstable();
        let rest: Vec<String> = rest.into_iter().map(str::to_owned).collect();
        values.extend(rest);
    }
}
