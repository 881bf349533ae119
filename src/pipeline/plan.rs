//! [`Plan`]: makes the engine's [`Graph`] from a spec and the stage kinds, and reports every problem of names and
//! edges.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::diag::{Class, Diag, Severity, SourceText, Span};
use crate::base::value::Value;
use crate::engine::graph::{Graph, Node, NodeId};
use crate::stages::stage::{Outside, StageKind, Type};

use super::edges::Stages;
use super::expand::{self, Sweep};
use super::pattern::{self, Pattern, Pick};
use super::settings::{Settings, StageContext, sources};
use super::source::{Diags, Source, list_of, place, suggest, warning, wrong};
use super::spec::{Axis, AxisValue, Spec, Word};
use super::subst::Scope;
use super::tolerance::Tolerance;

/// A pipeline that is ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The pipeline's name.
    pub name: String,
    /// The pipeline file.
    pub path: PathBuf,
    /// All instances and who reads whom.
    pub graph: Graph,
    /// What a run without targets brings up to date: `[pipeline] targets`, else everything.
    pub targets: Vec<NodeId>,
    /// What is odd, though not wrong.
    pub warnings: Vec<Diag>,
    /// Stages that cannot run, since they name a file that another stage never makes.
    pub lacking: Vec<(String, Diag)>,
    /// Where paths start, and local copies of sources.
    pub outside: Outside,
    /// The axes, with all their values.
    pub axes: Vec<(String, Vec<String>)>,
    /// How far metrics may be from what was recorded, where hardware differs.
    pub tolerance: Tolerance,
    /// The pipeline as typed: where each value is written.
    pub(super) spec: Arc<Spec>,
    pub(super) index: Index,
}

/// What targets are looked up in.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    axes: Vec<Axis>,
    /// By stage, in file order.
    pub(super) stages: Vec<(String, Sweep, Vec<NodeId>)>,
}

impl Plan {
    /// Returns what is wrong with the stages that `targets` need.
    pub fn lacking_for(&self, targets: &[NodeId]) -> Vec<Diag> {
        if self.lacking.is_empty() {
            return Vec::new();
        }
        let mut needed: HashSet<NodeId> = HashSet::new();
        let mut open = targets.to_vec();
        while let Some(id) = open.pop() {
            if needed.insert(id) {
                open.extend(self.graph.producers(id).map(|(from, _)| from));
            }
        }
        let stages: HashSet<&str> = needed.iter().map(|id| self.graph.node(*id).stage.as_str()).collect();
        self.lacking.iter().filter(|(stage, _)| stages.contains(stage.as_str())).map(|(_, diag)| diag.clone()).collect()
    }

    /// Returns the nodes that `targets` name, each once, in graph order: `train`, `train[rte,dpt,42]`,
    /// `train[task=rte]`, `train[*,dpt,*]`, `train[rte|cb,*,42]`.
    ///
    /// # Errors
    /// One for each target that is malformed or names nothing; it lists what is there.
    pub fn select(&self, targets: &[String]) -> Result<Vec<NodeId>, Vec<Diag>> {
        self.select_from("target", targets)
    }

    /// As [`Self::select`]; `from` names the argument in messages. A value may be several: `train[rte|cb,*,42]`.
    ///
    /// # Errors
    /// As [`Self::select`].
    pub fn select_from(&self, from: &str, targets: &[String]) -> Result<Vec<NodeId>, Vec<Diag>> {
        let word = |text: String| {
            let source = SourceText { path: from.into(), text: text.clone() };
            Word { span: Span { source: source.into(), range: 0..text.len() }, text }
        };
        let (mut words, mut diags) = (Vec::new(), Vec::new());
        for text in targets {
            match pattern::each(text) {
                Some(alternatives) => words.extend(alternatives.into_iter().map(word)),
                None => diags.push(wrong(
                    &word(text.clone()).span,
                    format!("this {from} means more than {} targets", pattern::MOST_ALTERNATIVES),
                )),
            }
        }
        let nodes = self.index.select(&words, &mut |d| diags.push(d));
        if diags.is_empty() { Ok(nodes) } else { Err(diags) }
    }
}

impl Index {
    fn select(&self, targets: &[Word], bad: &mut dyn FnMut(Diag)) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        let mut checks = 0_usize;
        for target in targets {
            match self.one(target, &mut checks) {
                Ok(found) => nodes.extend(found),
                Err(diag) => bad(diag),
            }
        }
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// `checks` counts how many instances were looked at for all targets.
    fn one(&self, target: &Word, checks: &mut usize) -> Result<Vec<NodeId>, Diag> {
        let pattern = Pattern::parse(&target.text, &target.span)?;
        let Some((name, sweep, nodes)) = self.stages.iter().find(|(name, ..)| *name == pattern.stage) else {
            let diag = wrong(&target.span, format!("there is no stage `{}`", pattern.stage));
            return Err(suggest(diag, &pattern.stage, "the stages are", self.stages.iter().map(|s| s.0.as_str())));
        };
        let picks = pattern.pick(&self.axes, sweep, &target.span)?;
        if nodes.len() < sweep.cells.len() {
            // Its kind is unknown, which was reported.
            return Ok(Vec::new());
        }
        *checks = checks.saturating_add(sweep.cells.len());
        if *checks > expand::MOST_CHECKS {
            let message = format!("up to here, the targets take more than {} comparisons", expand::MOST_CHECKS);
            return Err(wrong(&target.span, message).help("name fewer targets, with `*` for all values of an axis"));
        }
        let fits = |cell: &[u32]| picks.iter().zip(cell).all(|(p, v)| !matches!(p, Pick::Value(w) if w != v));
        let found: Vec<NodeId> =
            sweep.cells.iter().zip(nodes).filter(|(cell, _)| fits(cell)).map(|(_, n)| *n).collect();
        if found.is_empty() && !pattern.optional {
            let diag = wrong(&target.span, format!("`{}` names no instance of `{name}`", target.text));
            let shown = |cell: &expand::Cell| {
                let values: Vec<_> =
                    sweep.axes.iter().zip(cell).map(|(a, v)| self.axes[*a].values[*v as usize].text.as_str()).collect();
                if values.is_empty() { name.clone() } else { format!("{name}[{}]", values.join(",")) }
            };
            return Err(match sweep.cells.is_empty() {
                true => diag.note(format!("stage `{name}` has no instances")),
                false => diag.note(format!("there are {}", list_of(sweep.cells.iter().map(shown), sweep.cells.len()))),
            });
        }
        Ok(found)
    }
}

/// What `build` needs besides the spec.
pub struct Setup<'a> {
    /// The pipeline file.
    pub path: &'a Path,
    /// Its text.
    pub source: &'a Source,
    /// Every stage kind there is.
    pub kinds: &'a [&'static StageKind],
    /// Where paths start, and local copies of sources.
    pub outside: Outside,
}

/// Expands and connects `spec`. `None` when anything is wrong: it is in `diags`.
pub fn build(mut spec: Spec, setup: Setup, diags: &mut Diags) -> Option<Plan> {
    expand::include_values(&mut spec, diags);
    // Of a pipeline that is too large nothing else can be said.
    let sweeps = expand::expand(&spec, diags)?;
    let kinds: Vec<_> = spec.stages.iter().map(|s| diags.ok(find_kind(&s.kind, &s.name, setup.kinds))).collect();
    let scope = Scope::new(&spec.axes, &spec.params);
    let sources = sources(&spec, &scope, diags);
    let mut graph = Graph::new();
    let mut nodes: Vec<Vec<NodeId>> = Vec::new();
    for ((stage, sweep), kind) in spec.stages.iter().zip(&sweeps).zip(&kinds) {
        let mut ids = Vec::new();
        if let Some(kind) = kind {
            let of = StageContext { spec: &spec, stage, kind, sweep, scope: &scope, sources: &sources };
            let settings = Settings::new(of, diags)?;
            ids.reserve(sweep.cells.len());
            for cell in &sweep.cells {
                let params = settings.params(cell, diags).unwrap_or_default();
                if scope.is_full() {
                    return None;
                }
                let (resources, accept) = settings.resources(cell);
                let value = |(id, v): (&usize, &u32)| {
                    let axis = &spec.axes[*id];
                    (axis.name.text.clone(), axis.values[*v as usize].text.clone())
                };
                let axes = sweep.axes.iter().zip(cell).map(value).collect();
                let span = Some(stage.name.span.clone());
                ids.push(graph.add(Node {
                    stage: stage.name.text.clone(),
                    kind,
                    axes,
                    params,
                    resources,
                    accept,
                    span,
                }));
            }
            if let (Some(first), Some(check)) = (ids.first(), kind.check_axis) {
                let params = &graph.node(*first).params;
                for axis in sweep.axes.iter().map(|id| &spec.axes[*id]) {
                    let refused = |value: &AxisValue| check(params, &axis.name.text, &value.text).err();
                    axis.values.iter().find_map(refused).into_iter().for_each(|diag| diags.push(diag));
                }
            }
            settings.report_unused(diags);
        }
        nodes.push(ids);
    }
    let by_name: HashMap<&str, usize> =
        spec.stages.iter().enumerate().map(|(i, s)| (s.name.text.as_str(), i)).collect();
    let lacking = RefCell::default();
    let stages = Stages {
        spec: &spec,
        sweeps: &sweeps,
        kinds: &kinds,
        known: setup.kinds,
        by_name: &by_name,
        scope: &scope,
        lacking: &lacking,
        edges: Cell::new(0),
    };
    for consumer in 0..spec.stages.len() {
        stages.connect(consumer, &nodes, &mut graph, diags);
        if stages.too_many() {
            return None;
        }
    }
    if graph.topological().is_err() {
        diags.push(circle(&graph, &spec));
    }
    let names = spec.stages.iter().map(|s| s.name.text.clone());
    let stages = names.zip(sweeps).zip(nodes).map(|((name, sweep), ids)| (name, sweep, ids)).collect();
    let index = Index { axes: spec.axes.clone(), stages };
    let targets = match &spec.targets {
        Some(words) => index.select(words, &mut |d| diags.push(d)),
        None => graph.ids().collect(),
    };
    check_mirrors(&spec, &setup, diags);
    if diags.failed() {
        return None;
    }
    scope.unused(diags);
    unused_axes(&index, diags);
    unused_sources(&spec, &graph, diags);
    let axes = spec.axes.iter().map(|a| (a.name.text.clone(), a.values.iter().map(|v| v.text.clone()).collect()));
    let axes = axes.collect();
    Some(Plan {
        name: spec.name.clone(),
        path: setup.path.to_path_buf(),
        graph,
        targets,
        warnings: Vec::new(),
        lacking: lacking.into_inner(),
        outside: setup.outside,
        axes,
        tolerance: spec.tolerance.clone(),
        spec: Arc::new(spec),
        index,
    })
}

fn find_kind(kind: &Word, stage: &Word, kinds: &[&'static StageKind]) -> Result<&'static StageKind, Diag> {
    kinds.iter().find(|k| k.name == kind.text).copied().ok_or_else(|| {
        let diag = wrong(&kind.span, format!("unknown stage kind `{}`", kind.text));
        let diag = suggest(diag, &kind.text, "the kinds are", kinds.iter().map(|k| k.name));
        match kind.span.range == stage.span.range {
            true => diag.note(format!("stage `{}` has no `kind`, so its name is taken for it", stage.text)),
            false => diag,
        }
    })
}

fn check_mirrors(spec: &Spec, setup: &Setup, diags: &mut Diags) {
    for name in setup.outside.mirrors.keys() {
        if !spec.sources.iter().any(|s| s.name.text == *name) {
            let diag = Diag::error(Class::Usage, format!("`--mirror {name}=…` names an unknown source"));
            let known = spec.sources.iter().map(|s| s.name.text.as_str());
            diags.push(suggest(diag, name, "the sources are", known));
        }
    }
}

fn unused_axes(index: &Index, diags: &mut Diags) {
    for (id, axis) in index.axes.iter().enumerate() {
        if !index.stages.iter().any(|(_, sweep, _)| sweep.position(id).is_some()) {
            let diag = warning(&axis.name.span, format!("no stage has the axis `{}`", axis.name.text));
            diags.push(diag.help("name it in the `axes` of the stages that depend on it, or remove it"));
        }
    }
}

/// A source is used by the nodes that have it for a parameter.
fn unused_sources(spec: &Spec, graph: &Graph, diags: &mut Diags) {
    let is_source = |value: &Value| match value {
        Value::Table(table) => table.get("name").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let of = |id: NodeId| {
        let node = graph.node(id);
        let sources = node.kind.params.iter().filter(|param| matches!(param.ty, Type::Source));
        sources.filter_map(|param| is_source(node.params.get(param.name)?)).collect::<Vec<_>>()
    };
    let used: HashSet<String> = graph.ids().flat_map(of).collect();
    for source in spec.sources.iter().filter(|source| !used.contains(&source.name.text)) {
        let diag = warning(&source.name.span, format!("no stage uses the source `{}`", source.name.text));
        diags.push(diag.help("name it as the `source` of a `download` stage, or remove it"));
    }
}

/// Returns the error for a shortest circle of the graph, placed at the stage of its first node.
fn circle(graph: &Graph, spec: &Spec) -> Diag {
    let nodes = shortest_circle(graph);
    let names: Vec<_> = nodes.iter().chain(nodes.first()).map(|id| format!("`{}`", graph.node(*id))).collect();
    let stage = |id: NodeId| spec.stages.iter().find(|s| s.name.text == graph.node(id).stage);
    let span = nodes.first().and_then(|id| stage(*id)).map(|s| s.needs_span.clone());
    let mut diag = Diag::error(Class::Usage, format!("these nodes wait for each other: {}", names.join(" → ")));
    diag.span = span;
    diag = diag.label("the circle begins here");
    for pair in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
        let (producer, consumer) = pair;
        let port = graph.producers(*consumer).find(|(p, _)| p == producer).map(|(_, port)| port);
        let role = port.and_then(|p| stage(*consumer)?.needs.iter().find(|n| n.role.text == p.role));
        if let (Some(need), Some(port)) = (role, port) {
            let at = place(&need.role.span);
            diag = diag.note(format!(
                "`{}` reads `{}` as `{}` ({at})",
                graph.node(*consumer),
                graph.node(*producer),
                port.role
            ));
        }
    }
    diag
}

/// Returns the nodes of a shortest circle through the first node that is on one, producers before consumers.
fn shortest_circle(graph: &Graph) -> Vec<NodeId> {
    let Err(part) = graph.topological() else { return Vec::new() };
    let Some(start) = part.iter().min().copied() else { return Vec::new() };
    let mut came_from: HashMap<NodeId, NodeId> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in graph.consumers(node).iter().copied() {
            if next == start {
                let mut circle = vec![node];
                while let Some(before) = came_from.get(circle.last().expect("not empty")) {
                    circle.push(*before);
                }
                circle.reverse();
                return circle;
            }
            if next != start && !came_from.contains_key(&next) {
                came_from.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    part
}

/// Splits what was found into errors, or a plan with its warnings.
pub fn finish(plan: Option<Plan>, diags: Diags, source: &Source) -> Result<Plan, Vec<Diag>> {
    let all = diags.in_order(source);
    match plan {
        Some(mut plan) if all.iter().all(|d| d.severity == Severity::Warning) => {
            plan.warnings = all;
            Ok(plan)
        }
        _ => Err(all),
    }
}
