//! [`Diff`]: the differences between two sides, with the nodes of sweeps grouped into patterns.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::base::value::{Params, Value};
use crate::cli::patterns::Names;
use crate::cli::values::leaves;
use crate::stages;
use crate::stages::stage::SCORES;

use super::side::{Side, SideNode};

/// A parameter that differs in the same way for some nodes of a stage.
#[derive(Clone, Debug, Serialize)]
pub struct ParamChange {
    /// The nodes, as patterns.
    pub nodes: Vec<String>,
    /// The number of nodes.
    pub count: usize,
    /// The parameter.
    pub name: String,
    /// The old value; `None` if it was not set.
    pub old: Option<Value>,
    /// The new value; `None` if it is not set.
    pub new: Option<Value>,
    /// The parameter is in the key.
    pub in_key: bool,
}

/// A metric of the nodes that differ only in the axis of the mean.
#[derive(Clone, Debug, Serialize)]
pub struct MetricChange {
    /// The stage.
    pub stage: String,
    /// The axes without that of the mean.
    pub axes: Vec<(String, String)>,
    /// Its name.
    pub name: String,
    /// The old values.
    pub old: Option<MeanSd>,
    /// The new values.
    pub new: Option<MeanSd>,
    /// Every single value is unchanged.
    pub same: bool,
}

/// Mean and standard deviation of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanSd {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of a sample; `None` for one value.
    pub sd: Option<f64>,
    /// The number of values.
    pub n: usize,
}

/// The main metric of an evaluation. The others are baselines and other decodings.
const SCORE: &str = "score";

/// The differences between two sides.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Diff {
    /// Changed parameters.
    pub params: Vec<ParamChange>,
    /// New nodes, as patterns.
    pub added: Vec<String>,
    /// Removed nodes, as patterns.
    pub removed: Vec<String>,
    /// Nodes with a new key, as patterns.
    pub rekeyed: Vec<String>,
    /// Nodes that failed only on the new side, as patterns.
    pub failed: Vec<String>,
    /// The number of nodes with the same key.
    pub same_key: usize,
    /// The number of nodes on both sides whose key is unknown on one side.
    pub no_key: usize,
    /// The axis of the means.
    pub over: String,
    /// Changed metrics.
    pub metrics: Vec<MetricChange>,
    /// The number of unchanged metrics that were left out.
    pub same_metrics: usize,
    /// The number of metrics on one side only that were left out.
    pub lone_metrics: usize,
}

impl Diff {
    /// Compares two sides. With `all`, includes unchanged metrics and those of every stage.
    pub fn of(old: &Side, new: &Side, over: &str, all: bool) -> Self {
        let mut both: BTreeMap<&str, (Option<&SideNode>, Option<&SideNode>)> = BTreeMap::new();
        for (name, item) in &new.nodes {
            both.entry(name).or_default().1 = Some(item);
        }
        for (name, item) in &old.nodes {
            both.entry(name).or_default().0 = Some(item);
        }
        let nodes: Vec<(Option<&SideNode>, Option<&SideNode>)> = both.into_values().collect();
        let names = Names::new(nodes.iter().map(|(old, new)| {
            let item = new.or(*old).expect("on one side");
            (item.stage.as_str(), item.axes.as_slice())
        }));
        let pick = |keep: &dyn Fn(Option<&SideNode>, Option<&SideNode>) -> bool| -> Vec<usize> {
            (0..nodes.len()).filter(|i| keep(nodes[*i].0, nodes[*i].1)).collect()
        };
        let keys = |old: Option<&SideNode>, new: Option<&SideNode>| Some((old?.key, new?.key));
        let mut diff = Self { over: over.to_owned(), ..Self::default() };
        diff.added = names.patterns(&pick(&|old, _| old.is_none()));
        diff.removed = names.patterns(&pick(&|_, new| new.is_none()));
        diff.failed =
            names.patterns(&pick(&|old, new| new.is_some_and(|new| new.failed) && !old.is_some_and(|old| old.failed)));
        let rekeyed = pick(&|old, new| matches!(keys(old, new), Some((Some(a), Some(b))) if a != b));
        diff.rekeyed = names.patterns(&rekeyed);
        diff.same_key = pick(&|old, new| matches!(keys(old, new), Some((Some(a), Some(b))) if a == b)).len();
        diff.no_key = pick(&|old, new| matches!(keys(old, new), Some((None, _) | (_, None)))).len();
        diff.params = params(&nodes, &names);
        diff.metrics = metrics(&nodes, over, all);
        let lone = |metric: &MetricChange| metric.old.is_none() || metric.new.is_none();
        if !all {
            diff.same_metrics = diff.metrics.iter().filter(|metric| metric.same).count();
            diff.lone_metrics = diff.metrics.iter().filter(|metric| lone(metric)).count();
            diff.metrics.retain(|metric| !metric.same && !lone(metric));
        }
        diff
    }

    /// Returns `true` if nothing differs.
    pub fn is_empty(&self) -> bool {
        let nodes = [&self.added, &self.removed, &self.rekeyed, &self.failed];
        self.params.is_empty() && nodes.iter().all(|n| n.is_empty()) && self.metrics.iter().all(|m| m.same)
    }
}

/// A change of a parameter: stage, name, old and new value as texts (which differ for different types), and if it is in
/// the key.
type Change = (String, String, Option<String>, Option<String>, bool);

fn params(nodes: &[(Option<&SideNode>, Option<&SideNode>)], names: &Names) -> Vec<ParamChange> {
    let mut order: Vec<(Change, Vec<usize>, Option<Value>, Option<Value>)> = Vec::new();
    let mut at: HashMap<Change, usize> = HashMap::new();
    for (i, (old, new)) in nodes.iter().enumerate() {
        let (Some(old), Some(new)) = (old, new) else { continue };
        let mut found = Vec::new();
        let mut compare = |old: &Params, new: &Params, in_key: bool| {
            let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let mut parts = Vec::new();
                leaves(key, old.get(key), new.get(key), &mut parts);
                found.extend(parts.into_iter().map(|part| (part, in_key)));
            }
        };
        if let (Some(old), Some(new)) = (&old.params, &new.params) {
            compare(old, new, true);
        }
        compare(&old.loose, &new.loose, false);
        for ((name, before, now), in_key) in found {
            let text = |v: &Option<Value>| v.as_ref().map(ToString::to_string);
            let change = (new.stage.clone(), name, text(&before), text(&now), in_key);
            let at = *at.entry(change.clone()).or_insert_with(|| {
                order.push((change, Vec::new(), before, now));
                order.len() - 1
            });
            order[at].1.push(i);
        }
    }
    let param = |((_, name, _, _, in_key), nodes, old, new): (Change, Vec<usize>, Option<Value>, Option<Value>)| {
        ParamChange { nodes: names.patterns(&nodes), count: nodes.len(), name, old, new, in_key }
    };
    order.into_iter().map(param).collect()
}

/// Values by the axis of the mean.
type Values = BTreeMap<String, f64>;

fn metrics(nodes: &[(Option<&SideNode>, Option<&SideNode>)], over: &str, all: bool) -> Vec<MetricChange> {
    let scores = |kind: &str| stages::find(kind).is_some_and(|kind| kind.may_provide(SCORES));
    let is_eval = |item: &SideNode| item.kind.as_deref().is_some_and(scores);
    let items = || nodes.iter().flat_map(|(old, new)| [old, new]).flatten();
    let eval_only = !all && items().any(|item| is_eval(item));
    let mut order: Vec<(String, Vec<(String, String)>, String, [Values; 2])> = Vec::new();
    let mut at: HashMap<(String, Vec<(String, String)>, String), usize> = HashMap::new();
    for (old, new) in nodes {
        let kind_known = old.or(*new).is_some_and(is_eval) || new.is_some_and(is_eval);
        if eval_only && !kind_known {
            continue;
        }
        for (which, item) in [old, new].into_iter().enumerate() {
            let Some(item) = item else { continue };
            let axes: Vec<_> = item.axes.iter().filter(|(axis, _)| axis != over).cloned().collect();
            let own = item.axes.iter().find(|(axis, _)| axis == over).map(|(_, v)| v.clone()).unwrap_or_default();
            for (name, value) in item.metrics.iter().filter(|(name, _)| !eval_only || *name == SCORE) {
                let key = (item.stage.clone(), axes.clone(), name.clone());
                let at = *at.entry(key).or_insert_with(|| {
                    order.push((item.stage.clone(), axes.clone(), name.clone(), Default::default()));
                    order.len() - 1
                });
                order[at].3[which].insert(own.clone(), *value);
            }
        }
    }
    let metric = |(stage, axes, name, [old, new]): (String, Vec<(String, String)>, String, [Values; 2])| MetricChange {
        stage,
        axes,
        name,
        same: old == new,
        old: MeanSd::of(old.into_values()),
        new: MeanSd::of(new.into_values()),
    };
    order.into_iter().map(metric).collect()
}

impl MeanSd {
    /// Returns the mean of the values, or `None` if there are none.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some(Self { mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()), n })
    }
}

/// Formats as `0.7710 ± 0.0040 (3)`.
impl std::fmt::Display for MeanSd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.4}", self.mean)?;
        match self.sd {
            Some(sd) => write!(f, " ± {sd:.4} ({})", self.n),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(task: &str, seed: &str, rate: f64, score: f64) -> (String, SideNode) {
        let axes = vec![("task".to_owned(), task.to_owned()), ("seed".to_owned(), seed.to_owned())];
        let item = SideNode {
            stage: "eval".into(),
            kind: Some("eval".into()),
            axes,
            params: Some([("rate".to_owned(), Value::Float(rate))].into()),
            metrics: [("score".to_owned(), score)].into(),
            ..SideNode::default()
        };
        (format!("eval[task={task},seed={seed}]"), item)
    }

    fn side(nodes: &[(&str, &str, f64, f64)]) -> Side {
        Side { nodes: nodes.iter().map(|(t, s, r, m)| item(t, s, *r, *m)).collect(), ..Side::default() }
    }

    #[test]
    fn diff_groups_nodes_and_averages_metrics() {
        let old = side(&[("rte", "1", 0.3, 0.7), ("rte", "2", 0.3, 0.9), ("cb", "1", 0.3, 0.5)]);
        let new =
            side(&[("rte", "1", 0.1, 0.8), ("rte", "2", 0.1, 0.9), ("cb", "1", 0.3, 0.5), ("wic", "1", 0.3, 0.1)]);
        let diff = Diff::of(&old, &new, "seed", false);
        assert_eq!(diff.params.len(), 1);
        assert_eq!((&diff.params[0].nodes[..], diff.params[0].count), (&["eval[rte,*]".to_owned()][..], 2));
        assert_eq!(diff.added, ["eval[wic,*]"]);
        assert_eq!(diff.no_key, 3);
        let row = |m: &MetricChange| {
            format!("{} {} -> {}", m.axes[0].1, m.old.map(|s| s.to_string()).unwrap_or_default(), m.new.unwrap())
        };
        let rows: Vec<_> = diff.metrics.iter().map(row).collect();
        assert_eq!(rows, ["rte 0.8000 ± 0.1414 (2) -> 0.8500 ± 0.0707 (2)"]);
        assert_eq!((diff.same_metrics, diff.lone_metrics), (1, 1));
        assert_eq!(Diff::of(&old, &new, "seed", true).metrics.len(), 3);
        assert!(Diff::of(&old, &old, "seed", true).is_empty());
    }

    /// Makes a side of nodes with these stages and axes. The numbers set parameters and metrics.
    fn drawn(nodes: &[(String, Vec<(String, String)>, i64)]) -> Side {
        let node = |(stage, axes, number): &(String, Vec<(String, String)>, i64)| {
            let values: Vec<_> = axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
            let name = if axes.is_empty() { stage.clone() } else { format!("{stage}[{}]", values.join(",")) };
            let item = SideNode {
                stage: stage.clone(),
                axes: axes.clone(),
                kind: (number % 3 > 0).then(|| "eval".to_owned()),
                params: (number % 5 > 0).then(|| [("rate".to_owned(), Value::Int(*number))].into()),
                metrics: [("score".to_owned(), *number as f64)].into(),
                failed: number % 7 == 0,
                ..SideNode::default()
            };
            (name, item)
        };
        Side { nodes: nodes.iter().map(node).collect(), ..Side::default() }
    }

    fn drawn_nodes() -> impl proptest::strategy::Strategy<Value = Vec<(String, Vec<(String, String)>, i64)>> {
        use proptest::collection::vec;
        vec(("[ab]", vec(("[xyz]", "[12]"), 0..3), 0..30_i64), 0..12)
    }

    proptest::proptest! {
        /// The sides may be of any two pipelines.
        #[test]
        fn any_two_sides_can_be_compared(old in drawn_nodes(), new in drawn_nodes(), all in proptest::bool::ANY) {
            let (old, new) = (drawn(&old), drawn(&new));
            let diff = Diff::of(&old, &new, "x", all);
            for shown in [super::super::show::text, super::super::show::markdown, super::super::show::json] {
                assert!(!shown(&old, &new, &diff).is_empty());
            }
            assert!(Diff::of(&old, &old, "x", all).is_empty());
        }
    }
}
