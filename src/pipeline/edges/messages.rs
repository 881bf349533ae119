//! The errors on roles and axes that do not match.

use crate::base::diag::Diag;
use crate::pipeline::doc::Item;
use crate::pipeline::pattern::{Pattern, Pick};
use crate::pipeline::source::{count, list, wrong};
use crate::pipeline::subst::{axis_names, plain_text};
use crate::stages::stage::{Arity, Port, StageKind};

use super::consumer::{Consumer, MOST_EDGES, or_list};
use super::fit::accepts;
use super::groups::Want;

impl Consumer<'_, '_> {
    /// There are too many edges; instance `number` reads `each` nodes.
    pub(super) fn too_many_edges(&self, want: &Want, number: usize, each: usize) -> Diag {
        let message = format!("the pipeline has more than {MOST_EDGES} edges between its nodes");
        let name = self.all.instance(self.number, number);
        wrong(&want.item.span, message)
            .note(format!("`{name}` alone reads {} here", count(each, "node")))
            .help("share an axis, so that its values are matched, or gather once in a stage without axes")
    }

    /// `needs` lacks a role that must be there.
    pub(super) fn missing(&self, port: &Port) -> Diag {
        let name = &self.stage.name.text;
        let message = format!("stage `{name}` lacks `{}` in its `needs`", port.role);
        let diag = wrong(&self.stage.needs_span, message).note(format!("`{}`: {}", port.role, port.doc));
        let others = self.all.spec.stages.iter().zip(self.all.kinds).filter(|(s, _)| s.name.text != *name);
        let fits = others.filter(|(_, kind)| kind.is_some_and(|k| accepts(port, k)));
        let fit: Vec<&str> = fits.map(|(s, _)| s.name.text.as_str()).collect();
        let star = if port.arity == Arity::Many { "[*]" } else { "" };
        match fit[..] {
            [] if port.accepts.is_empty() => diag.help(format!("add `{} = \"STAGE{star}\"` to its `needs`", port.role)),
            [] => {
                let kinds = or_list(&self.all.providers(port));
                diag.help(format!("add a stage of kind {kinds} and name it in `needs`"))
            }
            [one] => diag.help(format!("add `{} = \"{one}{star}\"` to its `needs`", port.role)),
            _ => diag.help(format!("add `{} = \"STAGE{star}\"` to its `needs`: one of {}", port.role, list(&fit))),
        }
    }

    /// Words the error that the producer's kind does not fit the role.
    pub(super) fn wrong_kind(&self, item: &Item, pattern: &Pattern, port: &Port, kind: &StageKind) -> Diag {
        let message = format!(
            "role `{}` of stage `{}` cannot take `{}`, a stage of kind `{}`",
            port.role, self.stage.name.text, pattern.stage, kind.name
        );
        wrong(&item.span, message).label(format!("takes {}", or_list(&self.all.providers(port))))
    }

    /// Words the error that a gather is used in a role that takes one producer.
    pub(super) fn gathers_for_one(&self, item: &Item, pattern: &Pattern, port: &Port, producer: usize) -> Diag {
        let message = format!("role `{}` of stage `{}` takes one producer", port.role, self.stage.name.text);
        let all_shared = self.all.sweeps[producer].axes.iter().all(|id| self.sweep.position(*id).is_some());
        let diag = wrong(&item.span, message).label("this may be several");
        match all_shared {
            true => diag.help(format!("write only `{}`: axes that both have are matched by value", pattern.stage)),
            false => diag.help("name a value for each axis instead of `*`"),
        }
    }

    /// Words the error that the producer varies over axes that the consumer does not have.
    pub(super) fn lacking_axes(&self, producer: &str, axes: &[usize], port: &Port, item: &Item) -> Diag {
        let stage = &self.stage.name.text;
        let names = axis_names(&self.all.spec.axes, axes);
        let noun = if axes.len() == 1 { "axis" } else { "axes" };
        let message = format!("stage `{stage}` lacks the {noun} {names} of `{producer}`");
        let diag = wrong(&item.span, message).label(format!("which `{producer}`?"));
        let first = &self.all.spec.axes[axes[0]];
        let value = first.values.first().map_or("…", |v| v.text.as_str());
        let pick = format!("`{producer}[{}={value}]`", first.name.text);
        if matches!(port.arity, Arity::Many | Arity::OptionalMany) {
            diag.help(format!("gather them with `{producer}[*]`, or pick with {pick}"))
        } else {
            diag.help(format!("add {names} to `axes` of `{stage}`, or pick one with {pick}"))
        }
    }

    /// `number` instances, from instance `first` on, find no producer.
    pub(super) fn starved(&self, want: &Want, port: &Port, first: usize, number: usize) -> Diag {
        let producer = &self.all.spec.stages[want.producer];
        let wanted = self.wanted(want, first);
        let instance = self.all.instance(self.number, first);
        let message = format!("`{instance}` needs `{wanted}`, which does not exist");
        let label = match self.sweep.cells.len() {
            1 => "matches nothing".to_owned(),
            all => format!("matches nothing for {number} of {}", count(all, "instance")),
        };
        let mut diag = wrong(&want.item.span, message).label(label);
        for condition in &producer.when {
            let values: Vec<_> = condition.values.iter().map(|v| plain_text(&v.to_value())).collect();
            let (name, axis) = (&producer.name.text, &condition.axis.text);
            diag = diag.note(format!("`{name}` exists only where `{axis}` is {}", or_list(&values)));
        }
        if producer.when.is_empty() && !self.all.spec.exclude.is_empty() {
            diag = diag.note("`axes.exclude` may have removed it");
        }
        match port.arity {
            Arity::Optional => diag.help(format!("write `{}?` if it may be missing", producer.name.text)),
            _ => diag.help(format!("give `{}` the same conditions", self.stage.name.text)),
        }
    }

    /// Returns what instance `number` looks for: `svd_init[method=pt]`.
    fn wanted(&self, want: &Want, number: usize) -> String {
        let sweep = &self.all.sweeps[want.producer];
        let cell = &self.sweep.cells[number];
        let value = |(id, pick): (&usize, &Pick)| {
            let axis = &self.all.spec.axes[*id];
            let text = match (pick, self.sweep.position(*id)) {
                (Pick::Value(v), _) => axis.values[*v as usize].text.as_str(),
                (Pick::Open | Pick::Rest, Some(at)) => axis.values[cell[at] as usize].text.as_str(),
                _ => "*",
            };
            format!("{}={text}", axis.name.text)
        };
        let values: Vec<_> = sweep.axes.iter().zip(&want.picks).map(value).collect();
        let name = &self.all.spec.stages[want.producer].name.text;
        if values.is_empty() { name.clone() } else { format!("{name}[{}]", values.join(",")) }
    }
}
