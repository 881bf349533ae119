//! Selects the nodes of a run by TARGETs, `--only`, `--from` and `--until`.

use std::collections::HashSet;

use crate::base::diag::{Class, Diag};
use crate::engine::graph::{Graph, NodeId};
use crate::pipeline::Plan;

use super::common;

/// Arguments that select a part of the graph. Inputs from outside the part must be in the store.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SelectArgs {
    /// Run only these nodes, such as `train[task=rte]` or `train[*,dpt,*]`; their inputs must be in the store
    #[arg(long, value_name = "NODES", conflicts_with_all = ["from", "until"])]
    pub only: Vec<String>,
    /// Run these nodes and all nodes that depend on them; their inputs must be in the store
    #[arg(long, value_name = "NODES")]
    pub from: Vec<String>,
    /// Run these nodes and all nodes that they need; with `--from`, only the nodes between
    #[arg(long, value_name = "NODES")]
    pub until: Vec<String>,
}

/// The nodes of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// These nodes and what they need are brought up to date.
    pub targets: Vec<NodeId>,
    /// Only these nodes may run; if empty, all may.
    pub only: Vec<NodeId>,
}

impl SelectArgs {
    /// Returns `true` if no part of the graph is selected.
    pub fn is_empty(&self) -> bool {
        self.only.is_empty() && self.from.is_empty() && self.until.is_empty()
    }

    /// Returns the nodes that `targets` (or the pipeline's targets) and these arguments select.
    ///
    /// # Errors
    /// Fails if a name matches no node, or if no node is selected.
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
            // Without TARGETs, only nodes that the pipeline's targets need are selected.
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
            let diag = Diag::error(Class::Usage, "no node matches all of TARGET, `--from` and `--until`");
            return Err(vec![diag.help("they are combined: a node must match each one that you give")]);
        }
        Ok(Selection { targets: only.clone(), only })
    }
}

/// Returns `nodes` and all nodes that they need.
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
    fn only_from_and_until_select_parts_of_the_graph() {
        let only = SelectArgs { only: list(&["tokenize[task=rte]"]), ..SelectArgs::default() };
        assert_eq!(names(&only, &[]), ["tokenize[rte]"]);
        // `again` is not a target, so it does not run.
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
