//! [`Folded`]: the graph with one node a stage, and its drawings.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;

use crate::cli::render::{self, Align, BOLD, paint};
use crate::engine::graph::NodeId;
use crate::pipeline::Plan;

use super::boxes::{Line, Shape};
use super::faint;
use super::rails::Rails;

/// One stage with all its instances.
struct Group {
    stage: String,
    kind: &'static str,
    nodes: usize,
    /// Axis and the values that occur.
    axes: Vec<(String, BTreeSet<String>)>,
}

/// All edges of one role between two stages.
struct Bundle {
    from: usize,
    to: usize,
    role: &'static str,
    edges: usize,
    /// How many consumers have one.
    consumers: usize,
}

/// Role, edges and consumers of a bundle that is still being counted.
type Strand = (&'static str, usize, BTreeSet<NodeId>);

/// The graph with one node a stage.
pub(super) struct Folded {
    groups: Vec<Group>,
    bundles: Vec<Bundle>,
    /// Axis values of the whole pipeline.
    axes: HashMap<String, usize>,
}

impl Folded {
    pub(super) fn new(plan: &Plan, nodes: &[NodeId]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut bundles: BTreeMap<(usize, usize, usize), Strand> = BTreeMap::new();
        for id in nodes {
            let node = plan.graph.node(*id);
            let number = *numbers.entry(&node.stage).or_insert_with(|| {
                let axes = node.axes.iter().map(|(axis, _)| (axis.clone(), BTreeSet::new())).collect();
                groups.push(Group { stage: node.stage.clone(), kind: node.kind.name, nodes: 0, axes });
                groups.len() - 1
            });
            groups[number].nodes += 1;
            for ((_, values), (_, value)) in groups[number].axes.iter_mut().zip(&node.axes) {
                values.insert(value.clone());
            }
        }
        for id in nodes {
            let to = numbers[plan.graph.node(*id).stage.as_str()];
            for (producer, port) in plan.graph.producers(*id) {
                let from = numbers[plan.graph.node(producer).stage.as_str()];
                // Roles in the order in which the kind lists them.
                let rank = plan.graph.node(*id).kind.inputs.iter().position(|p| p.role == port.role).unwrap_or(0);
                let (_, edges, consumers) = bundles.entry((to, rank, from)).or_insert((port.role, 0, BTreeSet::new()));
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
        let axes = plan.axes.iter().map(|(name, values)| (name.clone(), values.len())).collect();
        Self { groups, bundles: bundles.into_iter().map(bundle).collect(), axes }
    }

    /// `task · method=dpt · seed`.
    fn axes(&self, group: &Group) -> String {
        let axis = |(name, values): &(String, BTreeSet<String>)| {
            let all = self.axes.get(name).copied().unwrap_or_default();
            match values.len() {
                n if n == all && all != 1 => name.clone(),
                1 => format!("{name}={}", values.first().map_or("", String::as_str)),
                n => format!("{name} ({n} of {all})"),
            }
        };
        group.axes.iter().map(axis).collect::<Vec<_>>().join(" · ")
    }

    /// `data = tokenize, runs = eval[*]`, as one would write it.
    fn reads(&self, to: usize) -> String {
        let mut text: Vec<String> = Vec::new();
        for bundle in self.bundles.iter().filter(|b| b.to == to) {
            let stage = &self.groups[bundle.from].stage;
            let gather = if bundle.edges > bundle.consumers { "[*]" } else { "" };
            let maybe = if bundle.consumers < self.groups[to].nodes { "?" } else { "" };
            text.push(format!("{} = {stage}{gather}{maybe}", bundle.role));
        }
        text.join(", ")
    }

    /// Producers before consumers, else in file order.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        let mut placed = vec![false; self.groups.len()];
        while order.len() < placed.len() {
            let ready =
                |i: &usize| !placed[*i] && self.bundles.iter().all(|b| b.to != *i || b.from == *i || placed[b.from]);
            // Stages may read each other, though no instances do: then the first one goes first.
            let next = (0..placed.len()).find(ready).or_else(|| placed.iter().position(|p| !p));
            let next = next.expect("one is left");
            placed[next] = true;
            order.push(next);
        }
        order
    }

    pub(super) fn text(&self) -> String {
        let order = self.order();
        let mut rails = Rails::default();
        let mut rows = Vec::new();
        for (at, number) in order.iter().enumerate() {
            let later = |from: usize| self.bundles.iter().any(|b| b.from == from && order[at + 1..].contains(&b.to));
            let producers: BTreeSet<usize> = self.bundles.iter().filter(|b| b.to == *number).map(|b| b.from).collect();
            let rail = rails.row(*number, &producers, &later);
            let group = &self.groups[*number];
            let kind = if group.kind == group.stage.replace('_', "-") { "" } else { group.kind };
            rows.push(vec![
                rail,
                paint(BOLD, &group.stage),
                format!("×{}", group.nodes),
                self.axes(group),
                kind.to_owned(),
                faint(self.reads(*number)),
            ]);
        }
        render::table(&rows, &[Align::Left, Align::Left, Align::Right, Align::Left, Align::Left, Align::Left])
    }

    pub(super) fn boxes(&self) -> Vec<Shape> {
        let shape = |(i, group): (usize, &Group)| {
            let count = if group.nodes == 1 { String::new() } else { format!(" ×{}", group.nodes) };
            Shape {
                id: format!("n{i}"),
                first: format!("{}{count}", group.stage),
                second: self.axes(group),
                stage: None,
            }
        };
        self.groups.iter().enumerate().map(shape).collect()
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let line = |b: &Bundle| Line {
            from: format!("n{}", b.from),
            to: format!("n{}", b.to),
            label: b.role.to_owned(),
            thick: b.edges > b.consumers,
        };
        self.bundles.iter().map(line).collect()
    }

    pub(super) fn json(&self, plan: &Plan, nodes: &[NodeId], expand: bool) -> String {
        let stages = self.groups.iter().map(|g| {
            let axes: BTreeMap<_, _> = g.axes.iter().map(|(name, values)| (name, values)).collect();
            json!({ "name": g.stage, "kind": g.kind, "nodes": g.nodes, "axes": axes })
        });
        let stages: Vec<_> = stages.collect();
        let edges = self.bundles.iter().map(|b| {
            let (from, to) = (&self.groups[b.from].stage, &self.groups[b.to].stage);
            json!({ "from": from, "to": to, "role": b.role, "edges": b.edges })
        });
        let edges: Vec<_> = edges.collect();
        let axes: Vec<_> = plan.axes.iter().map(|(name, values)| json!({ "name": name, "values": values })).collect();
        let mut value = json!({ "schema": 1, "pipeline": plan.name, "axes": axes, "stages": stages, "edges": edges });
        if expand {
            let node = |id: &NodeId| {
                let node = plan.graph.node(*id);
                let axes: serde_json::Map<_, _> = node.axes.iter().map(|(a, v)| (a.clone(), json!(v))).collect();
                let reads = plan.graph.producers(*id);
                let reads: Vec<_> =
                    reads.iter().map(|(p, port)| json!([port.role, plan.graph.node(*p).to_string()])).collect();
                json!({
                    "name": node.to_string(), "short": node.short(), "stage": node.stage, "kind": node.kind.name,
                    "axes": axes, "params": node.params, "reads": reads,
                })
            };
            value["nodes"] = nodes.iter().map(node).collect();
        }
        format!("{value:#}\n")
    }
}
