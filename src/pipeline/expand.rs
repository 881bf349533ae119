//! Expands axes, `exclude`, `include` and `when` into the cells of each stage, one for each instance.

use std::collections::HashMap;

use crate::base::diag::{Diag, Span};
use crate::base::value::Value;

use super::parse::{axis_value, same_type};
use super::source::{Diags, suggest, wrong};
use super::spec::{Axis, Condition, Row, Spec, Word};

/// How many nodes a pipeline may have.
pub const MOST_NODES: usize = 1_000_000;
/// How many values of axes all nodes may have together.
const MOST_VALUES: usize = 32_000_000;
/// How often instances may be compared with rows of conditions.
pub const MOST_CHECKS: usize = 100_000_000;

/// One instance: for each axis of its stage, in axis order, the index of its value.
pub type Cell = Box<[u32]>;

/// The axes of one stage, as indices into `spec.axes`, in that order, and its cells, in the order of their values.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// The axes.
    pub axes: Vec<usize>,
    /// The cells.
    pub cells: Vec<Cell>,
}

impl Sweep {
    /// Returns the position of axis `axis` in a cell.
    pub fn position(&self, axis: usize) -> Option<usize> {
        self.axes.binary_search(&axis).ok()
    }
}

/// A condition that is known to make sense: the position in the cell, and which values it allows.
#[derive(Clone, Debug)]
pub struct Filter {
    /// In the cell.
    pub position: usize,
    /// Sorted.
    allowed: Vec<u32>,
}

impl Filter {
    /// Returns whether the cell has one of the values.
    pub fn holds(&self, cell: &[u32]) -> bool {
        self.allowed.binary_search(&cell[self.position]).is_ok()
    }
}

/// Adds the values that only `include` rows have to `spec.axes`, and takes out the rows that are wrong, or that `--set`
/// left behind.
pub fn include_values(spec: &mut Spec, diags: &mut Diags) {
    let rows = std::mem::take(&mut spec.include);
    for row in rows {
        let mut good = true;
        let mut left_behind = false;
        for condition in &row.conditions {
            let Some(id) = diags.ok(find_axis(&spec.axes, &condition.axis, "`axes.include`")) else {
                good = false;
                continue;
            };
            let axis = &mut spec.axes[id];
            for item in &condition.values {
                let Some(mut value) = diags.ok(axis_value(&axis.name.text, item)) else {
                    good = false;
                    continue;
                };
                if axis.find(&value.text).is_some() {
                    continue;
                }
                if axis.former.is_some() {
                    left_behind = true;
                    continue;
                }
                if let (Some(Value::Float(_)), Value::Int(i)) = (axis.values.first().map(|v| &v.value), &value.value) {
                    value.value = Value::Float(*i as f64);
                    value.text = value.value.to_string();
                }
                match axis.values.first() {
                    Some(first) if !same_type(&first.value, &value.value) => {
                        let diag = wrong(&item.span, format!("axis `{}` mixes texts and numbers", axis.name.text));
                        diags.push(diag.label(format!("its first value is `{}`", first.value)));
                        good = false;
                    }
                    _ => axis.push(value),
                }
            }
        }
        if good && !left_behind {
            spec.include.push(row);
        }
    }
}

/// Returns the index of the axis called `name`.
///
/// # Errors
/// There is none.
pub fn find_axis(axes: &[Axis], name: &Word, place: &str) -> Result<usize, Diag> {
    axes.iter().position(|a| a.name.text == name.text).ok_or_else(|| {
        let diag = wrong(&name.span, format!("unknown axis `{}` in {place}", name.text));
        suggest(diag, &name.text, "the axes are", axes.iter().map(|a| a.name.text.as_str()))
    })
}

/// Returns the index in `axis` of what `text` says at `span`; `None` for a value that `--set` took away.
///
/// # Errors
/// It never had that value.
pub fn find_value(axis: &Axis, text: &str, span: &Span) -> Result<Option<usize>, Diag> {
    let index = axis.find(text);
    let was = || axis.former.as_ref().is_some_and(|f| f.iter().any(|v| v == text));
    if index.is_some() || was() {
        return Ok(index);
    }
    let diag = wrong(span, format!("axis `{}` has no value `{text}`", axis.name.text));
    Err(suggest(diag, text, "its values are", axis.values.iter().map(|v| v.text.as_str())))
}

/// Returns what `condition` asks of a cell over `owned`; `owner` has those axes.
///
/// # Errors
/// The axis is unknown or not the owner's, or has no such value.
pub fn filter(condition: &Condition, axes: &[Axis], owned: &[usize], owner: &str) -> Result<Filter, Vec<Diag>> {
    let id = find_axis(axes, &condition.axis, owner).map_err(|d| vec![d])?;
    let Ok(position) = owned.binary_search(&id) else {
        let diag = wrong(&condition.axis.span, format!("{owner} has no axis `{}`", condition.axis.text));
        return Err(vec![
            diag.help(format!("a condition may only name its own axes; add `\"{}\"` to them", condition.axis.text)),
        ]);
    };
    let axis = &axes[id];
    let mut allowed = Vec::new();
    let mut problems = Vec::new();
    for item in &condition.values {
        match axis_value(&axis.name.text, item).and_then(|v| find_value(axis, &v.text, &v.span)) {
            Ok(Some(index)) => allowed.push(index as u32),
            Ok(None) => {}
            Err(diag) => problems.push(diag),
        }
    }
    allowed.sort_unstable();
    if problems.is_empty() { Ok(Filter { position, allowed }) } else { Err(problems) }
}

/// Returns the sweep of every stage, in file order; `None` if the pipeline is too large, which is reported.
pub fn expand(spec: &Spec, diags: &mut Diags) -> Option<Vec<Sweep>> {
    for row in &spec.exclude {
        check_row(row, spec, diags);
    }
    let included: Vec<_> = spec.include.iter().map(|row| picks(row, &spec.axes)).collect();
    let (mut total, mut values, mut checks) = (0_usize, 0_usize, 0_usize);
    let mut sweeps = Vec::new();
    for stage in &spec.stages {
        let owner = format!("stage `{}`", stage.name.text);
        let mut axes: Vec<usize> = Vec::new();
        for word in &stage.axes {
            if let Some(id) = diags.ok(find_axis(&spec.axes, word, &owner)) {
                if axes.contains(&id) {
                    diags.push(wrong(&word.span, format!("{owner} names the axis `{}` twice", word.text)));
                } else {
                    axes.push(id);
                }
            }
        }
        axes.sort_unstable();
        let when: Vec<Filter> =
            stage.when.iter().filter_map(|c| keep(filter(c, &spec.axes, &axes, &owner), diags)).collect();
        let size = size(spec, &axes, &included);
        total = total.saturating_add(size);
        values = values.saturating_add(size.saturating_mul(axes.len()));
        checks = checks.saturating_add(size.saturating_mul(spec.exclude.len() + when.len()));
        let what = match () {
            () if total > MOST_NODES => format!("more than {MOST_NODES} nodes"),
            () if values > MOST_VALUES => format!("nodes with more than {MOST_VALUES} values of axes"),
            () if checks > MOST_CHECKS => {
                format!("more than {MOST_CHECKS} comparisons with the rows of `exclude` and `when`")
            }
            () => {
                let cells = cells(spec, &axes, &included, &when);
                sweeps.push(Sweep { axes, cells });
                continue;
            }
        };
        let diag = wrong(&stage.name.span, format!("the pipeline expands to {what}"));
        diags.push(diag.note(format!("{owner} alone has {size} combinations of its axes")));
        return None;
    }
    Some(sweeps)
}

/// Returns how many combinations a stage with these axes has: those of the declared values, and those of every
/// `include` row.
fn size(spec: &Spec, axes: &[usize], included: &[HashMap<usize, Vec<u32>>]) -> usize {
    let product = |values: &dyn Fn(&usize) -> usize| {
        axes.iter().try_fold(1_usize, |n, a| n.checked_mul(values(a))).unwrap_or(usize::MAX)
    };
    let declared = product(&|a| spec.axes[*a].declared);
    let rows = included.iter().filter(|picked| axes.iter().any(|a| picked.contains_key(a)));
    rows.fold(declared, |sum, picked| {
        sum.saturating_add(product(&|a| picked.get(a).map_or(spec.axes[*a].declared, Vec::len)))
    })
}

fn keep<T>(result: Result<T, Vec<Diag>>, diags: &mut Diags) -> Option<T> {
    result.map_err(|all| all.into_iter().for_each(|d| diags.push(d))).ok()
}

fn check_row(row: &Row, spec: &Spec, diags: &mut Diags) {
    let all: Vec<usize> = (0..spec.axes.len()).collect();
    for condition in &row.conditions {
        keep(filter(condition, &spec.axes, &all, "`axes.exclude`"), diags);
    }
}

/// Returns all combinations, without those of `exclude`, with those of `include`, where `when` holds.
fn cells(spec: &Spec, axes: &[usize], included: &[HashMap<usize, Vec<u32>>], when: &[Filter]) -> Vec<Cell> {
    let declared: Vec<Vec<u32>> = axes.iter().map(|a| (0..spec.axes[*a].declared as u32).collect()).collect();
    let mut cells = product(&declared);
    for row in &spec.exclude {
        let filters: Result<Vec<_>, _> = row.conditions.iter().map(|c| filter(c, &spec.axes, axes, "")).collect();
        if let Ok(filters) = filters {
            cells.retain(|cell| !filters.iter().all(|f| f.holds(cell)));
        }
    }
    for picked in included {
        if axes.iter().any(|a| picked.contains_key(a)) {
            let values: Vec<_> =
                axes.iter().zip(&declared).map(|(a, all)| picked.get(a).unwrap_or(all).clone()).collect();
            cells.extend(product(&values));
        }
    }
    cells.retain(|cell| when.iter().all(|f| f.holds(cell)));
    if !spec.include.is_empty() {
        cells.sort_unstable();
        cells.dedup();
    }
    cells
}

/// Returns the values that an `include` row gives, by axis.
fn picks(row: &Row, axes: &[Axis]) -> HashMap<usize, Vec<u32>> {
    let pick = |c: &Condition| {
        let id = axes.iter().position(|a| a.name.text == c.axis.text)?;
        let find = |i| axis_value("", i).ok().and_then(|v| axes[id].find(&v.text)).map(|v| v as u32);
        Some((id, c.values.iter().filter_map(find).collect()))
    };
    row.conditions.iter().filter_map(pick).collect()
}

fn product(values: &[Vec<u32>]) -> Vec<Cell> {
    let count: usize = values.iter().map(Vec::len).product();
    let mut at = vec![0; values.len()];
    let mut cells = Vec::with_capacity(count);
    for _ in 0..count {
        cells.push(at.iter().zip(values).map(|(at, values): (&usize, _)| values[*at]).collect());
        // The last axis turns fastest.
        for (at, values) in at.iter_mut().zip(values).rev() {
            *at += 1;
            if *at < values.len() {
                break;
            }
            *at = 0;
        }
    }
    cells
}

/// Returns the name of an instance: `train[task=rte,seed=42]`.
pub fn instance_name(spec: &Spec, stage: &str, sweep: &Sweep, cell: &[u32]) -> String {
    let value =
        |(id, v): (&usize, &u32)| format!("{}={}", spec.axes[*id].name.text, spec.axes[*id].values[*v as usize].text);
    let values: Vec<_> = sweep.axes.iter().zip(cell).map(value).collect();
    if values.is_empty() { stage.to_owned() } else { format!("{stage}[{}]", values.join(",")) }
}
