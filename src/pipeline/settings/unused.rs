//! Reports parameters that are set but apply to no instance.

use crate::base::diag::{Diag, Span};
use crate::base::suggest::nearest;
use crate::base::value::Value;
use crate::pipeline::expand::Cell;
use crate::pipeline::source::{Diags, list, wrong};
use crate::stages::stage::{Param, Variant};

use super::instance::{Settings, ValueOrigin};

impl Settings<'_> {
    /// Reports what is set and counts for no instance, because no instance's method (or what else decides) has it. Call
    /// it after [`params`](Settings::params) of all instances. When a stage goes over several methods, a value set for
    /// all of them counts for those that have the parameter, also where `--set` has left methods out.
    pub fn report_unused(&self, diags: &mut Diags) {
        let Some(variants) = self.of.kind.variants else { return };
        if self.of.sweep.cells.is_empty() || self.of.sweep.axes.iter().any(|id| self.of.spec.axes[*id].former.is_some())
        {
            return;
        }
        let counts = |cell: &[u32], name: &str| {
            let word = self.word(variants.of, cell);
            let row = variants.rows.iter().find(|row| Some(row.word) == word.as_deref());
            row.is_none_or(|row| row.params().any(|param| param.name == name))
        };
        for setting in self.settings.iter().filter(|setting| setting.of_variants) {
            let name = setting.param.name;
            let own = self.of.stage.settings.iter().find(|e| e.key == name);
            let axis = self.has_axis(name).map(|_| &self.of.stage.name.span);
            if let Some(span) = own.map(|entry| &entry.key_span).or(axis).filter(|_| !setting.used.get()) {
                diags.push(self.unused(span, setting.param, &self.of.sweep.cells.iter().collect::<Vec<_>>()));
            }
            for rule in &self.rules {
                let Some(entry) = rule.spec.entries.iter().find(|e| e.key == name) else { continue };
                let cells: Vec<_> =
                    self.of.sweep.cells.iter().filter(|cell| rule.filters.iter().all(|f| f.holds(cell))).collect();
                if !cells.is_empty() && !cells.iter().any(|cell| counts(cell, name)) {
                    diags.push(self.unused(&entry.key_span, setting.param, &cells));
                }
            }
        }
    }

    /// Returns the value of the parameter that decides, for one instance.
    fn word(&self, of: &str, cell: &[u32]) -> Option<String> {
        let setting = self.settings.iter().find(|setting| setting.param.name == of)?;
        let holds = |number: usize| self.rules[number].filters.iter().all(|f| f.holds(cell));
        let row = setting.by.iter().rev().find(|(number, _)| holds(*number));
        let value = match row.map_or(&setting.base, |(_, origin)| origin) {
            ValueOrigin::Default => setting.default.clone(),
            origin => self.value_of(setting.param, origin, cell, &mut Diags::new()),
        };
        value.as_ref().and_then(Value::as_str).map(str::to_owned)
    }

    /// `param` is set at `span` for `cells`, and none of them has it.
    fn unused(&self, span: &Span, param: &Param, cells: &[&Cell]) -> Diag {
        let variants = self.of.kind.variants.expect("only a variant's parameter can be unused");
        let mut words: Vec<_> = cells.iter().filter_map(|cell| self.word(variants.of, cell)).collect();
        words.sort();
        words.dedup();
        let of = variants.of;
        let shown: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        let (who, name) = (shown.join(" and "), param.name);
        let message = match &shown[..] {
            [_] => format!("{of} {who} has no parameter `{name}`"),
            _ => format!("{of}s {who} have no parameter `{name}`"),
        };
        let diag = wrong(span, message);
        let rows = variants.rows.iter();
        let own = rows.clone().filter(|row| words.iter().any(|word| word == row.word)).flat_map(Variant::params);
        let known = own.map(|p| p.name).chain(self.of.kind.params.iter().map(|p| p.name));
        let having = rows.filter(|row| row.params().any(|p| p.name == param.name)).map(|row| row.word);
        let having: Vec<_> = having.collect();
        let diag = diag.note(format!("it is a parameter of {of} {}", list(&having)));
        match nearest(param.name, known) {
            Some(near) => diag.label(format!("did you mean `{near}`?")),
            None => diag.help("leave it out"),
        }
    }
}
