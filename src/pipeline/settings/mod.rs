//! The parameters of a stage's instances. Each comes from the stage's table, its `by` rows, its axes or its kind's defaults, and
//! is brought to its declared type.

mod check;
mod rows;
mod sources;
mod unused;

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::base::suggest::nearest;
use crate::base::value::{Params, Value};
use crate::engine::graph::{Accept, Resources};
use crate::stages::stage::{Param, ParamDefault, Runs, StageKind, Type, Variant};

use super::coerce::coerce;
use super::doc::{self, Item};
use super::expand::{Filter, MOST_CHECKS, Sweep, instance_name};
use super::source::{Diags, place, suggest, wrong};
use super::spec::{ByRow, ResourcesSpec, Spec, StageSpec};
use super::subst::{Fill, MOST_FILLED, PART, Resolved, Scan, Scope, Texts};

pub use sources::{Sources, sources};

/// Where a parameter's value comes from, for instances that no later row overrides.
enum Origin<'a> {
    /// The same for all instances, and how large it is; `None`: wrong, and told.
    Fixed(Option<Value>, u64),
    /// Depends on the instance, and how large it may become.
    Varies(&'a Item, u64),
    /// The axis of the same name, at this position in the cell.
    Axis(usize),
    /// Not set: its default counts, and where it has none it is absent.
    Default,
}

impl Origin<'_> {
    /// How many bytes each instance has of it.
    fn bytes(&self) -> u64 {
        match self {
            Self::Fixed(_, bytes) | Self::Varies(_, bytes) => *bytes,
            Self::Axis(_) | Self::Default => 0,
        }
    }
}

/// How many bytes of parameters an instance may have that count nowhere.
const FREE: u64 = 4096;

/// One parameter: its base, and the rows that override it.
struct Setting<'a> {
    param: &'static Param,
    /// Whether it is one of the kind's variants only, and not of the kind itself.
    of_variants: bool,
    base: Origin<'a>,
    /// Row number and value, in file order.
    by: Vec<(usize, Origin<'a>)>,
    /// The default of the kind's own parameter.
    default: Option<Value>,
    /// The default for one value of the parameter that decides, where that has one of its own.
    defaults: Vec<(&'static str, Value)>,
    /// Whether the value in the stage's own table counted for an instance.
    used: Cell<bool>,
}

impl Setting<'_> {
    /// The default for an instance that is of `variant`.
    fn default_for(&self, variant: Option<&Variant>) -> Option<&Value> {
        let own = variant.and_then(|row| self.defaults.iter().find(|(word, _)| *word == row.word));
        own.map(|(_, value)| value).or(self.default.as_ref())
    }

    /// Whether an instance of `variant` must set it. (Of the kind's own parameters that is checked for the stage as a whole.)
    fn is_required(&self, variant: Option<&Variant>) -> bool {
        let declared = variant.and_then(|row| row.params().find(|param| param.name == self.param.name));
        self.of_variants && declared.is_some_and(|param| param.default == ParamDefault::Required)
    }
}

/// A `by` row whose conditions make sense.
struct Rule<'a> {
    filters: Vec<Filter>,
    spec: &'a ByRow,
}

/// One stage and what its settings may refer to.
#[derive(Clone, Copy)]
pub struct StageContext<'a> {
    /// The pipeline.
    pub spec: &'a Spec,
    /// The stage as typed.
    pub stage: &'a StageSpec,
    /// Its kind.
    pub kind: &'static StageKind,
    /// Its instances.
    pub sweep: &'a Sweep,
    /// What references can refer to.
    pub scope: &'a Scope<'a>,
    /// The resolved `[source.NAME]` tables.
    pub sources: &'a Sources,
}

/// All that is needed to give each instance of a stage its parameters.
pub struct Settings<'a> {
    of: StageContext<'a>,
    /// The stage in messages: `` stage `train` ``.
    owner: String,
    settings: Vec<Setting<'a>>,
    rules: Vec<Rule<'a>>,
    /// The parameters of all instances, if they are the same.
    same: OnceCell<Option<Arc<Params>>>,
}

impl<'a> Settings<'a> {
    /// Checks all settings of a stage, and what does not depend on the instance. Returns `None` if its instances are too large,
    /// which is reported.
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

    fn param(&self, name: &str) -> Option<&'static Param> {
        self.of.kind.all_params().into_iter().find(|p| p.name == name)
    }

    fn has_axis(&self, name: &str) -> Option<usize> {
        self.of.sweep.axes.iter().position(|id| self.of.spec.axes[*id].name.text == name)
    }

    fn setting(&self, param: &'static Param, diags: &mut Diags) -> Setting<'a> {
        let own = self.of.stage.settings.iter().find(|e| e.key == param.name);
        let axis = self.has_axis(param.name);
        if let (Some(entry), Some(_)) = (own, axis)
            && self.of.scope.scan_quietly(texts_of(param), &entry.item, &self.owner, &self.of.sweep.axes) == Scan::Fixed
        {
            let message =
                format!("`{}` is an axis of {}, and is set to one value for all of it", param.name, self.owner);
            let diag = wrong(&entry.key_span, message);
            diags.push(diag.help("leave it out: it takes the axis' value; or take the axis out of `axes`"));
        }
        let of_variants = self.of.kind.params.iter().all(|own| own.name != param.name);
        let required = param.default == ParamDefault::Required && !of_variants;
        let base = match (own, axis) {
            (Some(entry), _) => self.origin(param, &entry.item, diags),
            (None, Some(position)) => Origin::Axis(position),
            (None, None) if required => Origin::Fixed(None, 0),
            (None, None) => Origin::Default,
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

    /// What values of the deciding parameter say of the default of `param`.
    fn defaults(&self, param: &Param) -> Vec<(&'static str, Value)> {
        let rows = self.of.kind.variants.map_or(&[][..], |variants| variants.rows);
        let default = |row: &'static Variant| {
            let own = row.params().find(|p| p.name == param.name).and_then(|p| p.default.value());
            let other = || row.defaults.iter().find(|(name, _)| *name == param.name).map(|(_, value)| value.to_value());
            own.or_else(other).map(|value| (row.word, value))
        };
        rows.iter().filter_map(default).collect()
    }

    fn origin(&self, param: &Param, item: &'a Item, diags: &mut Diags) -> Origin<'a> {
        let texts = texts_of(param);
        let found = self.of.scope.scan_as(texts, item, &self.owner, &self.of.sweep.axes, diags);
        match found.scan {
            Scan::Bad => Origin::Fixed(None, 0),
            Scan::Varies => Origin::Varies(item, found.bytes),
            Scan::Fixed => {
                let resolved = self.of.scope.resolve_as(texts, item, &|_| 0);
                Origin::Fixed(diags.ok(self.typed(param, &resolved, item)), found.bytes)
            }
        }
    }

    /// The value as the parameter's type; a source's name as its table.
    fn typed(&self, param: &Param, resolved: &Resolved, item: &Item) -> Result<Value, Diag> {
        let what = || format!("`{}` of {}", param.name, self.owner);
        let elsewhere = |diag: Diag| {
            let same = resolved.span.range == item.span.range && resolved.span.source.path == item.span.source.path;
            if same { diag } else { diag.note(format!("used at {}", place(&item.span))) }
        };
        let value = coerce(resolved, &param.ty).map_err(|misfit| {
            let diag = wrong(&resolved.span, format!("{} must be {}", what(), misfit.expected));
            let typed = resolved.value.as_str().unwrap_or_default();
            elsewhere(match nearest(typed, misfit.choices.iter().copied()) {
                Some(word) => diag.label(format!("did you mean `{word}`?")),
                None => diag.label(misfit.found),
            })
        })?;
        let (Type::Source, Value::Str(name)) = (&param.ty, &value) else { return Ok(value) };
        self.of.sources.get(name).cloned().ok_or_else(|| {
            let diag = wrong(&resolved.span, format!("{} names an unknown source `{name}`", what()));
            let diag = suggest(diag, name, "the sources are", self.of.sources.keys().map(String::as_str));
            elsewhere(if self.of.sources.is_empty() {
                diag.help(format!("add a `[source.{name}]` table"))
            } else {
                diag
            })
        })
    }

    /// `train[task=rte,seed=42]`.
    pub fn name(&self, cell: &[u32]) -> String {
        instance_name(self.of.spec, &self.of.stage.name.text, self.of.sweep, cell)
    }

    /// The parameters of one instance; `None` when one is wrong, and was told.
    pub fn params(&self, cell: &[u32], diags: &mut Diags) -> Option<Arc<Params>> {
        let fixed = |s: &Setting| s.by.is_empty() && matches!(s.base, Origin::Fixed(..) | Origin::Default);
        if !self.settings.iter().all(fixed) {
            return self.own(cell, diags).map(Arc::new);
        }
        self.same.get_or_init(|| self.own(cell, diags).map(Arc::new)).clone()
    }

    /// What `origin` says for one instance; `None` when it is wrong, and was reported.
    fn value_of(&self, param: &Param, origin: &Origin<'a>, cell: &[u32], diags: &mut Diags) -> Option<Value> {
        match origin {
            Origin::Default => None,
            Origin::Fixed(value, _) => value.clone(),
            Origin::Varies(item, _) => {
                let of = |axis: usize| cell[self.of.sweep.position(axis).expect("scanned")] as usize;
                let resolved = self.of.scope.resolve_as(texts_of(param), item, &of);
                diags.ok(self.typed(param, &resolved, item))
            }
            Origin::Axis(position) => {
                let value = &self.of.spec.axes[self.of.sweep.axes[*position]].values[cell[*position] as usize];
                let span = value.span.clone();
                let resolved = Resolved { value: value.value.clone(), span: span.clone(), substituted: true };
                diags.ok(self.typed(param, &resolved, &Item { span, node: doc::Node::Bool(true) }))
            }
        }
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
                Origin::Default => match setting.default_for(variant) {
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

    /// What one instance may use, and which stored results count for it.
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

/// How the texts of a parameter are read.
pub(super) fn texts_of(param: &Param) -> Texts {
    match param.ty {
        Type::Argv(own) => Texts::Arguments(own),
        _ => Texts::Plain,
    }
}

#[cfg(test)]
mod tests;
