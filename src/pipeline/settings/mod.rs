//! The parameters of a stage's instances. Each comes from the stage's table, its `by` rows, its axes or its kind's
//! defaults, and is brought to its declared type.

mod check;
mod instance;
mod rows;
mod sources;
mod unused;

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use crate::base::value::{Params, Value};
use crate::engine::graph::{Accept, Resources};
use crate::stages::stage::{Param, ParamDefault, Runs, Variant};

use super::doc::Item;
use super::expand::MOST_CHECKS;
use super::source::{Diags, wrong};
use super::spec::ResourcesSpec;
use super::subst::{Fill, MOST_FILLED, PART, Scan};

use instance::{FREE, Setting, ValueOrigin};

pub(super) use instance::texts_of;
pub use instance::{Settings, StageContext};
pub use sources::{Sources, sources};

impl<'a> Settings<'a> {
    /// Checks all settings of a stage, and what does not depend on the instance. Returns `None` if its instances are
    /// too large, which is reported.
    pub fn new(of: StageContext<'a>, diags: &mut Diags) -> Option<Self> {
        let StageContext { spec, stage, kind, sweep, scope, .. } = of;
        let owner = format!("stage `{}`", stage.name.text);
        let number = sweep.cells.len();
        if number.saturating_mul(stage.by.len()) > MOST_CHECKS {
            let rows = stage.by.len();
            let message =
                format!("{owner} has {rows} `by` rows for {number} instances, which takes too long to compare");
            diags.push(wrong(&stage.name.span, message).help(format!("there may be {MOST_CHECKS} comparisons")));
            return None;
        }
        let longest = |id: &usize| {
            let axis = &spec.axes[*id];
            axis.name.text.len() + axis.values.iter().map(|v| v.text.len()).max().unwrap_or(0)
        };
        let name = sweep.axes.iter().map(longest).sum::<usize>() as u64 + PART * sweep.axes.len() as u64;
        let names = name.saturating_sub(FREE).saturating_mul(number as u64);
        if scope.fill(names) != Fill::Fits {
            let limit = crate::fetch::size(MOST_FILLED);
            let message = format!("the values of the axes of all instances together become larger than {limit}");
            diags.push(wrong(&stage.name.span, message).note(format!("{owner} has {number} instances")));
            return None;
        }
        let mut it = Self { of, owner, settings: Vec::new(), rules: Vec::new(), same: OnceCell::new() };
        it.check_keys(diags);
        it.rules = stage.by.iter().filter_map(|row| it.rule(row, diags)).collect();
        it.settings = kind.all_params().into_iter().map(|p| it.setting(p, diags)).collect();
        // What the others depend on comes first.
        if let Some(variants) = kind.variants {
            it.settings.sort_by_key(|setting| setting.param.name != variants.of);
        }
        Some(it)
    }

    fn setting(&self, param: &'static Param, diags: &mut Diags) -> Setting<'a> {
        let own = self.of.stage.settings.iter().find(|e| e.key == param.name);
        let axis = self.has_axis(param.name);
        if let (Some(entry), Some(_)) = (own, axis)
            && self.of.scope.scan_quietly(texts_of(param), &entry.item, &self.owner, &self.of.sweep.axes) == Scan::Fixed
        {
            let message = format!("`{}` is an axis of {}, but is set to one value", param.name, self.owner);
            let diag = wrong(&entry.key_span, message);
            diags.push(diag.help("leave it out: it takes the axis' value; or take the axis out of `axes`"));
        }
        let of_variants = self.of.kind.params.iter().all(|own| own.name != param.name);
        let required = param.default == ParamDefault::Required && !of_variants;
        let base = match (own, axis) {
            (Some(entry), _) => self.origin(param, &entry.item, diags),
            (None, Some(position)) => ValueOrigin::Axis(position),
            (None, None) if required => ValueOrigin::Fixed(None, 0),
            (None, None) => ValueOrigin::Default,
        };
        let mut by = Vec::new();
        if axis.is_none() {
            for (number, rule) in self.rules.iter().enumerate() {
                for entry in rule.spec.entries.iter().filter(|e| e.key == param.name) {
                    by.push((number, self.origin(param, &entry.item, diags)));
                }
            }
        }
        if own.is_none() && axis.is_none() && required {
            self.check_covered(param, &by, diags);
        }
        let default = if of_variants { None } else { param.default.value() };
        let defaults = self.defaults(param);
        Setting { param, of_variants, base, by, default, defaults, used: Cell::new(false) }
    }

    /// Returns what values of the deciding parameter say of the default of `param`.
    fn defaults(&self, param: &Param) -> Vec<(&'static str, Value)> {
        let rows = self.of.kind.variants.map_or(&[][..], |variants| variants.rows);
        let default = |row: &'static Variant| {
            let own = row.params().find(|p| p.name == param.name).and_then(|p| p.default.value());
            let other = || row.defaults.iter().find(|(name, _)| *name == param.name).map(|(_, value)| value.to_value());
            own.or_else(other).map(|value| (row.word, value))
        };
        rows.iter().filter_map(default).collect()
    }

    fn origin(&self, param: &Param, item: &'a Item, diags: &mut Diags) -> ValueOrigin<'a> {
        let texts = texts_of(param);
        let found = self.of.scope.scan_as(texts, item, &self.owner, &self.of.sweep.axes, diags);
        match found.scan {
            Scan::Bad => ValueOrigin::Fixed(None, 0),
            Scan::Varies => ValueOrigin::Varies(item, found.bytes),
            Scan::Fixed => {
                let resolved = self.of.scope.resolve_as(texts, item, &|_| 0);
                ValueOrigin::Fixed(diags.ok(self.typed(param, &resolved, item)), found.bytes)
            }
        }
    }

    /// Returns the parameters of one instance; `None` when one is wrong, and was reported.
    pub fn params(&self, cell: &[u32], diags: &mut Diags) -> Option<Arc<Params>> {
        let fixed = |s: &Setting| s.by.is_empty() && matches!(s.base, ValueOrigin::Fixed(..) | ValueOrigin::Default);
        if !self.settings.iter().all(fixed) {
            return self.own(cell, diags).map(Arc::new);
        }
        self.same.get_or_init(|| self.own(cell, diags).map(Arc::new)).clone()
    }

    fn own(&self, cell: &[u32], diags: &mut Diags) -> Option<Params> {
        let holding: Vec<bool> = self.rules.iter().map(|r| r.filters.iter().all(|f| f.holds(cell))).collect();
        let origins = self.settings.iter().map(|setting| {
            let row = setting.by.iter().rev().find(|(n, _)| holding[*n]);
            (setting, row.map_or(&setting.base, |(_, origin)| origin))
        });
        let bytes = origins.clone().fold(0, |sum: u64, (_, origin)| sum.saturating_add(origin.bytes()));
        match self.of.scope.fill(bytes.saturating_sub(FREE)) {
            Fill::Fits => {}
            Fill::TooMuch => {
                let limit = crate::fetch::size(MOST_FILLED);
                let message = format!("the parameters of all instances together become larger than {limit}");
                let diag = wrong(&self.of.stage.name.span, message);
                diags.push(
                    diag.note(format!("`{}` alone has {}", self.name(cell), crate::fetch::size(bytes)))
                        .help("write long texts into a file that the stage reads, or give it fewer instances"),
                );
                return None;
            }
            Fill::Told => return None,
        }
        let mut params = Params::new();
        let mut good = true;
        // Known after the first setting: it is the one that decides.
        let mut variant = None;
        for (number, (setting, origin)) in origins.enumerate() {
            if number == 1 {
                variant = self.of.kind.variant(&params);
            }
            if setting.of_variants && self.of.kind.param(variant, setting.param.name).is_none() {
                continue;
            }
            setting.used.set(true);
            let value = match origin {
                ValueOrigin::Default => match setting.default_for(variant) {
                    Some(value) => Some(value.clone()),
                    None if setting.is_required(variant) => diags.ok(Err(self.missing(setting.param, cell))),
                    None => continue,
                },
                origin => self.value_of(setting.param, origin, cell, diags),
            };
            match value {
                Some(value) => drop(params.insert(setting.param.name.to_owned(), value)),
                None => good = false,
            }
        }
        if good
            && let Some(check) = self.of.kind.check
            && let Err(mut diag) = check(&params)
        {
            diag.class = crate::base::diag::Class::Usage;
            let diag = if diag.span.is_none() { diag.at(self.of.stage.name.span.clone()) } else { diag };
            diags.push(diag.note(format!("in `{}`", self.name(cell))));
            good = false;
        }
        params.shrink();
        good.then_some(params)
    }

    /// Returns what one instance may use, and which stored results count for it.
    pub fn resources(&self, cell: &[u32]) -> (Resources, Accept) {
        let gpu = usize::from(matches!(self.of.kind.runs, Runs::Worker));
        let mut resources = Resources { gpu, ..Resources::default() };
        let mut accept = self.of.stage.accept.unwrap_or_default();
        let mut apply = |spec: &ResourcesSpec| {
            resources.cpu = spec.cpu.unwrap_or(resources.cpu);
            resources.gpu = spec.gpu.unwrap_or(resources.gpu);
            resources.retries = spec.retries.unwrap_or(resources.retries);
            resources.backoff = spec.backoff.unwrap_or(resources.backoff);
            resources.timeout = spec.timeout.or(resources.timeout);
        };
        apply(&self.of.stage.resources);
        for rule in self.rules.iter().filter(|r| r.filters.iter().all(|f| f.holds(cell))) {
            apply(&rule.spec.resources);
            accept = rule.spec.accept.unwrap_or(accept);
        }
        (resources, accept)
    }
}

#[cfg(test)]
mod tests;
