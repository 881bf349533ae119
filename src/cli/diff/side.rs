//! [`Side`]: one side of a comparison, with the parameters, keys and metrics of its nodes.

use std::collections::BTreeMap;

use crate::base::diag::Diag;
use crate::base::value::{Params, Value};
use crate::cache::recipe::{FieldContent, FieldName, Recipe};
use crate::cache::{CacheKey, Store};
use crate::cli::common;
use crate::engine::freshness::{Freshness, status};
use crate::engine::history::{NodeFate, PastRun};
use crate::engine::journal::date;
use crate::engine::options::RunOptions;
use crate::pipeline::Plan;
use crate::worker::device::DeviceChoice;

/// A node of one side.
#[derive(Clone, Debug, Default)]
pub struct SideNode {
    /// Its stage.
    pub stage: String,
    /// The kind of its stage; `None` if unknown.
    pub kind: Option<String>,
    /// Its axis values.
    pub axes: Vec<(String, String)>,
    /// Its key; `None` if unknown.
    pub key: Option<CacheKey>,
    /// The parameters in its key; `None` if unknown.
    pub params: Option<Params>,
    /// The parameters that are not in its key.
    pub loose: Params,
    /// Its metrics; empty without a result.
    pub metrics: BTreeMap<String, f64>,
    /// It failed or was skipped.
    pub failed: bool,
}

/// One side of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Its title.
    pub title: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// Its nodes by full name.
    pub nodes: BTreeMap<String, SideNode>,
    /// Notes about missing information.
    pub notes: Vec<String>,
}

impl Side {
    /// Makes the side of a run from its journal and the results in the store.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn of_run(run: &PastRun, store: &Store) -> Result<Self, Diag> {
        let title = format!("run {} of {}, {}", run.id, run.pipeline, date(run.at));
        let mut side = Self { title, pipeline: run.pipeline.clone(), ..Self::default() };
        let mut lost = 0;
        for (name, seen) in &run.nodes {
            let (stage, axes) = parts(name);
            let mut item = SideNode { stage, axes, key: seen.key, ..SideNode::default() };
            item.failed = matches!(seen.fate, NodeFate::Failed(_) | NodeFate::Skipped(_) | NodeFate::Begun);
            let entry = seen.key.map(|key| store.entry(key)).transpose()?.flatten();
            match &entry {
                Some(entry) => {
                    item.kind = kind(&entry.recipe);
                    item.params = Some(params(&entry.recipe));
                    let own = entry.made.iter().find(|made| made.run == run.id);
                    item.metrics = own.unwrap_or(&entry.made[0]).metrics.clone();
                }
                None => lost += usize::from(!item.failed),
            }
            match &seen.fate {
                NodeFate::Made { metrics, .. } => item.metrics = metrics.clone(),
                _ if item.failed => item.metrics.clear(),
                _ => {}
            }
            side.nodes.insert(name.clone(), item);
        }
        if lost > 0 {
            side.notes.push(format!(
                "{lost} of the {} results of run {} are not in the store, so their parameters are unknown",
                run.nodes.len(),
                run.id
            ));
        }
        Ok(side)
    }

    /// Makes the side of a pipeline from its nodes and their results in the store. Uses the files of the working tree.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub fn of_plan(title: String, plan: &Plan, store: &Store) -> Result<Self, Vec<Diag>> {
        let options = RunOptions {
            pipeline: plan.name.clone(),
            targets: plan.targets.clone(),
            outside: plan.outside.clone(),
            ..RunOptions::default()
        };
        let executor = common::local(DeviceChoice::Auto, 1, store, &plan.name);
        let mut side = Self { title, pipeline: plan.name.clone(), ..Self::default() };
        for status in status(&plan.graph, store, &options, &executor) {
            let node = plan.graph.node(status.id);
            let variant = node.kind.variant(&node.params);
            let counts = |name: &str| node.kind.param(variant, name).is_some_and(|param| param.in_key);
            let (params, loose) = Params::clone(&node.params).into_iter().partition(|(name, _)| counts(name));
            let mut item = SideNode {
                stage: node.stage.clone(),
                kind: Some(node.kind.name.to_owned()),
                axes: node.axes.clone(),
                params: Some(params),
                loose,
                ..SideNode::default()
            };
            let resources = &node.resources;
            let mut free = |name: &str, value: i64| item.loose.insert(format!("resources.{name}"), Value::Int(value));
            free("cpu", resources.cpu as i64);
            free("gpu", resources.gpu as i64);
            free("retries", i64::from(resources.retries));
            free("timeout", resources.timeout.unwrap_or(0) as i64);
            match status.freshness {
                Freshness::Fresh { stored } => {
                    item.key = Some(stored.key);
                    let entry = store.entry(stored.key).map_err(|diag| vec![diag])?;
                    let made = entry.and_then(|e| e.made.into_iter().find(|made| made.numerics == stored.numerics));
                    item.metrics = made.map(|made| made.metrics).unwrap_or_default();
                }
                Freshness::Stale { key, .. } | Freshness::Damaged { key, .. } => item.key = Some(key),
                Freshness::Blocked { .. } | Freshness::Broken { .. } => {}
            }
            side.nodes.insert(node.to_string(), item);
        }
        Ok(side)
    }
}

/// Splits the full name of a node into stage and axes.
fn parts(name: &str) -> (String, Vec<(String, String)>) {
    let Some((stage, inner)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) else {
        return (name.to_owned(), Vec::new());
    };
    let mut axes: Vec<(String, String)> = Vec::new();
    for part in inner.split(',') {
        match (part.split_once('='), axes.last_mut()) {
            (Some((axis, value)), _) => axes.push((axis.to_owned(), value.to_owned())),
            // A value that contains a comma.
            (None, Some((_, value))) => *value = format!("{value},{part}"),
            (None, None) => {}
        }
    }
    (stage.to_owned(), axes)
}

fn kind(recipe: &Recipe) -> Option<String> {
    match recipe.get(&FieldName::Stage)? {
        FieldContent::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the fields of a recipe that come from the pipeline and the working tree: all but the inputs.
fn params(recipe: &Recipe) -> Params {
    let mut params = Params::new();
    for field in recipe.fields() {
        let name = match &field.name {
            FieldName::Param(name) => name.clone(),
            FieldName::File(name) => format!("file {name}"),
            FieldName::Version => "stage version".to_owned(),
            _ => continue,
        };
        let value = match &field.content {
            FieldContent::Value(value) => value.clone(),
            FieldContent::Number(n) => Value::Int(*n as i64),
            other => Value::Str(other.to_string()),
        };
        params.insert(name, value);
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_split_into_stage_and_axes() {
        let axes = |name: &str| parts(name).1.into_iter().map(|(a, v)| format!("{a}:{v}")).collect::<Vec<_>>();
        assert_eq!(parts("report").0, "report");
        assert_eq!(parts("train[task=rte,seed=42]").0, "train");
        assert_eq!(axes("train[task=rte,seed=42]"), ["task:rte", "seed:42"]);
        assert_eq!(axes("train[text=a,b,seed=1]"), ["text:a,b", "seed:1"]);
        assert_eq!(axes("report"), [""; 0]);
    }
}
