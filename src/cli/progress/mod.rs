//! Sinks that show the events of a run while it runs. [`plain`] prints lines, [`tty`] draws bars, [`json`] prints one
//! object a line. This module has the texts that they share.

mod bar;
pub mod json;
pub mod plain;
pub mod tty;

pub use bar::Bar;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::cache::StaleReason;
use crate::cache::recipe::FieldName;
use crate::cli::render::{self, BAD, BOLD, DIM, GOOD, WARN, paint, plain};
use crate::cli::status_table::brief;
use crate::engine::event::{Event, RunTotals};
use crate::stages::ctx::{Unit, Update};
use crate::worker::protocol::WireDiag;

/// Measures the progress and speed of a running node.
#[derive(Debug)]
pub struct Meter {
    what: String,
    began: Instant,
    first: u64,
    /// The last update.
    pub last: Option<Update>,
}

impl Meter {
    /// Starts without any update.
    pub fn new() -> Self {
        Self { what: String::new(), began: Instant::now(), first: 0, last: None }
    }

    /// Takes an update. The clock starts again if the update is about something else.
    pub fn take(&mut self, update: &Update, now: Instant) {
        if self.what != update.what || update.done < self.first {
            (self.what, self.began, self.first) = (update.what.clone(), now, update.done);
        }
        self.last = Some(update.clone());
    }

    /// Returns a line such as `training 120/1000 steps  loss 0.341  12.4 steps/s  1m 13s left`.
    pub fn line(&self, now: Instant) -> String {
        let Some(update) = &self.last else { return String::new() };
        let seconds = now.saturating_duration_since(self.began).as_secs_f64();
        let rate = if seconds > 0.5 { (update.done - self.first) as f64 / seconds } else { 0.0 };
        let mut parts = vec![format!("{} {}", plain(&update.what), amount(update))];
        if !update.detail.is_empty() {
            parts.push(plain(&update.detail));
        }
        if rate > 0.0 {
            parts.push(speed(rate, update.unit));
            if let Some(left) = update.total.and_then(|total| total.checked_sub(update.done)).filter(|left| *left > 0) {
                parts.push(format!("{} left", render::duration(Duration::from_secs_f64(left as f64 / rate))));
            }
        }
        parts.join("  ")
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

/// Formats an amount: `120/1000 steps`, `1.2 MB of 540 MB`.
fn amount(update: &Update) -> String {
    match (update.unit, update.total) {
        (Unit::Bytes, Some(total)) => format!("{} of {}", render::bytes(update.done), render::bytes(total)),
        (Unit::Bytes, None) => render::bytes(update.done),
        (unit, Some(total)) => format!("{}/{total} {}", update.done, word(unit)),
        (unit, None) => format!("{} {}", update.done, word(unit)),
    }
}

fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bytes",
        Unit::Examples => "examples",
        Unit::Steps => "steps",
        Unit::Files => "files",
    }
}

fn speed(rate: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{}/s", render::bytes(rate as u64)),
        unit if rate < 10.0 => format!("{rate:.1} {}/s", word(unit)),
        unit => format!("{rate:.0} {}/s", word(unit)),
    }
}

/// Returns the lines for an event, the same for every sink. Progress, fresh and skipped nodes have none; the last line
/// of the run counts them.
pub fn lines(event: &Event) -> Option<String> {
    Some(match event {
        Event::NodeDone { node, seconds, metrics, .. } => {
            let mut line = format!("{} {node}  {}", paint(GOOD, "done"), render::seconds(*seconds));
            for (name, value) in metrics.iter().take(3) {
                line += &format!("  {}", paint(DIM, format!("{} {}", plain(name), figure(*value))));
            }
            line
        }
        Event::NodeFailed { node, error } => failure(node, error),
        Event::NodeRetry { node, attempt, error, after } => {
            let when = if *after > 0.0 { format!(" in {}", render::seconds(*after)) } else { String::new() };
            format!(
                "{} {node}  attempt {attempt} failed ({}), retrying{when}",
                paint(WARN, "retry"),
                plain(&error.message)
            )
        }
        Event::NodeNote { node, text } => format!("{} {node}  {}", paint(BOLD, "note"), plain(text)),
        Event::NodeDamaged { node, what, note } => {
            let more = note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
            format!("{} {node}  damaged: {what}{more}; moved to quarantine, will be made again", paint(WARN, "warning"))
        }
        Event::NodeElsewhere { node, holder } => {
            format!("{} {node}  {} is making it", paint(BOLD, "wait"), plain(holder))
        }
        Event::NodeQueued { node, reasons, .. } => {
            // Nodes without a result, and nodes that follow from other changes, need no explanation.
            let own = |r: &&StaleReason| !matches!(r, StaleReason::NeverMade) && !follows(r);
            let own: Vec<_> = reasons.iter().filter(own).cloned().collect();
            let stage = node.split('[').next().unwrap_or(node);
            if own.is_empty() {
                return None;
            }
            format!("{} {stage}  {}", paint(BOLD, "stale"), paint(DIM, brief(&own)))
        }
        Event::NodeWouldRun { node, reasons, .. } => {
            format!("{} {node}  {}", paint(BOLD, "would run"), paint(DIM, brief(reasons)))
        }
        Event::NodeMayRun { node, by } => {
            let by = format!("if these change: {}", some(by));
            format!("{} {node}  {}", paint(BOLD, "may run"), paint(DIM, by))
        }
        Event::RunNote { text } => format!("{} {}", paint(BOLD, "note"), plain(text)),
        Event::RunStarted { .. }
        | Event::NodeHit { .. }
        | Event::NodesHit { .. }
        | Event::NodeStarted { .. }
        | Event::NodeProgress { .. }
        | Event::RunProgress { .. }
        | Event::NodeSkipped { .. }
        | Event::RunEnded { .. } => return None,
    })
}

/// Returns `true` if the reason is a change in a producer's result.
fn follows(reason: &StaleReason) -> bool {
    let input = |field: &FieldName| {
        matches!(field, FieldName::Input { .. } | FieldName::Producer { .. } | FieldName::Named { .. })
    };
    match reason {
        StaleReason::Changed { field, .. } | StaleReason::Added { field, .. } | StaleReason::Dropped { field, .. } => {
            input(field)
        }
        _ => false,
    }
}

/// Prints lines that many nodes of a stage share only once.
#[derive(Debug, Default)]
pub struct SharedLines(HashSet<String>);

impl SharedLines {
    /// Returns the lines for an event, unless the same ones were printed before.
    pub fn lines(&mut self, event: &Event) -> Option<String> {
        let lines = lines(event)?;
        let shared = matches!(event, Event::NodeQueued { .. });
        (!shared || self.0.insert(lines.clone())).then_some(lines)
    }
}

/// Joins at most three names.
pub fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(3);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.iter().take(3).cloned().collect::<Vec<_>>().join(", ") + &tail
}

/// Returns the message for a failed node, which names the node.
fn failure(node: &str, error: &WireDiag) -> String {
    let mut diag = crate::base::diag::Diag::from(error.clone());
    if !diag.message.contains(node) {
        diag.message = format!("{node}: {}", diag.message);
    }
    render::diag(&diag).trim_end().to_owned()
}

/// Formats a metric: whole numbers without decimals, others with four.
pub fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e9 { format!("{value}") } else { format!("{value:.4}") }
}

/// Returns the last line of a run: `quickstart: 12 done, 4 fresh, 1 failed, 3 skipped in 1m 31s`.
pub fn summary(pipeline: &str, totals: &RunTotals) -> String {
    let took = render::seconds(totals.seconds);
    if totals.would_run + totals.may_run > 0 {
        let fresh = totals.fresh + totals.cut_off + totals.shared;
        let counts = match (totals.would_run, totals.may_run) {
            (would, 0) => format!("{would} would run"),
            (would, may) => format!("{would} would run, {may} more may follow"),
        };
        return format!("{pipeline}: {counts}, {fresh} fresh  ({took})");
    }
    if totals.fresh == totals.nodes && !totals.interrupted {
        let nodes = render::count(totals.nodes, "node");
        return format!("{pipeline}: all {nodes} fresh, nothing to do  ({took}{})", saved(totals));
    }
    let counts = [
        (totals.made, GOOD, "done"),
        (totals.fresh, DIM, "fresh"),
        (totals.cut_off, DIM, "fresh because their inputs did not change"),
        (totals.shared, DIM, "made elsewhere"),
        (totals.failed, BAD, "failed"),
        (totals.skipped, WARN, "skipped"),
    ];
    let parts = counts.iter().filter(|(n, ..)| *n > 0).map(|(n, style, word)| paint(*style, format!("{n} {word}")));
    let parts: Vec<_> = parts.collect();
    let stopped = if totals.interrupted { ", interrupted after " } else { " in " };
    let parts = if parts.is_empty() { "nothing done".to_owned() } else { parts.join(", ") };
    format!("{pipeline}: {parts}{stopped}{took}{}", saved(totals))
}

/// Returns what cache hits saved: `; 24 s of work and 1.9 MB reused`. Empty below 0.1 seconds.
fn saved(totals: &RunTotals) -> String {
    match totals.seconds_saved >= 0.1 {
        true => format!(
            "; {} of work and {} reused",
            render::seconds(totals.seconds_saved),
            render::bytes(totals.bytes_saved)
        ),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(what: &str, done: u64, total: Option<u64>, unit: Unit, detail: &str) -> Update {
        Update { what: what.into(), done, total, unit, detail: detail.into() }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn meter_shows_rate_and_time_left() {
        let mut meter = Meter::new();
        let start = Instant::now();
        assert_eq!(meter.line(start), "");
        meter.take(&update("training", 100, Some(1000), Unit::Steps, "loss 0.5"), start);
        assert_eq!(meter.line(start), "training 100/1000 steps  loss 0.5");
        let later = start + Duration::from_secs(10);
        meter.take(&update("training", 200, Some(1000), Unit::Steps, "loss 0.341"), later);
        assert_eq!(meter.line(later), "training 200/1000 steps  loss 0.341  10 steps/s  1m 20s left");
        meter.take(&update("evaluating", 5, None, Unit::Examples, ""), later);
        assert_eq!(meter.line(later), "evaluating 5 examples");
    }

    #[test]
    fn meter_shows_bytes_as_sizes() {
        let mut meter = Meter::new();
        let start = Instant::now();
        meter.take(&update("downloading a.zip", 0, Some(4_000_000), Unit::Bytes, ""), start);
        let later = start + Duration::from_secs(2);
        meter.take(&update("downloading a.zip", 3_000_000, Some(4_000_000), Unit::Bytes, ""), later);
        assert_eq!(meter.line(later), "downloading a.zip 3.0 MB of 4.0 MB  1.5 MB/s  0.7 s left");
    }

    #[test]
    fn last_line_counts_nodes_by_outcome() {
        let totals = |change: &dyn Fn(&mut RunTotals)| {
            let mut totals = RunTotals { nodes: 7, seconds: 0.012, ..RunTotals::default() };
            change(&mut totals);
            plain(&summary("rte", &totals))
        };
        assert_eq!(totals(&|t| t.fresh = 7), "rte: all 7 nodes fresh, nothing to do  (12 ms)");
        assert_eq!(totals(&|t| (t.made, t.fresh) = (3, 4)), "rte: 3 done, 4 fresh in 12 ms");
        assert_eq!(totals(&|t| (t.made, t.failed, t.skipped) = (3, 1, 3)), "rte: 3 done, 1 failed, 3 skipped in 12 ms");
        assert_eq!(totals(&|t| (t.would_run, t.fresh) = (1, 6)), "rte: 1 would run, 6 fresh  (12 ms)");
        assert_eq!(
            totals(&|t| (t.would_run, t.may_run, t.fresh) = (1, 2, 4)),
            "rte: 1 would run, 2 more may follow, 4 fresh  (12 ms)"
        );
        let saved = |t: &mut RunTotals| (t.made, t.fresh, t.seconds_saved, t.bytes_saved) = (1, 6, 24.0, 1_900_000);
        assert_eq!(totals(&saved), "rte: 1 done, 6 fresh in 12 ms; 24 s of work and 1.9 MB reused");
        assert_eq!(totals(&|t| t.interrupted = true), "rte: nothing done, interrupted after 12 ms");
    }

    #[test]
    fn failure_names_its_node() {
        let error = WireDiag {
            class: crate::base::diag::Class::Stage,
            message: "the loss became NaN".into(),
            notes: vec!["at step 7".into()],
            help: None,
            lasting: false,
        };
        let event = Event::NodeFailed { node: "train[task=rte]".into(), error };
        let expected = "error: train[task=rte]: the loss became NaN\n   = note: at step 7";
        assert_eq!(plain(&lines(&event).unwrap()), expected);
    }

    #[test]
    fn shared_reason_is_printed_once_and_following_nodes_are_not() {
        let queued = |node: &str, reasons: Vec<StaleReason>| {
            let key = crate::cache::Recipe::new("train", 1).key();
            Event::NodeQueued { node: node.into(), key, reasons }
        };
        let mut once = SharedLines::default();
        let said = once.lines(&queued("train[seed=1]", vec![StaleReason::Forced])).unwrap();
        assert_eq!(plain(&said), "stale train  forced");
        assert_eq!(once.lines(&queued("train[seed=2]", vec![StaleReason::Forced])), None);
        let producer = FieldName::Producer { role: "data".into(), at: String::new() };
        let follows = StaleReason::Dropped { field: producer, old: crate::cache::recipe::FieldContent::Number(1) };
        assert_eq!(once.lines(&queued("eval", vec![follows])), None);
        assert_eq!(once.lines(&queued("eval", vec![StaleReason::NeverMade])), None);
    }
}
