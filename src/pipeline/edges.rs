//! `needs`: who reads whom. Axes that producer and consumer share are matched by value; an axis that the producer lacks is
//! a broadcast; one that the consumer lacks must be picked or gathered.
//!
//! Producers are grouped once a need by the axes that are matched, so that the cost is linear in nodes and edges.

use std::cell::{self, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use crate::base::diag::Diag;
use crate::base::glob;
use crate::base::name::is_name;
use crate::base::suggest::nearest_file;
use crate::base::value::Params;
use crate::engine::graph::{Graph, NodeId};
use crate::stages::command::{self, Gives};
use crate::stages::stage::{ANY_ROLE, Arity, LOG, Port, StageKind};

use super::doc::Item;
use super::expand::{Cell, Sweep};
use super::parse::bad_name;
use super::pattern::{Pattern, Pick};
use super::settings::instance_name;
use super::source::{Diags, count, list, suggest, wrong};
use super::spec::{Need, Spec, StageSpec};
use super::subst::{Scan, Scope, Texts, axis_names};

/// What the edges are drawn between.
pub struct Stages<'a> {
    /// The pipeline.
    pub spec: &'a Spec,
    /// By stage.
    pub sweeps: &'a [Sweep],
    /// By stage; `None`: unknown, and told.
    pub kinds: &'a [Option<&'static StageKind>],
    /// Every kind that a pipeline can name, for messages.
    pub known: &'a [&'static StageKind],
    /// Stage numbers by name.
    pub by_name: &'a HashMap<&'a str, usize>,
    /// What `needs` may refer to.
    pub scope: &'a Scope<'a>,
    /// Stages that name a file which its producer never makes: wrong only where such a stage is to run.
    pub lacking: &'a RefCell<Vec<(String, Diag)>>,
    /// How many edges were looked for and drawn.
    pub edges: cell::Cell<usize>,
}

/// How many edges a pipeline may have, with one for each instance that looks for its producers.
const MOST_EDGES: usize = 10_000_000;

/// A checked producer of one role.
struct Want<'a> {
    item: &'a Item,
    producer: usize,
    picks: Vec<Pick>,
    optional: bool,
}

/// The producers of one entry of `needs`, by the values of the axes that both have.
struct Groups {
    /// Where the consumer has these axes, and how many values each has.
    here: Vec<(usize, u64)>,
    /// Combination of values, and cell number; sorted.
    producers: Vec<(u64, usize)>,
}

impl Groups {
    /// Those that the consumer's cell reads.
    fn of(&self, cell: &[u32]) -> &[(u64, usize)] {
        let wanted = numbered(cell, &self.here);
        let begin = self.producers.partition_point(|(number, _)| *number < wanted);
        let rest = &self.producers[begin..];
        let length = rest.iter().take_while(|(number, _)| *number == wanted).count();
        &rest[..length]
    }
}

/// The number of a combination of values: the sweep of a stage is bounded, so it is small.
fn numbered(cell: &[u32], axes: &[(usize, u64)]) -> u64 {
    axes.iter().fold(0, |number, (at, size)| number.wrapping_mul(*size).wrapping_add(u64::from(cell[*at])))
}

impl Stages<'_> {
    /// Whether there are more edges than a pipeline may have.
    pub fn too_many(&self) -> bool {
        self.edges.get() > MOST_EDGES
    }

    /// Checks the `needs` of stage number `consumer` and draws its edges. `nodes` has the nodes of every stage, by cell.
    pub fn connect(&self, consumer: usize, nodes: &[Vec<NodeId>], graph: &mut Graph, diags: &mut Diags) {
        let stage = &self.spec.stages[consumer];
        let Some(kind) = self.kinds[consumer] else {
            // Its ports are not known; the names in `needs` can still be looked up.
            for item in stage.needs.iter().flat_map(|n| &n.producers) {
                self.pattern(stage, item, Some(diags)).and_then(|p| diags.ok(self.find(&p, item)));
            }
            return;
        };
        for need in &stage.needs {
            if kind.inputs.iter().any(|p| p.role == need.role.text && p.role != ANY_ROLE) {
                continue;
            }
            if kind.any_role().is_some() {
                self.any_role(consumer, need, nodes, graph, diags);
            } else {
                let message = format!("stage kind `{}` has no role `{}`", kind.name, need.role.text);
                let roles = kind.inputs.iter().map(|p| p.role);
                diags.push(suggest(wrong(&need.role.span, message), &need.role.text, "its roles are", roles));
            }
        }
        if kind.any_role().is_some() {
            self.check_named(stage, nodes[consumer].first().map(|id| &*graph.node(*id).params), diags);
        }
        for port in kind.inputs {
            match stage.needs.iter().find(|n| n.role.text == port.role) {
                Some(need) => self.port(consumer, need, port, nodes, graph, diags),
                None if stage.needs_broken || matches!(port.arity, Arity::Optional | Arity::OptionalMany) => {}
                None => diags.push(self.missing(stage, port)),
            }
        }
    }

    /// A role of a kind that takes any: as many producers as are named.
    fn any_role(&self, consumer: usize, need: &Need, nodes: &[Vec<NodeId>], graph: &mut Graph, diags: &mut Diags) {
        if !is_name(&need.role.text) {
            diags.push(bad_name(&need.role.span, &need.role.text, "a role"));
            return;
        }
        // What is wrong with them is told when the edges are drawn.
        let pattern = |item| self.pattern(&self.spec.stages[consumer], item, None);
        let patterns: Vec<_> = need.producers.iter().filter_map(pattern).collect();
        let optional = !patterns.is_empty() && patterns.iter().all(|p| p.optional);
        let arity = match (need.producers.len() > 1 || patterns.iter().any(Pattern::gathers), optional) {
            (true, true) => Arity::OptionalMany,
            (true, false) => Arity::Many,
            (false, true) => Arity::Optional,
            (false, false) => Arity::One,
        };
        let port = command::port(&need.role.text, arity, &Params::new());
        self.port(consumer, need, port, nodes, graph, diags);
    }

    /// That every role that the stage names in its parameters is in its `needs`.
    fn check_named(&self, stage: &StageSpec, params: Option<&Params>, diags: &mut Diags) {
        for role in params.map(command::roles_named).unwrap_or_default() {
            if stage.needs.iter().any(|need| need.role.text == role) || stage.needs_broken {
                continue;
            }
            let message =
                format!("`run` of stage `{}` names `{{in.{role}}}`, and `needs` has no role `{role}`", stage.name.text);
            let diag = wrong(&stage.needs_span, message);
            let roles: Vec<_> = stage.needs.iter().map(|need| need.role.text.as_str()).collect();
            diags.push(match roles.is_empty() {
                true => diag.help(format!("add `needs = {{ {role} = \"STAGE\" }}`")),
                false => suggest(diag, &role, "its roles are", roles),
            });
        }
    }

    /// That a stage which makes what its pipeline says makes something that `port` reads.
    fn check_fit(&self, want: &Want, port: &Port, nodes: &[Vec<NodeId>], graph: &Graph, diags: &mut Diags) {
        if !self.kinds[want.producer].is_some_and(StageKind::writes_anything) || port.files.contains(&"*") {
            return;
        }
        let Some(first) = nodes[want.producer].first() else { return };
        let gives = Gives::of(&graph.node(*first).params);
        let files = port.own_files();
        if gives.is_empty() || gives.iter().any(|gives| files.iter().any(|pattern| gives.may_fit(pattern))) {
            return;
        }
        let producer = &self.spec.stages[want.producer].name.text;
        let shown: Vec<_> = gives.iter().map(Gives::shown).collect();
        let diag = wrong(&want.item.span, format!("`{producer}` makes nothing that role `{}` reads", port.role));
        diags.push(
            diag.label(format!("makes {}", shown.join(", "))).note(format!("the role reads {}", or_list(&files))),
        );
    }

    /// The kinds that can stand in a role.
    fn providers(&self, port: &Port) -> Vec<&'static str> {
        let provides = |kind: &&&StageKind| port.accepts.iter().any(|what| kind.may_provide(what));
        self.known.iter().filter(provides).map(|kind| kind.name).collect()
    }

    /// Checks that the nodes of a producer that a role reads provide what it accepts, with their parameters.
    fn check_provides(
        &self,
        want: &Want,
        port: &Port,
        groups: &Groups,
        nodes: &[Vec<NodeId>],
        graph: &Graph,
        diags: &mut Diags,
    ) {
        let Some(kind) = self.kinds[want.producer] else { return };
        if port.accepts.is_empty() || kind.writes_anything() {
            return;
        }
        let read = groups.producers.iter().filter_map(|(_, cell)| nodes[want.producer].get(*cell));
        let fits = |id: &&NodeId| port.accepts.iter().any(|what| kind.provides(what, &graph.node(**id).params));
        let Some(id) = read.clone().find(|id| !fits(id)) else { return };
        let set = |(name, value): (&str, &str)| format!("`{name} = \"{value}\"`");
        let needed = kind.provides.iter().filter(|provision| port.accepts.contains(&provision.what));
        let needed: Vec<_> = needed.filter_map(|provision| provision.when.map(set)).collect();
        let message = format!(
            "role `{}` takes a stage that provides `{}`, which `{}` does not",
            port.role,
            port.accepts.join("` or `"),
            graph.node(*id)
        );
        diags.push(wrong(&want.item.span, message).help(format!(
            "a `{}` stage does with {}",
            kind.name,
            needed.join(" or ")
        )));
    }

    /// What is wrong where `run` names a file that the producer, of `kind` and with `params`, never makes.
    fn lacks(&self, consumer: usize, want: &Want, port: &Port, kind: &StageKind, params: &Params) -> Option<Diag> {
        let makes: Vec<String> = match kind.writes_anything() {
            true => Gives::of(params).iter().map(Gives::pattern).collect(),
            false => kind.outputs.iter().map(|output| output.name.to_owned()).collect(),
        };
        if makes.is_empty() {
            // Its settings are wrong, and that is told.
            return None;
        }
        let fits = |pattern: &str| pattern == LOG || makes.iter().any(|made| glob::meet(made, pattern));
        let pattern = port.files.iter().find(|pattern| !fits(pattern))?;
        let (stage, producer) = (&self.spec.stages[consumer].name.text, &self.spec.stages[want.producer].name.text);
        let message = format!(
            "`run` of stage `{stage}` names `{{in.{}/{pattern}}}`, which `{producer}` does not make",
            port.role
        );
        // What is in a folder may have any name.
        let in_folder = |made: &String| {
            let folder = made.strip_suffix('*').filter(|folder| folder.ends_with('/'))?;
            Some(format!("{folder}{}", pattern.rsplit('/').next().unwrap_or(pattern)))
        };
        let near = nearest_file(pattern, makes.iter().map(String::as_str)).map(str::to_owned);
        let near = near.or_else(|| makes.iter().find_map(in_folder));
        let diag = wrong(&want.item.span, message).label(format!("makes {}", list(&makes)));
        Some(match near {
            Some(near) => diag.help(format!("did you mean `{near}`?")),
            None => diag.help("correct the name in `run`, or what the other stage makes"),
        })
    }

    /// Draws the edges of one role.
    fn port(
        &self,
        consumer: usize,
        need: &Need,
        port: &'static Port,
        nodes: &[Vec<NodeId>],
        graph: &mut Graph,
        diags: &mut Diags,
    ) {
        let many = matches!(port.arity, Arity::Many | Arity::OptionalMany);
        let stage = &self.spec.stages[consumer];
        if !many && need.producers.len() != 1 {
            let message = format!("role `{}` of stage `{}` takes one stage", port.role, stage.name.text);
            let span = need.producers.get(1).map_or(&need.role.span, |i| &i.span);
            diags.push(wrong(span, message).label(format!("{} given", need.producers.len())));
            return;
        }
        let wants: Vec<Want> =
            need.producers.iter().filter_map(|item| self.want(consumer, item, port, diags)).collect();
        let mut fed = vec![false; nodes[consumer].len()];
        let mut complete = wants.len() == need.producers.len();
        let any = self.kinds[consumer].is_some_and(|kind| !kind.inputs.iter().any(|p| p.role == port.role));
        // The last answer: most instances share their parameters.
        let mut asked: Option<(Arc<Params>, &'static Port)>;
        let mut told;
        for want in &wants {
            if !any {
                self.check_fit(want, port, nodes, graph, diags);
            }
            // One message for each producer, and each producer is asked.
            (asked, told) = (None, false);
            let groups = self.groups(consumer, want);
            self.check_provides(want, port, &groups, nodes, graph, diags);
            // All read all: the number is known before one is drawn.
            let (consumers, each) = (self.sweeps[consumer].cells.len(), groups.producers.len());
            if groups.here.is_empty() && consumers.saturating_mul(each) > MOST_EDGES {
                self.edges.set(usize::MAX);
                diags.push(self.crowded(consumer, want, 0, each));
                return;
            }
            let mut starved: Vec<usize> = Vec::new();
            for (number, cell) in self.sweeps[consumer].cells.iter().enumerate() {
                let producers = groups.of(cell);
                self.edges.set(self.edges.get().saturating_add(1 + producers.len()));
                if self.too_many() {
                    diags.push(self.crowded(consumer, want, number, producers.len()));
                    return;
                }
                if producers.is_empty() && !want.optional && port.arity != Arity::OptionalMany {
                    starved.push(number);
                }
                for (_, producer) in producers {
                    fed[number] = true;
                    // Nodes are missing only where something else was wrong, and told.
                    if let (Some(p), Some(c)) = (nodes[want.producer].get(*producer), nodes[consumer].get(number)) {
                        // A role by any name: of which files, each instance says by itself.
                        let port = match (&asked, &graph.node(*c).params) {
                            _ if !any => port,
                            (Some((of, port)), params) if Arc::ptr_eq(of, params) => port,
                            (_, params) => {
                                let own = command::port(port.role, port.arity, params);
                                if !told {
                                    let made = graph.node(*p);
                                    let lack = self.lacks(consumer, want, own, made.kind, &made.params);
                                    told = lack.is_some();
                                    let stage = || self.spec.stages[consumer].name.text.clone();
                                    self.lacking.borrow_mut().extend(lack.map(|diag| (stage(), diag)));
                                }
                                asked = Some((Arc::clone(params), own));
                                own
                            }
                        };
                        graph.connect(*p, *c, port);
                    }
                }
            }
            if let Some(first) = starved.first() {
                complete = false;
                diags.push(self.starved(consumer, want, port, *first, starved.len()));
            }
        }
        let hungry = fed.iter().position(|fed| !fed);
        if let Some(number) = hungry
            && complete
            && matches!(port.arity, Arity::One | Arity::Many)
        {
            let name = self.instance(consumer, number);
            let message = format!("`{name}` has nothing in role `{}`, which must be there", port.role);
            diags
                .push(wrong(&need.producers[0].span, message).label("matches nothing there").note(port.doc.to_owned()));
        }
    }

    /// There are too many edges; instance `number` of `consumer` reads `each` nodes.
    fn crowded(&self, consumer: usize, want: &Want, number: usize, each: usize) -> Diag {
        let message = format!("the pipeline has more than {MOST_EDGES} edges between its nodes");
        let name = self.instance(consumer, number);
        wrong(&want.item.span, message)
            .note(format!("`{name}` alone reads {} here", count(each, "node")))
            .help("share an axis, so that its values are matched, or gather once in a stage without axes")
    }

    fn missing(&self, stage: &StageSpec, port: &Port) -> Diag {
        let message = format!("stage `{}` does not say who gives its `{}`", stage.name.text, port.role);
        let diag = wrong(&stage.needs_span, message).note(format!("`{}`: {}", port.role, port.doc));
        let others = self.spec.stages.iter().zip(self.kinds).filter(|(s, _)| s.name.text != stage.name.text);
        let fits = others.filter(|(_, kind)| kind.is_some_and(|k| accepts(port, k)));
        let fit: Vec<&str> = fits.map(|(s, _)| s.name.text.as_str()).collect();
        let star = if port.arity == Arity::Many { "[*]" } else { "" };
        match fit[..] {
            [] if port.accepts.is_empty() => diag.help(format!("add `{} = \"STAGE{star}\"` to its `needs`", port.role)),
            [] => diag.help(format!("add a stage of kind {} and name it in `needs`", or_list(&self.providers(port)))),
            [one] => diag.help(format!("add `{} = \"{one}{star}\"` to its `needs`", port.role)),
            _ => diag.help(format!("add `{} = \"STAGE{star}\"` to its `needs`: one of {}", port.role, list(&fit))),
        }
    }

    /// The pattern of one entry of `needs`, with `{params.x}` filled in. Without `diags`, nothing that is wrong is told.
    fn pattern(&self, stage: &StageSpec, item: &Item, diags: Option<&mut Diags>) -> Option<Pattern> {
        let owner = format!("`needs` of stage `{}`", stage.name.text);
        let parse = || {
            let text = crate::pipeline::subst::plain_text(&self.scope.resolve(item, &|_| 0).value);
            Pattern::parse(&text, &item.span)
        };
        let Some(diags) = diags else {
            let scan = self.scope.scan_quietly(Texts::Plain, item, &owner, &[]);
            return if scan == Scan::Bad { None } else { parse().ok() };
        };
        if self.scope.scan(item, &owner, &[], diags) == Scan::Bad { None } else { diags.ok(parse()) }
    }

    /// The number of the stage that `pattern` names.
    fn find(&self, pattern: &Pattern, item: &Item) -> Result<usize, Diag> {
        self.by_name.get(pattern.stage.as_str()).copied().ok_or_else(|| {
            let diag = wrong(&item.span, format!("there is no stage `{}`", pattern.stage));
            let names = self.spec.stages.iter().map(|s| s.name.text.as_str());
            suggest(diag, &pattern.stage, "the stages are", names)
        })
    }

    /// One entry of `needs`, checked.
    fn want<'i>(&self, consumer: usize, item: &'i Item, port: &Port, diags: &mut Diags) -> Option<Want<'i>> {
        let stage = &self.spec.stages[consumer];
        let pattern = self.pattern(stage, item, Some(diags))?;
        let producer = diags.ok(self.find(&pattern, item))?;
        if let Some(kind) = self.kinds[producer]
            && !accepts(port, kind)
        {
            let message = format!(
                "role `{}` of stage `{}` cannot take `{}`, a stage of kind `{}`",
                port.role, stage.name.text, pattern.stage, kind.name
            );
            diags.push(wrong(&item.span, message).label(format!("takes {}", or_list(&self.providers(port)))));
            return None;
        }
        if pattern.gathers() && matches!(port.arity, Arity::One | Arity::Optional) {
            let message = format!("role `{}` of stage `{}` takes one producer", port.role, stage.name.text);
            let here = &self.sweeps[consumer];
            let all_shared = self.sweeps[producer].axes.iter().all(|id| here.position(*id).is_some());
            let diag = wrong(&item.span, message).label("this may be several");
            diags.push(match all_shared {
                true => diag.help(format!("write `{}` alone: axes that both have are matched by value", pattern.stage)),
                false => diag.help("name a value for each axis instead of `*`"),
            });
            return None;
        }
        let sweep = &self.sweeps[producer];
        let picks = diags.ok(pattern.pick(&self.spec.axes, sweep, &item.span))?;
        let open = |(id, pick): (&usize, &Pick)| {
            (*pick == Pick::Open && self.sweeps[consumer].position(*id).is_none()).then_some(*id)
        };
        let lacking: Vec<usize> = sweep.axes.iter().zip(&picks).filter_map(open).collect();
        if !lacking.is_empty() {
            diags.push(self.lacking(stage, &pattern.stage, &lacking, port, item));
            return None;
        }
        Some(Want { item, producer, picks, optional: pattern.optional })
    }

    /// The producer varies over axes that the consumer does not have.
    fn lacking(&self, stage: &StageSpec, producer: &str, axes: &[usize], port: &Port, item: &Item) -> Diag {
        let names = axis_names(&self.spec.axes, axes);
        let noun = if axes.len() == 1 { "axis" } else { "axes" };
        let message = format!("stage `{}` lacks the {noun} {names} of `{producer}`", stage.name.text);
        let diag = wrong(&item.span, message).label(format!("which `{producer}`?"));
        let first = &self.spec.axes[axes[0]];
        let value = first.values.first().map_or("…", |v| v.text.as_str());
        let pick = format!("`{producer}[{}={value}]`", first.name.text);
        if matches!(port.arity, Arity::Many | Arity::OptionalMany) {
            diag.help(format!("gather them with `{producer}[*]`, or pick with {pick}"))
        } else {
            diag.help(format!("add {names} to `axes` of `{}`, or pick one with {pick}", stage.name.text))
        }
    }

    /// Positions of the axes that are matched by value: in the consumer's cell and in the producer's.
    fn shared(&self, consumer: usize, want: &Want) -> Vec<(usize, usize)> {
        let axes = self.sweeps[want.producer].axes.iter().zip(&want.picks).enumerate();
        let matched = |(at, (id, pick)): (usize, (&usize, &Pick))| {
            let here = self.sweeps[consumer].position(*id)?;
            // `[*]` gathers the axes that the consumer lacks; `[task=*]` all values even of one that it has.
            matches!(pick, Pick::Open | Pick::Rest).then_some((here, at))
        };
        axes.filter_map(matched).collect()
    }

    /// The producer's cell numbers by the values of the matched axes, those that are picked only.
    fn groups(&self, consumer: usize, want: &Want) -> Groups {
        let sweep = &self.sweeps[want.producer];
        let shared = self.shared(consumer, want);
        let sizes = shared.iter().map(|(_, at)| self.spec.axes[sweep.axes[*at]].values.len() as u64);
        let here: Vec<_> = shared.iter().map(|(at, _)| *at).zip(sizes.clone()).collect();
        let there: Vec<_> = shared.iter().map(|(_, at)| *at).zip(sizes).collect();
        let picked = |cell: &Cell| {
            want.picks.iter().zip(cell.iter()).all(|(p, v)| !matches!(p, Pick::Value(picked) if picked != v))
        };
        let cells = sweep.cells.iter().enumerate().filter(|(_, cell)| picked(cell));
        let mut producers: Vec<_> = cells.map(|(number, cell)| (numbered(cell, &there), number)).collect();
        producers.sort();
        Groups { here, producers }
    }

    fn starved(&self, consumer: usize, want: &Want, port: &Port, first: usize, number: usize) -> Diag {
        let producer = &self.spec.stages[want.producer];
        let consumers = self.sweeps[consumer].cells.len();
        let wanted = self.wanted(consumer, want, first);
        let message = format!("`{}` needs `{wanted}`, which does not exist", self.instance(consumer, first));
        let label = match consumers {
            1 => "matches nothing".to_owned(),
            _ => format!("matches nothing for {number} of {}", count(consumers, "instance")),
        };
        let mut diag = wrong(&want.item.span, message).label(label);
        for condition in &producer.when {
            let values: Vec<_> = condition.values.iter().map(|v| v.to_value()).collect();
            let values: Vec<_> = values.iter().map(super::subst::plain_text).collect();
            diag = diag.note(format!(
                "`{}` exists only where `{}` is {}",
                producer.name.text,
                condition.axis.text,
                or_list(&values)
            ));
        }
        if producer.when.is_empty() && !self.spec.exclude.is_empty() {
            diag = diag.note("`axes.exclude` may have taken it out");
        }
        match port.arity {
            Arity::Optional => diag.help(format!("write `{}?` where it may be missing", producer.name.text)),
            _ => diag.help(format!("give `{}` the same conditions", self.spec.stages[consumer].name.text)),
        }
    }

    /// What instance `number` of `consumer` looks for: `svd_init[method=pt]`.
    fn wanted(&self, consumer: usize, want: &Want, number: usize) -> String {
        let sweep = &self.sweeps[want.producer];
        let cell = &self.sweeps[consumer].cells[number];
        let value = |(id, pick): (&usize, &Pick)| {
            let axis = &self.spec.axes[*id];
            let text = match (pick, self.sweeps[consumer].position(*id)) {
                (Pick::Value(v), _) => axis.values[*v as usize].text.as_str(),
                (Pick::Open | Pick::Rest, Some(at)) => axis.values[cell[at] as usize].text.as_str(),
                _ => "*",
            };
            format!("{}={text}", axis.name.text)
        };
        let values: Vec<_> = sweep.axes.iter().zip(&want.picks).map(value).collect();
        let name = &self.spec.stages[want.producer].name.text;
        if values.is_empty() { name.clone() } else { format!("{name}[{}]", values.join(",")) }
    }

    fn instance(&self, stage: usize, number: usize) -> String {
        let sweep = &self.sweeps[stage];
        instance_name(self.spec, &self.spec.stages[stage].name.text, sweep, &sweep.cells[number])
    }
}

/// Returns whether a stage of this kind can stand in a role, with the right parameters.
fn accepts(port: &Port, kind: &StageKind) -> bool {
    port.accepts.is_empty() || port.accepts.iter().any(|what| kind.may_provide(what)) || kind.writes_anything()
}

/// `` `a` or `b` ``.
fn or_list<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<_> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    names.join(" or ")
}
