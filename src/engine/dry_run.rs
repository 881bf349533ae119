//! A dry run: the same events as of a run, and nothing is run.

use crate::engine::event::{Event, HitKind};
use crate::engine::freshness::{self, Freshness};
use crate::stages::ctx::Cancel;

use super::run::{Runner, Shared, not_selected};

impl Runner<'_> {
    /// Tells what would be done.
    pub(super) fn dry_run(&mut self, cancel: &Cancel) {
        let Shared { graph, store, executor, options, .. } = self.shared;
        let statuses = freshness::status(graph, store, options, executor);
        if cancel.asked() {
            return self.interrupt();
        }
        for status in statuses {
            let node = match status.freshness {
                Freshness::Fresh { .. } => String::new(),
                _ => self.shared.name(status.id),
            };
            match status.freshness {
                Freshness::Fresh { stored } => {
                    self.totals.fresh += 1;
                    self.totals.seconds_saved += stored.seconds;
                    self.totals.bytes_saved += stored.size();
                    self.shared.sink.hit(status.id, HitKind::Fresh, &stored);
                    self.results[status.id.index()] = Some(stored);
                }
                Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. } if !self.may_run(status.id) => {
                    let error = not_selected(&node, &reasons);
                    self.totals.failed += 1;
                    self.tell(&Event::NodeFailed { node, error: error.clone().into() });
                    self.failed.push((status.id, error));
                }
                Freshness::Stale { key, reasons } | Freshness::Damaged { key, reasons } => {
                    self.totals.would_run += 1;
                    self.tell(&Event::NodeWouldRun { node, key, reasons });
                }
                Freshness::Blocked { by } => {
                    self.totals.may_run += 1;
                    self.tell(&Event::NodeMayRun { node, by: by.iter().map(|id| self.shared.name(*id)).collect() });
                }
                Freshness::Broken { error } => {
                    self.totals.failed += 1;
                    self.tell(&Event::NodeFailed { node, error: error.clone().into() });
                    self.failed.push((status.id, error));
                }
            }
        }
    }
}
