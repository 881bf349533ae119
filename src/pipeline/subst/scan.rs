//! [`Scanner`]: checks the references of a value before anything is filled in: what they refer to, on which axes the
//! value depends, and how large it becomes. Each parameter is scanned once for each owner, so the work is linear in the
//! file's size.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::base::diag::{Diag, Span};
use crate::base::suggest::nearest;
use crate::pipeline::doc::{Item, Node};
use crate::pipeline::source::{Diags, place, suggest, wrong};

use super::pieces::{Piece, Texts, has_braces, pieces};
use super::referable::{Referable, leaves};

/// What one part of a value costs besides its text: an item of a list, a field of a table, a reference.
pub const PART: u64 = 64;
/// How many bytes a value may have in which references are filled in, counted as in [`ScanResult::bytes`].
const MOST_BYTES: u64 = 4_000_000;
/// How deep lists and tables may be nested. TOML's reader has the same limit.
const MOST_NESTED: u32 = 80;
/// How many parameters may refer to one another in a row.
const LONGEST_CHAIN: u32 = 100;
/// A value of an axis as part of a text: it has at most 200 bytes.
const AXIS: u64 = PART + 200;

/// How many bytes all values together may have once references are filled in, counted as in [`ScanResult::bytes`].
pub const MOST_FILLED: u64 = 200_000_000;

/// What [`Scope::scan`](super::Scope::scan) found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scan {
    /// Something is wrong, and was reported.
    Bad,
    /// The same for all instances.
    Fixed,
    /// Depends on an axis.
    Varies,
}

/// What a scan found of a value.
#[derive(Clone, Copy, Debug)]
pub struct ScanResult {
    /// Its validity, and on what it depends.
    pub scan: Scan,
    /// How large it becomes at most: the bytes of its texts, and [`PART`] for each of its parts.
    pub bytes: u64,
    /// `true` if it refers to anything.
    pub refers: bool,
    /// How deep it is nested.
    pub(super) nested: u32,
    /// How many parameters in a row lead on from it.
    pub(super) chain: u32,
}

impl ScanResult {
    /// A value without references and without bytes.
    pub const FIXED: Self = Self { scan: Scan::Fixed, bytes: 0, refers: false, nested: 0, chain: 0 };

    /// Returns both in one value.
    fn and(self, other: Self) -> Self {
        Self {
            scan: worse(self.scan, other.scan),
            bytes: self.bytes.saturating_add(other.bytes),
            refers: self.refers || other.refers,
            nested: self.nested.max(other.nested),
            chain: self.chain.max(other.chain),
        }
    }
}

/// By owner and path. A parameter that is bad was reported for that owner.
pub(super) type Facts = HashMap<String, HashMap<String, ScanResult>>;

pub(super) struct Scanner<'s, 'a> {
    scope: &'s Referable<'a>,
    facts: &'s RefCell<Facts>,
    owner: &'s str,
    owned: &'s [usize],
    /// The parameters that led here.
    path: Vec<String>,
    diags: &'s mut Diags,
    texts: Texts,
    /// Where nobody hears what is wrong, bad parameters are remembered for this scan only.
    quiet: Option<HashMap<String, ScanResult>>,
}

impl<'s, 'a> Scanner<'s, 'a> {
    pub(super) fn new(
        scope: &'s Referable<'a>,
        facts: &'s RefCell<Facts>,
        texts: Texts,
        owner: &'s str,
        owned: &'s [usize],
        diags: &'s mut Diags,
    ) -> Self {
        Self { scope, facts, owner, owned, path: Vec::new(), diags, texts, quiet: None }
    }

    pub(super) fn quiet(
        scope: &'s Referable<'a>,
        facts: &'s RefCell<Facts>,
        texts: Texts,
        owner: &'s str,
        owned: &'s [usize],
        diags: &'s mut Diags,
    ) -> Self {
        Self { quiet: Some(HashMap::new()), ..Self::new(scope, facts, texts, owner, owned, diags) }
    }

    /// Returns what is found of a whole value.
    pub(super) fn root(mut self, item: &Item) -> ScanResult {
        self.item(item)
    }

    fn item(&mut self, item: &Item) -> ScanResult {
        let found = match &item.node {
            Node::Str(text) if has_braces(text) => self.text(item, text),
            Node::Str(text) => ScanResult { bytes: text.len() as u64, ..ScanResult::FIXED },
            Node::List(items) => self.all(items.iter().map(|item| (0, item))),
            Node::Table(table) => self.all(table.entries.iter().map(|e| (e.key.len() as u64, &e.item))),
            _ => ScanResult::FIXED,
        };
        if found.scan == Scan::Bad || !found.refers {
            return found;
        }
        let diag = if found.bytes > MOST_BYTES {
            let limit = crate::fetch::size(MOST_BYTES);
            wrong(&item.span, format!("this value becomes larger than {limit} when its parameters are filled in"))
                .help("a parameter that refers to another one twice doubles it")
        } else if found.nested > MOST_NESTED {
            wrong(
                &item.span,
                format!("this value is nested more than {MOST_NESTED} deep when its parameters are filled in"),
            )
        } else {
            return found;
        };
        self.bad(diag)
    }

    fn all<'i>(&mut self, items: impl Iterator<Item = (u64, &'i Item)>) -> ScanResult {
        let mut all = ScanResult::FIXED;
        for (key, item) in items {
            let found = self.item(item);
            all = all.and(ScanResult { bytes: found.bytes.saturating_add(key + PART), ..found });
        }
        ScanResult { nested: all.nested + 1, ..all }
    }

    fn text(&mut self, item: &Item, text: &str) -> ScanResult {
        match pieces(text, self.texts) {
            Err((message, help)) => self.bad(wrong(&item.span, message).help(help)),
            Ok(pieces) => {
                let alone = pieces.len() == 1 && self.texts == Texts::Plain;
                let start = ScanResult { bytes: text.len() as u64, ..ScanResult::FIXED };
                pieces.iter().fold(start, |so_far, piece| match piece {
                    Piece::Text(_) => so_far,
                    Piece::Reference(name) if self.texts.keeps(name) => so_far,
                    Piece::Reference(name) => so_far.and(self.reference(item, name, alone)),
                })
            }
        }
    }

    fn reference(&mut self, item: &Item, name: &str, alone: bool) -> ScanResult {
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
                wrong(&item.span, format!("`{{params.{path}}}` is {} and cannot be part of a text", param.is_a()));
            return self.bad(diag.note(format!("it is written at {}", place(&param.span))));
        }
        let found = match self.known(path) {
            Some(found) => found,
            None if self.path.len() as u32 >= LONGEST_CHAIN => return self.too_long(item),
            None => self.param(path, param),
        };
        if found.scan != Scan::Bad && found.chain >= LONGEST_CHAIN {
            return self.too_long(item);
        }
        ScanResult { bytes: found.bytes.saturating_add(PART), refers: true, chain: found.chain + 1, ..found }
    }

    /// Returns what is found of a parameter that was not looked at before.
    fn param(&mut self, path: &str, param: &Item) -> ScanResult {
        self.path.push(path.to_owned());
        // The values in `[params]` have no references of a program's own.
        let texts = std::mem::replace(&mut self.texts, Texts::Plain);
        let found = self.item(param);
        self.texts = texts;
        self.path.pop();
        match &mut self.quiet {
            Some(bad) if found.scan == Scan::Bad => drop(bad.insert(path.to_owned(), found)),
            _ => {
                let mut facts = self.facts.borrow_mut();
                if let Some(of) = facts.get_mut(self.owner) {
                    of.insert(path.to_owned(), found);
                } else {
                    facts.insert(self.owner.to_owned(), HashMap::from([(path.to_owned(), found)]));
                }
            }
        }
        found
    }

    fn known(&self, path: &str) -> Option<ScanResult> {
        let facts = self.facts.borrow();
        let told = facts.get(self.owner).and_then(|of| of.get(path));
        told.or_else(|| self.quiet.as_ref()?.get(path)).copied()
    }

    fn axis(&mut self, item: &Item, name: &str) -> ScanResult {
        let axes = self.scope.axes;
        let owned: Vec<&str> = self.owned.iter().map(|i| axes[*i].name.text.as_str()).collect();
        if owned.contains(&name) {
            return ScanResult { scan: Scan::Varies, bytes: AXIS, refers: true, ..ScanResult::FIXED };
        }
        let owner = self.owner;
        if axes.iter().any(|a| a.name.text == name) {
            if !owner.starts_with("stage") {
                let diag = wrong(&item.span, format!("{owner} cannot depend on an axis, and so not use `{{{name}}}`"));
                return self.bad(diag.help("only the parameters of a stage can"));
            }
            let diag = wrong(&item.span, format!("{owner} has no axis `{name}`, so `{{{name}}}` refers to nothing"));
            return self.bad(diag.help(match owned.is_empty() {
                true => format!("give it `axes = [\"{name}\"]`"),
                false => format!("add `\"{name}\"` to its `axes`"),
            }));
        }
        let diag = wrong(&item.span, format!("`{{{name}}}` refers to nothing"));
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

    fn too_long(&mut self, item: &Item) -> ScanResult {
        let message = format!("more than {LONGEST_CHAIN} parameters refer to one another in a row");
        self.bad(wrong(&item.span, message))
    }

    fn bad(&mut self, diag: Diag) -> ScanResult {
        self.diags.push(diag);
        ScanResult { scan: Scan::Bad, ..ScanResult::FIXED }
    }
}

fn worse(a: Scan, b: Scan) -> Scan {
    match (a, b) {
        (Scan::Bad, _) | (_, Scan::Bad) => Scan::Bad,
        (Scan::Varies, _) | (_, Scan::Varies) => Scan::Varies,
        _ => Scan::Fixed,
    }
}

/// Returns all values together are too large from the one at `span` on.
pub(super) fn too_much(span: &Span) -> Diag {
    let limit = crate::fetch::size(MOST_FILLED);
    wrong(
        span,
        format!("up to here, all values together become larger than {limit} when their parameters are filled in"),
    )
    .help("let fewer values refer to large parameters")
}
