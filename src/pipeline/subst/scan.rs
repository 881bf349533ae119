//! [`Scanner`]: checks the references of a value before anything is filled in: what they refer to, on which axes the value
//! depends, and how large it becomes. Each parameter is looked at once for each owner, so the work is that of reading the file.

use std::collections::HashMap;

use crate::base::diag::{Diag, Span};
use crate::base::suggest::nearest;
use crate::pipeline::doc::{Item, Node};
use crate::pipeline::source::{Diags, place, suggest, wrong};

use super::{MOST_FILLED, Piece, Scan, Scope, Texts, has_braces, leaves, pieces};

/// What one part of a value costs besides its text: an item of a list, a field of a table, a reference.
pub const PART: u64 = 64;
/// How many bytes a value may have in which references are filled in, counted as in [`Found::bytes`].
const MOST_BYTES: u64 = 4_000_000;
/// How deep lists and tables may be nested. TOML's reader has the same limit.
const MOST_NESTED: u32 = 80;
/// How many parameters may refer to one another in a row.
const LONGEST_CHAIN: u32 = 100;
/// A value of an axis as part of a text: it has at most 200 bytes.
const AXIS: u64 = PART + 200;

/// What a scan found of a value.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Whether it is good, and on what it depends.
    pub scan: Scan,
    /// How large it becomes at most: the bytes of its texts, and [`PART`] for each of its parts.
    pub bytes: u64,
    /// Whether it refers to anything.
    pub refers: bool,
    /// How deep it is nested.
    pub(super) nested: u32,
    /// How many parameters in a row lead on from it.
    pub(super) chain: u32,
}

impl Found {
    /// A value without references and without bytes.
    pub const FIXED: Self = Self { scan: Scan::Fixed, bytes: 0, refers: false, nested: 0, chain: 0 };

    /// Both in one value.
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

/// By owner and path. A parameter that is bad was told for that owner.
pub(super) type Facts = HashMap<String, HashMap<String, Found>>;

pub(super) struct Scanner<'s, 'a> {
    scope: &'s Scope<'a>,
    owner: &'s str,
    owned: &'s [usize],
    /// The parameters that led here.
    path: Vec<String>,
    diags: &'s mut Diags,
    texts: Texts,
    /// Where nobody hears what is wrong, bad parameters are remembered for this scan only.
    quiet: Option<HashMap<String, Found>>,
}

impl<'s, 'a> Scanner<'s, 'a> {
    pub(super) fn new(
        scope: &'s Scope<'a>,
        texts: Texts,
        owner: &'s str,
        owned: &'s [usize],
        diags: &'s mut Diags,
    ) -> Self {
        Self { scope, owner, owned, path: Vec::new(), diags, texts, quiet: None }
    }

    pub(super) fn quiet(
        scope: &'s Scope<'a>,
        texts: Texts,
        owner: &'s str,
        owned: &'s [usize],
        diags: &'s mut Diags,
    ) -> Self {
        Self { quiet: Some(HashMap::new()), ..Self::new(scope, texts, owner, owned, diags) }
    }

    /// What is found of a whole value.
    pub(super) fn root(mut self, item: &Item) -> Found {
        self.item(item)
    }

    fn item(&mut self, item: &Item) -> Found {
        let found = match &item.node {
            Node::Str(text) if has_braces(text) => self.text(item, text),
            Node::Str(text) => Found { bytes: text.len() as u64, ..Found::FIXED },
            Node::List(items) => self.all(items.iter().map(|item| (0, item))),
            Node::Table(table) => self.all(table.entries.iter().map(|e| (e.key.len() as u64, &e.item))),
            _ => Found::FIXED,
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

    fn all<'i>(&mut self, items: impl Iterator<Item = (u64, &'i Item)>) -> Found {
        let mut all = Found::FIXED;
        for (key, item) in items {
            let found = self.item(item);
            all = all.and(Found { bytes: found.bytes.saturating_add(key + PART), ..found });
        }
        Found { nested: all.nested + 1, ..all }
    }

    fn text(&mut self, item: &Item, text: &str) -> Found {
        match pieces(text, self.texts) {
            Err((message, help)) => self.bad(wrong(&item.span, message).help(help)),
            Ok(pieces) => {
                let alone = pieces.len() == 1 && self.texts == Texts::Plain;
                let start = Found { bytes: text.len() as u64, ..Found::FIXED };
                pieces.iter().fold(start, |so_far, piece| match piece {
                    Piece::Text(_) => so_far,
                    Piece::Reference(name) if self.texts.keeps(name) => so_far,
                    Piece::Reference(name) => so_far.and(self.reference(item, name, alone)),
                })
            }
        }
    }

    fn reference(&mut self, item: &Item, name: &str, alone: bool) -> Found {
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
        let found = match self.known(path) {
            Some(found) => found,
            None if self.path.len() as u32 >= LONGEST_CHAIN => return self.too_long(item),
            None => self.param(path, param),
        };
        if found.scan != Scan::Bad && found.chain >= LONGEST_CHAIN {
            return self.too_long(item);
        }
        Found { bytes: found.bytes.saturating_add(PART), refers: true, chain: found.chain + 1, ..found }
    }

    /// What is found of a parameter that was not looked at before.
    fn param(&mut self, path: &str, param: &Item) -> Found {
        self.path.push(path.to_owned());
        // What stands in `[params]` has no references of a command.
        let texts = std::mem::replace(&mut self.texts, Texts::Plain);
        let found = self.item(param);
        self.texts = texts;
        self.path.pop();
        match &mut self.quiet {
            Some(bad) if found.scan == Scan::Bad => drop(bad.insert(path.to_owned(), found)),
            _ => {
                let mut facts = self.scope.facts.borrow_mut();
                if let Some(of) = facts.get_mut(self.owner) {
                    of.insert(path.to_owned(), found);
                } else {
                    facts.insert(self.owner.to_owned(), HashMap::from([(path.to_owned(), found)]));
                }
            }
        }
        found
    }

    fn known(&self, path: &str) -> Option<Found> {
        let facts = self.scope.facts.borrow();
        let told = facts.get(self.owner).and_then(|of| of.get(path));
        told.or_else(|| self.quiet.as_ref()?.get(path)).copied()
    }

    fn axis(&mut self, item: &Item, name: &str) -> Found {
        let axes = self.scope.axes;
        let owned: Vec<&str> = self.owned.iter().map(|i| axes[*i].name.text.as_str()).collect();
        if owned.contains(&name) {
            return Found { scan: Scan::Varies, bytes: AXIS, refers: true, ..Found::FIXED };
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

    fn too_long(&mut self, item: &Item) -> Found {
        let message = format!("more than {LONGEST_CHAIN} parameters refer to one another in a row");
        self.bad(wrong(&item.span, message))
    }

    fn bad(&mut self, diag: Diag) -> Found {
        self.diags.push(diag);
        Found { scan: Scan::Bad, ..Found::FIXED }
    }
}

fn worse(a: Scan, b: Scan) -> Scan {
    match (a, b) {
        (Scan::Bad, _) | (_, Scan::Bad) => Scan::Bad,
        (Scan::Varies, _) | (_, Scan::Varies) => Scan::Varies,
        _ => Scan::Fixed,
    }
}

/// All values together are too large from the one at `span` on.
pub(super) fn too_much(span: &Span) -> Diag {
    let limit = crate::fetch::size(MOST_FILLED);
    wrong(
        span,
        format!("up to here, all values together become larger than {limit} when their parameters are filled in"),
    )
    .help("let fewer values refer to large parameters")
}
