//! `{task}`, `{params.lr}`: substitution, and nothing more: no expressions. `{{` and `}}` stand for braces. A text that is
//! exactly one reference takes the type of what it refers to.
//!
//! The arguments of a program ([`Texts::Arguments`]) have references of their own, such as `{in.data}`. These stay as they are
//! written, with the doubled braces; one text for a shell stays whole.
//!
//! Parameters may refer to one another, so a short file can ask for a value of any size. Before anything is filled in,
//! `scan` finds out how large it becomes; what is too large is an error.

mod scan;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::base::diag::{Diag, Span};
use crate::base::name::is_name;
use crate::base::value::{Params, Value};

use super::doc::{Item, Node, Table};
use super::source::{Diags, list};
use super::spec::Axis;

use scan::{Facts, Scanner};
pub use scan::{Found, PART};

/// How many bytes all values together may have once references are filled in, counted as in [`Found::bytes`].
pub const MOST_FILLED: u64 = 200_000_000;

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
    /// Everything below `[params]`, by path.
    index: HashMap<String, &'a Item>,
    /// What is known of each parameter: it is scanned once for each owner.
    facts: RefCell<Facts>,
    /// How many bytes of [`MOST_FILLED`] are used.
    filled: Cell<u64>,
}

/// Which texts are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Texts {
    /// Those of most parameters.
    Plain,
    /// The arguments of a program, or a text for a shell; with its own references, see
    /// [`Type::Argv`](crate::stages::stage::Type).
    Arguments(&'static [&'static str]),
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

/// Whether a value fits among all others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// It does.
    Fits,
    /// It is the first that does not.
    TooMuch,
    /// An earlier one did not, which was told.
    Told,
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
        Self {
            axes,
            params,
            used: RefCell::default(),
            cut: RefCell::default(),
            index: index(params),
            facts: RefCell::default(),
            filled: Cell::new(0),
        }
    }

    /// Checks every reference in `item`, which belongs to `owner` (`` stage `train` ``) with the axes `owned` (indices).
    /// What is wrong with a parameter is told once for each owner.
    pub fn scan(&self, item: &Item, owner: &str, owned: &[usize], diags: &mut Diags) -> Scan {
        self.scan_as(Texts::Plain, item, owner, owned, diags).scan
    }

    /// The same for texts of either kind, with the size of the value.
    pub fn scan_as(&self, texts: Texts, item: &Item, owner: &str, owned: &[usize], diags: &mut Diags) -> Found {
        let found = match (texts, &item.node) {
            (Texts::Arguments(_), Node::Str(text)) => Found { bytes: text.len() as u64, ..Found::FIXED },
            _ => Scanner::new(self, texts, owner, owned, diags).root(item),
        };
        if !found.refers || found.scan == Scan::Bad {
            return found;
        }
        match self.fill(found.bytes) {
            Fill::Fits => return found,
            Fill::TooMuch => diags.push(scan::too_much(&item.span)),
            Fill::Told => {}
        }
        Found { scan: Scan::Bad, ..found }
    }

    /// [`Self::scan`] that tells nothing; what is wrong is told when the same is scanned aloud.
    pub fn scan_quietly(&self, texts: Texts, item: &Item, owner: &str, owned: &[usize]) -> Scan {
        match (texts, &item.node) {
            (Texts::Arguments(_), Node::Str(_)) => Scan::Fixed,
            _ => Scanner::quiet(self, texts, owner, owned, &mut Diags::new()).root(item).scan,
        }
    }

    /// Counts `bytes` that are about to be filled in.
    pub fn fill(&self, bytes: u64) -> Fill {
        let before = self.filled.get();
        self.filled.set(before.saturating_add(bytes));
        match (before > MOST_FILLED, self.filled.get() > MOST_FILLED) {
            (true, _) => Fill::Told,
            (false, true) => Fill::TooMuch,
            (false, false) => Fill::Fits,
        }
    }

    /// Whether more than [`MOST_FILLED`] was asked for, which was told.
    pub fn is_full(&self) -> bool {
        self.filled.get() > MOST_FILLED
    }

    /// [`Self::resolve`] for texts of either kind.
    pub fn resolve_as(&self, texts: Texts, item: &Item, axis: &dyn Fn(usize) -> usize) -> Resolved {
        match (texts, &item.node) {
            (Texts::Plain, _) => self.resolve(item, axis),
            (Texts::Arguments(own), Node::List(items)) => {
                let argument = |item: &Item| match &item.node {
                    Node::Str(text) => Value::Str(self.argument(text, own, axis)),
                    _ => item.to_value(),
                };
                let value = Value::List(items.iter().map(argument).collect());
                Resolved { value, span: item.span.clone(), substituted: true }
            }
            (Texts::Arguments(_), _) => {
                Resolved { value: item.to_value(), span: item.span.clone(), substituted: false }
            }
        }
    }

    /// One argument: axes and parameters filled in, all else as it is written.
    fn argument(&self, text: &str, own: &'static [&'static str], axis: &dyn Fn(usize) -> usize) -> String {
        let escaped = |text: &str| text.replace('{', "{{").replace('}', "}}");
        let piece = |piece| match piece {
            Piece::Text(text) => escaped(&text),
            Piece::Reference(name) if is_own(own, &name) => format!("{{{name}}}"),
            Piece::Reference(name) => escaped(&plain_text(&self.reference(&name, axis).value)),
        };
        pieces(text, Texts::Arguments(own)).expect("scanned").into_iter().map(piece).collect()
    }

    /// The value of `item`, which [`Self::scan`] found good; `axis` gives the value of each axis that the owner has.
    pub fn resolve(&self, item: &Item, axis: &dyn Fn(usize) -> usize) -> Resolved {
        let plain = |value| Resolved { value, span: item.span.clone(), substituted: false };
        match &item.node {
            Node::Str(text) if has_braces(text) => self.text(item, text, axis),
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
        self.index.get(path).copied()
    }

    /// A warning for each parameter that nothing refers to.
    pub fn unused(&self, diags: &mut Diags) {
        for (path, span) in leaves(self.params, "") {
            let used = self.used.borrow();
            let mut above = path.match_indices('.').map(|(at, _)| &path[..at]).chain([path.as_str()]);
            if !above.any(|path| used.contains(path)) {
                let mut diag = Diag::warning(format!("nothing uses the parameter `{path}`")).at(span);
                diag.class = crate::base::diag::Class::Usage;
                diags.push(diag.help(format!("refer to it as `{{params.{path}}}`, or remove it")));
            }
        }
    }
}

/// All items below `table`, by path. A key with a dot in it cannot be referred to.
fn index(table: &Table) -> HashMap<String, &Item> {
    let mut all = HashMap::new();
    let mut open = vec![(String::new(), table)];
    while let Some((above, table)) = open.pop() {
        for e in table.entries.iter().filter(|e| !e.key.contains('.')) {
            let path = if above.is_empty() { e.key.clone() } else { format!("{above}.{}", e.key) };
            if let Some(table) = e.item.as_table() {
                open.push((path.clone(), table));
            }
            all.insert(path, &e.item);
        }
    }
    all
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

/// Returns whether a reference is one of `own`.
fn is_own(own: &[&str], name: &str) -> bool {
    own.iter().any(|head| name == *head || head.ends_with('.') && name.starts_with(head))
}

impl Texts {
    /// Returns whether a reference stays as it is written.
    fn keeps(self, name: &str) -> bool {
        matches!(self, Texts::Arguments(own) if is_own(own, name))
    }
}

/// Whether a text may have references. (Two searches for one byte each are faster than one for either.)
fn has_braces(text: &str) -> bool {
    text.contains('{') || text.contains('}')
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
        if !texts.keeps(name) && name.split('.').any(|part| !is_name(part)) {
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
        let own = pieces("{in.a/b*.json}-{task}", Texts::Arguments(&["in."])).unwrap();
        assert_eq!(own, [reference("in.a/b*.json"), text("-"), reference("task")]);
        for bad in ["{", "}", "{task", "task}", "{}", "{a b}", "{a.}", "{a+1}"] {
            assert!(pieces(bad, Texts::Plain).is_err(), "{bad}");
        }
    }
}
