//! A dry run: emits the events of a run, and runs nothing.

use std::sync::Arc;

use crate::base::diag::Diag;
use crate::cache::Stored;
use crate::stages::ctx::Cancel;

use super::context::RunContext;
use super::event::{Event, HitKind, RunTotals, Sink};
use super::freshness::{self, Freshness, not_selected};
use super::graph::NodeId;

/// What a dry run found.
pub(super) struct DryRun {
    pub totals: RunTotals,
    pub failed: Vec<(NodeId, Diag)>,
    pub results: Vec<Option<Arc<Stored>>>,
}

impl RunContext<'_> {
    /// Emits what a run would do.
    pub fn dry_run(&self, cancel: &Cancel) -> DryRun {
        let Self { context, options, sink, .. } = self;
        let statuses = freshness::status_in(*context, &options.targets, &options.force);
        let mut it = DryRun {
            totals: RunTotals { nodes: statuses.len(), ..RunTotals::default() },
            failed: Vec::new(),
            results: vec![None; self.graph.len()],
        };
        if cancel.asked() {
            it.totals.interrupted = true;
            return it;
        }
        let may_run = |id| options.only.is_empty() || options.only.contains(&id);
        let mut fail = |totals: &mut RunTotals, id, error: Diag| {
            totals.failed += 1;
            sink.event(&Event::NodeFailed { node: self.name(id), error: error.clone().into() });
            it.failed.push((id, error));
        };
        for status in statuses {
            let id = status.id;
            match status.freshness {
                Freshness::Fresh { stored } => {
                    it.totals.fresh += 1;
                    it.totals.seconds_saved += stored.seconds;
                    it.totals.bytes_saved += stored.size();
                    sink.hit(id, HitKind::Fresh, &stored);
                    it.results[id.index()] = Some(stored);
                }
                Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. } if !may_run(id) => {
                    fail(&mut it.totals, id, not_selected(&self.name(id), &reasons));
                }
                Freshness::Stale { key, reasons } | Freshness::Damaged { key, reasons } => {
                    it.totals.would_run += 1;
                    sink.event(&Event::NodeWouldRun { node: self.name(id), key, reasons });
                }
                Freshness::Blocked { by } => {
                    it.totals.may_run += 1;
                    let by = by.iter().map(|id| self.name(*id)).collect();
                    sink.event(&Event::NodeMayRun { node: self.name(id), by });
                }
                Freshness::Broken { error } => fail(&mut it.totals, id, error),
            }
        }
        it
    }
}
