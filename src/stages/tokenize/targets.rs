//! How a node writes and scores targets: its verbalizer and its metrics.

use crate::base::diag::Diag;
use crate::base::value::Params;
use crate::data::task::{MetricMode, Task};
use crate::data::template::Template;
use crate::data::verbalizer::Verbalizer;

/// Returns the metric mode that is asked for, or the template's own.
pub(super) fn metric_mode(asked: Option<&str>, template: Template) -> MetricMode {
    match (asked, template) {
        (Some(name), _) => MetricMode::find(name).expect("the parameter's type has checked it"),
        (None, Template::Plain) => MetricMode::Official,
        (None, Template::DptPaper) => MetricMode::DptPaper,
    }
}

/// Returns the verbalizer that is asked for, or the template's own.
pub(super) fn verbalizer(task: &dyn Task, template: Template, table: Option<&Params>) -> Result<Verbalizer, Diag> {
    table.map_or_else(|| Ok(Verbalizer::of(task, template)), |table| Verbalizer::with_table(task, template, table))
}
