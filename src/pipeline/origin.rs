//! [`Origin`]: the place in the pipeline file where a node's parameter is set, to explain changes.

use crate::base::diag::Span;
use crate::engine::graph::NodeId;

use super::Plan;
use super::doc::Item;
use super::expand::{Sweep, filter};
use super::settings::texts_of;
use super::spec::{Condition, StageSpec, Word};
use super::subst::{Scope, Texts};

/// Where a parameter's value comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where the value is written.
    pub span: Span,
    /// The conditions of the `by` row that set it: `method = "dpt"`.
    pub by: Option<String>,
}

/// `pipelines/x.toml:61 (by method = "dpt")`.
impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The column is for errors; an argument has no lines.
        let file = self.span.source.path.display();
        match self.span.source.path.to_string_lossy().starts_with("--") {
            true => write!(f, "{file}")?,
            false => write!(f, "{file}:{}", self.span.line_column().0)?,
        }
        self.by.iter().try_for_each(|by| write!(f, " (by {by})"))
    }
}

impl Plan {
    /// Where the parameter `param` of a node is set; `None` where it has its default.
    pub fn origin(&self, id: NodeId, param: &str) -> Option<Origin> {
        let node = self.graph.node(id);
        let (number, (_, sweep, nodes)) =
            self.index.stages.iter().enumerate().find(|(_, (name, ..))| *name == node.stage)?;
        let stage = &self.spec.stages[number];
        let cell = &sweep.cells[nodes.binary_search(&id).ok()?];
        let row = stage.by.iter().rev().find_map(|row| {
            let conditions = self.conditions(stage, sweep, &row.entries, cell)?;
            let entry = row.entries.iter().find(|e| e.key == param)?;
            Some((&entry.item, conditions))
        });
        let texts = node.kind.param(node.kind.variant(&node.params), param).map_or(Texts::Plain, texts_of);
        let own = || stage.settings.iter().find(|e| e.key == param).map(|e| &e.item);
        match (row, own()) {
            (Some((item, by)), _) => Some(Origin { span: self.written(item, texts, sweep, cell), by: Some(by) }),
            (None, Some(item)) => Some(Origin { span: self.written(item, texts, sweep, cell), by: None }),
            (None, None) => {
                let at = sweep.axes.iter().position(|axis| self.spec.axes[*axis].name.text == param)?;
                let value = &self.spec.axes[sweep.axes[at]].values[cell[at] as usize];
                Some(Origin { span: value.span.clone(), by: None })
            }
        }
    }

    /// Where the value of `item` is written: of a reference to a parameter, where that is.
    fn written(&self, item: &Item, texts: Texts, sweep: &Sweep, cell: &[u32]) -> Span {
        let of = |axis: usize| sweep.position(axis).map_or(0, |at| cell[at] as usize);
        Scope::new(&self.spec.axes, &self.spec.params).resolve_as(texts, item, &of).span
    }

    /// Returns the conditions of a `by` row in words, where they hold for `cell`.
    fn conditions(
        &self,
        stage: &StageSpec,
        sweep: &Sweep,
        entries: &[super::doc::Entry],
        cell: &[u32],
    ) -> Option<String> {
        let mut words = Vec::new();
        for entry in entries {
            if !sweep.axes.iter().any(|axis| self.spec.axes[*axis].name.text == entry.key) {
                continue;
            }
            let axis = Word { text: entry.key.clone(), span: entry.key_span.clone() };
            let condition = Condition { axis, values: entry.item.one_or_more().to_vec() };
            let filter = filter(&condition, &self.spec.axes, &sweep.axes, &stage.name.text).ok()?;
            if !filter.holds(cell) {
                return None;
            }
            words.push(format!("{} = {}", entry.key, entry.item.to_value()));
        }
        Some(words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::{LoadOptions, load_text};

    #[test]
    fn origin_is_the_row_table_parameter_or_axis() {
        let text = "\
schema = 1
[axes]
task = [\"rte\", \"cb\"]
[params]
length = 32
[source.here]
url = \"file:x\"
[stage.data]
kind = \"download\"
axes = [\"task\"]
source = \"here\"
format = \"superglue\"
[stage.model]
kind = \"download\"
source = \"here\"
format = \"checkpoint\"
[stage.tokenize]
axes = [\"task\"]
needs = { data = \"data\", tokenizer = \"model\" }
max_source_length = \"{params.length}\"
[[stage.tokenize.by]]
task = \"cb\"
max_source_length = 64
[stage.count]
kind = \"command\"
needs = { data = \"data[*]\" }
run = [\"wc\", \"{out.n}\", \"{in.data/train.jsonl}\", \"{params.length}\"]
outputs = { n = \"n.txt\" }
";
        let plan = load_text(Path::new("x.toml"), text.to_owned(), &LoadOptions::default()).unwrap();
        let of = |node: &str, param: &str| {
            let id = plan.select(&[node.to_owned()]).unwrap()[0];
            plan.origin(id, param).map(|origin| origin.to_string()).unwrap_or_default()
        };
        assert_eq!(of("tokenize[rte]", "max_source_length"), "x.toml:5");
        assert_eq!(of("tokenize[cb]", "max_source_length"), "x.toml:23 (by task = \"cb\")");
        assert_eq!(of("tokenize[cb]", "max_target_length"), "");
        assert_eq!(of("data[cb]", "task"), "x.toml:3");
        assert_eq!(of("model", "format"), "x.toml:16");
        // Its references are the command's own.
        assert_eq!(of("count", "run"), "x.toml:27");
        let sets = vec![("stage.tokenize.max_source_length".to_owned(), "8".to_owned())];
        let options = LoadOptions { sets, ..LoadOptions::default() };
        let plan = load_text(Path::new("x.toml"), text.to_owned(), &options).unwrap();
        let id = plan.select(&["tokenize[cb]".to_owned()]).unwrap()[0];
        let shown = plan.origin(id, "max_source_length").unwrap().to_string();
        assert_eq!(shown, "--set");
    }
}
