//! What a running node's thread does. It knows no other node: the loop ([`super::run`]) hears of its end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::base::diag::{Class, Diag};
use crate::base::watch::{Amount, Counting};
use crate::cache::{CommitInfo, Miss, Recipe, Stored};
use crate::stages::ctx::{Cancel, Job, Outcome, Progress, Update};

use super::deadline::PATIENCE;
use super::event::{Event, Sink};
use super::graph::NodeId;
use super::job::{check_outputs, made};
use super::run::Shared;

/// What came of a node that ended well.
pub(super) struct Finished {
    pub stored: Arc<Stored>,
    pub metrics: BTreeMap<String, f64>,
}

/// A running node's thread: the stage, then its result. Asked to end, the storing of a result goes on for half of [`PATIENCE`]: most are
/// stored by then, and their work is not lost. Never panics, so that the loop always hears of its end.
pub(super) fn work(
    shared: Shared,
    id: NodeId,
    job: &Job,
    miss: Miss,
    recipe: &Recipe,
    cancel: &Cancel,
) -> Result<Finished, Diag> {
    let stage = AssertUnwindSafe(|| {
        let reporter = Reporter { shared, id };
        let kind = shared.kind(id);
        let started = Instant::now();
        let outcome = shared.executor.run(job, kind, &reporter, cancel)?;
        let seconds = started.elapsed().as_secs_f64();
        check_outputs(kind, &made(&miss, &outcome)?)?;
        let Outcome { metrics, numerics, mut notes, hashed, given } = outcome;
        // Neither JSON nor a journal has a number for them: they are told in words.
        let (metrics, odd): (BTreeMap<_, _>, BTreeMap<_, _>) = metrics.into_iter().partition(|(_, v)| v.is_finite());
        notes.extend(odd.into_iter().map(|(name, value)| format!("metric `{name}` is {value}")));
        notes.iter().for_each(|note| reporter.note(note));
        let told = CommitInfo {
            node: shared.name(id),
            run: shared.run.to_owned(),
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
        let stored = miss.commit_watched(recipe, told, &|note| reporter.note(note), &watch)?;
        Ok(Finished { stored, metrics })
    });
    catch_unwind(stage).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
        Err(Diag::error(Class::Bug, format!("stage `{}` panicked: {what}", shared.kind(id).name)).note(format!(
            "in `{}` of run {}",
            shared.name(id),
            shared.run
        )))
    })
}

/// Passes on what a running stage says.
struct Reporter<'a> {
    shared: Shared<'a>,
    id: NodeId,
}

impl Progress for Reporter<'_> {
    fn update(&self, update: Update) {
        self.shared.sink.event(&Event::NodeProgress { node: self.shared.name(self.id), update });
    }

    fn note(&self, text: &str) {
        self.shared.sink.event(&Event::NodeNote { node: self.shared.name(self.id), text: text.to_owned() });
    }
}
