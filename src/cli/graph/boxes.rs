//! Boxes and arrows as text for other programs: DOT (Graphviz) and Mermaid.

use std::fmt::Write;

use crate::engine::graph::NodeId;
use crate::pipeline::Plan;

/// A box of DOT or Mermaid.
pub(super) struct Shape {
    pub(super) id: String,
    pub(super) first: String,
    pub(super) second: String,
    /// The stage that it belongs to, where boxes are instances.
    pub(super) stage: Option<String>,
}

/// An arrow.
pub(super) struct Line {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) label: String,
    pub(super) thick: bool,
}

pub(super) fn boxes(plan: &Plan, nodes: &[NodeId]) -> Vec<Shape> {
    let shape = |id: &NodeId| {
        let node = plan.graph.node(*id);
        let id = format!("n{}", id.index());
        Shape { id, first: node.short(), second: String::new(), stage: Some(node.stage.clone()) }
    };
    nodes.iter().map(shape).collect()
}

pub(super) fn lines(plan: &Plan, nodes: &[NodeId]) -> Vec<Line> {
    let line = |to: NodeId| {
        let edges = plan.graph.producers(to).into_iter();
        edges.map(move |(from, _)| Line {
            from: format!("n{}", from.index()),
            to: format!("n{}", to.index()),
            label: String::new(),
            thick: false,
        })
    };
    nodes.iter().flat_map(|id| line(*id)).collect()
}

pub(super) fn dot(name: &str, boxes: &[Shape], lines: &[Line]) -> String {
    let quote = |s: &str| format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!("digraph {} {{\n  rankdir = LR;\n  node [shape = box, style = rounded];\n", quote(name));
    for shape in boxes {
        let label = if shape.second.is_empty() {
            quote(&shape.first)
        } else {
            let both = quote(&format!("{}\u{0}{}", shape.first, shape.second));
            both.replace('\u{0}', "\\n")
        };
        let group = shape.stage.as_ref().map(|s| format!(", group = {}", quote(s))).unwrap_or_default();
        let _ = writeln!(text, "  {} [label = {label}{group}];", shape.id);
    }
    for line in lines {
        let mut with = Vec::new();
        if !line.label.is_empty() {
            with.push(format!("label = {}", quote(&line.label)));
        }
        if line.thick {
            with.push("penwidth = 2".to_owned());
        }
        let with = if with.is_empty() { String::new() } else { format!(" [{}]", with.join(", ")) };
        let _ = writeln!(text, "  {} -> {}{with};", line.from, line.to);
    }
    text.push_str("}\n");
    text
}

pub(super) fn mermaid(boxes: &[Shape], lines: &[Line]) -> String {
    let plain = |s: &str| s.replace('"', "#quot;");
    let mut text = String::from("flowchart LR\n");
    for shape in boxes {
        let second = if shape.second.is_empty() { String::new() } else { format!("<br/>{}", plain(&shape.second)) };
        let _ = writeln!(text, "  {}[\"{}{second}\"]", shape.id, plain(&shape.first));
    }
    for line in lines {
        let arrow = if line.thick { "==>" } else { "-->" };
        let label = if line.label.is_empty() { String::new() } else { format!("|{}|", plain(&line.label)) };
        let _ = writeln!(text, "  {} {arrow}{label} {}", line.from, line.to);
    }
    text
}
