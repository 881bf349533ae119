//! The parameters of a stage's instances: what its table, its `by` rows, its axes and its kind's defaults say, each value
//! brought to its declared type.

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::base::value::{Params, Value};
use crate::engine::graph::{Accept, Resources};
use crate::stages::stage::{Param, ParamDefault, Runs, StageKind, Type, Variant};

use super::coerce::coerce;
use super::doc::{self, Entry, Item};
use super::expand::{Filter, MOST_CHECKS, Sweep, filter};
use super::parse::{RESOURCE_KEYS, unknown_key};
use super::source::{Diags, list, place, suggest, wrong};
use super::spec::{ByRow, Condition, ResourcesSpec, Spec, StageSpec, Word};
use super::subst::{Fill, MOST_FILLED, PART, Resolved, Scan, Scope, Texts};

/// The resolved `[source.NAME]` tables.
pub type Sources = BTreeMap<String, Value>;

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

/// All that is needed to give each instance of a stage its parameters.
pub struct Settings<'a> {
    owner: String,
    spec: &'a Spec,
    stage: &'a StageSpec,
    kind: &'static StageKind,
    sweep: &'a Sweep,
    scope: &'a Scope<'a>,
    sources: &'a Sources,
    settings: Vec<Setting<'a>>,
    rules: Vec<Rule<'a>>,
    /// The parameters of all instances, where they depend on none.
    same: OnceCell<Option<Arc<Params>>>,
}

/// Every `[source.NAME]` as a stage sees it: `{ name, url, verify, files }`.
pub fn sources(spec: &Spec, scope: &Scope, diags: &mut Diags) -> Sources {
    let mut sources = Sources::new();
    for source in &spec.sources {
        let owner = format!("source `{}`", source.name.text);
        let mut text = |item: &Item| match scope.scan(item, &owner, &[], diags) {
            Scan::Bad => None,
            _ => coerce(&scope.resolve(item, &|_| 0), &Type::Str).ok(),
        };
        let mut files = Params::new();
        for file in &source.files {
            let mut fields = Params::new();
            fields.extend(text(&file.path).map(|p| ("path".to_owned(), p)));
            fields.extend(file.sha256.as_ref().map(|w| ("sha256".to_owned(), Value::Str(w.text.to_ascii_lowercase()))));
            fields.extend(file.bytes.as_ref().map(|(n, _)| ("bytes".to_owned(), Value::Int(*n as i64))));
            files.insert(file.key.text.clone(), Value::Table(fields));
        }
        let url = text(&source.url);
        if let Some(Value::Str(url)) = &url
            && !["https://", "http://", "file:"].iter().any(|scheme| url.starts_with(scheme))
        {
            let diag =
                wrong(&source.url.span, format!("`url` of {owner} must begin with `https://`, `http://` or `file:`"));
            diags.push(diag.help("a folder beside the pipeline file is `file:folder`"));
        }
        let mut fields = Params::from([
            ("name".to_owned(), Value::Str(source.name.text.clone())),
            ("verify".to_owned(), Value::Bool(source.verify)),
            ("files".to_owned(), Value::Table(files)),
        ]);
        fields.extend(url.map(|u| ("url".to_owned(), u)));
        sources.insert(source.name.text.clone(), Value::Table(fields));
    }
    sources
}

impl<'a> Settings<'a> {
    /// Checks all settings of `stage` and what does not depend on the instance; `None` if its instances are too large, which
    /// is told.
    pub fn new(
        spec: &'a Spec,
        stage: &'a StageSpec,
        kind: &'static StageKind,
        sweep: &'a Sweep,
        scope: &'a Scope<'a>,
        sources: &'a Sources,
        diags: &mut Diags,
    ) -> Option<Self> {
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
        let mut it = Self {
            owner,
            spec,
            stage,
            kind,
            sweep,
            scope,
            sources,
            settings: Vec::new(),
            rules: Vec::new(),
            same: OnceCell::new(),
        };
        it.check_keys(diags);
        it.rules = stage.by.iter().filter_map(|row| it.rule(row, diags)).collect();
        it.settings = it.kind.all_params().into_iter().map(|p| it.setting(p, diags)).collect();
        // What the others depend on comes first.
        if let Some(variants) = kind.variants {
            it.settings.sort_by_key(|setting| setting.param.name != variants.of);
        }
        Some(it)
    }

    fn param(&self, name: &str) -> Option<&'static Param> {
        self.kind.all_params().into_iter().find(|p| p.name == name)
    }

    fn has_axis(&self, name: &str) -> Option<usize> {
        self.sweep.axes.iter().position(|id| self.spec.axes[*id].name.text == name)
    }

    fn check_keys(&self, diags: &mut Diags) {
        for entry in &self.stage.settings {
            if self.param(&entry.key).is_none() {
                let all = self.kind.all_params();
                let known = all.iter().map(|p| p.name).chain(super::spec::STAGE_KEYS.iter().copied());
                let diag = wrong(&entry.key_span, format!("unknown key `{}` in {}", entry.key, self.owner));
                let what = format!("parameters of `{}`", self.kind.name);
                let params: Vec<_> = all.iter().map(|p| p.name).collect();
                diags.push(match crate::base::suggest::nearest(&entry.key, known) {
                    Some(name) => diag.label(format!("did you mean `{name}`?")),
                    None if RESOURCE_KEYS.contains(&entry.key.as_str()) => {
                        diag.help(format!("write it as `resources = {{ {} = … }}`", entry.key))
                    }
                    None if params.is_empty() => {
                        diag.help(format!("stage kind `{}` has no parameters", self.kind.name))
                    }
                    None => diag.help(format!("{what}: {}", list(&params))),
                });
            }
        }
    }

    /// The conditions of a row: its keys that are axes of the stage. Unknown keys are told.
    fn rule(&self, row: &'a ByRow, diags: &mut Diags) -> Option<Rule<'a>> {
        let mut filters = Vec::new();
        let mut good = true;
        for entry in &row.entries {
            if self.has_axis(&entry.key).is_some() {
                let axis = Word { text: entry.key.clone(), span: entry.key_span.clone() };
                let condition = Condition { axis, values: entry.item.one_or_more().to_vec() };
                match filter(&condition, &self.spec.axes, &self.sweep.axes, &self.owner) {
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
            let axes: Vec<_> = self.sweep.axes.iter().map(|id| self.spec.axes[*id].name.text.as_str()).collect();
            diags.push(match axes.is_empty() {
                true => diag.help("the stage has no axes: write the settings in its own table"),
                false => diag
                    .help(format!("name a value of {}, or write the settings in the stage's own table", list(&axes))),
            });
        }
        let narrowed = self.sweep.axes.iter().any(|id| self.spec.axes[*id].former.is_some());
        let idle = !self.sweep.cells.iter().any(|cell| filters.iter().all(|f| f.holds(cell)));
        if good && !filters.is_empty() && idle && !narrowed {
            diags.push(warning(&row.span, format!("this `by` row holds for no instance of {}", self.owner)));
        }
        Some(Rule { filters, spec: row })
    }

    fn unknown_in_row(&self, entry: &Entry) -> Diag {
        if self.spec.axes.iter().any(|a| a.name.text == entry.key) {
            let diag = wrong(&entry.key_span, format!("{} has no axis `{}`", self.owner, entry.key));
            return diag.help("a `by` row may only name the stage's own axes");
        }
        let axes = self.sweep.axes.iter().map(|id| self.spec.axes[*id].name.text.as_str());
        let known: Vec<_> = axes.chain(self.kind.all_params().iter().map(|p| p.name)).collect();
        unknown_key(entry, &format!("a `by` row of {}", self.owner), &known)
    }

    fn setting(&self, param: &'static Param, diags: &mut Diags) -> Setting<'a> {
        let own = self.stage.settings.iter().find(|e| e.key == param.name);
        let axis = self.has_axis(param.name);
        if let (Some(entry), Some(_)) = (own, axis)
            && self.scope.scan_quietly(texts_of(param), &entry.item, &self.owner, &self.sweep.axes) == Scan::Fixed
        {
            let message =
                format!("`{}` is an axis of {}, and is set to one value for all of it", param.name, self.owner);
            let diag = wrong(&entry.key_span, message);
            diags.push(diag.help("leave it out: it takes the axis' value; or take the axis out of `axes`"));
        }
        let of_variants = self.kind.params.iter().all(|own| own.name != param.name);
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
        let rows = self.kind.variants.map_or(&[][..], |variants| variants.rows);
        let default = |row: &'static Variant| {
            let own = row.params().find(|p| p.name == param.name).and_then(|p| p.default.value());
            let other = || row.defaults.iter().find(|(name, _)| *name == param.name).map(|(_, value)| value.to_value());
            own.or_else(other).map(|value| (row.word, value))
        };
        rows.iter().filter_map(default).collect()
    }

    /// A parameter without a default must be set for every instance.
    fn check_covered(&self, param: &Param, by: &[(usize, Origin)], diags: &mut Diags) {
        let covered = |cell: &[u32]| by.iter().any(|(n, _)| self.rules[*n].filters.iter().all(|f| f.holds(cell)));
        let bare = self.sweep.cells.iter().find(|cell| !covered(cell));
        if !by.is_empty() && bare.is_none() {
            return;
        }
        let diag = wrong(&self.stage.name.span, format!("{} does not say `{}`", self.owner, param.name));
        let diag = diag.note(format!("`{}`: {}", param.name, param.doc));
        let diag = diag.note(format!("it must be {}", super::coerce::describe(&param.ty)));
        diags.push(match bare.filter(|_| !by.is_empty()) {
            Some(cell) => diag.label(format!("no `by` row sets it for `{}`", self.name(cell))),
            None => diag.help(format!("add `{} = …` to it", param.name)),
        });
    }

    fn origin(&self, param: &Param, item: &'a Item, diags: &mut Diags) -> Origin<'a> {
        let texts = texts_of(param);
        let found = self.scope.scan_as(texts, item, &self.owner, &self.sweep.axes, diags);
        match found.scan {
            Scan::Bad => Origin::Fixed(None, 0),
            Scan::Varies => Origin::Varies(item, found.bytes),
            Scan::Fixed => {
                let resolved = self.scope.resolve_as(texts, item, &|_| 0);
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
            elsewhere(match crate::base::suggest::nearest(typed, misfit.choices.iter().copied()) {
                Some(word) => diag.label(format!("did you mean `{word}`?")),
                None => diag.label(misfit.found),
            })
        })?;
        let (Type::Source, Value::Str(name)) = (&param.ty, &value) else { return Ok(value) };
        self.sources.get(name).cloned().ok_or_else(|| {
            let diag = wrong(&resolved.span, format!("{} names an unknown source `{name}`", what()));
            let diag = suggest(diag, name, "the sources are", self.sources.keys().map(String::as_str));
            elsewhere(if self.sources.is_empty() { diag.help(format!("add a `[source.{name}]` table")) } else { diag })
        })
    }

    /// `train[task=rte,seed=42]`.
    pub fn name(&self, cell: &[u32]) -> String {
        instance_name(self.spec, &self.stage.name.text, self.sweep, cell)
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
                let of = |axis: usize| cell[self.sweep.position(axis).expect("scanned")] as usize;
                let resolved = self.scope.resolve_as(texts_of(param), item, &of);
                diags.ok(self.typed(param, &resolved, item))
            }
            Origin::Axis(position) => {
                let value = &self.spec.axes[self.sweep.axes[*position]].values[cell[*position] as usize];
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
        match self.scope.fill(bytes.saturating_sub(FREE)) {
            Fill::Fits => {}
            Fill::TooMuch => {
                let limit = crate::fetch::size(MOST_FILLED);
                let message = format!("the parameters of all instances together become larger than {limit}");
                let diag = wrong(&self.stage.name.span, message);
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
                variant = self.kind.variant(&params);
            }
            if setting.of_variants && self.kind.param(variant, setting.param.name).is_none() {
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
            && let Some(check) = self.kind.check
            && let Err(mut diag) = check(&params)
        {
            diag.class = crate::base::diag::Class::Usage;
            let diag = if diag.span.is_none() { diag.at(self.stage.name.span.clone()) } else { diag };
            diags.push(diag.note(format!("in `{}`", self.name(cell))));
            good = false;
        }
        params.shrink();
        good.then_some(params)
    }

    fn missing(&self, param: &Param, cell: &[u32]) -> Diag {
        wrong(&self.stage.name.span, format!("{} does not say `{}`", self.owner, param.name))
            .note(format!("`{}`: {}", param.name, param.doc))
            .note(format!("it must be {}", super::coerce::describe(&param.ty)))
            .label(format!("needed for `{}`", self.name(cell)))
            .help(format!("add `{} = …` to it", param.name))
    }

    /// Reports what is set and counts for no instance, because no instance's method (or what else decides) has it. Call it after
    /// [`params`](Settings::params) of all instances. When a stage goes over several methods, a value set for all of them
    /// counts for those that have the parameter, also where `--set` has left methods out.
    pub fn report_unused(&self, diags: &mut Diags) {
        let Some(variants) = self.kind.variants else { return };
        if self.sweep.cells.is_empty() || self.sweep.axes.iter().any(|id| self.spec.axes[*id].former.is_some()) {
            return;
        }
        let counts = |cell: &[u32], name: &str| {
            let word = self.word(variants.of, cell);
            let row = variants.rows.iter().find(|row| Some(row.word) == word.as_deref());
            row.is_none_or(|row| row.params().any(|param| param.name == name))
        };
        for setting in self.settings.iter().filter(|setting| setting.of_variants) {
            let name = setting.param.name;
            let own = self.stage.settings.iter().find(|e| e.key == name);
            let axis = self.has_axis(name).map(|_| &self.stage.name.span);
            if let Some(span) = own.map(|entry| &entry.key_span).or(axis).filter(|_| !setting.used.get()) {
                diags.push(self.unused(span, setting.param, &self.sweep.cells.iter().collect::<Vec<_>>()));
            }
            for rule in &self.rules {
                let Some(entry) = rule.spec.entries.iter().find(|e| e.key == name) else { continue };
                let cells: Vec<_> =
                    self.sweep.cells.iter().filter(|cell| rule.filters.iter().all(|f| f.holds(cell))).collect();
                if !cells.is_empty() && !cells.iter().any(|cell| counts(cell, name)) {
                    diags.push(self.unused(&entry.key_span, setting.param, &cells));
                }
            }
        }
    }

    /// The value of the parameter that decides, for one instance.
    fn word(&self, of: &str, cell: &[u32]) -> Option<String> {
        let setting = self.settings.iter().find(|setting| setting.param.name == of)?;
        let holds = |number: usize| self.rules[number].filters.iter().all(|f| f.holds(cell));
        let row = setting.by.iter().rev().find(|(number, _)| holds(*number));
        let value = match row.map_or(&setting.base, |(_, origin)| origin) {
            Origin::Default => setting.default.clone(),
            origin => self.value_of(setting.param, origin, cell, &mut Diags::new()),
        };
        value.as_ref().and_then(Value::as_str).map(str::to_owned)
    }

    /// `param` is set at `span` for `cells`, and none of them has it.
    fn unused(&self, span: &crate::base::diag::Span, param: &Param, cells: &[&super::expand::Cell]) -> Diag {
        let variants = self.kind.variants.expect("only a variant's parameter can be unused");
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
        let known = own.map(|p| p.name).chain(self.kind.params.iter().map(|p| p.name));
        let having = rows.filter(|row| row.params().any(|p| p.name == param.name)).map(|row| row.word);
        let having: Vec<_> = having.collect();
        let diag = diag.note(format!("it is a parameter of {of} {}", list(&having)));
        match crate::base::suggest::nearest(param.name, known) {
            Some(near) => diag.label(format!("did you mean `{near}`?")),
            None => diag.help("leave it out"),
        }
    }

    /// What one instance may use, and which stored results count for it.
    pub fn resources(&self, cell: &[u32]) -> (Resources, Accept) {
        let gpu = usize::from(matches!(self.kind.runs, Runs::Worker));
        let mut resources = Resources { gpu, ..Resources::default() };
        let mut accept = self.stage.accept.unwrap_or_default();
        let mut apply = |spec: &ResourcesSpec| {
            resources.cpu = spec.cpu.unwrap_or(resources.cpu);
            resources.gpu = spec.gpu.unwrap_or(resources.gpu);
            resources.retries = spec.retries.unwrap_or(resources.retries);
            resources.backoff = spec.backoff.unwrap_or(resources.backoff);
            resources.timeout = spec.timeout.or(resources.timeout);
        };
        apply(&self.stage.resources);
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

/// `train[task=rte,seed=42]`.
pub fn instance_name(spec: &Spec, stage: &str, sweep: &Sweep, cell: &[u32]) -> String {
    let value =
        |(id, v): (&usize, &u32)| format!("{}={}", spec.axes[*id].name.text, spec.axes[*id].values[*v as usize].text);
    let values: Vec<_> = sweep.axes.iter().zip(cell).map(value).collect();
    if values.is_empty() { stage.to_owned() } else { format!("{stage}[{}]", values.join(",")) }
}

/// A warning about the pipeline at `span`.
pub fn warning(span: &crate::base::diag::Span, message: impl Into<String>) -> Diag {
    let mut diag = Diag::warning(message).at(span.clone());
    diag.class = crate::base::diag::Class::Usage;
    diag
}

/// Stage kinds by name.
pub fn kinds(stages: &[&'static StageKind]) -> HashMap<&'static str, &'static StageKind> {
    stages.iter().map(|k| (k.name, *k)).collect()
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
