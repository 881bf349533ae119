//! Checks of a stage's keys: unknown ones, and parameters that must be set.

use crate::base::diag::Diag;
use crate::base::suggest::nearest;
use crate::pipeline::coerce;
use crate::pipeline::parse::RESOURCE_KEYS;
use crate::pipeline::source::{Diags, list, wrong};
use crate::pipeline::spec::STAGE_KEYS;
use crate::stages::stage::Param;

use super::instance::{Settings, ValueOrigin};

impl Settings<'_> {
    pub(super) fn check_keys(&self, diags: &mut Diags) {
        for entry in &self.of.stage.settings {
            if self.param(&entry.key).is_none() {
                let all = self.of.kind.all_params();
                let known = all.iter().map(|p| p.name).chain(STAGE_KEYS.iter().copied());
                let diag = wrong(&entry.key_span, format!("unknown key `{}` in {}", entry.key, self.owner));
                let what = format!("parameters of `{}`", self.of.kind.name);
                let params: Vec<_> = all.iter().map(|p| p.name).collect();
                diags.push(match nearest(&entry.key, known) {
                    Some(name) => diag.label(format!("did you mean `{name}`?")),
                    None if RESOURCE_KEYS.contains(&entry.key.as_str()) => {
                        diag.help(format!("write it as `resources = {{ {} = … }}`", entry.key))
                    }
                    None if params.is_empty() => {
                        diag.help(format!("stage kind `{}` has no parameters", self.of.kind.name))
                    }
                    None => diag.help(format!("{what}: {}", list(&params))),
                });
            }
        }
    }

    /// A parameter without a default must be set for every instance.
    pub(super) fn check_covered(&self, param: &Param, by: &[(usize, ValueOrigin)], diags: &mut Diags) {
        let covered = |cell: &[u32]| by.iter().any(|(n, _)| self.rules[*n].filters.iter().all(|f| f.holds(cell)));
        let bare = self.of.sweep.cells.iter().find(|cell| !covered(cell));
        if !by.is_empty() && bare.is_none() {
            return;
        }
        let diag = wrong(&self.of.stage.name.span, format!("{} lacks the parameter `{}`", self.owner, param.name));
        let diag = diag.note(format!("`{}`: {}", param.name, param.doc));
        let diag = diag.note(format!("it must be {}", coerce::describe(&param.ty)));
        diags.push(match bare.filter(|_| !by.is_empty()) {
            Some(cell) => diag.label(format!("no `by` row sets it for `{}`", self.name(cell))),
            None => diag.help(format!("add `{} = …` to it", param.name)),
        });
    }

    pub(super) fn missing(&self, param: &Param, cell: &[u32]) -> Diag {
        wrong(&self.of.stage.name.span, format!("{} lacks the parameter `{}`", self.owner, param.name))
            .note(format!("`{}`: {}", param.name, param.doc))
            .note(format!("it must be {}", coerce::describe(&param.ty)))
            .label(format!("needed for `{}`", self.name(cell)))
            .help(format!("add `{} = …` to it", param.name))
    }
}
