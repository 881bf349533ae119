//! Cautions: limits of the numbers that a reader should know before quoting them.

use super::collect::{distinct, in_a_row};
use super::grid::TaskRow;
use super::runs::ScoredRun;
use crate::report::records::COLLAPSED;

/// Fewer values than this make a poor spread.
const FEW: usize = 3;
/// Fewer examples than this make one of them worth half a point and more.
const SMALL: u64 = 200;

/// Returns a sentence for each reason to be careful.
pub fn cautions(runs: &[ScoredRun], tasks: &[TaskRow], over: &str, values: usize) -> Vec<String> {
    let mut out = Vec::new();
    if values < FEW {
        let what = if values == 1 { "a single value" } else { "two values" };
        out.push(format!("Every number rests on {what} of {over}: differences between columns are not established."));
    }
    let small: Vec<_> = tasks
        .iter()
        .filter(|t| t.examples > 0 && t.examples < SMALL)
        .map(|t| format!("{} ({} examples, {:.1} points each)", t.task, t.examples, 100.0 / t.examples as f64))
        .collect();
    if !small.is_empty() {
        out.push(format!("Few examples: {}.", in_a_row(&small)));
    }
    let collapsed: Vec<_> = runs.iter().filter(|r| r.collapsed).map(|r| format!("`{}`", r.origin.node)).collect();
    if !collapsed.is_empty() {
        out.push(format!(
            "Collapsed (at least {:.0} % of the answers are the same): {}.",
            COLLAPSED * 100.0,
            in_a_row(&collapsed)
        ));
    }
    if runs.iter().any(|r| r.record.select_on.as_deref() == Some(r.scoring.split.as_str())) {
        out.push("The reported split is also the one on which the best step was chosen: scores are optimistic.".into());
    }
    if distinct(runs.iter().map(|r| &r.scoring)).len() > 1 {
        out.push(
            "Not all runs are scored alike (see the table of runs): columns or rows may not be comparable.".into(),
        );
    }
    out
}
