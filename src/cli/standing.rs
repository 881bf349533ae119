//! How nodes stand, for a person: the words, why, and a table with a row a stage. `status` shows it, and so does a dry run.

use std::collections::HashMap;
use std::time::Duration;

use crate::cache::StaleReason;
use crate::cache::recipe::{FieldContent, FieldName};
use crate::engine::freshness::{Freshness, NodeStatus};
use crate::engine::graph::NodeId;
use crate::pipeline::Plan;

use super::fold::{Names, few};
use super::forecast::Forecast;
use super::render::{self, Align, BAD, BOLD, DIM, GOOD, WARN, paint, plain};
use super::values;

/// The ways to stand, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its result is in the store.
    Fresh,
    /// There was a result, and something that counts has changed.
    Stale,
    /// There is no result, and none is known of.
    Missing,
    /// It waits for a producer that is not fresh.
    Blocked,
    /// Its result is not what was stored.
    Damaged,
    /// Something outside the store that its key depends on cannot be read.
    Unknown,
}

impl State {
    const ALL: [State; 6] =
        [State::Fresh, State::Stale, State::Missing, State::Blocked, State::Damaged, State::Unknown];

    /// Of a node.
    pub fn of(freshness: &Freshness) -> Self {
        match freshness {
            Freshness::Fresh { .. } => State::Fresh,
            Freshness::Stale { reasons, .. } => match reasons[..] {
                [StaleReason::NeverMade | StaleReason::Removed] => State::Missing,
                _ => State::Stale,
            },
            Freshness::Blocked { .. } => State::Blocked,
            Freshness::Damaged { .. } => State::Damaged,
            Freshness::Broken { .. } => State::Unknown,
        }
    }

    /// In one word, the same for people and programs.
    pub const fn word(self) -> &'static str {
        match self {
            State::Fresh => "fresh",
            State::Stale => "stale",
            State::Missing => "missing",
            State::Blocked => "blocked",
            State::Damaged => "damaged",
            State::Unknown => "unknown",
        }
    }

    /// With its colour.
    pub fn painted(self, text: impl std::fmt::Display) -> String {
        let style = match self {
            State::Fresh => GOOD,
            State::Stale | State::Missing => WARN,
            State::Blocked => DIM,
            State::Damaged | State::Unknown => BAD,
        };
        paint(style, text)
    }
}

/// Nodes of one stage that stand alike, for the same reason.
struct Group {
    state: State,
    why: String,
    /// Of blocked nodes: what blocks them.
    by: Vec<NodeId>,
    nodes: Vec<usize>,
}

/// A stage and its nodes.
struct Row<'a> {
    stage: &'a str,
    nodes: usize,
    groups: Vec<Group>,
}

/// How many groups of a stage are shown.
const SHOWN: usize = 3;

/// A table with a row a stage, in pipeline order: how many nodes stand how, and why. With a store, also how long the
/// nodes that are not fresh took before.
pub fn table(plan: &Plan, statuses: &[NodeStatus], forecast: Option<&Forecast>) -> String {
    let names = Names::of(&plan.graph);
    let rows = rows(plan, statuses);
    let count =
        |row: &Row, state| -> usize { row.groups.iter().filter(|g| g.state == state).map(|g| g.nodes.len()).sum() };
    let columns: Vec<State> = State::ALL
        .into_iter()
        .filter(|state| *state == State::Fresh || rows.iter().any(|row| count(row, *state) > 0))
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
        let told: Vec<_> = row.groups.iter().filter(|g| g.state != State::Fresh).collect();
        let mut whys: Vec<_> = told.iter().take(SHOWN).map(|g| g.line(row, &names)).collect();
        if told.len() > SHOWN {
            whys.push(format!("and {} more reasons: `--nodes` has them all", told.len() - SHOWN));
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
            State::Blocked => {
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
    let mut group_of: HashMap<(usize, State, String), usize> = HashMap::new();
    for status in statuses {
        let stage = plan.graph.node(status.id).stage.as_str();
        let at = *row_of.entry(stage).or_insert_with(|| {
            rows.push(Row { stage, nodes: 0, groups: Vec::new() });
            rows.len() - 1
        });
        let row = &mut rows[at];
        row.nodes += 1;
        let state = State::of(&status.freshness);
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

/// Reasons in one line, without digests: `learning_rate 0.3 -> 0.5; input data changed`, at most three of them.
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
            StaleReason::Added { field: FieldName::Producer { role, .. }, .. } => format!("input {role} has more"),
            StaleReason::Dropped { field: FieldName::Producer { role, .. }, .. } => format!("input {role} has fewer"),
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

/// Why one node is as it is.
pub fn why(plan: &Plan, freshness: &Freshness) -> String {
    match freshness {
        Freshness::Fresh { stored } => format!("took {}, {}", seconds(stored.seconds), render::bytes(stored.size())),
        Freshness::Stale { reasons, .. } | Freshness::Damaged { reasons, .. } => brief(reasons),
        Freshness::Blocked { by } => {
            let names: Vec<_> = by.iter().map(|id| plan.graph.node(*id).short()).collect();
            format!("by {}", few(&names, 3))
        }
        Freshness::Broken { error } => error.message.clone(),
    }
}

/// `12 s`.
pub fn seconds(seconds: f64) -> String {
    render::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `1 fresh, 2 stale`: those that there are.
pub fn counts(statuses: &[NodeStatus]) -> String {
    let count = |state| statuses.iter().filter(|s| State::of(&s.freshness) == state).count();
    let some = |state: State| (count(state) > 0).then(|| format!("{} {}", count(state), state.word()));
    State::ALL.into_iter().filter_map(some).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    #[test]
    fn digests_are_left_out_and_files_of_one_input_are_one() {
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
