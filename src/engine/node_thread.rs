//! What the thread of a running node does: it runs the stage and stores the result. It knows no other node; the loop
//! ([`mod@super::run`]) receives one message at its end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::base::diag::{Class, Diag};
use crate::base::watch::{Amount, Counting};
use crate::cache::{CommitInfo, Miss, Recipe, Stored};
use crate::stages::ctx::{Cancel, Job, Outcome, Progress, Update};

use super::context::RunContext;
use super::deadline::PATIENCE;
use super::event::{Event, Sink};
use super::graph::NodeId;
use super::job::{check_outputs, made};

/// The result of a node that ended well.
pub(super) struct Finished {
    pub stored: Arc<Stored>,
    pub metrics: BTreeMap<String, f64>,
}

/// Runs a node's stage and stores its result. If the node is cancelled while its result is being stored, storing goes
/// on for half of [`PATIENCE`]: most results are stored by then, and no work is lost. Never panics, so that the loop
/// always receives the message.
pub(super) fn work(
    context: RunContext,
    id: NodeId,
    job: &Job,
    miss: Miss,
    recipe: &Recipe,
    cancel: &Cancel,
) -> Result<Finished, Diag> {
    let stage = AssertUnwindSafe(|| {
        let reporter = Reporter { context, id };
        let kind = context.kind(id);
        let started = Instant::now();
        let outcome = context.executor.run(job, kind, &reporter, cancel)?;
        let seconds = started.elapsed().as_secs_f64();
        check_outputs(kind, &made(&miss, &outcome)?)?;
        let Outcome { metrics, numerics, mut notes, hashed, given } = outcome;
        // JSON has no number for these: they become notes.
        let (metrics, odd): (BTreeMap<_, _>, BTreeMap<_, _>) = metrics.into_iter().partition(|(_, v)| v.is_finite());
        notes.extend(odd.into_iter().map(|(name, value)| format!("metric `{name}` is {value}")));
        notes.iter().for_each(|note| reporter.note(note));
        let info = CommitInfo {
            node: context.name(id),
            run: context.run.to_owned(),
            seconds,
            metrics: metrics.clone(),
            numerics,
            notes,
            hashed,
            given,
            foreign: kind.brings_foreign_files(),
        };
        let asked = OnceLock::new();
        let check = || match cancel.check(&job.node) {
            Err(_) if asked.get_or_init(Instant::now).elapsed() < PATIENCE / 2 => Ok(()),
            checked => checked,
        };
        let tell = |amount: Amount| reporter.update(amount.into());
        let watch = Counting::new(Default::default(), &check, &tell);
        let stored = miss.commit_watched(recipe, info, &|note| reporter.note(note), &watch)?;
        Ok(Finished { stored, metrics })
    });
    catch_unwind(stage).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
        Err(Diag::error(Class::Bug, format!("stage `{}` panicked: {what}", context.kind(id).name)).note(format!(
            "in `{}` of run {}",
            context.name(id),
            context.run
        )))
    })
}

/// Passes on the progress and notes of a running stage.
struct Reporter<'a> {
    context: RunContext<'a>,
    id: NodeId,
}

impl Progress for Reporter<'_> {
    fn update(&self, update: Update) {
        self.context.sink.event(&Event::NodeProgress { node: self.context.name(self.id), update });
    }

    fn note(&self, text: &str) {
        self.context.sink.event(&Event::NodeNote { node: self.context.name(self.id), text: text.to_owned() });
    }
}
