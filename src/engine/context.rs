//! [`Context`]: what everything that is computed for a node depends on besides the node. Keys, recipes and jobs are its
//! methods; see [`prepare`](super::prepare) and [`job`](super::job).

use std::ops::Deref;

use crate::cache::Watched;
use crate::stages::stage::{Outside, StageKind};

use super::deadline::Deadlines;
use super::executor::Executor;
use super::graph::{Accept, Graph, NodeId};
use super::options::RunOptions;
use super::tee::Tee;

/// A graph, and where it is brought up to date.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The store.
    pub store: Watched<'a>,
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Where relative paths begin, and mirrors.
    pub outside: &'a Outside,
    /// Which numerics count. Overrides what the nodes say.
    pub accept: Option<Accept>,
    /// Where nodes run.
    pub executor: &'a dyn Executor,
}

impl<'a> Context<'a> {
    /// The context of a run with these options.
    pub fn new(
        graph: &'a Graph,
        store: impl Into<Watched<'a>>,
        options: &'a RunOptions,
        executor: &'a dyn Executor,
    ) -> Self {
        let RunOptions { pipeline, outside, accept, .. } = options;
        Self { graph, store: store.into(), pipeline, outside, accept: *accept, executor }
    }

    /// A node's full name.
    pub fn name(&self, id: NodeId) -> String {
        self.graph.node(id).to_string()
    }

    /// A node's kind.
    pub fn kind(&self, id: NodeId) -> &'static StageKind {
        self.graph.node(id).kind
    }
}

/// What the loop of a run and the threads of its nodes share.
#[derive(Clone, Copy)]
pub(super) struct RunContext<'a> {
    pub context: Context<'a>,
    pub options: &'a RunOptions,
    pub sink: &'a Tee<'a>,
    /// The run's id.
    pub run: &'a str,
    pub deadlines: &'a Deadlines,
}

impl<'a> Deref for RunContext<'a> {
    type Target = Context<'a>;
    fn deref(&self) -> &Context<'a> {
        &self.context
    }
}
