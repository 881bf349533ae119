//! [`Names`]: many nodes as few patterns, `train[*,dpt,42]`, so that a sweep can be read. Patterns without a count of values
//! can be typed as targets.

use std::collections::HashMap;

use crate::engine::graph::Graph;

/// More values than these of one axis are counted instead of listed.
const LISTED: usize = 4;

/// All nodes that there are: what a `*` stands for.
#[derive(Debug, Default)]
pub struct Names<'a> {
    nodes: Vec<(&'a str, Vec<&'a str>)>,
    by_stage: HashMap<&'a str, Vec<usize>>,
}

/// What a pattern says of one axis.
#[derive(Clone, Debug, PartialEq)]
enum Part<'a> {
    All,
    Some(Vec<&'a str>),
}

impl<'a> Names<'a> {
    /// From stage and axes of each node.
    pub fn new(nodes: impl IntoIterator<Item = (&'a str, &'a [(String, String)])>) -> Self {
        let mut names = Self::default();
        for (stage, axes) in nodes {
            names.by_stage.entry(stage).or_default().push(names.nodes.len());
            names.nodes.push((stage, axes.iter().map(|(_, value)| value.as_str()).collect()));
        }
        names
    }

    /// Of a graph; numbers are those of its nodes.
    pub fn of(graph: &'a Graph) -> Self {
        Self::new(graph.ids().map(|id| {
            let node = graph.node(id);
            (node.stage.as_str(), node.axes.as_slice())
        }))
    }

    /// The patterns of `some` nodes, stage by stage in the order of their first nodes.
    pub fn patterns(&self, some: &[usize]) -> Vec<String> {
        let mut stages: Vec<(&str, Vec<usize>)> = Vec::new();
        let mut at: HashMap<&str, usize> = HashMap::new();
        for node in some {
            let stage = self.nodes[*node].0;
            let at = *at.entry(stage).or_insert_with(|| {
                stages.push((stage, Vec::new()));
                stages.len() - 1
            });
            stages[at].1.push(*node);
        }
        let mut patterns = Vec::new();
        for (stage, some) in stages {
            let all = &self.by_stage[stage];
            if all.len() == some.len() {
                patterns.push(stage.to_owned());
            } else {
                patterns.extend(self.split(all, &some, 0).iter().map(|parts| text(stage, parts)));
            }
        }
        patterns
    }

    /// As [`Self::patterns`], at most three of them in one line.
    pub fn line(&self, some: &[usize]) -> String {
        few(&self.patterns(some), 3)
    }

    /// What distinguishes `some` from `all`, from axis number `axis` on.
    fn split(&self, all: &[usize], some: &[usize], axis: usize) -> Vec<Vec<Part<'a>>> {
        let axes = self.nodes[some[0]].1.len();
        if axis >= axes {
            return vec![Vec::new()];
        }
        if all.len() == some.len() {
            return vec![vec![Part::All; axes - axis]];
        }
        let (all, some) = (self.by_value(all, axis), self.by_value(some, axis));
        // Values with the same rest belong together.
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

    /// Nodes by their value of an axis, in order of appearance.
    fn by_value(&self, nodes: &[usize], axis: usize) -> Vec<(&'a str, Vec<usize>)> {
        let mut found: Vec<(&'a str, Vec<usize>)> = Vec::new();
        let mut at: HashMap<&str, usize> = HashMap::new();
        for node in nodes {
            let value = self.nodes[*node].1[axis];
            let at = *at.entry(value).or_insert_with(|| {
                found.push((value, Vec::new()));
                found.len() - 1
            });
            found[at].1.push(*node);
        }
        found
    }
}

fn text(stage: &str, parts: &[Part]) -> String {
    let part = |part: &Part| match part {
        Part::All => "*".to_owned(),
        Part::Some(values) if values.len() > LISTED => format!("{} values", values.len()),
        Part::Some(values) => values.join("|"),
    };
    format!("{stage}[{}]", parts.iter().map(part).collect::<Vec<_>>().join(","))
}

/// At most `most` texts in one line.
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
    fn products_are_one_pattern() {
        assert_eq!(folded(|_, _| true), ["train", "report"]);
        assert_eq!(folded(|_, a| a.len() == 3 && a[1].1 == "dpt"), ["train[*,dpt,*]"]);
        assert_eq!(folded(|_, a| a.len() == 3 && a[2].1 == "2"), ["train[*,*,2]"]);
        assert_eq!(folded(|_, a| a.len() == 3 && a[0].1 != "cb" && a[1].1 == "pt"), ["train[boolq|rte,pt,*]"]);
    }

    #[test]
    fn what_is_no_product_is_several() {
        let odd = |_: &str, a: &Axes| a.len() == 3 && (a[0].1 == "cb" || (a[1].1 == "pt" && a[2].1 == "1"));
        assert_eq!(folded(odd), ["train[boolq|rte,pt,1]", "train[cb,*,*]"]);
        assert_eq!(folded(|_, _| false), [""; 0]);
    }

    #[test]
    fn many_are_cut() {
        let texts = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(few(&texts, 2), "a, b and 1 more");
        assert_eq!(few(&texts, 3), "a, b, c");
    }
}
