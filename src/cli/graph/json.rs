//! The drawing as JSON, for programs: stages, edges between them, and every node.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::value::Params;
use crate::engine::graph::EdgePort;

use super::view::View;

/// The version of the form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Top<'a> {
    schema: u32,
    pipeline: &'a str,
    axes: Vec<Axis<'a>>,
    stages: Vec<Stage<'a>>,
    edges: Vec<Edge<'a>>,
    nodes: Vec<Node<'a>>,
}

#[derive(Serialize)]
struct Axis<'a> {
    name: &'a str,
    values: &'a [String],
}

#[derive(Serialize)]
struct Stage<'a> {
    name: &'a str,
    kind: &'a str,
    nodes: usize,
    axes: Vec<Axis<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    states: Option<BTreeMap<&'static str, usize>>,
}

#[derive(Serialize)]
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    role: &'a str,
    edges: usize,
}

#[derive(Serialize)]
struct Node<'a> {
    name: String,
    short: String,
    stage: &'a str,
    kind: &'a str,
    axes: BTreeMap<&'a str, &'a str>,
    params: &'a Params,
    inputs: Vec<Input<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    standing: Option<Standing<'a>>,
}

#[derive(Serialize)]
struct Input<'a> {
    role: &'a str,
    node: String,
}

/// What `--status` adds.
#[derive(Serialize)]
struct Standing<'a> {
    state: &'static str,
    why: &'a str,
    key: Option<&'a str>,
    /// How long it took, where its result is there.
    seconds: Option<f64>,
    bytes: Option<u64>,
    files: BTreeMap<&'a str, File>,
}

#[derive(Serialize)]
struct File {
    bytes: u64,
    digest: String,
}

pub(super) fn json<'a>(view: &'a View) -> String {
    let graph = &view.plan.graph;
    let folded = &view.folded;
    let stages = folded.groups.iter().map(|group| Stage {
        name: &group.stage,
        kind: group.kind.name,
        nodes: group.ids.len(),
        axes: group.axes.iter().map(|(name, values)| Axis { name, values }).collect(),
        states: view
            .states
            .as_ref()
            .map(|states| states.counts(&group.ids).into_iter().map(|(state, n)| (state.word(), n)).collect()),
    });
    let edges = folded.bundles.iter().map(|b| Edge {
        from: &folded.groups[b.from].stage,
        to: &folded.groups[b.to].stage,
        role: &b.role,
        edges: b.edges,
    });
    let nodes = view.nodes.iter().map(|id| {
        let node = graph.node(*id);
        let input =
            |(producer, port): (_, &'a EdgePort)| Input { role: &port.role, node: graph.node(producer).to_string() };
        Node {
            name: node.to_string(),
            short: node.short(),
            stage: &node.stage,
            kind: node.kind.name,
            axes: node.axes.iter().map(|(axis, value)| (axis.as_str(), value.as_str())).collect(),
            params: &node.params,
            inputs: graph.producers(*id).map(input).collect(),
            standing: view.states.as_ref().map(|states| standing(states.of(*id))),
        }
    });
    let top = Top {
        schema: SCHEMA,
        pipeline: &view.plan.name,
        axes: view.plan.axes.iter().map(|(name, values)| Axis { name, values }).collect(),
        stages: stages.collect(),
        edges: edges.collect(),
        nodes: nodes.collect(),
    };
    serde_json::to_string_pretty(&top).expect("a drawing is JSON") + "\n"
}

fn standing(standing: &super::states::Standing) -> Standing<'_> {
    let stored = standing.stored.as_deref();
    Standing {
        state: standing.state.word(),
        why: &standing.why,
        key: standing.key.as_deref(),
        seconds: stored.map(|stored| stored.seconds),
        bytes: stored.map(|stored| stored.size()),
        files: stored
            .map(|stored| {
                let files = stored.files.iter();
                files.map(|(n, f)| (n.as_str(), File { bytes: f.size, digest: f.bytes.hex() })).collect()
            })
            .unwrap_or_default(),
    }
}
