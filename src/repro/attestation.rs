//! [`Attestation`]: the outcome of a rerun as a document for others: what ran, on which hardware and libraries, by
//! which rule results were compared, and how much they differ.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::machine;
use crate::cache::CacheKey;
use crate::pipeline::tolerance::Tolerance;

use super::compare::{Difference, Verdict};
use super::rerun::RerunNode;

/// The version of the format.
const SCHEMA: u32 = 1;

/// The outcome of a rerun.
#[derive(Debug, Serialize)]
pub struct Attestation {
    schema: u32,
    dpt: &'static str,
    pipeline: String,
    /// Seconds since 1970.
    at: u64,
    machine: Machine,
    /// The number of nodes to choose from, and how those that ran were chosen.
    nodes_in_all: usize,
    chosen: String,
    /// The tolerance for metrics where numerics differ.
    tolerance: String,
    /// Every node gave the recorded result.
    reproduced: bool,
    identical: usize,
    close: usize,
    differing: usize,
    failed: usize,
    nodes: Vec<AttestedNode>,
}

#[derive(Debug, Serialize)]
struct Machine {
    os: &'static str,
    arch: &'static str,
    cpu: String,
    cpu_kind: String,
    gpu: String,
    /// The version that the stages recorded; empty if no stage used it.
    libtorch: String,
}

/// The outcome of one node.
#[derive(Debug, Serialize)]
pub struct AttestedNode {
    node: String,
    key: Option<CacheKey>,
    /// `identical`, `close`, `differs` or `failed`.
    pub verdict: &'static str,
    /// `digests`: the numerics were equal; `tolerance`: they were not.
    compared_by: &'static str,
    seconds: f64,
    recorded_numerics: BTreeMap<String, String>,
    numerics: BTreeMap<String, String>,
    differences: Vec<Apart>,
    error: Option<String>,
}

/// One difference.
#[derive(Debug, Serialize)]
struct Apart {
    what: String,
    recorded: Option<String>,
    found: Option<String>,
    /// For a file, how it differs, in words; for a metric, its tolerance.
    gap: Option<String>,
    max_abs: Option<f64>,
}

/// How the nodes of a rerun were chosen.
#[derive(Clone, Debug)]
pub struct NodeChoice {
    /// The number of nodes to choose from.
    pub of: usize,
    /// `all`, `named`, `sample 5%, seed 1`.
    pub how: String,
}

impl Attestation {
    /// Describes the nodes that ran. `at`: seconds since 1970.
    pub fn new(pipeline: &str, at: u64, chosen: &NodeChoice, tolerance: &Tolerance, ran: &[RerunNode]) -> Self {
        let nodes: Vec<AttestedNode> = ran.iter().map(node).collect();
        let count = |verdict: &str| nodes.iter().filter(|node| node.verdict == verdict).count();
        let libtorch = nodes.iter().find_map(|node| node.numerics.get("libtorch").cloned());
        let (identical, close) = (count("identical"), count("close"));
        let (differing, failed) = (count("differs"), count("failed"));
        Self {
            schema: SCHEMA,
            dpt: env!("CARGO_PKG_VERSION"),
            pipeline: pipeline.to_owned(),
            at,
            machine: Machine {
                os: std::env::consts::OS,
                arch: std::env::consts::ARCH,
                cpu: machine::cpu_name(),
                cpu_kind: machine::cpu_kind(),
                gpu: machine::gpu_kind(),
                libtorch: libtorch.unwrap_or_default(),
            },
            nodes_in_all: chosen.of,
            chosen: chosen.how.clone(),
            tolerance: tolerance.told(),
            reproduced: differing + failed == 0,
            identical,
            close,
            differing,
            failed,
            nodes,
        }
    }

    /// Returns a summary in one line.
    pub fn summary(&self) -> String {
        let ran = self.nodes.len();
        let mut parts = vec![format!("{} identical", self.identical)];
        let more = [
            (self.close, format!("within tolerance ({})", self.tolerance)),
            (self.differing, "different".to_owned()),
            (self.failed, "failed".to_owned()),
        ];
        parts.extend(more.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        let mut on = format!("{}, {}", self.machine.cpu, self.machine.cpu_kind);
        for (name, value) in [("", &self.machine.gpu), ("libtorch ", &self.machine.libtorch)] {
            if !value.is_empty() {
                on += &format!(", {name}{value}");
            }
        }
        let verdict = if self.reproduced { "reproduced" } else { "not reproduced" };
        let of = self.nodes_in_all;
        let nodes = if of == 1 { "node" } else { "nodes" };
        format!(
            "{verdict}: {ran} of {of} {nodes} ({}) ran again: {}; dpt {} on {on}",
            self.chosen,
            parts.join(", "),
            self.dpt
        )
    }

    /// Returns the outcome of each node.
    pub fn nodes(&self) -> &[AttestedNode] {
        &self.nodes
    }
}

fn node(ran: &RerunNode) -> AttestedNode {
    let compared = match &ran.result {
        Ok(compared) => compared,
        Err(error) => {
            return AttestedNode {
                node: ran.node.clone(),
                key: None,
                verdict: "failed",
                compared_by: "nothing",
                seconds: 0.0,
                recorded_numerics: BTreeMap::new(),
                numerics: BTreeMap::new(),
                differences: vec![],
                error: Some(error.to_string()),
            };
        }
    };
    let (verdict, list): (_, &[Difference]) = match &compared.verdict {
        Verdict::Identical => ("identical", &[]),
        Verdict::Close(list) => ("close", list),
        Verdict::Differs(list) => ("differs", list),
    };
    let apart = |difference: &Difference| match difference {
        Difference::File { name, recorded, found } => {
            let diff = compared.gaps.iter().find(|(file, _)| file == name).map(|(_, gap)| gap);
            Apart {
                what: name.clone(),
                recorded: recorded.map(|digest| digest.to_string()),
                found: found.map(|digest| digest.to_string()),
                gap: diff.map(|diff| diff.words.clone()),
                max_abs: diff.and_then(|diff| diff.max_abs),
            }
        }
        Difference::Metric { name, recorded, found, limit } => Apart {
            what: name.clone(),
            recorded: recorded.map(|x| format!("{x:?}")),
            found: found.map(|x| format!("{x:?}")),
            gap: limit.map(|limit| format!("tolerance {limit}")),
            max_abs: recorded.zip(*found).map(|(a, b)| (a - b).abs()),
        },
    };
    AttestedNode {
        node: ran.node.clone(),
        key: Some(compared.stored.key),
        verdict,
        compared_by: if compared.strict { "digests" } else { "tolerance" },
        seconds: compared.again.seconds,
        recorded_numerics: compared.recorded.numerics.clone(),
        numerics: compared.again.numerics.clone(),
        differences: list.iter().map(apart).collect(),
        error: None,
    }
}

impl AttestedNode {
    /// Returns the node's name.
    pub fn name(&self) -> &str {
        &self.node
    }

    /// Returns a row for each difference: what, recorded and new value, and how much they differ. For a node that is
    /// within tolerance, files without a measured difference share one row without digests.
    pub fn details(&self) -> Vec<[String; 3]> {
        let close = self.verdict == "close";
        let measured = |apart: &&Apart| !close || apart.max_abs.is_some();
        let row = |apart: &Apart| {
            let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "missing".to_owned());
            let sides = format!("{} -> {}", side(&apart.recorded), side(&apart.found));
            [apart.what.clone(), sides, apart.gap.clone().unwrap_or_default()]
        };
        let mut rows: Vec<_> = self.differences.iter().filter(measured).map(row).collect();
        let rest = self.differences.iter().filter(|apart| !measured(apart));
        let rest: Vec<_> = rest.map(|apart| apart.what.as_str()).collect();
        if !rest.is_empty() {
            rows.push([rest.join(", "), "different bits".to_owned(), String::new()]);
        }
        let error = self.error.as_ref().and_then(|error| error.lines().next());
        rows.extend(error.map(|error| [error.to_owned(), String::new(), String::new()]));
        rows
    }

    /// Returns the numerics that differ from the recorded ones, as `cpu A -> B`; `None` if there are none.
    pub fn other_numerics(&self) -> Option<String> {
        let other = self.numerics.iter().filter(|(name, value)| self.recorded_numerics.get(*name) != Some(value));
        let shown = other.map(|(name, value)| {
            let was = self.recorded_numerics.get(name).map_or("unknown", String::as_str);
            format!("{name} {was} -> {value}")
        });
        let shown: Vec<_> = shown.collect();
        (self.compared_by == "tolerance" && !shown.is_empty()).then(|| shown.join(", "))
    }
}
