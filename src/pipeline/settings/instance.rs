//! [`Settings`]: the settings of a stage's instances, and the value of one parameter for one instance.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::base::suggest::nearest;
use crate::base::value::{Params, Value};
use crate::pipeline::coerce::coerce;
use crate::pipeline::doc::{self, Item};
use crate::pipeline::expand::{Filter, Sweep, instance_name};
use crate::pipeline::source::{Diags, place, suggest, wrong};
use crate::pipeline::spec::{ByRow, Spec, StageSpec};
use crate::pipeline::subst::{Resolved, Scope, Texts};
use crate::stages::stage::{Param, ParamDefault, StageKind, Type, Variant};

use super::sources::Sources;

/// Where a parameter's value comes from, for instances that no later row overrides.
pub(super) enum ValueOrigin<'a> {
    /// The same for all instances, and how large it is; `None`: wrong, and reported.
    Fixed(Option<Value>, u64),
    /// Depends on the instance, and how large it may become.
    Varies(&'a Item, u64),
    /// The axis of the same name, at this position in the cell.
    Axis(usize),
    /// Not set: its default counts, and where it has none it is absent.
    Default,
}

impl ValueOrigin<'_> {
    /// Returns how many bytes each instance has of it.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Fixed(_, bytes) | Self::Varies(_, bytes) => *bytes,
            Self::Axis(_) | Self::Default => 0,
        }
    }
}

/// How many bytes of parameters an instance may have that count nowhere.
pub(super) const FREE: u64 = 4096;

/// One parameter: its base, and the rows that override it.
pub(super) struct Setting<'a> {
    pub(super) param: &'static Param,
    /// `true` if it is one of the kind's variants only, and not of the kind itself.
    pub(super) of_variants: bool,
    pub(super) base: ValueOrigin<'a>,
    /// Row number and value, in file order.
    pub(super) by: Vec<(usize, ValueOrigin<'a>)>,
    /// The default of the kind's own parameter.
    pub(super) default: Option<Value>,
    /// The default for one value of the parameter that decides, where that has one of its own.
    pub(super) defaults: Vec<(&'static str, Value)>,
    /// `true` if the value in the stage's own table counted for an instance.
    pub(super) used: Cell<bool>,
}

impl Setting<'_> {
    /// Returns the default for an instance that is of `variant`.
    pub(super) fn default_for(&self, variant: Option<&Variant>) -> Option<&Value> {
        let own = variant.and_then(|row| self.defaults.iter().find(|(word, _)| *word == row.word));
        own.map(|(_, value)| value).or(self.default.as_ref())
    }

    /// Returns whether an instance of `variant` must set it. (Of the kind's own parameters that is checked for the
    /// stage as a whole.)
    pub(super) fn is_required(&self, variant: Option<&Variant>) -> bool {
        let declared = variant.and_then(|row| row.params().find(|param| param.name == self.param.name));
        self.of_variants && declared.is_some_and(|param| param.default == ParamDefault::Required)
    }
}

/// A `by` row whose conditions make sense.
pub(super) struct Rule<'a> {
    pub(super) filters: Vec<Filter>,
    pub(super) spec: &'a ByRow,
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
    pub(super) of: StageContext<'a>,
    /// The stage in messages: `` stage `train` ``.
    pub(super) owner: String,
    pub(super) settings: Vec<Setting<'a>>,
    pub(super) rules: Vec<Rule<'a>>,
    /// The parameters of all instances, if they are the same.
    pub(super) same: OnceCell<Option<Arc<Params>>>,
}

impl<'a> Settings<'a> {
    pub(super) fn param(&self, name: &str) -> Option<&'static Param> {
        self.of.kind.all_params().into_iter().find(|p| p.name == name)
    }

    pub(super) fn has_axis(&self, name: &str) -> Option<usize> {
        self.of.sweep.axes.iter().position(|id| self.of.spec.axes[*id].name.text == name)
    }

    /// Returns the value as the parameter's type; a source's name as its table.
    pub(super) fn typed(&self, param: &Param, resolved: &Resolved, item: &Item) -> Result<Value, Diag> {
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

    /// Returns what `origin` says for one instance; `None` when it is wrong, and was reported.
    pub(super) fn value_of(
        &self,
        param: &Param,
        origin: &ValueOrigin<'a>,
        cell: &[u32],
        diags: &mut Diags,
    ) -> Option<Value> {
        match origin {
            ValueOrigin::Default => None,
            ValueOrigin::Fixed(value, _) => value.clone(),
            ValueOrigin::Varies(item, _) => {
                let of = |axis: usize| cell[self.of.sweep.position(axis).expect("scanned")] as usize;
                let resolved = self.of.scope.resolve_as(texts_of(param), item, &of);
                diags.ok(self.typed(param, &resolved, item))
            }
            ValueOrigin::Axis(position) => {
                let value = &self.of.spec.axes[self.of.sweep.axes[*position]].values[cell[*position] as usize];
                let span = value.span.clone();
                let resolved = Resolved { value: value.value.clone(), span: span.clone(), substituted: true };
                diags.ok(self.typed(param, &resolved, &Item { span, node: doc::Node::Bool(true) }))
            }
        }
    }
}

/// Returns how the texts of a parameter are read.
pub fn texts_of(param: &Param) -> Texts {
    match param.ty {
        Type::Argv(own) => Texts::Arguments(own),
        _ => Texts::Plain,
    }
}
