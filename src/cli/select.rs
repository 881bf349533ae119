//! Which nodes a run is about: TARGETs, `--only`, `--from`, `--until`.

use std::collections::HashSet;

use crate::base::diag::{Class, Diag};
use crate::engine::graph::{Graph, NodeId};
use crate::pipeline::Plan;

use super::common;

/// A part of the graph. What it reads from outside of it is taken from the store, never made.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SelectArgs {
    /// Run these nodes alone; what they read is taken from the store: `train[task=rte]`, `train[*,dpt,*]`.
    #[arg(long, value_name = "NODES", conflicts_with_all = ["from", "until"])]
    pub only: Vec<String>,
    /// Run these nodes and all that follow from them; what they read is taken from the store.
    #[arg(long, value_name = "NODES")]
    pub from: Vec<String>,
    /// Run what these nodes need, and these nodes. With `--from`: what lies between.
    #[arg(long, value_name = "NODES")]
    pub until: Vec<String>,
}

/// What a run is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// These and what they need are looked at.
    pub targets: Vec<NodeId>,
    /// These alone may run; empty: all may.
    pub only: Vec<NodeId>,
}

impl SelectArgs {
    /// Whether a part of the graph is asked for.
    pub fn is_empty(&self) -> bool {
        self.only.is_empty() && self.from.is_empty() && self.until.is_empty()
    }

    /// The nodes that `targets` (else the pipeline's own) and these arguments leave.
    ///
    /// # Errors
    /// A name that names nothing, or a part without nodes.
    pub fn select(&self, plan: &Plan, targets: &[String]) -> Result<Selection, Vec<Diag>> {
        let wanted = common::select(plan, targets)?;
        if self.is_empty() {
            return Ok(Selection { targets: wanted, only: Vec::new() });
        }
        let mut parts: Vec<HashSet<NodeId>> = Vec::new();
        if !self.only.is_empty() {
            parts.push(plan.select_from("--only", &self.only)?.into_iter().collect());
        }
        if !self.from.is_empty() {
            let first = plan.select_from("--from", &self.from)?;
            let all = closure(&first, |id| plan.graph.consumers(id).to_vec());
            // What the pipeline does not aim at does not run unasked.
            let aimed: HashSet<_> = if targets.is_empty() { above(&plan.graph, &wanted) } else { all.clone() };
            parts.push(all.into_iter().filter(|id| aimed.contains(id) || first.contains(id)).collect());
        }
        if !self.until.is_empty() {
            parts.push(above(&plan.graph, &plan.select_from("--until", &self.until)?));
        }
        if !targets.is_empty() {
            parts.push(above(&plan.graph, &wanted));
        }
        let only: Vec<NodeId> = plan.graph.ids().filter(|id| parts.iter().all(|part| part.contains(id))).collect();
        if only.is_empty() {
            let diag = Diag::error(Class::Usage, "no node is in all that was asked for");
            return Err(vec![diag.help("TARGET, `--from` and `--until` together leave what lies in each of them")]);
        }
        Ok(Selection { targets: only.clone(), only })
    }
}

/// Nodes and all that they need.
fn above(graph: &Graph, nodes: &[NodeId]) -> HashSet<NodeId> {
    closure(nodes, |id| graph.producers(id).map(|(from, _)| from).collect())
}

fn closure(start: &[NodeId], next: impl Fn(NodeId) -> Vec<NodeId>) -> HashSet<NodeId> {
    let mut found = HashSet::new();
    let mut open = start.to_vec();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(next(id));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pipeline::{LoadOptions, load_text};

    const PIPELINE: &str = r#"
schema = 1
[pipeline]
targets = ["tokenize"]
[axes]
task = ["rte", "cb"]
[source.here]
url = "file:x"
[stage.data]
kind = "download"
axes = ["task"]
source = "here"
format = "superglue"
[stage.model]
kind = "download"
source = "here"
format = "checkpoint"
[stage.tokenize]
axes = ["task"]
needs = { data = "data", tokenizer = "model" }
[stage.again]
kind = "tokenize"
axes = ["task"]
needs = { data = "data", tokenizer = "model" }
"#;

    fn plan() -> Plan {
        load_text(Path::new("x.toml"), PIPELINE.to_owned(), &LoadOptions::default()).unwrap()
    }

    fn names(args: &SelectArgs, targets: &[&str]) -> Vec<String> {
        let plan = plan();
        let targets: Vec<_> = targets.iter().map(|t| (*t).to_owned()).collect();
        let ids = args.select(&plan, &targets).map(|s| s.only).unwrap_or_default();
        ids.iter().map(|id| plan.graph.node(*id).short()).collect()
    }

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn parts_of_a_graph() {
        let only = SelectArgs { only: list(&["tokenize[task=rte]"]), ..SelectArgs::default() };
        assert_eq!(names(&only, &[]), ["tokenize[rte]"]);
        // `again` is no target: it does not run unasked.
        let from = SelectArgs { from: list(&["data"]), ..SelectArgs::default() };
        assert_eq!(names(&from, &[]), ["data[rte]", "data[cb]", "tokenize[rte]", "tokenize[cb]"]);
        assert_eq!(names(&from, &["again[rte]"]), ["data[rte]", "again[rte]"]);
        let until = SelectArgs { until: list(&["tokenize[cb]"]), ..SelectArgs::default() };
        assert_eq!(names(&until, &[]), ["data[cb]", "model", "tokenize[cb]"]);
        let both = SelectArgs { until: list(&["tokenize[rte|cb]"]), from: list(&["model"]), ..SelectArgs::default() };
        assert_eq!(names(&both, &[]), ["model", "tokenize[rte]", "tokenize[cb]"]);
        let none = SelectArgs { until: list(&["model"]), from: list(&["tokenize"]), ..SelectArgs::default() };
        assert_eq!(names(&none, &[]), [""; 0]);
        let whole = SelectArgs::default().select(&plan(), &[]).unwrap();
        assert!(whole.only.is_empty() && whole.targets.len() == 2);
    }
}
