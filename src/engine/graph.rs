//! [`Graph`]: the expanded DAG. petgraph stays inside. Knows no TOML, no key and no store; does no I/O.

use std::fmt;
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::base::diag::Span;
use crate::base::value::Params;
use crate::stages::stage::{Port, StageKind};

/// A node's number in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// As an index into tables that have one row a node.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One stage instance.
#[derive(Clone, Debug)]
pub struct Node {
    /// The stage's name in the pipeline (`[stage.NAME]`).
    pub stage: String,
    /// What kind of work it is.
    pub kind: &'static StageKind,
    /// Axis names and values, in the pipeline's axis order; only those that the stage depends on.
    pub axes: Vec<(String, String)>,
    /// Resolved parameters, each of its declared type. Absent optional ones are absent. Nodes of a stage whose parameters
    /// depend on no axis share them.
    pub params: Arc<Params>,
    /// What it may use while it runs. Never in the key.
    pub resources: Resources,
    /// Which stored numerics count as a hit.
    pub accept: Accept,
    /// Where the stage stands in the pipeline file.
    pub span: Option<Span>,
}

/// `train[task=rte,method=dpt,seed=42]`, or `report` for a stage without axes.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)?;
        for (i, (axis, value)) in self.axes.iter().enumerate() {
            for part in [if i == 0 { "[" } else { "," }, axis, "=", value] {
                f.write_str(part)?;
            }
        }
        f.write_str(if self.axes.is_empty() { "" } else { "]" })
    }
}

impl Node {
    /// `train[rte,dpt,42]`.
    pub fn short(&self) -> String {
        if self.axes.is_empty() {
            return self.stage.clone();
        }
        let values: Vec<_> = self.axes.iter().map(|(_, v)| v.as_str()).collect();
        format!("{}[{}]", self.stage, values.join(","))
    }
}

/// What a node may use. Never in the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// CPU slots, which is also how many threads it may use.
    pub cpu: usize,
    /// GPU slots; a torch stage that may use a GPU when one is there has 1.
    pub gpu: usize,
    /// How often it is tried again after a failure.
    pub retries: u32,
    /// Seconds before it is tried again for the first time; twice as long before each further try.
    pub backoff: u64,
    /// Seconds after which it is ended.
    pub timeout: Option<u64>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpu: 1, gpu: 0, retries: 0, backoff: 1, timeout: None }
    }
}

/// Which stored result counts as a hit when device, libtorch or threads differ from this run's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// Only one made under equal numerics.
    Exact,
    /// One made on the same class of device.
    SameDevice,
    /// Any (default); the report says which.
    #[default]
    Any,
}

/// From a producer to a consumer's input.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The consumer's port.
    pub port: &'static Port,
}

/// The expanded DAG.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    inner: DiGraph<Node, Edge>,
}

impl Graph {
    /// No nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node.
    pub fn add(&mut self, node: Node) -> NodeId {
        NodeId(self.inner.add_node(node).index() as u32)
    }

    /// Lets `consumer` read `producer` through `port`. Producers of one port keep the order in which they were added.
    pub fn connect(&mut self, producer: NodeId, consumer: NodeId, port: &'static Port) {
        self.inner.add_edge(at(producer), at(consumer), Edge { port });
    }

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All ids, in the order in which they were added.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.len() as u32).map(NodeId)
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.inner[at(id)]
    }

    /// What `id` reads: producer and port, in the order in which they were connected.
    pub fn producers(&self, id: NodeId) -> Vec<(NodeId, &'static Port)> {
        // petgraph gives the last one first.
        let edges = self.inner.edges_directed(at(id), Direction::Incoming);
        let mut producers: Vec<_> = edges.map(|e| (from(e.source()), e.weight().port)).collect();
        producers.reverse();
        producers
    }

    /// Who reads `id`, each once, in id order.
    pub fn consumers(&self, id: NodeId) -> Vec<NodeId> {
        let mut ids: Vec<_> = self.inner.neighbors_directed(at(id), Direction::Outgoing).map(from).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// All nodes, producers before consumers, else in id order as far as possible.
    ///
    /// # Errors
    /// The nodes of one cycle, in its order.
    pub fn topological(&self) -> Result<Vec<NodeId>, Vec<NodeId>> {
        match petgraph::algo::toposort(&self.inner, None) {
            Ok(order) => Ok(order.into_iter().map(from).collect()),
            Err(_) => Err(self.cycle()),
        }
    }

    /// The first strongly connected part with more than one node, or a node that reads itself.
    fn cycle(&self) -> Vec<NodeId> {
        petgraph::algo::tarjan_scc(&self.inner)
            .into_iter()
            .find(|part| part.len() > 1 || self.inner.contains_edge(part[0], part[0]))
            .map(|part| part.into_iter().rev().map(from).collect())
            .unwrap_or_default()
    }
}

fn at(id: NodeId) -> NodeIndex {
    NodeIndex::new(id.index())
}

fn from(index: NodeIndex) -> NodeId {
    NodeId(index.index() as u32)
}
