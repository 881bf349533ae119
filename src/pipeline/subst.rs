//! `{task}`, `{params.lr}`: substitution, and nothing more: no expressions. `{{` and `}}` stand for braces. A text that is
//! exactly one reference takes the type of what it refers to.
//!
//! The arguments of a command have references of their own (`{in.data}`, see `stages::command`). In these
//! ([`Texts::Arguments`]) they stay as they are written, with the doubled braces; one text for a shell stays whole.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::base::diag::{Diag, Span};
use crate::base::name::is_name;
use crate::base::suggest::nearest;
use crate::base::value::{Params, Value};
use crate::stages::command::HEADS;

use super::doc::{Item, Node, Table};
use super::source::{Diags, list, place, suggest, wrong};
use super::spec::Axis;

/// A part of a text.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Reference(String),
}

/// What references can refer to.
pub struct Scope<'a> {
    axes: &'a [Axis],
    params: &'a Table,
    used: RefCell<BTreeSet<String>>,
    /// Texts that were cut before: the instances of a stage share theirs.
    cut: RefCell<HashMap<String, Rc<[Piece]>>>,
}

/// Which texts are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Texts {
    /// Those of most parameters.
    Plain,
    /// The arguments of a command, or a text for a shell.
    Arguments,
}

/// What [`Scope::scan`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scan {
    /// Something is wrong, and was told.
    Bad,
    /// The same for all instances.
    Fixed,
    /// Depends on an axis.
    Varies,
}

/// A value after substitution.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The value.
    pub value: Value,
    /// Where it is written: for a text that is exactly one reference to a parameter, where that is.
    pub span: Span,
    /// Whether anything was substituted.
    pub substituted: bool,
}

impl<'a> Scope<'a> {
    /// `params`: the `[params]` table.
    pub fn new(axes: &'a [Axis], params: &'a Table) -> Self {
        Self { axes, params, used: RefCell::default(), cut: RefCell::default() }
    }

    /// Checks every reference in `item`, which belongs to `owner` (`` stage `train` ``) with the axes `owned` (indices).
    pub fn scan(&self, item: &Item, owner: &str, owned: &[usize], diags: &mut Diags) -> Scan {
        Scanner { scope: self, owner, owned, path: Vec::new(), diags, texts: Texts::Plain }.item(item)
    }

    /// The same for texts of either kind.
    pub fn scan_as(&self, texts: Texts, item: &Item, owner: &str, owned: &[usize], diags: &mut Diags) -> Scan {
        match (texts, &item.node) {
            (Texts::Arguments, Node::Str(_)) => Scan::Fixed,
            _ => Scanner { scope: self, owner, owned, path: Vec::new(), diags, texts }.item(item),
        }
    }

    /// [`Self::resolve`] for texts of either kind.
    pub fn resolve_as(&self, texts: Texts, item: &Item, axis: &dyn Fn(usize) -> usize) -> Resolved {
        match (texts, &item.node) {
            (Texts::Plain, _) => self.resolve(item, axis),
            (Texts::Arguments, Node::List(items)) => {
                let argument = |item: &Item| match &item.node {
                    Node::Str(text) => Value::Str(self.argument(text, axis)),
                    _ => item.to_value(),
                };
                let value = Value::List(items.iter().map(argument).collect());
                Resolved { value, span: item.span.clone(), substituted: true }
            }
            (Texts::Arguments, _) => Resolved { value: item.to_value(), span: item.span.clone(), substituted: false },
        }
    }

    /// One argument: axes and parameters filled in, all else as it is written.
    fn argument(&self, text: &str, axis: &dyn Fn(usize) -> usize) -> String {
        let escaped = |text: &str| text.replace('{', "{{").replace('}', "}}");
        let piece = |piece| match piece {
            Piece::Text(text) => escaped(&text),
            Piece::Reference(name) if is_own(&name) => format!("{{{name}}}"),
            Piece::Reference(name) => escaped(&plain_text(&self.reference(&name, axis).value)),
        };
        pieces(text, Texts::Arguments).expect("scanned").into_iter().map(piece).collect()
    }

    /// The value of `item`, which [`Self::scan`] found good; `axis` gives the value of each axis that the owner has.
    pub fn resolve(&self, item: &Item, axis: &dyn Fn(usize) -> usize) -> Resolved {
        let plain = |value| Resolved { value, span: item.span.clone(), substituted: false };
        match &item.node {
            Node::Str(text) if text.contains(['{', '}']) => self.text(item, text, axis),
            Node::List(items) => {
                let parts: Vec<_> = items.iter().map(|i| self.resolve(i, axis)).collect();
                let substituted = parts.iter().any(|r| r.substituted);
                Resolved { substituted, ..plain(Value::List(parts.into_iter().map(|r| r.value).collect())) }
            }
            Node::Table(table) => {
                let mut substituted = false;
                let mut fields = Params::new();
                for e in &table.entries {
                    let part = self.resolve(&e.item, axis);
                    substituted |= part.substituted;
                    fields.insert(e.key.clone(), part.value);
                }
                Resolved { substituted, ..plain(Value::Table(fields)) }
            }
            _ => plain(item.to_value()),
        }
    }

    fn text(&self, item: &Item, text: &str, axis: &dyn Fn(usize) -> usize) -> Resolved {
        let pieces = self.cut(text);
        if let [Piece::Reference(name)] = &pieces[..] {
            let found = self.reference(name, axis);
            let span = if name.starts_with("params.") { found.span } else { item.span.clone() };
            return Resolved { substituted: true, span, ..found };
        }
        let mut value = String::new();
        let mut substituted = false;
        for piece in &*pieces {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Reference(name) => {
                    substituted = true;
                    value.push_str(&plain_text(&self.reference(name, axis).value));
                }
            }
        }
        Resolved { value: Value::Str(value), span: item.span.clone(), substituted }
    }

    fn cut(&self, text: &str) -> Rc<[Piece]> {
        let mut cut = self.cut.borrow_mut();
        if let Some(pieces) = cut.get(text) {
            return pieces.clone();
        }
        let pieces: Rc<[Piece]> = pieces(text, Texts::Plain).expect("scanned").into();
        cut.insert(text.to_owned(), pieces.clone());
        pieces
    }

    fn reference(&self, name: &str, axis: &dyn Fn(usize) -> usize) -> Resolved {
        match name.strip_prefix("params.") {
            Some(path) => self.resolve(self.param(path).expect("scanned"), axis),
            None => {
                let id = self.axes.iter().position(|a| a.name.text == name).expect("scanned");
                let value = &self.axes[id].values[axis(id)];
                Resolved { value: value.value.clone(), span: value.span.clone(), substituted: true }
            }
        }
    }

    /// The item at `a.b` below `[params]`.
    fn param(&self, path: &str) -> Option<&'a Item> {
        let mut parts = path.split('.');
        let mut item = &self.params.get(parts.next()?)?.item;
        for part in parts {
            item = &item.as_table()?.get(part)?.item;
        }
        Some(item)
    }

    /// A warning for each parameter that nothing refers to.
    pub fn unused(&self, diags: &mut Diags) {
        for (path, span) in leaves(self.params, "") {
            let used = self.used.borrow();
            let whole = |u: &String| path == *u || path.strip_prefix(u.as_str()).is_some_and(|r| r.starts_with('.'));
            if !used.iter().any(whole) {
                let mut diag = Diag::warning(format!("nothing uses the parameter `{path}`")).at(span);
                diag.class = crate::base::diag::Class::Usage;
                diags.push(diag.help(format!("refer to it as `{{params.{path}}}`, or remove it")));
            }
        }
    }
}

/// The paths of all values below `table` that are no tables.
fn leaves(table: &Table, above: &str) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    for e in &table.entries {
        let path = if above.is_empty() { e.key.clone() } else { format!("{above}.{}", e.key) };
        match &e.item.node {
            Node::Table(t) if !t.entries.is_empty() => found.extend(leaves(t, &path)),
            _ => found.push((path, e.key_span.clone())),
        }
    }
    found
}

struct Scanner<'s, 'a> {
    scope: &'s Scope<'a>,
    owner: &'s str,
    owned: &'s [usize],
    /// The parameters that led here.
    path: Vec<String>,
    diags: &'s mut Diags,
    texts: Texts,
}

/// Whether a reference in an argument is the command's own.
fn is_own(name: &str) -> bool {
    name == "params" || HEADS.iter().any(|head| name.strip_prefix(head).is_some_and(|rest| rest.starts_with('.')))
}

impl Scanner<'_, '_> {
    fn item(&mut self, item: &Item) -> Scan {
        match &item.node {
            Node::Str(text) if text.contains(['{', '}']) => self.text(item, text),
            Node::List(items) => self.all(items.iter()),
            Node::Table(table) => self.all(table.entries.iter().map(|e| &e.item)),
            _ => Scan::Fixed,
        }
    }

    fn all<'i>(&mut self, items: impl Iterator<Item = &'i Item>) -> Scan {
        items.fold(Scan::Fixed, |so_far, item| worse(so_far, self.item(item)))
    }

    fn text(&mut self, item: &Item, text: &str) -> Scan {
        match pieces(text, self.texts) {
            Err((message, help)) => self.bad(wrong(&item.span, message).help(help)),
            Ok(pieces) => {
                let alone = pieces.len() == 1 && self.texts == Texts::Plain;
                pieces.iter().fold(Scan::Fixed, |so_far, piece| match piece {
                    Piece::Text(_) => so_far,
                    Piece::Reference(name) if self.texts == Texts::Arguments && is_own(name) => so_far,
                    Piece::Reference(name) => worse(so_far, self.reference(item, name, alone)),
                })
            }
        }
    }

    fn reference(&mut self, item: &Item, name: &str, alone: bool) -> Scan {
        let Some(path) = name.strip_prefix("params.") else { return self.axis(item, name) };
        let Some(param) = self.scope.param(path) else {
            let diag = wrong(&item.span, format!("there is no parameter `{path}`"));
            let known: Vec<_> = leaves(self.scope.params, "").into_iter().map(|(p, _)| p).collect();
            return self.bad(suggest(diag, path, "`[params]` has", known.iter().map(String::as_str)));
        };
        self.scope.used.borrow_mut().insert(path.to_owned());
        if let Some(start) = self.path.iter().position(|p| p == path) {
            let mut circle = self.path[start..].to_vec();
            circle.push(path.to_owned());
            let circle: Vec<_> = circle.iter().map(|p| format!("`{p}`")).collect();
            return self
                .bad(wrong(&item.span, format!("parameters refer to each other in a circle: {}", circle.join(" → "))));
        }
        if !alone && matches!(param.node, Node::List(_) | Node::Table(_)) {
            let diag =
                wrong(&item.span, format!("`{{params.{path}}}` is {} and cannot stand inside a text", param.is_a()));
            return self.bad(diag.note(format!("it is written at {}", place(&param.span))));
        }
        self.path.push(path.to_owned());
        // What stands in `[params]` has no references of a command.
        let texts = std::mem::replace(&mut self.texts, Texts::Plain);
        let scan = self.item(param);
        self.texts = texts;
        self.path.pop();
        scan
    }

    fn axis(&mut self, item: &Item, name: &str) -> Scan {
        let axes = self.scope.axes;
        let owned: Vec<&str> = self.owned.iter().map(|i| axes[*i].name.text.as_str()).collect();
        if owned.contains(&name) {
            return Scan::Varies;
        }
        let owner = self.owner;
        if axes.iter().any(|a| a.name.text == name) {
            if !owner.starts_with("stage") {
                let diag = wrong(&item.span, format!("{owner} cannot depend on an axis, and so not use `{{{name}}}`"));
                return self.bad(diag.help("only the parameters of a stage can"));
            }
            let diag = wrong(&item.span, format!("{owner} has no axis `{name}`, so `{{{name}}}` stands for nothing"));
            return self.bad(diag.help(match owned.is_empty() {
                true => format!("give it `axes = [\"{name}\"]`"),
                false => format!("add `\"{name}\"` to its `axes`"),
            }));
        }
        let diag = wrong(&item.span, format!("`{{{name}}}` stands for nothing"));
        let params: Vec<_> = leaves(self.scope.params, "").into_iter().map(|(p, _)| p).collect();
        let known = || params.iter().map(String::as_str);
        let diag = if let Some(param) = nearest(name.strip_prefix("param.").unwrap_or(name), known()) {
            diag.label(format!("did you mean `{{params.{param}}}`?"))
        } else if owned.is_empty() {
            diag.help("write `{params.NAME}` for a parameter, and `{{` for a brace")
        } else {
            suggest(diag, name, "axes here are", owned).note("a brace is written `{{`")
        };
        self.bad(diag)
    }

    fn bad(&mut self, diag: Diag) -> Scan {
        self.diags.push(diag);
        Scan::Bad
    }
}

fn worse(a: Scan, b: Scan) -> Scan {
    match (a, b) {
        (Scan::Bad, _) | (_, Scan::Bad) => Scan::Bad,
        (Scan::Varies, _) | (_, Scan::Varies) => Scan::Varies,
        _ => Scan::Fixed,
    }
}

/// A scalar as it stands inside a text.
pub fn plain_text(value: &Value) -> String {
    match value {
        Value::Str(s) => s.clone(),
        other => other.to_string(),
    }
}

/// The parts of a text.
///
/// # Errors
/// What is wrong, and what to do.
fn pieces(text: &str, texts: Texts) -> Result<Vec<Piece>, (String, String)> {
    let escape = "a brace that is meant as one is written twice: `{{`, `}}`".to_owned();
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(i) = rest.find(['{', '}']) {
        plain.push_str(&rest[..i]);
        let brace = &rest[i..=i];
        let after = &rest[i + 1..];
        if let Some(after) = after.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(("a `}` without its `{`".to_owned(), escape));
        }
        let Some(end) = after.find('}') else {
            return Err(("a `{` without its `}`".to_owned(), escape));
        };
        let name = &after[..end];
        let own = texts == Texts::Arguments && is_own(name);
        if !own && name.split('.').any(|part| !is_name(part)) {
            let help = format!("write `{{axis}}` or `{{params.name}}`; {escape}");
            return Err((format!("`{{{name}}}` is no reference"), help));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Reference(name.to_owned()));
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// `` `a`, `b` `` of the axes with these indices.
pub fn axis_names(axes: &[Axis], which: &[usize]) -> String {
    let names: Vec<_> = which.iter().map(|i| axes[*i].name.text.as_str()).collect();
    list(&names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_references() {
        let text = |s: &str| Piece::Text(s.to_owned());
        let reference = |s: &str| Piece::Reference(s.to_owned());
        assert_eq!(pieces("", Texts::Plain).unwrap(), [text("")]);
        assert_eq!(pieces("{task}", Texts::Plain).unwrap(), [reference("task")]);
        assert_eq!(
            pieces("a{task}{params.x.y}b", Texts::Plain).unwrap(),
            [text("a"), reference("task"), reference("params.x.y"), text("b")]
        );
        assert_eq!(pieces("{{task}}", Texts::Plain).unwrap(), [text("{task}")]);
        assert_eq!(pieces("{{{task}}}", Texts::Plain).unwrap(), [text("{"), reference("task"), text("}")]);
        let own = pieces("{in.a/b*.json}-{task}", Texts::Arguments).unwrap();
        assert_eq!(own, [reference("in.a/b*.json"), text("-"), reference("task")]);
        for bad in ["{", "}", "{task", "task}", "{}", "{a b}", "{a.}", "{a+1}"] {
            assert!(pieces(bad, Texts::Plain).is_err(), "{bad}");
        }
    }
}
