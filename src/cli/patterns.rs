//! [`Names`]: describes many nodes by few patterns such as `train[*,dpt,42]`. A pattern without a count of values can
//! be typed as a target.
//!
//! When two pipelines are compared, a stage may have nodes with different axes: `tokenize` of one and
//! `tokenize[task=rte]` of the other. Each set of axes then gets patterns of its own, which name the axes.

use std::collections::HashMap;
use std::hash::Hash;

use crate::engine::graph::Graph;

/// Up to this many values of an axis are listed; more are counted.
const LISTED: usize = 4;

/// The names of all nodes, over which `*` ranges.
#[derive(Debug, Default)]
pub struct Names<'a> {
    nodes: Vec<Node<'a>>,
    /// The nodes of each shape. A shape is a stage with one set of axes.
    shapes: Vec<Vec<usize>>,
    by_stage: HashMap<&'a str, Stage>,
}

#[derive(Debug)]
struct Node<'a> {
    stage: &'a str,
    axes: &'a [(String, String)],
    shape: usize,
}

/// The number of nodes and of shapes of a stage.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    nodes: usize,
    shapes: usize,
}

/// The part of a pattern for one axis.
#[derive(Clone, Debug, PartialEq)]
enum Part<'a> {
    All,
    Some(Vec<&'a str>),
}

impl<'a> Names<'a> {
    /// Takes the stage and axes of each node.
    pub fn new(nodes: impl IntoIterator<Item = (&'a str, &'a [(String, String)])>) -> Self {
        let mut names = Self::default();
        let mut known: HashMap<(&str, Vec<&str>), usize> = HashMap::new();
        for (stage, axes) in nodes {
            let of = names.by_stage.entry(stage).or_default();
            of.nodes += 1;
            let shape =
                *known.entry((stage, axes.iter().map(|(axis, _)| axis.as_str()).collect())).or_insert_with(|| {
                    of.shapes += 1;
                    names.shapes.push(Vec::new());
                    names.shapes.len() - 1
                });
            names.shapes[shape].push(names.nodes.len());
            names.nodes.push(Node { stage, axes, shape });
        }
        names
    }

    /// Takes the nodes of a graph, numbered by `NodeId::index`.
    pub fn of(graph: &'a Graph) -> Self {
        Self::new(graph.ids().map(|id| {
            let node = graph.node(id);
            (node.stage.as_str(), node.axes.as_slice())
        }))
    }

    /// Returns patterns that match exactly `some` of the nodes, stage by stage in the order of their first nodes.
    pub fn patterns(&self, some: &[usize]) -> Vec<String> {
        let mut patterns = Vec::new();
        for (stage, some) in grouped(some, |node| self.nodes[node].stage) {
            let of = self.by_stage[stage];
            if of.nodes == some.len() {
                patterns.push(stage.to_owned());
                continue;
            }
            for (shape, some) in grouped(&some, |node| self.nodes[node].shape) {
                let axes = self.nodes[some[0]].axes;
                if axes.is_empty() {
                    patterns.push(stage.to_owned());
                    continue;
                }
                let named = of.shapes > 1;
                let split = self.split(&self.shapes[shape], &some, 0);
                patterns.extend(split.iter().map(|parts| text(stage, parts, axes, named)));
            }
        }
        patterns
    }

    /// Returns at most three patterns in one line.
    pub fn line(&self, some: &[usize]) -> String {
        few(&self.patterns(some), 3)
    }

    /// Returns patterns, from axis number `axis` on, that match `some` and no others of `all`.
    fn split(&self, all: &[usize], some: &[usize], axis: usize) -> Vec<Vec<Part<'a>>> {
        let axes = self.nodes[some[0]].axes.len();
        if axis >= axes {
            return vec![Vec::new()];
        }
        if all.len() == some.len() {
            return vec![vec![Part::All; axes - axis]];
        }
        let (all, some) = (self.by_value(all, axis), self.by_value(some, axis));
        // Values with the same rest share a pattern.
        let mut rests: Vec<(Vec<&'a str>, Vec<Vec<Part<'a>>>)> = Vec::new();
        let known: HashMap<&str, &Vec<usize>> = all.iter().map(|(value, nodes)| (*value, nodes)).collect();
        for (value, nodes) in &some {
            let rest = self.split(known[value], nodes, axis + 1);
            match rests.iter_mut().find(|(_, other)| *other == rest) {
                Some((values, _)) => values.push(value),
                None => rests.push((vec![value], rest)),
            }
        }
        let mut found = Vec::new();
        for (values, rest) in rests {
            let part = if values.len() == all.len() && all.len() > 1 { Part::All } else { Part::Some(values) };
            found.extend(rest.into_iter().map(|tail| [vec![part.clone()], tail].concat()));
        }
        found
    }

    /// Groups nodes by their value of an axis, in order of appearance.
    fn by_value(&self, nodes: &[usize], axis: usize) -> Vec<(&'a str, Vec<usize>)> {
        grouped(nodes, |node| self.nodes[node].axes[axis].1.as_str())
    }
}

/// Groups nodes by `key`, in order of appearance.
fn grouped<K: Copy + Eq + Hash>(nodes: &[usize], key: impl Fn(usize) -> K) -> Vec<(K, Vec<usize>)> {
    let mut found: Vec<(K, Vec<usize>)> = Vec::new();
    let mut at: HashMap<K, usize> = HashMap::new();
    for node in nodes {
        let key = key(*node);
        let at = *at.entry(key).or_insert_with(|| {
            found.push((key, Vec::new()));
            found.len() - 1
        });
        found[at].1.push(*node);
    }
    found
}

/// Returns a pattern as text; with `named`, each part has the name of its axis.
fn text(stage: &str, parts: &[Part], axes: &[(String, String)], named: bool) -> String {
    let part = |(part, (axis, _)): (&Part, &(String, String))| {
        let values = match part {
            Part::All => "*".to_owned(),
            Part::Some(values) if values.len() > LISTED => format!("{} values", values.len()),
            Part::Some(values) => values.join("|"),
        };
        if named { format!("{axis}={values}") } else { values }
    };
    format!("{stage}[{}]", parts.iter().zip(axes).map(part).collect::<Vec<_>>().join(","))
}

/// Joins at most `most` texts: `a, b and 1 more`.
pub fn few(texts: &[String], most: usize) -> String {
    let shown = texts.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Axes = Vec<(String, String)>;

    /// 3 tasks x 2 methods x 2 seeds of `train`, and `report`.
    fn sweep() -> Vec<(&'static str, Axes)> {
        let mut nodes = Vec::new();
        for task in ["boolq", "cb", "rte"] {
            for method in ["dpt", "pt"] {
                for seed in ["1", "2"] {
                    let axes = [("task", task), ("method", method), ("seed", seed)];
                    nodes.push(("train", axes.map(|(a, v)| (a.to_owned(), v.to_owned())).to_vec()));
                }
            }
        }
        nodes.push(("report", vec![]));
        nodes
    }

    fn folded(keep: impl Fn(&str, &Axes) -> bool) -> Vec<String> {
        let nodes = sweep();
        let names = Names::new(nodes.iter().map(|(stage, axes)| (*stage, axes.as_slice())));
        let some: Vec<_> = (0..nodes.len()).filter(|i| keep(nodes[*i].0, &nodes[*i].1)).collect();
        names.patterns(&some)
    }

    #[test]
    fn product_of_axes_is_one_pattern() {
        assert_eq!(folded(|_, _| true), ["train", "report"]);
        assert_eq!(folded(|_, a| a.len() == 3 && a[1].1 == "dpt"), ["train[*,dpt,*]"]);
        assert_eq!(folded(|_, a| a.len() == 3 && a[2].1 == "2"), ["train[*,*,2]"]);
        assert_eq!(folded(|_, a| a.len() == 3 && a[0].1 != "cb" && a[1].1 == "pt"), ["train[boolq|rte,pt,*]"]);
    }

    #[test]
    fn other_sets_are_several_patterns() {
        let odd = |_: &str, a: &Axes| a.len() == 3 && (a[0].1 == "cb" || (a[1].1 == "pt" && a[2].1 == "1"));
        assert_eq!(folded(odd), ["train[boolq|rte,pt,1]", "train[cb,*,*]"]);
        assert_eq!(folded(|_, _| false), [""; 0]);
    }

    #[test]
    fn nodes_of_one_stage_with_different_axes_get_separate_patterns() {
        let axes = |pairs: &[(&str, &str)]| -> Axes {
            pairs.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned())).collect()
        };
        let nodes = [
            ("tokenize", axes(&[])),
            ("tokenize", axes(&[("task", "rte")])),
            ("tokenize", axes(&[("task", "cb")])),
            ("tokenize", axes(&[("seed", "1")])),
            ("tokenize", axes(&[("task", "rte"), ("seed", "1")])),
        ];
        let names = Names::new(nodes.iter().map(|(stage, axes)| (*stage, axes.as_slice())));
        assert_eq!(names.patterns(&[0, 1, 2, 3, 4]), ["tokenize"]);
        assert_eq!(names.patterns(&[0]), ["tokenize"]);
        assert_eq!(names.patterns(&[1, 2]), ["tokenize[task=*]"]);
        assert_eq!(names.patterns(&[1]), ["tokenize[task=rte]"]);
        assert_eq!(
            names.patterns(&[0, 2, 3, 4]),
            ["tokenize", "tokenize[task=cb]", "tokenize[seed=*]", "tokenize[task=*,seed=*]"]
        );
    }

    proptest::proptest! {
        /// For any nodes there is no panic, and no pattern without a node.
        #[test]
        fn any_nodes_have_patterns(
            nodes in proptest::collection::vec(
                ("[ab]", proptest::collection::vec(("[xyz]", "[12]"), 0..4), proptest::bool::ANY),
                0..24,
            ),
        ) {
            let names = Names::new(nodes.iter().map(|(stage, axes, _)| (stage.as_str(), axes.as_slice())));
            let some: Vec<_> = (0..nodes.len()).filter(|i| nodes[*i].2).collect();
            let patterns = names.patterns(&some);
            assert_eq!(patterns.is_empty(), some.is_empty());
            assert!(patterns.len() <= some.len(), "{patterns:?}");
            let all: Vec<_> = (0..nodes.len()).collect();
            let stages: std::collections::HashSet<_> = nodes.iter().map(|(stage, ..)| stage.clone()).collect();
            assert_eq!(names.patterns(&all).len(), stages.len());
        }
    }

    #[test]
    fn few_counts_the_texts_that_it_leaves_out() {
        let texts = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(few(&texts, 2), "a, b and 1 more");
        assert_eq!(few(&texts, 3), "a, b, c");
    }
}
