//! `train`, `train[rte,dpt,42]`, `train[task=rte,*]`, `svd_init?`: names of instances of a stage, in `needs` and as
//! targets.

use crate::base::diag::{Diag, Span};

use super::expand::{Sweep, find_value};
use super::source::{count, suggest, wrong};
use super::spec::Axis;
use super::subst::axis_names;

/// A name of instances, as typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// The stage.
    pub stage: String,
    /// The text in brackets.
    pub picks: Picks,
    /// `true` if a `?` follows.
    pub optional: bool,
}

/// The text in brackets.
#[derive(Clone, Debug, PartialEq)]
pub enum Picks {
    /// `[task=rte,seed=*,*]`, or nothing: values by axis (`None`: all of them), and whether a bare `*` gathers the
    /// rest.
    Named(Vec<(String, Option<String>)>, bool),
    /// `[rte,*,42]`: one for each axis, in order.
    Positional(Vec<Option<String>>),
}

/// What a pattern says of one axis of its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This value.
    Value(u32),
    /// All values.
    All,
    /// Nothing but a bare `*`: all values, of an axis that the consumer lacks.
    Rest,
    /// Nothing.
    Open,
}

impl Pattern {
    /// Reads `text`, which is at `span`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(text: &str, span: &Span) -> Result<Self, Diag> {
        let bad = |message: String| {
            wrong(span, message).help("write `stage`, `stage[value,…]`, `stage[axis=value,…]` or `stage[*]`")
        };
        let (rest, optional) = match text.strip_suffix('?') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (stage, picks) = match rest.split_once('[') {
            None => (rest, Picks::Named(Vec::new(), false)),
            Some((stage, tail)) => {
                let Some(inner) = tail.strip_suffix(']') else {
                    return Err(bad(format!("`{text}` has a `[` without its `]`")));
                };
                (stage, picks(inner).ok_or_else(|| bad(format!("cannot read what stands in brackets in `{text}`")))?)
            }
        };
        if stage.is_empty() || stage.contains([']', '*', ',', '=', ' ']) {
            return Err(bad(format!("`{text}` names no stage")));
        }
        Ok(Self { stage: stage.to_owned(), picks, optional })
    }

    /// Returns whether it may mean several instances for one consumer.
    pub fn gathers(&self) -> bool {
        match &self.picks {
            Picks::Named(named, rest) => *rest || named.iter().any(|(_, v)| v.is_none()),
            Picks::Positional(values) => values.iter().any(Option::is_none),
        }
    }

    /// Returns what it says of each axis of its stage, whose sweep is `sweep`.
    ///
    /// # Errors
    /// It names an axis or a value that is not there, or the wrong number of values.
    pub fn pick(&self, axes: &[Axis], sweep: &Sweep, span: &Span) -> Result<Vec<Pick>, Diag> {
        let value = |id: usize, text: &str| match find_value(&axes[id], text, span)? {
            Some(index) => Ok(Pick::Value(index as u32)),
            None => Err(wrong(span, format!("axis `{}` has no value `{text}` after `--set`", axes[id].name.text))),
        };
        match &self.picks {
            Picks::Positional(values) if values.len() != sweep.axes.len() => {
                let diag = wrong(
                    span,
                    format!("`{}` has {}", self.stage, count(sweep.axes.len(), "axis").replace("axiss", "axes")),
                );
                let diag = diag.label(format!("{} given", count(values.len(), "value")));
                Err(match sweep.axes.is_empty() {
                    true => diag.help(format!("write only `{}`", self.stage)),
                    false => diag.note(format!("its axes are, in order, {}", axis_names(axes, &sweep.axes))),
                })
            }
            Picks::Positional(values) => {
                let pick =
                    |(id, text): (&usize, &Option<String>)| text.as_ref().map_or(Ok(Pick::All), |t| value(*id, t));
                sweep.axes.iter().zip(values).map(pick).collect()
            }
            Picks::Named(named, rest) => {
                let mut picks = vec![if *rest { Pick::Rest } else { Pick::Open }; sweep.axes.len()];
                let mut set = vec![false; picks.len()];
                for (name, text) in named {
                    let Some(at) = sweep.axes.iter().position(|id| axes[*id].name.text == *name) else {
                        let diag = wrong(span, format!("stage `{}` has no axis `{name}`", self.stage));
                        let known = sweep.axes.iter().map(|id| axes[*id].name.text.as_str());
                        return Err(suggest(diag, name, "its axes are", known));
                    };
                    if std::mem::replace(&mut set[at], true) {
                        return Err(wrong(span, format!("axis `{name}` is named twice")));
                    }
                    picks[at] = text.as_ref().map_or(Ok(Pick::All), |t| value(sweep.axes[at], t))?;
                }
                Ok(picks)
            }
        }
    }
}

/// How many targets one target with alternatives may stand for.
pub const MOST_ALTERNATIVES: usize = 100_000;

/// Returns a target with alternatives as targets without: `a[x|y,*]` is `a[x,*]` and `a[y,*]`. `None` if they are more
/// than [`MOST_ALTERNATIVES`].
pub fn each(text: &str) -> Option<Vec<String>> {
    let (head, tail) = match text.split_once('[') {
        Some((head, tail)) if tail.contains('|') => (head, tail),
        _ => return Some(vec![text.to_owned()]),
    };
    let (inner, end) = tail.split_at(tail.find(']').unwrap_or(tail.len()));
    let alternatives = inner.split(',').map(|part| part.matches('|').count() + 1);
    let number = alternatives.fold(1_usize, usize::saturating_mul);
    if number.saturating_mul(text.len()) > MOST_ALTERNATIVES * 100 || number > MOST_ALTERNATIVES {
        return None;
    }
    let mut all = vec![format!("{head}[")];
    for (i, part) in inner.split(',').enumerate() {
        let (axis, values) = part.split_at(part.find('=').map_or(0, |at| at + 1));
        let comma = if i == 0 { "" } else { "," };
        let longer = |so_far: &String| {
            values.split('|').map(|value| format!("{so_far}{comma}{axis}{value}")).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    Some(all.into_iter().map(|one| one + end).collect())
}

fn picks(inner: &str) -> Option<Picks> {
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    if parts.iter().any(|p| p.is_empty() || p.contains(['[', ']', '?']) || (p.len() > 1 && p.starts_with('*'))) {
        return None;
    }
    let value = |text: &str| (text != "*").then(|| text.to_owned());
    if parts == ["*"] || parts.iter().any(|p| p.contains('=')) {
        let mut named = Vec::new();
        let mut rest = false;
        for part in parts {
            match part.split_once('=') {
                Some((axis, text)) if !axis.is_empty() && !text.is_empty() => {
                    named.push((axis.to_owned(), value(text)))
                }
                None if part == "*" && !rest => rest = true,
                _ => return None,
            }
        }
        return Some(Picks::Named(named, rest));
    }
    Some(Picks::Positional(parts.into_iter().map(value).collect()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::source::Source;
    use super::*;

    fn read(text: &str) -> Option<Pattern> {
        let span = Source::new(Path::new("t"), text.to_owned()).span(0..0);
        Pattern::parse(text, &span).ok()
    }

    #[test]
    fn every_form_is_read() {
        let some = |s: &str| Some(s.to_owned());
        let named = |v: Vec<(&str, Option<String>)>, rest| {
            Picks::Named(v.into_iter().map(|(a, t)| (a.to_owned(), t)).collect(), rest)
        };
        assert_eq!(read("a").unwrap().picks, named(vec![], false));
        assert_eq!(read("a[*]").unwrap().picks, named(vec![], true));
        assert_eq!(
            read("a[task=rte,*]?").unwrap(),
            Pattern { stage: "a".into(), picks: named(vec![("task", some("rte"))], true), optional: true }
        );
        assert_eq!(read("a[seed=*]").unwrap().picks, named(vec![("seed", None)], false));
        assert_eq!(read("a[rte, *,42]").unwrap().picks, Picks::Positional(vec![some("rte"), None, some("42")]));
        for bad in ["", "[*]", "a[", "a]", "a[]", "a[,]", "a[x=]", "a[=x]", "a[x=1,y]", "a[*][*]", "a b"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn alternatives_are_targets_of_their_own() {
        let each = |text: &str| each(text).unwrap_or_default();
        assert_eq!(each("a[x|y,*]"), ["a[x,*]", "a[y,*]"]);
        assert_eq!(each("a[t=x|y,s=1|2]?"), ["a[t=x,s=1]?", "a[t=x,s=2]?", "a[t=y,s=1]?", "a[t=y,s=2]?"]);
        assert_eq!(each("a"), ["a"]);
        assert_eq!(each("a[x|"), ["a[x", "a["]);
        assert_eq!(each(&format!("a[{}]", ["x|y"; 10].join(","))).len(), 1024);
        assert!(super::each(&format!("a[{}]", ["x|y"; 40].join(","))).is_none());
    }
}
