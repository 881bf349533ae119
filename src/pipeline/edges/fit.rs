//! Checks that a producer gives what a role reads: by its kind, its parameters, and the files that it makes.

use crate::base::diag::Diag;
use crate::base::glob;
use crate::base::suggest::nearest_file;
use crate::engine::graph::{EdgePort, Node};
use crate::pipeline::source::{list, suggest, wrong};
use crate::stages::stage::{LOG, NamedOutput, NamedRoles, Port, StageKind};

use super::consumer::{Consumer, or_list};
use super::groups::{Groups, Want};

/// Returns whether some stage of this kind fits a role.
pub(super) fn accepts(port: &Port, kind: &StageKind) -> bool {
    port.accepts.is_empty() || port.accepts.iter().any(|what| kind.may_provide(what)) || kind.writes_anything()
}

impl Consumer<'_, '_> {
    /// Checks that every role to which the parameters refer is in `needs`.
    pub(super) fn check_referred(&mut self, roles: NamedRoles) {
        let Some(first) = self.nodes[self.number].first() else { return };
        for role in (roles.referred)(&self.graph.node(*first).params) {
            if self.stage.needs.iter().any(|need| need.role.text == role) || self.stage.needs_broken {
                continue;
            }
            let (param, shown, stage) = (roles.param, (roles.reference)(&role, None), &self.stage.name.text);
            let message = format!("`{param}` of stage `{stage}` names `{shown}`, but its `needs` has no role `{role}`");
            let diag = wrong(&self.stage.needs_span, message);
            let known: Vec<_> = self.stage.needs.iter().map(|need| need.role.text.as_str()).collect();
            self.diags.push(match known.is_empty() {
                true => diag.help(format!("add `needs = {{ {role} = \"STAGE\" }}`")),
                false => suggest(diag, &role, "its roles are", known),
            });
        }
    }

    /// Checks that a stage whose outputs the pipeline names makes something that `port` reads.
    pub(super) fn check_fit(&mut self, want: &Want, port: &Port) {
        let Some(outputs) = self.all.kinds[want.producer].and_then(|kind| kind.named_outputs) else { return };
        let Some(first) = self.nodes[want.producer].first() else { return };
        if port.files.contains(&"*") {
            return;
        }
        let made = outputs(&self.graph.node(*first).params);
        let files = port.own_files();
        if made.is_empty() || made.iter().any(|output| files.iter().any(|pattern| output.may_fit(pattern))) {
            return;
        }
        let producer = &self.all.spec.stages[want.producer].name.text;
        let shown: Vec<_> = made.iter().map(NamedOutput::shown).collect();
        let diag = wrong(&want.item.span, format!("`{producer}` makes nothing that role `{}` reads", port.role));
        let diag = diag.label(format!("makes {}", shown.join(", ")));
        self.diags.push(diag.note(format!("the role reads {}", or_list(&files))));
    }

    /// Checks that the nodes of a producer that a role reads provide what it accepts, with their parameters.
    pub(super) fn check_provides(&mut self, want: &Want, port: &Port, groups: &Groups) {
        let Some(kind) = self.all.kinds[want.producer] else { return };
        if port.accepts.is_empty() || kind.writes_anything() {
            return;
        }
        let mut read = groups.cells().filter_map(|cell| self.nodes[want.producer].get(cell));
        let fits = |id: &&_| port.accepts.iter().any(|what| kind.provides(what, &self.graph.node(**id).params));
        let Some(id) = read.find(|id| !fits(id)) else { return };
        let set = |(name, value): (&str, &str)| format!("`{name} = \"{value}\"`");
        let needed = kind.provides.iter().filter(|provision| port.accepts.contains(&provision.what));
        let needed: Vec<_> = needed.filter_map(|provision| provision.when.map(set)).collect();
        let (role, accepted, node) = (port.role, port.accepts.join("` or `"), self.graph.node(*id));
        let message = format!("role `{role}` takes a stage that provides `{accepted}`, which `{node}` does not");
        let help = format!("a `{}` stage does with {}", kind.name, needed.join(" or "));
        self.diags.push(wrong(&want.item.span, message).help(help));
    }

    /// Returns what is wrong if a parameter refers to a file that the producer `made` never makes.
    pub(super) fn lacks(&self, want: &Want, roles: NamedRoles, port: &EdgePort, made: &Node) -> Option<Diag> {
        let makes: Vec<String> = match made.kind.named_outputs {
            Some(outputs) => outputs(&made.params).iter().map(NamedOutput::pattern).collect(),
            None => made.kind.outputs.iter().map(|output| output.name.to_owned()).collect(),
        };
        if makes.is_empty() {
            // Its settings are wrong, which was reported.
            return None;
        }
        let fits = |pattern: &str| pattern == LOG || makes.iter().any(|made| glob::meet(made, pattern));
        let pattern = port.files.iter().find(|pattern| !fits(pattern))?;
        let (stage, producer) = (&self.stage.name.text, &self.all.spec.stages[want.producer].name.text);
        let (param, shown) = (roles.param, (roles.reference)(&port.role, Some(pattern)));
        let message = format!("`{param}` of stage `{stage}` names `{shown}`, which `{producer}` does not make");
        // A file in a folder may have any name.
        let in_folder = |made: &String| {
            let folder = made.strip_suffix('*').filter(|folder| folder.ends_with('/'))?;
            Some(format!("{folder}{}", pattern.rsplit('/').next().unwrap_or(pattern)))
        };
        let near = nearest_file(pattern, makes.iter().map(String::as_str)).map(str::to_owned);
        let near = near.or_else(|| makes.iter().find_map(in_folder));
        let diag = wrong(&want.item.span, message).label(format!("makes {}", list(&makes)));
        Some(match near {
            Some(near) => diag.help(format!("did you mean `{near}`?")),
            None => diag.help(format!("correct the name in `{param}`, or the outputs of the other stage")),
        })
    }
}
