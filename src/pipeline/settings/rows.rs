//! The `by` rows of a stage: their conditions, and keys that they cannot have.

use crate::base::diag::Diag;
use crate::pipeline::doc::Entry;
use crate::pipeline::expand::filter;
use crate::pipeline::parse::unknown_key;
use crate::pipeline::source::{Diags, list, warning, wrong};
use crate::pipeline::spec::{ByRow, Condition, Word};

use super::instance::{Rule, Settings};

impl<'a> Settings<'a> {
    /// Returns the conditions of a row: its keys that are axes of the stage. Unknown keys are reported.
    pub(super) fn rule(&self, row: &'a ByRow, diags: &mut Diags) -> Option<Rule<'a>> {
        let mut filters = Vec::new();
        let mut good = true;
        for entry in &row.entries {
            if self.has_axis(&entry.key).is_some() {
                let axis = Word { text: entry.key.clone(), span: entry.key_span.clone() };
                let condition = Condition { axis, values: entry.item.one_or_more().to_vec() };
                match filter(&condition, &self.of.spec.axes, &self.of.sweep.axes, &self.owner) {
                    Ok(filter) => filters.push(filter),
                    Err(problems) => {
                        good = false;
                        problems.into_iter().for_each(|d| diags.push(d));
                    }
                }
            } else if self.param(&entry.key).is_none() {
                good = false;
                diags.push(self.unknown_in_row(entry));
            }
        }
        if filters.is_empty() && good {
            let diag = wrong(&row.span, format!("this `by` row of {} has no condition", self.owner));
            let axes: Vec<_> = self.of.sweep.axes.iter().map(|id| self.of.spec.axes[*id].name.text.as_str()).collect();
            diags.push(match axes.is_empty() {
                true => diag.help("the stage has no axes: write the settings in its own table"),
                false => diag
                    .help(format!("name a value of {}, or write the settings in the stage's own table", list(&axes))),
            });
        }
        let narrowed = self.of.sweep.axes.iter().any(|id| self.of.spec.axes[*id].former.is_some());
        let idle = !self.of.sweep.cells.iter().any(|cell| filters.iter().all(|f| f.holds(cell)));
        if good && !filters.is_empty() && idle && !narrowed {
            diags.push(warning(&row.span, format!("this `by` row holds for no instance of {}", self.owner)));
        }
        Some(Rule { filters, spec: row })
    }

    pub(super) fn unknown_in_row(&self, entry: &Entry) -> Diag {
        if self.of.spec.axes.iter().any(|a| a.name.text == entry.key) {
            let diag = wrong(&entry.key_span, format!("{} has no axis `{}`", self.owner, entry.key));
            return diag.help("a `by` row may only name the stage's own axes");
        }
        let axes = self.of.sweep.axes.iter().map(|id| self.of.spec.axes[*id].name.text.as_str());
        let known: Vec<_> = axes.chain(self.of.kind.all_params().iter().map(|p| p.name)).collect();
        unknown_key(entry, &format!("a `by` row of {}", self.owner), &known)
    }
}
