//! [`Watch`]: shows the progress of a training, ends it when the job is interrupted, and keeps its snapshots.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use serde::Serialize;

use crate::base::diag::Diag;
use crate::learn::descent::CurveRow;
use crate::learn::run::Observer;
use crate::learn::selection::Scoring;
use crate::learn::snapshot::Snapshot;
use crate::stages::training::checkpoint::Checkpoint;
use dpt::stages::ctx::{Ctx, Unit, Update};

/// The observer of one training in a stage.
pub(crate) struct Watch<'a> {
    ctx: &'a Ctx<'a>,
    checkpoint: &'a Checkpoint<'a>,
    what: &'static str,
    total: u64,
    log_every: u64,
    begun: Instant,
    examples: Cell<i64>,
    best: RefCell<String>,
}

impl<'a> Watch<'a> {
    /// Of `total` steps, shown as `what` (`training`), with a line in the log after every `log_every` steps (0: none).
    pub(crate) fn new(
        ctx: &'a Ctx<'a>,
        checkpoint: &'a Checkpoint<'a>,
        what: &'static str,
        total: u64,
        log_every: u64,
    ) -> Self {
        let watch = Self {
            ctx,
            checkpoint,
            what,
            total,
            log_every,
            begun: Instant::now(),
            examples: Cell::new(0),
            best: RefCell::default(),
        };
        watch.update(0, String::new());
        watch
    }

    fn update(&self, done: u64, detail: String) {
        let update = Update { what: self.what.into(), done, total: Some(self.total), unit: Unit::Steps, detail };
        self.ctx.progress.update(update);
    }
}

impl<S: Serialize> Observer<S> for Watch<'_> {
    fn check(&self) -> Result<(), Diag> {
        self.ctx.check_cancel()
    }

    fn resumed(&self, step: u64) {
        self.ctx.progress.note(&format!("goes on after step {step} from its checkpoint"));
        self.update(step, String::new());
    }

    fn refused(&self, why: Diag) -> Result<(), Diag> {
        self.checkpoint.set_aside(self.ctx, &why.message)
    }

    fn step(&self, row: &CurveRow, examples: i64) {
        self.examples.set(self.examples.get() + examples);
        let rate = self.examples.get() as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        let detail = format!("loss {:.4}, {rate:.1} examples/s{}", row.loss, self.best.borrow());
        if self.log_every > 0 && row.step.is_multiple_of(self.log_every) {
            self.ctx.progress.note(&format!("step {}: {detail}", row.step));
        }
        self.update(row.step, detail);
    }

    fn scored(&self, scoring: &Scoring) {
        if let (true, Some((metric, value))) = (scoring.best, scoring.scores.first()) {
            self.best.replace(format!(", best {metric} {value:.3} (step {})", scoring.step));
        }
    }

    fn save(&self, snapshot: Snapshot<S>) -> Result<(), Diag> {
        self.checkpoint.write(&snapshot.state, snapshot.tensors)
    }
}
