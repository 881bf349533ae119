//! [`Stages`] and [`Consumer`]: the stages between which edges are drawn, and the one whose edges are drawn.

use std::cell::{self, RefCell};
use std::collections::HashMap;

use crate::base::diag::Diag;
use crate::engine::graph::{Graph, NodeId};
use crate::pipeline::doc::Item;
use crate::pipeline::expand::{Sweep, instance_name};
use crate::pipeline::pattern::Pattern;
use crate::pipeline::source::{Diags, suggest, wrong};
use crate::pipeline::spec::{Spec, StageSpec};
use crate::pipeline::subst::Scope;
use crate::stages::stage::{Port, StageKind};

/// The stages between which edges are drawn.
pub struct Stages<'a> {
    /// The pipeline.
    pub spec: &'a Spec,
    /// The instances of each stage.
    pub sweeps: &'a [Sweep],
    /// The kind of each stage; `None`: unknown, which was reported.
    pub kinds: &'a [Option<&'static StageKind>],
    /// Every kind that a pipeline can name, for messages.
    pub known: &'a [&'static StageKind],
    /// Stage numbers by name.
    pub by_name: &'a HashMap<&'a str, usize>,
    /// What `needs` may refer to.
    pub scope: &'a Scope<'a>,
    /// Stages that refer to a file which its producer never makes. That is an error only if such a stage is to run.
    pub lacking: &'a RefCell<Vec<(String, Diag)>>,
    /// How many edges were looked for and drawn.
    pub edges: cell::Cell<usize>,
}

/// How many edges a pipeline may have. Each instance that looks for its producers counts as one more.
pub(super) const MOST_EDGES: usize = 10_000_000;

/// One stage whose edges are drawn.
pub(super) struct Consumer<'c, 'a> {
    pub(super) all: &'c Stages<'a>,
    pub(super) number: usize,
    pub(super) stage: &'a StageSpec,
    pub(super) sweep: &'a Sweep,
    /// The nodes of every stage, by cell.
    pub(super) nodes: &'c [Vec<NodeId>],
    pub(super) graph: &'c mut Graph,
    pub(super) diags: &'c mut Diags,
}

impl Stages<'_> {
    /// Returns whether there are more edges than a pipeline may have.
    pub fn too_many(&self) -> bool {
        self.edges.get() > MOST_EDGES
    }

    /// Returns the number of the stage that `pattern` names.
    pub(super) fn find(&self, pattern: &Pattern, item: &Item) -> Result<usize, Diag> {
        self.by_name.get(pattern.stage.as_str()).copied().ok_or_else(|| {
            let diag = wrong(&item.span, format!("there is no stage `{}`", pattern.stage));
            let names = self.spec.stages.iter().map(|s| s.name.text.as_str());
            suggest(diag, &pattern.stage, "the stages are", names)
        })
    }

    /// Returns the names of the kinds that fit a role.
    pub(super) fn providers(&self, port: &Port) -> Vec<&'static str> {
        let provides = |kind: &&&StageKind| port.accepts.iter().any(|what| kind.may_provide(what));
        self.known.iter().filter(provides).map(|kind| kind.name).collect()
    }

    pub(super) fn instance(&self, stage: usize, number: usize) -> String {
        let sweep = &self.sweeps[stage];
        instance_name(self.spec, &self.spec.stages[stage].name.text, sweep, &sweep.cells[number])
    }
}

/// `` `a` or `b` ``.
pub(super) fn or_list<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<_> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    names.join(" or ")
}
