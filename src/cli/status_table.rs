//! The table of `dpt status` and `dpt run -n`, with one row a stage, and the reasons why nodes are stale.

use std::collections::HashMap;

use crate::cache::StaleReason;
use crate::cache::recipe::{FieldContent, FieldName};
use crate::engine::freshness::{Freshness, NodeStatus};
use crate::engine::graph::NodeId;
use crate::pipeline::Plan;

use super::forecast::Forecast;
use super::patterns::{Names, few};
use super::render::{self, Align, BOLD, DIM, paint, plain};
use super::status_kind::StatusKind;
use super::values;

/// Nodes of one stage with the same status for the same reason.
struct Group {
    state: StatusKind,
    why: String,
    /// For blocked nodes: the nodes that block them.
    by: Vec<NodeId>,
    nodes: Vec<usize>,
}

/// A stage and its nodes.
struct Row<'a> {
    stage: &'a str,
    nodes: usize,
    groups: Vec<Group>,
}

/// The number of groups shown for each stage.
const SHOWN: usize = 3;

/// Returns the table: a row for each stage, in pipeline order, with the number of nodes of each status and the reasons.
/// With a forecast, it has a time column.
pub fn table(plan: &Plan, statuses: &[NodeStatus], forecast: Option<&Forecast>) -> String {
    let names = Names::of(&plan.graph);
    let rows = rows(plan, statuses);
    let count =
        |row: &Row, state| -> usize { row.groups.iter().filter(|g| g.state == state).map(|g| g.nodes.len()).sum() };
    let columns: Vec<StatusKind> = StatusKind::ALL
        .into_iter()
        .filter(|state| *state == StatusKind::Fresh || rows.iter().any(|row| count(row, *state) > 0))
        .collect();
    let mut head: Vec<_> = ["stage", "nodes"].into_iter().chain(columns.iter().map(|s| s.word())).collect();
    head.extend(forecast.map(|_| "time"));
    let mut lines = vec![head.into_iter().map(|title| paint(BOLD, title)).collect::<Vec<_>>()];
    for row in &rows {
        let mut line = vec![row.stage.to_owned(), row.nodes.to_string()];
        for state in &columns {
            let n = count(row, *state);
            line.push(if n == 0 { String::new() } else { state.painted(n) });
        }
        if let Some(forecast) = forecast {
            line.push(forecast.of_stage(row.stage));
        }
        let not_fresh: Vec<_> = row.groups.iter().filter(|g| g.state != StatusKind::Fresh).collect();
        let mut whys: Vec<_> = not_fresh.iter().take(SHOWN).map(|g| g.line(row, &names)).collect();
        if not_fresh.len() > SHOWN {
            whys.push(format!("and {} more reasons: `dpt status --nodes` lists them", not_fresh.len() - SHOWN));
        }
        let indent = line.len();
        let mut whys = whys.into_iter().map(|why| paint(DIM, why));
        line.push(whys.next().unwrap_or_default());
        lines.push(line);
        lines.extend(whys.map(|why| [vec![String::new(); indent], vec![why]].concat()));
    }
    let mut align = vec![Align::Left];
    align.resize(2 + columns.len() + usize::from(forecast.is_some()), Align::Right);
    align.push(Align::Left);
    render::table(&lines, &align)
}

impl Group {
    fn line(&self, row: &Row, names: &Names) -> String {
        let why = match self.state {
            StatusKind::Blocked => {
                let by: Vec<_> = self.by.iter().map(|id| id.index()).collect();
                format!("by {}", names.line(&by))
            }
            _ => self.why.clone(),
        };
        match self.nodes.len() == row.nodes && row.groups.len() == 1 {
            true => why,
            false => format!("{}: {why}", names.line(&self.nodes)),
        }
    }
}

fn rows<'a>(plan: &'a Plan, statuses: &[NodeStatus]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row_of: HashMap<&str, usize> = HashMap::new();
    let mut group_of: HashMap<(usize, StatusKind, String), usize> = HashMap::new();
    for status in statuses {
        let stage = plan.graph.node(status.id).stage.as_str();
        let at = *row_of.entry(stage).or_insert_with(|| {
            rows.push(Row { stage, nodes: 0, groups: Vec::new() });
            rows.len() - 1
        });
        let row = &mut rows[at];
        row.nodes += 1;
        let state = StatusKind::of(&status.freshness);
        let (why, by) = match &status.freshness {
            Freshness::Fresh { .. } => (String::new(), &[][..]),
            Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. } => (brief(reasons), &[][..]),
            Freshness::Blocked { by } => {
                let mut stages: Vec<_> = by.iter().map(|id| plan.graph.node(*id).stage.as_str()).collect();
                stages.dedup();
                (stages.join(" "), &by[..])
            }
            Freshness::Broken { error } => (error.message.clone(), &[][..]),
        };
        let group = *group_of.entry((at, state, why.clone())).or_insert_with(|| {
            row.groups.push(Group { state, why, by: Vec::new(), nodes: Vec::new() });
            row.groups.len() - 1
        });
        row.groups[group].nodes.push(status.id.index());
        row.groups[group].by.extend(by);
    }
    for group in rows.iter_mut().flat_map(|row| &mut row.groups) {
        group.by.sort();
        group.by.dedup();
    }
    rows
}

/// Returns at most three reasons in one line, without digests: `learning_rate 0.3 -> 0.5; input data changed`.
pub fn brief(reasons: &[StaleReason]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for reason in reasons {
        let text = match reason {
            StaleReason::Changed { field, new: FieldContent::Digest(_), .. } => match field {
                FieldName::Input { role, .. } => format!("input {role} changed"),
                FieldName::File(name) => format!("file {name} changed"),
                _ => reason.to_string(),
            },
            StaleReason::Changed {
                field: FieldName::Param(name),
                old: FieldContent::Value(old),
                new: FieldContent::Value(new),
            } => {
                let parts = values::changes(name, old, new).into_iter();
                parts.map(|(name, old, new)| format!("{name} {old} -> {new}")).collect::<Vec<_>>().join("; ")
            }
            StaleReason::Changed { field: FieldName::Producer { role, .. }, .. } => format!("input {role} changed"),
            StaleReason::Added { field: FieldName::Producer { role, .. }, .. } => {
                format!("input {role} has more nodes")
            }
            StaleReason::Dropped { field: FieldName::Producer { role, .. }, .. } => {
                format!("input {role} has fewer nodes")
            }
            _ => reason.to_string(),
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let more = texts.len().saturating_sub(3);
    let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
    texts.truncate(3);
    plain(&texts.join("; ")) + &tail
}

/// Returns why a node has its status, in one line.
pub fn why(plan: &Plan, freshness: &Freshness) -> String {
    match freshness {
        Freshness::Fresh { stored } => {
            format!("took {}, {}", render::seconds(stored.seconds), render::bytes(stored.size()))
        }
        Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. } => brief(reasons),
        Freshness::Blocked { by } => {
            let names: Vec<_> = by.iter().map(|id| plan.graph.node(*id).short()).collect();
            format!("by {}", few(&names, 3))
        }
        Freshness::Broken { error } => error.message.clone(),
    }
}

/// Returns the number of nodes of each status that occurs: `1 fresh, 2 stale`.
pub fn counts(statuses: &[NodeStatus]) -> String {
    let count = |state| statuses.iter().filter(|s| StatusKind::of(&s.freshness) == state).count();
    let some = |state: StatusKind| (count(state) > 0).then(|| format!("{} {}", count(state), state.word()));
    StatusKind::ALL.into_iter().filter_map(some).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    #[test]
    fn brief_leaves_out_digests_and_repeats() {
        let changed = |field, old: &[u8], new: &[u8]| StaleReason::Changed {
            field,
            old: FieldContent::Digest(Digest::of(old)),
            new: FieldContent::Digest(Digest::of(new)),
        };
        let input = |file: &str| FieldName::Input { role: "data".into(), at: String::new(), file: file.into() };
        let reasons = [
            changed(input("a"), b"1", b"2"),
            changed(input("b"), b"1", b"2"),
            changed(FieldName::File("x.txt".into()), b"1", b"2"),
            StaleReason::Forced,
            StaleReason::NeverMade,
        ];
        assert_eq!(brief(&reasons), "input data changed; file x.txt changed; forced; and 1 more");
    }
}
