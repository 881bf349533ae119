//! `needs`: draws the edges from producers to consumers. Axes that both have are matched by value. An axis that only
//! the consumer has is a broadcast. One that only the producer has must be picked or gathered.
//!
//! [`groups`] finds the producers of each instance, [`fit`] checks that a producer gives what a role reads, and
//! [`messages`] has the errors on roles and axes.

mod consumer;
mod fit;
mod groups;
mod messages;

use std::sync::Arc;

use crate::base::diag::Diag;
use crate::base::name::is_name;
use crate::base::value::Params;
use crate::engine::graph::{EdgePort, Graph, NodeId, PortId};
use crate::stages::stage::{Arity, NamedRoles, Port, StageKind};

use super::doc::Item;
use super::parse::bad_name;
use super::pattern::{Pattern, Pick};
use super::source::{Diags, suggest, wrong};
use super::spec::Need;
use super::subst::{Scan, Texts, plain_text};

use consumer::{Consumer, MOST_EDGES};
use groups::Want;

pub use consumer::Stages;

/// The port of each instance for a role that the pipeline names: each says by its parameters which files it reads.
struct InstancePorts<'p> {
    roles: NamedRoles,
    role: &'p Port<'p>,
    /// The last answer: most instances share their parameters.
    last: Option<(Arc<Params>, PortId)>,
    /// `true` if a missing file was reported of this producer: one message is enough.
    reported: bool,
}

impl Stages<'_> {
    /// Checks the `needs` of stage number `consumer` and draws its edges. `nodes` has the nodes of every stage, by
    /// cell.
    pub fn connect(&self, consumer: usize, nodes: &[Vec<NodeId>], graph: &mut Graph, diags: &mut Diags) {
        let stage = &self.spec.stages[consumer];
        let sweep = &self.sweeps[consumer];
        let mut of = Consumer { all: self, number: consumer, stage, sweep, nodes, graph, diags };
        match self.kinds[consumer] {
            Some(kind) => of.needs(kind),
            None => of.names(),
        }
    }
}

impl<'a> Consumer<'_, 'a> {
    /// Looks up the stages that `needs` names, for a stage whose kind is unknown.
    fn names(&mut self) {
        for item in self.stage.needs.iter().flat_map(|n| &n.producers) {
            if let Some(pattern) = self.pattern(item) {
                self.diags.ok(self.all.find(&pattern, item));
            }
        }
    }

    fn needs(&mut self, kind: &'static StageKind) {
        for need in &self.stage.needs {
            if kind.inputs.iter().any(|p| p.role == need.role.text) {
                continue;
            }
            match kind.named_roles {
                Some(roles) => self.named_role(need, roles),
                None => {
                    let message = format!("stage kind `{}` has no role `{}`", kind.name, need.role.text);
                    let roles = kind.inputs.iter().map(|p| p.role);
                    let diag = wrong(&need.role.span, message);
                    self.diags.push(suggest(diag, &need.role.text, "its roles are", roles));
                }
            }
        }
        if let Some(roles) = kind.named_roles {
            self.check_referred(roles);
        }
        for port in kind.inputs {
            match self.stage.needs.iter().find(|n| n.role.text == port.role) {
                Some(need) => self.role(need, port, None),
                None if self.stage.needs_broken || matches!(port.arity, Arity::Optional | Arity::OptionalMany) => {}
                None => self.diags.push(self.missing(port)),
            }
        }
    }

    /// Draws the edges of a role that the pipeline names: it takes as many producers as `needs` has.
    fn named_role(&mut self, need: &'a Need, roles: NamedRoles) {
        if !is_name(&need.role.text) {
            self.diags.push(bad_name(&need.role.span, &need.role.text, "a role"));
            return;
        }
        // Mistakes in them are reported when the edges are drawn.
        let patterns: Vec<_> = need.producers.iter().filter_map(|item| self.pattern_quietly(item)).collect();
        let optional = !patterns.is_empty() && patterns.iter().all(|p| p.optional);
        let arity = match (need.producers.len() > 1 || patterns.iter().any(Pattern::gathers), optional) {
            (true, true) => Arity::OptionalMany,
            (true, false) => Arity::Many,
            (false, true) => Arity::Optional,
            (false, false) => Arity::One,
        };
        let port = Port { role: &need.role.text, accepts: &[], files: &["*"], arity, doc: roles.doc };
        self.role(need, &port, Some(roles));
    }

    /// Draws the edges of one role.
    fn role(&mut self, need: &'a Need, port: &Port, named: Option<NamedRoles>) {
        let many = matches!(port.arity, Arity::Many | Arity::OptionalMany);
        if !many && need.producers.len() != 1 {
            let message = format!("role `{}` of stage `{}` takes one stage", port.role, self.stage.name.text);
            let span = need.producers.get(1).map_or(&need.role.span, |i| &i.span);
            self.diags.push(wrong(span, message).label(format!("{} given", need.producers.len())));
            return;
        }
        let wants: Vec<Want> = need.producers.iter().filter_map(|item| self.want(item, port)).collect();
        let mut fed = vec![false; self.nodes[self.number].len()];
        let mut complete = wants.len() == need.producers.len();
        let fixed = self.graph.port(port.into());
        for want in &wants {
            let mut ports = named.map(|roles| InstancePorts { roles, role: port, last: None, reported: false });
            if ports.is_none() {
                self.check_fit(want, port);
            }
            let groups = self.groups(want);
            self.check_provides(want, port, &groups);
            // All read all: the number is known before one is drawn.
            let (consumers, each) = (self.sweep.cells.len(), groups.len());
            if groups.matches_nothing() && consumers.saturating_mul(each) > MOST_EDGES {
                self.all.edges.set(usize::MAX);
                self.diags.push(self.too_many_edges(want, 0, each));
                return;
            }
            let mut starved: Vec<usize> = Vec::new();
            for (number, cell) in self.sweep.cells.iter().enumerate() {
                let producers = groups.of(cell);
                self.all.edges.set(self.all.edges.get().saturating_add(1 + producers.len()));
                if self.all.too_many() {
                    self.diags.push(self.too_many_edges(want, number, producers.len()));
                    return;
                }
                if producers.is_empty() && !want.optional && port.arity != Arity::OptionalMany {
                    starved.push(number);
                }
                for (_, producer) in producers {
                    fed[number] = true;
                    // Nodes are missing only where something else was wrong, which was reported.
                    let producer = self.nodes[want.producer].get(*producer).copied();
                    let consumer = self.nodes[self.number].get(number).copied();
                    if let (Some(producer), Some(consumer)) = (producer, consumer) {
                        let port = match &mut ports {
                            None => fixed,
                            Some(ports) => self.instance_port(ports, want, producer, consumer),
                        };
                        self.graph.connect(producer, consumer, port);
                    }
                }
            }
            if let Some(first) = starved.first() {
                complete = false;
                self.diags.push(self.starved(want, port, *first, starved.len()));
            }
        }
        let hungry = fed.iter().position(|fed| !fed);
        if let Some(number) = hungry
            && complete
            && matches!(port.arity, Arity::One | Arity::Many)
        {
            let name = self.all.instance(self.number, number);
            let message = format!("`{name}` needs a stage in the role `{}` and gets none", port.role);
            let diag = wrong(&need.producers[0].span, message).label("matches nothing for it");
            self.diags.push(diag.note(port.doc.to_owned()));
        }
    }

    /// Returns the port by which an instance reads in a role that the pipeline names.
    fn instance_port(&mut self, ports: &mut InstancePorts, want: &Want, producer: NodeId, consumer: NodeId) -> PortId {
        let params = &self.graph.node(consumer).params;
        if let Some((_, port)) = ports.last.as_ref().filter(|(of, _)| Arc::ptr_eq(of, params)) {
            return *port;
        }
        let params = Arc::clone(params);
        let Port { role, arity, .. } = *ports.role;
        let port = EdgePort { role: role.to_owned(), files: (ports.roles.files)(&params, role), arity };
        if !ports.reported {
            let made = self.graph.node(producer);
            let lacks = self.lacks(want, ports.roles, &port, made);
            ports.reported = lacks.is_some();
            let stage = || self.stage.name.text.clone();
            self.all.lacking.borrow_mut().extend(lacks.map(|diag| (stage(), diag)));
        }
        let port = self.graph.port(port);
        ports.last = Some((params, port));
        port
    }

    fn owner(&self) -> String {
        format!("`needs` of stage `{}`", self.stage.name.text)
    }

    /// Returns the pattern of one entry of `needs`, with `{params.x}` filled in.
    fn pattern(&mut self, item: &Item) -> Option<Pattern> {
        match self.all.scope.scan(item, &self.owner(), &[], self.diags) {
            Scan::Bad => None,
            _ => self.diags.ok(self.parsed(item)),
        }
    }

    /// As [`Self::pattern`], but reports nothing.
    fn pattern_quietly(&self, item: &Item) -> Option<Pattern> {
        match self.all.scope.scan_quietly(Texts::Plain, item, &self.owner(), &[]) {
            Scan::Bad => None,
            _ => self.parsed(item).ok(),
        }
    }

    fn parsed(&self, item: &Item) -> Result<Pattern, Diag> {
        Pattern::parse(&plain_text(&self.all.scope.resolve(item, &|_| 0).value), &item.span)
    }

    /// Checks one entry of `needs`.
    fn want<'i>(&mut self, item: &'i Item, port: &Port) -> Option<Want<'i>> {
        let pattern = self.pattern(item)?;
        let producer = self.diags.ok(self.all.find(&pattern, item))?;
        if let Some(kind) = self.all.kinds[producer]
            && !fit::accepts(port, kind)
        {
            self.diags.push(self.wrong_kind(item, &pattern, port, kind));
            return None;
        }
        if pattern.gathers() && matches!(port.arity, Arity::One | Arity::Optional) {
            self.diags.push(self.gathers_for_one(item, &pattern, port, producer));
            return None;
        }
        let sweep = &self.all.sweeps[producer];
        let picks = self.diags.ok(pattern.pick(&self.all.spec.axes, sweep, &item.span))?;
        let open =
            |(id, pick): (&usize, &Pick)| (*pick == Pick::Open && self.sweep.position(*id).is_none()).then_some(*id);
        let lacking: Vec<usize> = sweep.axes.iter().zip(&picks).filter_map(open).collect();
        if !lacking.is_empty() {
            self.diags.push(self.lacking_axes(&pattern.stage, &lacking, port, item));
            return None;
        }
        Some(Want { item, producer, picks, optional: pattern.optional })
    }
}
