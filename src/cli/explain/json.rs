//! The output of `dpt explain --json`: one object.

use serde_json::{Map, Value, json};

use super::explained::Explained;
use crate::cache::StaleReason;
use crate::cache::recipe::{FieldContent, FieldName};
use crate::cli::status_kind::StatusKind;
use crate::engine::explain::{Change, Explanation};
use crate::engine::freshness::Freshness;
use crate::engine::graph::NodeId;
use crate::engine::history::NodeFate;
use crate::pipeline::Plan;

pub(super) fn text(explained: &Explained) -> String {
    let Explained { plan, node, .. } = explained;
    let it = plan.graph.node(node.id);
    let mut value = one(plan, node);
    value["schema"] = json!(1);
    value["pipeline"] = json!(plan.name);
    if let Freshness::Blocked { by } = &node.freshness {
        value["by"] = by.iter().map(|id| plan.graph.node(*id).to_string()).collect();
        value["first"] = node.first.iter().map(|one_| one(plan, one_)).collect();
    }
    let loose = it.kind.all_params().into_iter().filter(|param| !param.in_key);
    let mut free: Map<_, _> = loose.filter_map(|p| Some((p.name.to_owned(), json!(it.params.get(p.name)?)))).collect();
    let resources = &it.resources;
    free.insert(
        "resources".into(),
        json!({
            "cpu": resources.cpu, "gpu": resources.gpu, "retries": resources.retries, "timeout": resources.timeout,
        }),
    );
    value["not_in_key"] = Value::Object(free);
    if let Some(recipe) = &node.recipe {
        let fields =
            recipe.fields().iter().map(|f| json!({ "field": f.name.to_string(), "value": content(&f.content) }));
        value["recipe"] = fields.collect();
    }
    if let (Freshness::Fresh { stored }, Some(entry)) = (&node.freshness, &node.entry) {
        let made = entry.made.iter().find(|made| made.numerics == stored.numerics).unwrap_or(&entry.made[0]);
        value["made"] = json!({
            "at": made.at, "run": made.run, "node": made.node, "seconds": made.seconds, "bytes": stored.size(),
            "numerics": made.numerics, "metrics": made.metrics, "files": made.files, "notes": made.notes,
        });
    }
    if let Some((run, seen)) = explained.last {
        let (fate, why) = match &seen.fate {
            NodeFate::Hit(_) => ("hit", Value::Null),
            NodeFate::Made { .. } => ("made", Value::Null),
            NodeFate::Failed(error) => ("failed", json!(error)),
            NodeFate::Skipped(because) => ("skipped", json!(because)),
            NodeFate::Begun => ("begun", Value::Null),
        };
        value["last"] = json!({ "run": run.id, "at": seen.at, "fate": fate, "why": why });
    }
    format!("{value}\n")
}

fn one(plan: &Plan, node: &Explanation) -> Value {
    let mut value = json!({
        "node": plan.graph.node(node.id).to_string(),
        "status": StatusKind::of(&node.freshness).word(),
        "key": node.key.map(|key| key.hex()),
        "old_key": node.old.as_ref().map(|(key, _)| key.hex()),
        "changes": changes(plan, node.id, &node.changes),
    });
    if let Freshness::Broken { error } = &node.freshness {
        value["error"] = json!(error.message);
    }
    value
}

fn changes(plan: &Plan, id: NodeId, all: &[Change]) -> Value {
    all.iter().map(|c| change(plan, id, c)).collect()
}

fn change(plan: &Plan, id: NodeId, change: &Change) -> Value {
    let (kind, field, old, new) = match &change.reason {
        StaleReason::Changed { field, old, new } => ("changed", Some(field), Some(old), Some(new)),
        StaleReason::Added { field, new } => ("added", Some(field), None, Some(new)),
        StaleReason::Dropped { field, old } => ("dropped", Some(field), Some(old), None),
        other => return json!({ "what": other.to_string(), "reason": other }),
    };
    let mut value = json!({
        "what": kind, "field": field.map(ToString::to_string), "old": old.map(content), "new": new.map(content),
    });
    if let Some(FieldName::Param(param)) = field
        && let Some(origin) = plan.origin(id, param)
    {
        let (line, column) = origin.span.line_column();
        let file = origin.span.source.path.display().to_string();
        value["origin"] = json!({ "file": file, "line": line, "column": column, "by": origin.by });
    }
    if !change.causes.is_empty() {
        let cause = |cause: &crate::engine::explain::Cause| {
            json!({
                "node": plan.graph.node(cause.id).to_string(), "run": cause.run, "same_key": cause.same_key,
                "changes": changes(plan, cause.id, &cause.changes),
            })
        };
        value["causes"] = change.causes.iter().map(cause).collect();
    }
    value
}

fn content(content: &FieldContent) -> Value {
    match content {
        FieldContent::Number(n) => json!(n),
        FieldContent::Text(text) => json!(text),
        FieldContent::Value(value) => json!(value),
        FieldContent::Digest(digest) => json!(format!("b3:{}", digest.hex())),
    }
}
