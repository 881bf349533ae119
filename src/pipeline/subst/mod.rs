//! `{task}`, `{params.lr}`: substitution of references, without expressions. `{{` and `}}` are braces. A text that
//! is exactly one reference takes the type of what it refers to.
//!
//! The arguments of a program ([`Texts::Arguments`]) have references of their own, such as `{in.data}`. These stay as
//! they are written, with the doubled braces; one text for a shell stays whole.
//!
//! Parameters may refer to one another, so a short file can ask for a value of any size. Before anything is filled in,
//! `scan` computes its size; a value that is too large is an error.

mod pieces;
mod referable;
mod scan;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::base::diag::{Diag, Span};
use crate::base::value::{Params, Value};

use super::doc::{Item, Node, Table};
use super::source::{Diags, list};
use super::spec::Axis;

use pieces::{Piece, has_braces, is_own, pieces};
use referable::{Referable, leaves};
use scan::{Facts, Scanner};

pub use pieces::{Texts, plain_text};
pub use scan::{MOST_FILLED, PART, Scan, ScanResult};

/// What references can refer to.
pub struct Scope<'a> {
    referable: Referable<'a>,
    /// Texts that were cut before: the instances of a stage share theirs.
    cut: RefCell<HashMap<String, Rc<[Piece]>>>,
    /// What is known of each parameter: it is scanned once for each owner.
    facts: RefCell<Facts>,
    /// How many bytes of [`MOST_FILLED`] are used.
    filled: Cell<u64>,
}

/// The answer to whether a value fits among all others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// It does.
    Fits,
    /// It is the first that does not.
    TooMuch,
    /// An earlier one did not, which was reported.
    Told,
}

/// A value after substitution.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The value.
    pub value: Value,
    /// Where it is written: for a text that is exactly one reference to a parameter, where that is.
    pub span: Span,
    /// `true` if anything was substituted.
    pub substituted: bool,
}

impl<'a> Scope<'a> {
    /// `params`: the `[params]` table.
    pub fn new(axes: &'a [Axis], params: &'a Table) -> Self {
        Self {
            referable: Referable::new(axes, params),
            cut: RefCell::default(),
            facts: RefCell::default(),
            filled: Cell::new(0),
        }
    }

    /// Checks every reference in `item`, which belongs to `owner` (`` stage `train` ``) with the axes `owned`
    /// (indices). A mistake in a parameter is reported once for each owner.
    pub fn scan(&self, item: &Item, owner: &str, owned: &[usize], diags: &mut Diags) -> Scan {
        self.scan_as(Texts::Plain, item, owner, owned, diags).scan
    }

    /// As [`Self::scan`] for texts of either kind; returns the size of the value, too.
    pub fn scan_as(&self, texts: Texts, item: &Item, owner: &str, owned: &[usize], diags: &mut Diags) -> ScanResult {
        let found = match (texts, &item.node) {
            (Texts::Arguments(_), Node::Str(text)) => ScanResult { bytes: text.len() as u64, ..ScanResult::FIXED },
            _ => Scanner::new(&self.referable, &self.facts, texts, owner, owned, diags).root(item),
        };
        if !found.refers || found.scan == Scan::Bad {
            return found;
        }
        match self.fill(found.bytes) {
            Fill::Fits => return found,
            Fill::TooMuch => diags.push(scan::too_much(&item.span)),
            Fill::Told => {}
        }
        ScanResult { scan: Scan::Bad, ..found }
    }

    /// As [`Self::scan`], but reports nothing. Mistakes are reported by the scan that reports.
    pub fn scan_quietly(&self, texts: Texts, item: &Item, owner: &str, owned: &[usize]) -> Scan {
        match (texts, &item.node) {
            (Texts::Arguments(_), Node::Str(_)) => Scan::Fixed,
            _ => Scanner::quiet(&self.referable, &self.facts, texts, owner, owned, &mut Diags::new()).root(item).scan,
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

    /// Returns whether more than [`MOST_FILLED`] was asked for, which was reported.
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

    /// Returns the value of `item`, which [`Self::scan`] found good; `axis` gives the value of each axis that the owner
    /// has.
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
            Some(path) => self.resolve(self.referable.param(path).expect("scanned"), axis),
            None => {
                let id = self.referable.axes.iter().position(|a| a.name.text == name).expect("scanned");
                let value = &self.referable.axes[id].values[axis(id)];
                Resolved { value: value.value.clone(), span: value.span.clone(), substituted: true }
            }
        }
    }

    /// A warning for each parameter that nothing refers to.
    pub fn unused(&self, diags: &mut Diags) {
        for (path, span) in leaves(self.referable.params, "") {
            let used = self.referable.used.borrow();
            let mut above = path.match_indices('.').map(|(at, _)| &path[..at]).chain([path.as_str()]);
            if !above.any(|path| used.contains(path)) {
                let mut diag = Diag::warning(format!("nothing uses the parameter `{path}`")).at(span);
                diag.class = crate::base::diag::Class::Usage;
                diags.push(diag.help(format!("refer to it as `{{params.{path}}}`, or remove it")));
            }
        }
    }
}

/// `` `a`, `b` `` of the axes with these indices.
pub fn axis_names(axes: &[Axis], which: &[usize]) -> String {
    let names: Vec<_> = which.iter().map(|i| axes[*i].name.text.as_str()).collect();
    list(&names)
}
