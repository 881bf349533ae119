//! [`Graph`]: the expanded DAG of nodes. Knows no TOML, no key and no store; does no I/O. petgraph is used only to find
//! a cycle.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use petgraph::graph::{DiGraph, NodeIndex};

use crate::base::diag::Span;
use crate::base::value::Params;
use crate::stages::stage::{Arity, Port, StageKind};

/// The number of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// An index into tables with one row for each node.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One stage instance.
#[derive(Clone, Debug)]
pub struct Node {
    /// The stage's name in the pipeline (`[stage.NAME]`).
    pub stage: String,
    /// Its stage kind.
    pub kind: &'static StageKind,
    /// Axis names and values, in the pipeline's axis order; only those that the stage depends on.
    pub axes: Vec<(String, String)>,
    /// Resolved parameters, each of its declared type, without optional ones that are not set. Nodes of a stage whose
    /// parameters depend on no axis share them.
    pub params: Arc<Params>,
    /// What it may use while it runs. Never in the key.
    pub resources: Resources,
    /// Which stored numerics count as a hit.
    pub accept: Accept,
    /// The stage's place in the pipeline file.
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

/// What a node reads of a producer: a [`Port`] of its kind, or a role that the pipeline names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgePort {
    /// The role.
    pub role: String,
    /// The files of the producer that are read, as patterns. Only their digests enter the key, and only they are handed
    /// to the stage.
    pub files: Vec<String>,
    /// How many producers the role takes.
    pub arity: Arity,
}

impl From<&Port<'_>> for EdgePort {
    fn from(port: &Port) -> Self {
        let files = port.files.iter().map(|file| (*file).to_owned()).collect();
        Self { role: port.role.to_owned(), files, arity: port.arity }
    }
}

/// The number of an [`EdgePort`] in its graph.
#[derive(Clone, Copy, Debug)]
pub struct PortId(u32);

/// A consumer that reads a producer through a port.
#[derive(Clone, Copy, Debug)]
struct Edge {
    producer: NodeId,
    consumer: NodeId,
    port: PortId,
}

/// The expanded DAG.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    /// The ports, each once: edges that read the same files by the same role share one.
    ports: Vec<EdgePort>,
    port_ids: HashMap<EdgePort, PortId>,
    /// In the order in which they were connected.
    edges: Vec<Edge>,
    /// The edges by node. Made when first needed, and again after a change.
    links: OnceLock<Links>,
}

impl Graph {
    /// No nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node.
    pub fn add(&mut self, node: Node) -> NodeId {
        self.links.take();
        self.nodes.push(node);
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// Adds a port unless the graph has an equal one. Returns its number.
    pub fn port(&mut self, port: EdgePort) -> PortId {
        if let Some(id) = self.port_ids.get(&port) {
            return *id;
        }
        let id = PortId(self.ports.len() as u32);
        self.ports.push(port.clone());
        self.port_ids.insert(port, id);
        id
    }

    /// Lets `consumer` read `producer` through `port`. Producers of one port keep the order in which they were added.
    pub fn connect(&mut self, producer: NodeId, consumer: NodeId, port: PortId) {
        self.links.take();
        self.edges.push(Edge { producer, consumer, port });
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns `true` if there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All ids, in the order in which they were added.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.len() as u32).map(NodeId)
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Returns what `id` reads: producer and port, in the order in which they were connected.
    pub fn producers(&self, id: NodeId) -> impl ExactSizeIterator<Item = (NodeId, &EdgePort)> + Clone {
        let row = self.links().producers.row(id);
        row.iter().map(|(producer, port)| (*producer, &self.ports[port.0 as usize]))
    }

    /// The consumers of `id`, each once, in id order.
    pub fn consumers(&self, id: NodeId) -> &[NodeId] {
        self.links().consumers.row(id)
    }

    fn links(&self) -> &Links {
        self.links.get_or_init(|| Links::of(self.len(), &self.edges))
    }

    /// All nodes, producers before consumers, else in id order as far as possible.
    ///
    /// # Errors
    /// The nodes of one cycle, in its order.
    pub fn topological(&self) -> Result<Vec<NodeId>, Vec<NodeId>> {
        // Most pipelines declare a stage after those that it reads.
        if self.edges.iter().all(|edge| edge.producer < edge.consumer) {
            return Ok(self.ids().collect());
        }
        let mut missing: Vec<usize> = self.ids().map(|id| self.producers(id).len()).collect();
        let mut ready: BinaryHeap<_> = self.ids().filter(|id| missing[id.index()] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for consumer in self.consumers(id) {
                missing[consumer.index()] -= self.producers(*consumer).filter(|(from, _)| *from == id).count();
                if missing[consumer.index()] == 0 {
                    ready.push(Reverse(*consumer));
                }
            }
        }
        if order.len() == self.len() { Ok(order) } else { Err(self.cycle()) }
    }

    /// The first strongly connected part with more than one node, or a node that reads itself.
    fn cycle(&self) -> Vec<NodeId> {
        let mut graph: DiGraph<(), ()> = DiGraph::new();
        for _ in self.ids() {
            graph.add_node(());
        }
        let at = |id: NodeId| NodeIndex::new(id.index());
        for edge in &self.edges {
            graph.add_edge(at(edge.producer), at(edge.consumer), ());
        }
        petgraph::algo::tarjan_scc(&graph)
            .into_iter()
            .find(|part| part.len() > 1 || graph.contains_edge(part[0], part[0]))
            .map(|part| part.into_iter().rev().map(|index| NodeId(index.index() as u32)).collect())
            .unwrap_or_default()
    }
}

/// The edges by node, from both ends.
#[derive(Clone, Debug)]
struct Links {
    producers: Rows<(NodeId, PortId)>,
    consumers: Rows<NodeId>,
}

impl Links {
    fn of(nodes: usize, edges: &[Edge]) -> Self {
        let producers = Rows::of(nodes, edges.iter().map(|edge| (edge.consumer, (edge.producer, edge.port))));
        // By consumer, so that the consumers of each producer come in order, and a consumer that reads it twice comes
        // twice in a row.
        let mut last = vec![None; nodes];
        let mut pairs = Vec::with_capacity(edges.len());
        for consumer in (0..nodes as u32).map(NodeId) {
            for (producer, _) in producers.row(consumer) {
                if last[producer.index()].replace(consumer) != Some(consumer) {
                    pairs.push((*producer, consumer));
                }
            }
        }
        Self { producers, consumers: Rows::of(nodes, pairs.into_iter()) }
    }
}

/// Compressed sparse rows (CSR): a row of any length for each node, and all rows in one allocation, where a `Vec` for
/// each node would be as many allocations as there are nodes.
#[derive(Clone, Debug)]
struct Rows<T> {
    /// The place where each row begins, and at the end the place where the last row ends.
    begins: Vec<u32>,
    all: Vec<T>,
}

impl<T: Copy> Rows<T> {
    /// From pairs of row and item. The items of a row keep their order.
    fn of(rows: usize, items: impl Iterator<Item = (NodeId, T)> + Clone) -> Self {
        let mut begins = vec![0_u32; rows + 1];
        items.clone().for_each(|(row, _)| begins[row.index() + 1] += 1);
        (0..rows).for_each(|row| begins[row + 1] += begins[row]);
        let Some((_, any)) = items.clone().next() else { return Self { begins, all: Vec::new() } };
        let mut next = begins.clone();
        let mut all = vec![any; begins[rows] as usize];
        for (row, item) in items {
            all[next[row.index()] as usize] = item;
            next[row.index()] += 1;
        }
        Self { begins, all }
    }

    fn row(&self, id: NodeId) -> &[T] {
        &self.all[self.begins[id.index()] as usize..self.begins[id.index() + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Port = Port { role: "from", accepts: &[], files: &["*"], arity: Arity::Many, doc: "" };

    fn graph(nodes: usize, edges: &[(u32, u32)]) -> Graph {
        let mut graph = Graph::new();
        for _ in 0..nodes {
            graph.add(Node {
                stage: "s".into(),
                kind: &crate::stages::report::KIND,
                axes: Vec::new(),
                params: Arc::default(),
                resources: Resources::default(),
                accept: Accept::Any,
                span: None,
            });
        }
        let port = graph.port((&PORT).into());
        edges.iter().for_each(|(from, to)| graph.connect(NodeId(*from), NodeId(*to), port));
        graph
    }

    #[test]
    fn edges_are_found_from_both_ends_also_after_a_change() {
        let mut graph = graph(4, &[(2, 0), (1, 0), (2, 0), (2, 3)]);
        let producers = |graph: &Graph, id| graph.producers(NodeId(id)).map(|(from, _)| from.0).collect::<Vec<_>>();
        assert_eq!(
            (producers(&graph, 0), producers(&graph, 1), producers(&graph, 3)),
            (vec![2, 1, 2], vec![], vec![2])
        );
        assert_eq!(graph.consumers(NodeId(2)), [NodeId(0), NodeId(3)]);
        let port = graph.port((&PORT).into());
        graph.connect(NodeId(0), NodeId(1), port);
        assert_eq!((producers(&graph, 1), graph.consumers(NodeId(0))), (vec![0], &[NodeId(1)][..]));
        assert_eq!(graph.topological().unwrap_err(), [NodeId(0), NodeId(1)]);
    }

    #[test]
    fn topological_order_has_producers_first_then_ids() {
        let order = |graph: Graph| graph.topological().unwrap().iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(order(graph(4, &[(0, 3), (1, 3)])), [0, 1, 2, 3]);
        assert_eq!(order(graph(5, &[(4, 0), (4, 0), (0, 2), (3, 2)])), [1, 3, 4, 0, 2]);
    }
}
