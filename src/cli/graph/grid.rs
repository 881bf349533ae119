//! [`Grid`]: the instances of a stage as cells of a table: the first axis that varies gives the rows, the others the
//! columns.

use std::collections::{BTreeMap, HashMap};

use crate::pipeline::Plan;

use super::fold::Group;
use super::measure::{cut, width};

/// The size of row and column labels.
pub(super) const LABEL: f64 = 10.0;
/// How high a row of cells is, gap included.
pub(super) const ROW: f64 = 16.0;
/// How high a row of column labels is.
pub(super) const HEAD: f64 = 13.0;
/// The gap between cells.
pub(super) const GAP: f64 = 3.0;
/// More rows or columns than this are not labelled: cells are then laid out line by line.
const LABELLED: usize = 48;
/// No label is wider.
const WIDEST: f64 = 110.0;

/// A label over some columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) text: String,
    pub(super) from: usize,
    pub(super) span: usize,
}

/// The cells of a stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Grid {
    /// Labels of the rows; empty when they have none.
    pub(super) rows: Vec<String>,
    /// Labels of the columns, a line for each axis.
    pub(super) heads: Vec<Vec<Head>>,
    pub(super) height: usize,
    pub(super) columns: usize,
    /// Row and column of each instance, in the group's order.
    pub(super) cells: Vec<(usize, usize)>,
    /// How wide a column is, gap included.
    pub(super) pitch: f64,
    /// How wide the row labels are, gap included.
    pub(super) left: f64,
}

impl Grid {
    pub(super) fn new(plan: &Plan, group: &Group) -> Self {
        let varying: Vec<usize> = (0..group.axes.len()).filter(|a| group.axes[*a].1.len() > 1).collect();
        let Some((first, others)) = varying.split_first() else { return Self::plain(group.ids.len()) };
        let ranks: Vec<HashMap<&str, usize>> = group.axes.iter().map(|(_, values)| rank(values)).collect();
        let place = |axis: usize, id| ranks[axis][plan.graph.node(id).axes[axis].1.as_str()];
        // Only the columns that some instance is in.
        let mut columns: BTreeMap<Vec<usize>, usize> =
            group.ids.iter().map(|id| (others.iter().map(|a| place(*a, *id)).collect(), 0)).collect();
        let rows = &group.axes[*first].1;
        if rows.len() > LABELLED {
            return Self::plain(group.ids.len());
        }
        if columns.len() > LABELLED {
            return Self::banded(rows, group.ids.iter().map(|id| place(*first, *id)));
        }
        columns.values_mut().enumerate().for_each(|(i, column)| *column = i);
        let cell = |id| (place(*first, id), columns[&others.iter().map(|a| place(*a, id)).collect::<Vec<_>>()]);
        let cells = group.ids.iter().map(|id| cell(*id)).collect();
        let named: Vec<(Vec<usize>, usize)> = columns.iter().map(|(k, v)| (k.clone(), *v)).collect();
        let heads: Vec<Vec<Head>> =
            others.iter().enumerate().map(|(level, axis)| heads(&named, level, &group.axes[*axis].1)).collect();
        let wanted = heads.iter().flatten().map(|h| (width(&h.text, LABEL) + 6.0) / h.span as f64);
        let pitch = wanted.fold(ROW, f64::max).ceil();
        let rows: Vec<String> = rows.iter().map(|value| cut(value, LABEL, WIDEST)).collect();
        let left = rows.iter().map(|row| width(row, LABEL)).fold(0.0, f64::max).ceil() + 7.0;
        Self { height: rows.len(), rows, heads, columns: columns.len(), cells, pitch, left }
    }

    /// A band of lines for each row, since its cells are too many for one.
    fn banded(names: &[String], row_of: impl Iterator<Item = usize> + Clone) -> Self {
        let mut counts = vec![0; names.len()];
        row_of.clone().for_each(|row| counts[row] += 1);
        let columns = balanced(counts.iter().sum());
        let mut tops = vec![0; names.len()];
        let mut rows = Vec::new();
        for (row, count) in counts.iter().enumerate() {
            tops[row] = rows.len();
            rows.push(cut(&names[row], LABEL, WIDEST));
            rows.resize(tops[row] + count.div_ceil(columns).max(1), String::new());
        }
        let mut used = vec![0; names.len()];
        let mut cell = |row: usize| {
            used[row] += 1;
            (tops[row] + (used[row] - 1) / columns, (used[row] - 1) % columns)
        };
        let cells = row_of.map(&mut cell).collect();
        let left = rows.iter().map(|row| width(row, LABEL)).fold(0.0, f64::max).ceil() + 7.0;
        Self { height: rows.len(), rows, columns, cells, pitch: ROW, left, ..Self::default() }
    }

    /// Without labels, line by line.
    fn plain(n: usize) -> Self {
        let columns = balanced(n);
        let cells = (0..n).map(|i| (i / columns, i % columns)).collect();
        Self { height: n.div_ceil(columns), columns, cells, pitch: ROW, ..Self::default() }
    }

    /// How wide and high all of it is.
    pub(super) fn size(&self) -> (f64, f64) {
        (self.left + self.columns as f64 * self.pitch, self.heads.len() as f64 * HEAD + self.height as f64 * ROW)
    }
}

/// How many columns make about a landscape page of `n` cells.
fn balanced(n: usize) -> usize {
    ((n as f64 * 1.4).sqrt().ceil() as usize).clamp(1, n.max(1))
}

fn rank(values: &[String]) -> HashMap<&str, usize> {
    values.iter().enumerate().map(|(i, value)| (value.as_str(), i)).collect()
}

/// The labels of one axis: columns next to each other that agree in it, and in those before it, share one.
fn heads(columns: &[(Vec<usize>, usize)], level: usize, values: &[String]) -> Vec<Head> {
    let mut heads: Vec<Head> = Vec::new();
    for (i, (key, column)) in columns.iter().enumerate() {
        match heads.last_mut() {
            Some(head) if columns[i - 1].0[..=level] == key[..=level] => head.span += 1,
            _ => heads.push(Head { text: cut(&values[key[level]], LABEL, WIDEST), from: *column, span: 1 }),
        }
    }
    heads
}
